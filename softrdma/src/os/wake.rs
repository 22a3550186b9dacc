// SPDX-License-Identifier: BSD-3-Clause

//! Wakes a thread that waits for many descriptors.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fd::Fd;
use super::{child, sys};
use crate::Result;

/// A pipe: unlike an event descriptor, it can be told from those of the program.
#[derive(Debug)]
pub(super) struct Wake {
    read: Fd,
    write: Fd,
    /// There is something in the pipe, or will be at once.
    woken: AtomicBool,
}

impl Wake {
    pub(super) fn new() -> Result<Self> {
        let (read, write) = Fd::pipe(libc::O_NONBLOCK, false)?;
        Ok(Self {
            read,
            write,
            woken: AtomicBool::new(false),
        })
    }

    pub(super) fn not_for_children(&self) {
        child::opened(self.read.raw());
        child::opened(self.write.raw());
    }

    /// Readable when the thread is to wake.
    pub(super) fn raw(&self) -> RawFd {
        self.read.raw()
    }

    pub(super) fn is_there(&self) -> bool {
        self.read.checked().is_ok() && self.write.checked().is_ok()
    }

    /// Wakes the thread. Fails when the descriptor is not this library's any more.
    pub(super) fn post(&self) -> Result<()> {
        if self.woken.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let fd = self.write.checked().inspect_err(|_| {
            // There is nothing in the pipe: the next call fails too, and does not take the thread for woken.
            self.woken.store(false, Ordering::SeqCst);
        })?;
        let byte = 0u8;
        // SAFETY: a byte that lives through the call. It cannot fail: there is no other byte in the pipe.
        unsafe { sys::write(fd, (&raw const byte).cast(), 1) };
        Ok(())
    }

    /// The thread is awake. To be called before it looks what there is to do. Fails as `post` does.
    pub(super) fn clear(&self) -> Result<()> {
        let fd = self.read.checked()?;
        let mut bytes = [0u8; 16];
        // SAFETY: a buffer of this length.
        let n = unsafe { sys::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) };
        // Afterwards: otherwise it may have read the byte of a later call.
        self.woken.store(false, Ordering::SeqCst);
        // The end: the other descriptor was closed. The pipe would be readable for ever.
        if n == 0 { Err(libc::EBADF) } else { Ok(()) }
    }
}
