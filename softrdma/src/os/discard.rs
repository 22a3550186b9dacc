// SPDX-License-Identifier: BSD-3-Clause

//! Descriptors that came from other processes, and are closed.
//!
//! To close a descriptor may take as long as the maker of the file likes: a file system asks its server, a TCP
//! socket waits until its data is sent (`SO_LINGER`). So only memory files are closed at once. The others are closed by
//! a thread that ends afterwards, and is not waited for.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::thread;

/// How many such threads there are at most. What comes when none of them makes progress stays open.
const MOST_THREADS: usize = 8;

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// A descriptor from another process, whatever it may be of.
#[derive(Debug)]
pub(crate) struct Foreign(ManuallyDrop<OwnedFd>);

impl Foreign {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(ManuallyDrop::new(fd))
    }

    pub(super) fn is_local_socket(&self) -> bool {
        let mut domain: libc::c_int = 0;
        let mut size = size_of_val(&domain) as libc::socklen_t;
        let (fd, to) = (self.as_raw_fd(), (&raw mut domain).cast());
        // SAFETY: room for the answer, of this size.
        let got =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_DOMAIN, to, &raw mut size) };
        got == 0 && domain == libc::AF_UNIX
    }

    /// It is a local socket, which is in use elsewhere too: to close this descriptor waits for nothing.
    pub(super) fn close_socket(mut self) {
        // SAFETY: it is not dropped again.
        drop(unsafe { ManuallyDrop::take(&mut self.0) });
        std::mem::forget(self);
    }
}

impl Deref for Foreign {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        &self.0
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: it is not used any more.
        let fd = unsafe { ManuallyDrop::take(&mut self.0) };
        if !is_memory_file(fd.as_raw_fd()) {
            let _ = close_elsewhere(vec![fd.into_raw_fd()]);
        }
    }
}

/// Whether it is in memory only. No server of a file system is asked.
pub(super) fn is_memory_file(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_GET_SEALS) >= 0 }
}

/// Closes descriptors in the table of the calling thread, which does not wait for that. Gives them back if there is no
/// thread for them.
pub(super) fn close_elsewhere(fds: Vec<RawFd>) -> Result<(), Vec<RawFd>> {
    if fds.is_empty() {
        return Ok(());
    }
    // Relaxed: just a number.
    if THREADS.fetch_add(1, Ordering::Relaxed) >= MOST_THREADS {
        THREADS.fetch_sub(1, Ordering::Relaxed);
        return Err(fds);
    }
    // A thread that this one makes has the same table.
    let of_thread = fds.clone();
    let spawned = thread::spawn(c"softrdma-close", move || {
        for fd in of_thread {
            close(fd);
        }
        THREADS.fetch_sub(1, Ordering::Relaxed);
    });
    spawned.map_err(|_| {
        THREADS.fetch_sub(1, Ordering::Relaxed);
        fds
    })
}

/// In a child that was made by `fork`: it has none of the threads.
pub(super) fn prepare_child() {
    THREADS.store(0, Ordering::Relaxed);
}

/// Not by the C library: ThreadSanitizer would take the number for the one that threads with another table know.
pub(super) fn close(fd: RawFd) {
    // SAFETY: a descriptor that nobody uses any more.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}
