// SPDX-License-Identifier: BSD-3-Clause

//! Ctrl-C: a flag for loops that poll, and a descriptor for those that wait.

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static EVENT: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_signal: c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
    let one = 1u64;
    // SAFETY: write is async-signal-safe, and reads eight bytes of `one`. An invalid descriptor is an error.
    unsafe {
        libc::write(EVENT.load(Ordering::Relaxed), (&raw const one).cast(), 8);
    }
}

/// From now on SIGINT and SIGTERM set the flag and make the descriptor readable, once and for all. The second
/// signal ends the process, so that a program that hangs can be stopped too.
pub fn watch() -> io::Result<()> {
    // SAFETY: creates a descriptor.
    let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if event < 0 {
        return Err(io::Error::last_os_error());
    }
    EVENT.store(event, Ordering::Relaxed);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: a zeroed sigaction is valid, and the handler does what a handler may.
        let set = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
            action.sa_flags = libc::SA_RESETHAND;
            libc::sigaction(signal, &action, std::ptr::null_mut())
        };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether the user wants the program to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Waits until one of `fds` is readable or broken, the user wants the program to end, or the time is over. Tells
/// which of `fds` are ready.
pub fn wait_readable<const N: usize>(fds: [c_int; N], timeout_ms: c_int) -> io::Result<[bool; N]> {
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .chain([&EVENT.load(Ordering::Relaxed)])
        .map(|&fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // SAFETY: the pointer and the length are those of the vector.
    let count = unsafe {
        libc::poll(
            polled.as_mut_ptr(),
            polled.len() as libc::nfds_t,
            timeout_ms,
        )
    };
    if count < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        return Ok([false; N]);
    }
    let mut ready = [false; N];
    for (ready, polled) in ready.iter_mut().zip(&polled) {
        *ready = polled.revents != 0;
    }
    Ok(ready)
}

/// Makes reading from `fd` return at once when there is nothing.
pub fn set_nonblocking(fd: c_int) -> io::Result<()> {
    // SAFETY: plain calls on a descriptor.
    let set = unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        if flags < 0 {
            -1
        } else {
            libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)
        }
    };
    if set < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
