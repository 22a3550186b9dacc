// SPDX-License-Identifier: BSD-3-Clause

//! epoll.

use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use super::fd::Fd;
use super::wake::Wake;
use super::{check, child, errno, owned, sys};
use crate::Result;

/// What a descriptor is watched for, and what was seen of it.
pub(crate) type Interest = u32;
pub(crate) const READABLE: Interest = libc::EPOLLIN as u32;
pub(crate) const WRITABLE: Interest = libc::EPOLLOUT as u32;
/// Only once, until that is changed.
pub(crate) const ONCE: Interest = libc::EPOLLONESHOT as u32;
/// Only one of those wakes that watch a descriptor so, the first that has a thread waiting. It cannot be changed.
pub(crate) const EXCLUSIVE: Interest = libc::EPOLLEXCLUSIVE as u32;
/// The other end is gone.
pub(crate) const HANG_UP: Interest = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

#[derive(Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) seen: Interest,
}

/// A set of descriptors, and what wakes the thread that waits for them.
#[derive(Debug)]
pub(crate) struct Epoll {
    fd: Fd,
    wake: Wake,
}

/// How many events one wait finds.
const MOST: usize = 64;

/// What the thread is woken by has this token.
pub(crate) const WAKE: u64 = 0;

impl Epoll {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: no pointers.
        let fd = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let new = Self {
            fd: Fd::new(fd),
            wake: Wake::new()?,
        };
        child::opened(new.fd.raw());
        new.wake.not_for_children();
        new.control(libc::EPOLL_CTL_ADD, new.wake.raw(), WAKE, READABLE)?;
        Ok(new)
    }

    /// For good: a thread may wait for it as long as the process lives.
    pub(crate) fn keep(self) -> &'static Self {
        Box::leak(Box::new(self))
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.raw()
    }

    pub(crate) fn wake_raw(&self) -> RawFd {
        self.wake.raw()
    }

    /// Whether its descriptors are still this library's. Sets cannot be told from each other, but it is in no other
    /// one what this one contains.
    pub(crate) fn is_there(&self) -> bool {
        self.wake.is_there() && self.contains_wake()
    }

    fn contains_wake(&self) -> bool {
        self.change(self.wake.raw(), WAKE, READABLE).is_ok()
    }

    /// Wakes the thread. Fails when the descriptors are not this library's any more.
    pub(crate) fn wake(&self) -> Result<()> {
        self.wake.post()
    }

    /// The thread is awake. Fails as `wake` does.
    pub(crate) fn clear(&self) -> Result<()> {
        self.wake.clear()
    }

    /// Adds a descriptor. Fails with `EBADF` when the set is not this library's any more.
    pub(crate) fn add(&self, fd: RawFd, token: u64, interest: Interest) -> Result<()> {
        if !self.contains_wake() {
            return Err(libc::EBADF);
        }
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
        check(unsafe { libc::epoll_ctl(self.fd.raw(), how, fd, &raw mut event) }).map(|_| ())
    }

    /// Waits for events, `timeout_ms` at most (-1: for ever). An interrupted wait has none. Fails when the set is not
    /// there any more.
    pub(crate) fn wait(&self, ready: &mut Vec<Ready>, timeout_ms: i32) -> Result<()> {
        self.wait_by(ready, |events| {
            // SAFETY: room for as many events as said.
            unsafe { sys::epoll_wait(self.fd.raw(), events.as_mut_ptr(), MOST as i32, timeout_ms) }
        })
    }

    /// As `wait`, with a timeout that is not rounded where the kernel can do that (Linux 5.11).
    pub(crate) fn wait_precisely(&self, ready: &mut Vec<Ready>, timeout: Duration) -> Result<()> {
        let in_time = self.wait_by(ready, |events| {
            // SAFETY: room for as many events as said.
            unsafe { sys::epoll_wait_for(self.fd.raw(), events.as_mut_ptr(), MOST as i32, timeout) }
        });
        if in_time == Err(libc::ENOSYS) {
            // Rounded up: not to wake too early, again and again.
            let ms = i32::try_from(timeout.as_millis() + 1).unwrap_or(i32::MAX);
            return self.wait(ready, ms);
        }
        in_time
    }

    fn wait_by(
        &self,
        ready: &mut Vec<Ready>,
        wait: impl FnOnce(&mut [libc::epoll_event; MOST]) -> i32,
    ) -> Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        ready.clear();
        let n = wait(&mut events);
        match errno() {
            _ if n >= 0 => {}
            libc::EINTR => {}
            libc::ENOSYS => return Err(libc::ENOSYS),
            _ => return Err(libc::EBADF),
        }
        let n = usize::try_from(n).unwrap_or(0);
        ready.extend(events.iter().take(n).map(|event| Ready {
            token: event.u64,
            seen: event.events,
        }));
        Ok(())
    }
}

/// The set in use. Another one takes its place when the program has closed it.
#[derive(Debug)]
pub(crate) struct Current(AtomicPtr<Epoll>);

impl Current {
    pub(crate) fn new(first: &'static Epoll) -> Self {
        Self(AtomicPtr::new(ptr::from_ref(first).cast_mut()))
    }

    pub(crate) fn get(&self) -> &'static Epoll {
        // SAFETY: of a reference that stays valid.
        unsafe { &*self.0.load(Ordering::Acquire) }
    }

    pub(crate) fn is(&self, epoll: &Epoll) -> bool {
        ptr::eq(self.0.load(Ordering::Acquire), epoll)
    }

    pub(crate) fn replace(&self, by: &'static Epoll) {
        self.0
            .store(ptr::from_ref(by).cast_mut(), Ordering::Release);
    }
}
