// SPDX-License-Identifier: BSD-3-Clause

//! epoll.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{check, child, owned, sys};
use crate::Result;

/// What a descriptor is watched for, and what was seen of it.
pub(crate) type Interest = u32;
pub(crate) const READABLE: Interest = libc::EPOLLIN as u32;
pub(crate) const WRITABLE: Interest = libc::EPOLLOUT as u32;
/// The other end is gone.
pub(crate) const HANG_UP: Interest = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

#[derive(Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) seen: Interest,
}

#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: no pointers.
        let fd = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        child::opened(fd.as_raw_fd());
        Ok(Self(fd))
    }

    pub(crate) fn add(&self, fd: RawFd, token: u64, interest: Interest) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    pub(crate) fn change(&self, fd: RawFd, token: u64, interest: Interest) -> Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    /// The descriptor is still open: a closed one is out of the set by itself.
    pub(crate) fn remove(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    fn control(&self, how: i32, fd: RawFd, token: u64, interest: Interest) -> Result<()> {
        let mut event = libc::epoll_event {
            events: interest,
            u64: token,
        };
        // SAFETY: the event lives through the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), how, fd, &raw mut event) }).map(|_| ())
    }

    /// Waits for events, `timeout_ms` at most (-1: for ever). An interrupted wait has none.
    pub(crate) fn wait(&self, ready: &mut Vec<Ready>, timeout_ms: i32) {
        const MOST: usize = 64;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        ready.clear();
        // SAFETY: room for as many events as said.
        let n = unsafe {
            sys::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                MOST as i32,
                timeout_ms,
            )
        };
        let n = usize::try_from(n).unwrap_or(0);
        ready.extend(events.iter().take(n).map(|event| Ready {
            token: event.u64,
            seen: event.events,
        }));
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        child::closing(self.0.as_raw_fd());
    }
}
