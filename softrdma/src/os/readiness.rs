// SPDX-License-Identifier: BSD-3-Clause

//! Descriptors that a program polls: readable while there is something, and never writable, as those of a
//! device.
//!
//! That is the read end of a pipe. (Event descriptors of the kernel, `eventfd(2)`, are writable nearly always.)
//! Nothing but its state counts: whether it is readable, and that each event is a new one for edge-triggered
//! epoll.

use std::os::fd::RawFd;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fd::Fd;
use super::{check, child, owned, sys};
use crate::Result;

/// The smallest pipe: what one page holds, whatever the size of pages is. Each user has a limit
/// (`fs.pipe-user-pages-soft`), of which each pipe takes what it may hold.
const ROOM: usize = 4096;
/// A process with few of them takes little of that limit: these keep the size that the kernel gives them.
const FEW: usize = 32;

/// How many there are.
static THERE: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
pub(crate) struct Readiness {
    /// The read end of the pipe, or what watches it with other descriptors.
    read: Fd,
    write: Fd,
    /// The read end then.
    watched: OnceLock<Fd>,
}

/// How many bytes the pipe holds. Kept by the caller, whose lock orders the calls.
#[derive(Debug, Default)]
pub(crate) struct Raised(usize);

impl Readiness {
    /// Not readable.
    pub(crate) fn new() -> Result<Self> {
        let (read, write) = Fd::pipe(0, true)?;
        if THERE.fetch_add(1, Ordering::Relaxed) >= FEW {
            // It works with a larger one too.
            // SAFETY: no pointers.
            unsafe { libc::fcntl(write.raw(), libc::F_SETPIPE_SZ, ROOM as libc::c_int) };
        }
        Ok(Self {
            read,
            write,
            watched: OnceLock::new(),
        })
    }

    fn take_flags(to: &Fd, from: &Fd) -> Result<()> {
        // SAFETY: no pointers.
        unsafe {
            let flags = check(libc::fcntl(from.checked()?, libc::F_GETFL))?;
            check(libc::fcntl(to.raw(), libc::F_SETFL, flags)).map(|_| ())
        }
    }

    /// From now on it is no longer that of another process, a child or the parent. It is not readable.
    pub(crate) fn renew(&self, raised: &mut Raised) -> Result<()> {
        let own = Self::new()?;
        Self::take_flags(&own.read, &self.read)?;
        self.read.become_as(&own.read)?;
        self.write.become_as(&own.write)?;
        if let Some(watched) = self.watched.get() {
            watched.become_as(&own.read)?;
        }
        *raised = Raised::default();
        Ok(())
    }

    /// In a child: from now on it is readable as well when this listening socket is, whatever becomes of the
    /// number. So a child that waits for its parent's listener finds that it has to make a call.
    pub(crate) fn watch_too(&self, listener: RawFd) -> Result<()> {
        if self.watched.get().is_none() {
            // SAFETY: no pointers.
            let (pipe, both) = unsafe {
                let pipe = libc::fcntl(self.read.checked()?, libc::F_DUPFD_CLOEXEC, 3);
                let both = libc::epoll_create1(libc::EPOLL_CLOEXEC);
                (Fd::new(owned(pipe)?), Fd::new(owned(both)?))
            };
            Self::take_flags(&both, &self.read)?;
            watch(&both, pipe.raw())?;
            self.read.become_as(&both)?;
            // Nobody else is here.
            let _ = self.watched.set(pipe);
        }
        watch(&self.read, listener)
    }

    /// No longer.
    pub(crate) fn stop_watching(&self, listener: RawFd) {
        // SAFETY: deleting needs no event.
        unsafe {
            let nothing = ptr::null_mut();
            libc::epoll_ctl(self.fd(), libc::EPOLL_CTL_DEL, listener, nothing)
        };
    }

    /// As `clear`, with what another process has raised.
    pub(crate) fn clear_all(&self, raised: &mut Raised) {
        raised.0 = usize::MAX;
        self.clear(raised);
    }

    /// What the program polls, and may make non-blocking.
    pub(crate) fn fd(&self) -> RawFd {
        self.read.raw()
    }

    /// Whether the program has made the descriptor non-blocking.
    pub(crate) fn is_non_blocking(&self) -> Result<bool> {
        // SAFETY: no pointers.
        let flags = check(unsafe { libc::fcntl(self.fd(), libc::F_GETFL) })?;
        Ok(flags & libc::O_NONBLOCK != 0)
    }

    /// There is something, or more.
    pub(crate) fn raise(&self, raised: &mut Raised) {
        if raised.0 >= ROOM {
            // A byte that does not fit in would be no event for edge-triggered epoll.
            self.clear(raised);
        }
        let Ok(fd) = self.write.checked() else { return };
        let byte = 0u8;
        // SAFETY: a byte that lives through the call. It does not wait: there is room.
        let written = unsafe { sys::write(fd, (&raw const byte).cast(), 1) };
        if written == 1 {
            raised.0 += 1;
        }
    }

    /// There is nothing any more.
    pub(crate) fn clear(&self, raised: &mut Raised) {
        if raised.0 == 0 {
            return;
        }
        let pipe = self.watched.get().unwrap_or(&self.read);
        let Ok(fd) = pipe.checked() else {
            raised.0 = 0;
            return;
        };
        let mut bytes = [0u8; 64];
        while raised.0 > 0 {
            // Another process may have read what was raised before a fork.
            if child::has_forked() && sys::poll_now(fd, libc::POLLIN) == 0 {
                raised.0 = 0;
                return;
            }
            // SAFETY: a buffer of this length. It does not wait: as many bytes are there.
            let n = unsafe {
                let most = raised.0.min(bytes.len());
                sys::read(fd, bytes.as_mut_ptr().cast(), most)
            };
            match usize::try_from(n) {
                Ok(n) if n > 0 => raised.0 = raised.0.saturating_sub(n),
                _ => raised.0 = 0,
            }
        }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        THERE.fetch_sub(1, Ordering::Relaxed);
    }
}

fn watch(by: &Fd, fd: RawFd) -> Result<()> {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 0,
    };
    // SAFETY: an event that lives through the call.
    let added = unsafe { libc::epoll_ctl(by.raw(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
    check(added).map(|_| ())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn seen(readiness: &Readiness) -> i16 {
        let mut fd = libc::pollfd {
            fd: readiness.fd(),
            events: libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP,
            revents: 0,
        };
        // SAFETY: one entry that lives through the call.
        unsafe { libc::poll(&raw mut fd, 1, 0) };
        fd.revents
    }

    #[test]
    fn it_is_readable_while_there_is_something_and_never_writable() {
        let readiness = Readiness::new().unwrap();
        let mut raised = Raised::default();
        assert_eq!(seen(&readiness), 0);
        readiness.raise(&mut raised);
        readiness.raise(&mut raised);
        assert_eq!(seen(&readiness), libc::POLLIN);
        readiness.clear(&mut raised);
        assert_eq!(seen(&readiness), 0);
        readiness.clear(&mut raised);
        assert_eq!(seen(&readiness), 0);
    }

    #[test]
    fn more_than_the_pipe_holds_does_not_wait() {
        let readiness = Readiness::new().unwrap();
        let mut raised = Raised::default();
        for _ in 0..200_000 {
            readiness.raise(&mut raised);
        }
        assert_eq!(seen(&readiness), libc::POLLIN);
        readiness.clear(&mut raised);
        assert_eq!(seen(&readiness), 0);
        readiness.raise(&mut raised);
        assert_eq!(seen(&readiness), libc::POLLIN);
    }
}
