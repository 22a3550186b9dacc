// SPDX-License-Identifier: BSD-3-Clause

//! Event descriptors, which wake a thread that waits for many descriptors.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{owned, sys};
use crate::Result;

#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    /// A counter for waking a thread, non-blocking.
    pub(crate) fn counter() -> Result<Self> {
        // SAFETY: no pointers.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Self)
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Wakes the thread. It cannot fail but for 2^64 times.
    pub(crate) fn post(&self) {
        let one = 1u64;
        // SAFETY: eight bytes that live through the call.
        unsafe { sys::write(self.raw(), (&raw const one).cast(), 8) };
    }

    /// The thread is awake.
    pub(crate) fn clear(&self) {
        let mut value = 0u64;
        // SAFETY: eight bytes that live through the call.
        unsafe { sys::read(self.raw(), (&raw mut value).cast(), 8) };
    }
}
