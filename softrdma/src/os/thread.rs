// SPDX-License-Identifier: BSD-3-Clause

//! The I/O thread, and what is done when the process exits.

use std::mem::MaybeUninit;
use std::sync::Once;

use super::errno;
use crate::Result;

/// Starts a thread that takes none of the program's signals.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are written before they are read. A thread inherits the mask of its maker,
    // which gets its own back below.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(256 * 1024)
        .spawn(body);
    // SAFETY: set by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    match started {
        Ok(_detached) => Ok(()),
        Err(error) => Err(error.raw_os_error().unwrap_or_else(errno)),
    }
}

/// Runs a function when the process exits.
pub(crate) fn at_exit(function: extern "C" fn()) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the function is there as long as this library, which is never unloaded.
        unsafe { libc::atexit(function) };
    });
}
