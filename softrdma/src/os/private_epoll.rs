// SPDX-License-Identifier: BSD-3-Clause

//! A set of descriptors of a thread that has a table of its own. However few descriptors the process may have, a thread
//! can wait for those that it has: `poll(2)` takes no more than the process may open.

use std::os::fd::RawFd;
use std::time::Duration;

use super::private_fd::PrivateFd;
use super::{check, errno, sys};
use crate::Result;

pub(super) struct PrivateEpoll(PrivateFd);

/// How many descriptors one wait finds.
const MOST: usize = 64;

impl PrivateEpoll {
    pub(super) fn new() -> Result<Self> {
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self(PrivateFd::of(fd)))
    }

    pub(super) fn add(&self, fd: &PrivateFd) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd)
    }

    /// To be called before it is closed.
    pub(super) fn remove(&self, fd: &PrivateFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd);
    }

    fn control(&self, how: i32, fd: &PrivateFd) -> Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: fd.raw() as u64,
        };
        // SAFETY: the event lives through the call.
        check(unsafe { libc::epoll_ctl(self.0.raw(), how, fd.raw(), &raw mut event) }).map(|_| ())
    }

    /// Those for which something has come, by their numbers. None of them after a signal.
    pub(super) fn wait(&self, until: Option<Duration>) -> Result<Vec<RawFd>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        let (at, most, fd) = (events.as_mut_ptr(), MOST as i32, self.0.raw());
        // SAFETY: room for as many events as said.
        let wait = |ms| unsafe { sys::epoll_wait(fd, at, most, ms) };
        let n = match until {
            None => wait(-1),
            Some(until) => {
                // SAFETY: as above.
                match unsafe { sys::epoll_wait_for(fd, at, most, until) } {
                    -1 if errno() == libc::ENOSYS => wait(until.as_millis() as i32 + 1),
                    n => n,
                }
            }
        };
        let n = match usize::try_from(n) {
            Ok(n) => n,
            Err(_) if errno() == libc::EINTR => 0,
            Err(_) => return Err(errno()),
        };
        Ok(events
            .iter()
            .take(n)
            .map(|event| event.u64 as RawFd)
            .collect())
    }
}
