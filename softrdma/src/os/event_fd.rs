// SPDX-License-Identifier: BSD-3-Clause

//! Event descriptors as counting semaphores: one token for each event of a channel.
//!
//! Programs poll the descriptor and set `O_NONBLOCK` on it. A semaphore gives both their meaning.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{check, check_size, errno, owned};
use crate::Result;

#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    /// A semaphore of value 0, blocking.
    pub(crate) fn semaphore() -> Result<Self> {
        // SAFETY: no pointers.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_SEMAPHORE) }).map(Self)
    }

    /// A counter for waking a thread, non-blocking.
    pub(crate) fn counter() -> Result<Self> {
        // SAFETY: no pointers.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Self)
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Adds a token. It cannot fail but for 2^64 tokens.
    pub(crate) fn post(&self) {
        let one = 1u64;
        // SAFETY: eight bytes that live through the call.
        unsafe { libc::write(self.raw(), (&raw const one).cast(), 8) };
    }

    /// Takes a token; waits for one, if the program has not made the descriptor non-blocking.
    pub(crate) fn take(&self) -> Result<()> {
        let mut value = 0u64;
        // SAFETY: eight bytes that live through the call.
        check_size(unsafe { libc::read(self.raw(), (&raw mut value).cast(), 8) })?;
        Ok(())
    }

    /// Takes a token if there is one, whatever the descriptor's mode.
    pub(crate) fn try_take(&self) -> bool {
        let mut value = 0u64;
        let to = libc::iovec {
            iov_base: (&raw mut value).cast(),
            iov_len: 8,
        };
        // SAFETY: one range of eight bytes that lives through the call.
        let got = unsafe { libc::preadv2(self.raw(), &raw const to, 1, -1, libc::RWF_NOWAIT) };
        if got == 8 {
            return true;
        }
        if errno() != libc::EOPNOTSUPP {
            return false;
        }
        // A kernel before 5.8: look first. Nobody else takes a token of an object that goes.
        let mut fd = libc::pollfd {
            fd: self.raw(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry that lives through the call.
        check(unsafe { libc::poll(&raw mut fd, 1, 0) }).is_ok_and(|n| n == 1) && self.take().is_ok()
    }
}
