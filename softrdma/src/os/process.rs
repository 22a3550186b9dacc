// SPDX-License-Identifier: BSD-3-Clause

//! The process at the other end of a local socket.

use std::mem;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::fd::Fd;
use super::held::Locks;
use super::pages::Pages;
use super::pull::may_pull;
use super::{check, owned, populate, sys};
use crate::Result;

/// `SO_PEERPIDFD`, which the crate libc does not have. It is 77 on all machines but a few that run no
/// softrdma; kernels before 6.5 do not know it.
const SO_PEERPIDFD: i32 = 77;

/// A process by its number, and what tells whether the number is still that process's.
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    /// Readable when the process has ended. None where the kernel has no such thing. A child may keep it: it
    /// holds nothing of that process.
    end: Option<Fd>,
    /// Which pages it has in memory, once that was asked.
    pages: OnceLock<Pages>,
    /// The kernel has let this process read its memory.
    may_pull: AtomicBool,
}

/// Those that connections are with, so that each one has its descriptors once, however many connections there are.
static KNOWN: Mutex<Vec<Weak<Process>>> = Mutex::new(Vec::new());

/// Before a fork.
pub(crate) fn hold(locks: &mut Locks) -> bool {
    locks.hold_static(&KNOWN)
}

impl Process {
    /// The process with this number that made the other end of the socket. Fails when it has ended.
    pub(super) fn at_the_other_end(socket: RawFd, pid: i32) -> Result<Arc<Self>> {
        let process = Self {
            pid,
            end: end_of_peer(socket, pid)?,
            pages: OnceLock::new(),
            may_pull: AtomicBool::new(false),
        };
        if !process.is_there() {
            return Err(libc::ESRCH);
        }
        let mut known = KNOWN.lock();
        known.retain(|known| known.strong_count() > 0);
        // Only one process has the number at a time: another one that is there with it is the same.
        let same = known
            .iter()
            .filter_map(Weak::upgrade)
            .find(|known| known.pid == pid && known.end.is_some() && known.is_there());
        if let Some(same) = same {
            return Ok(same);
        }
        let process = Arc::new(process);
        known.push(Arc::downgrade(&process));
        Ok(process)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether the kernel lets this process read its memory. Asked until it does: that may change at any time in any
    /// case, and then a copy fails.
    pub(crate) fn may_pull(&self) -> bool {
        if !self.may_pull.load(Ordering::Relaxed) {
            self.may_pull.store(may_pull(self.pid), Ordering::Relaxed);
        }
        self.may_pull.load(Ordering::Relaxed)
    }

    /// Whether the number is still that of this process. True where the kernel does not tell.
    pub(crate) fn is_there(&self) -> bool {
        let Some(end) = &self.end else { return true };
        let seen = sys::poll_now(end.raw(), libc::POLLIN);
        // The program may have closed the descriptor: that is no news of the process.
        seen & i32::from(libc::POLLIN) == 0 || seen & i32::from(libc::POLLNVAL) != 0
    }
}

impl Process {
    /// Whether reading this memory waits for nobody, as far as is known: its pages are there.
    pub(crate) fn has_in_memory(&self, addr: u64, length: usize) -> bool {
        // Without the table it is taken for granted.
        self.open_pages()
            .map_or(true, |pages| pages.has(addr as usize, length))
    }

    /// Whether a write to this memory waits for nobody: its pages are there, and none is protected by a `userfaultfd`.
    /// False where the kernel does not tell of the latter: it does so since it knows the advice to populate memory.
    pub(super) fn may_be_written(&self, addr: u64, length: usize) -> bool {
        let pages = self.open_pages();
        populate::is_supported()
            && pages.is_ok_and(|pages| pages.may_be_written(addr as usize, length))
    }

    /// Which of a group of pages are in memory, as bits; None where that may not be known.
    pub(super) fn pages_in_memory(&self, group: u64) -> Option<u64> {
        self.open_pages().ok()?.of_group(group)
    }

    /// Has what copies need: a peer takes all its descriptors when it connects, and no more later.
    pub(crate) fn prepare_for_copies(&self) {
        // Tried again by each copy.
        let _ = self.open_pages();
    }

    /// Which pages it has in memory. Fails where that may not be known, or there is no descriptor for it now.
    pub(super) fn open_pages(&self) -> Result<&Pages> {
        match self.pages.get() {
            Some(pages) => Ok(pages),
            None => {
                let pages = Pages::of(self.pid)?;
                Ok(self.pages.get_or_init(|| pages))
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
impl Process {
    /// Fails where the kernel does not tell of its end.
    pub(super) fn of_child(pid: u32) -> Result<Arc<Self>> {
        // SAFETY: no pointers.
        let end = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32)?;
        Ok(Arc::new(Self {
            pid: pid as i32,
            end: Some(Fd::new(end)),
            pages: OnceLock::new(),
            may_pull: AtomicBool::new(false),
        }))
    }
}

fn end_of_peer(socket: RawFd, pid: i32) -> Result<Option<Fd>> {
    let mut fd = -1;
    let mut length = mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: room for a descriptor, and its length.
    let got = check(unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    });
    match got {
        Ok(_) => owned(fd).map(Fd::new).map(Some),
        // Before Linux 6.5. The number is that of the peer, or nothing comes from the socket any more.
        Err(libc::ENOPROTOOPT) => {
            // SAFETY: no pointers.
            let end = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32);
            Ok(end.ok().map(Fd::new))
        }
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::os::socket::Socket;

    #[test]
    fn a_process_has_one_descriptor_and_is_there() {
        let (one, other) = Socket::pair().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let first = Process::at_the_other_end(one.raw(), own).unwrap();
        let second = Process::at_the_other_end(other.raw(), own).unwrap();
        assert!(first.is_there());
        assert_eq!(first.pid(), own);
        // Where the kernel does not tell of the end, each stands for itself.
        assert_eq!(Arc::ptr_eq(&first, &second), first.end.is_some());
    }
}
