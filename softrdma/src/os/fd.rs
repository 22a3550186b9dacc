// SPDX-License-Identifier: BSD-3-Clause

//! Descriptors of this library, in a process whose program may close or replace any descriptor (`closefrom`,
//! `close_range`, `dup2`).
//!
//! They have high numbers, out of the way of a program that counts on low ones. And each knows what file it is:
//! before it is read, written or closed, it is compared, since by now its number may mean a file of the program.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::{check, child, owned, sys, warning};
use crate::{Errno, Result};

/// What a file is: device and inode. Event descriptors of the kernel and their like all have the same.
type Identity = (u64, u64);

/// Closed when it is dropped, if it is still what it was.
#[derive(Debug)]
pub(super) struct Fd {
    number: RawFd,
    /// Device and inode.
    identity: [AtomicU64; 2],
    is_high: bool,
    is_forgotten: AtomicBool,
}

/// What stands for the sockets of another process, after a fork.
static DEAD: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

fn store(identity: &[AtomicU64; 2], (device, inode): Identity) {
    identity[0].store(device, Ordering::Relaxed);
    identity[1].store(inode, Ordering::Relaxed);
}

fn load(identity: &[AtomicU64; 2]) -> Identity {
    (
        identity[0].load(Ordering::Relaxed),
        identity[1].load(Ordering::Relaxed),
    )
}

/// How many descriptors the process may have.
pub(crate) fn limit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for the limits.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// How many have high numbers.
static HIGH: AtomicUsize = AtomicUsize::new(0);
/// One was found to be something else, and nobody has looked after the others yet.
static MEDDLED: AtomicBool = AtomicBool::new(false);
/// One was, at some time.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// The lowest of high numbers: half of those that there may be are the program's alone. The table of descriptors
/// is as long as the highest one, and is copied by `fork`.
pub(super) fn lowest_high() -> RawFd {
    /// Unlike the limit, it stays.
    static LOWEST: AtomicUsize = AtomicUsize::new(0);
    match LOWEST.load(Ordering::Relaxed) {
        0 => {
            let lowest = (limit() / 2).clamp(3, 4096);
            LOWEST.store(lowest, Ordering::Relaxed);
            lowest as RawFd
        }
        known => known as RawFd,
    }
}

/// As above, of those that the program uses too: `select` knows the lowest 1,024 only.
fn lowest_of_program() -> RawFd {
    lowest_high().min(256)
}

/// How many descriptors of this library have high numbers.
pub(super) fn high_ones() -> usize {
    HIGH.load(Ordering::Relaxed)
}

/// The same file by a number that is as high as this, or higher, if one is free.
fn moved(fd: OwnedFd, lowest: RawFd) -> OwnedFd {
    if fd.as_raw_fd() >= lowest {
        return fd;
    }
    // SAFETY: no pointers.
    let high = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    match owned(high) {
        Ok(high) => {
            // SAFETY: the descriptor has just been given up.
            unsafe { sys::close(fd.into_raw_fd()) };
            high
        }
        Err(_) => fd,
    }
}

fn identity_of(number: RawFd) -> Result<Identity> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // The function of the C library looks up a path, which takes twice as long.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: room for the answer, which has the kernel's form on these architectures.
    check(unsafe { libc::syscall(libc::SYS_fstat, number, stat.as_mut_ptr()) as _ })?;
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    // SAFETY: room for the answer.
    check(unsafe { libc::fstat(number, stat.as_mut_ptr()) })?;
    // SAFETY: written by the call, which has not failed.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.st_dev, stat.st_ino))
}

impl Fd {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self::at(fd, lowest_high())
    }

    /// Both ends of a new pipe, which are one file: for reading and for writing. The first one is as one of the
    /// program's if that is said.
    pub(super) fn pipe(flags: i32, is_of_program: bool) -> Result<(Self, Self)> {
        let mut fds = [-1; 2];
        // SAFETY: room for two descriptors.
        check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | flags) })?;
        let (read, write) = (owned(fds[0])?, owned(fds[1])?);
        let write = Self::new(write);
        let lowest = if is_of_program {
            lowest_of_program()
        } else {
            lowest_high()
        };
        let read = Self::of(moved(read, lowest), load(&write.identity));
        Ok((read, write))
    }

    fn at(fd: OwnedFd, lowest: RawFd) -> Self {
        let fd = moved(fd, lowest);
        // It cannot fail for a descriptor that is open.
        let identity = identity_of(fd.as_raw_fd()).unwrap_or_default();
        Self::of(fd, identity)
    }

    fn of(fd: OwnedFd, identity: Identity) -> Self {
        let number = fd.into_raw_fd();
        let is_high = number >= lowest_high();
        if is_high {
            HIGH.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            number,
            identity: Self::known(identity),
            is_high,
            is_forgotten: AtomicBool::new(false),
        }
    }

    fn known(identity: Identity) -> [AtomicU64; 2] {
        let place = [const { AtomicU64::new(0) }; 2];
        store(&place, identity);
        place
    }

    /// From now on this is the same file as another one.
    pub(super) fn become_as(&self, other: &Self) -> Result<()> {
        child::put_at(other.number, self.number)?;
        store(&self.identity, load(&other.identity));
        Ok(())
    }

    /// What others become without being told.
    pub(super) fn stands_for_dead(&self) {
        store(&DEAD, load(&self.identity));
    }

    /// The number, for calls that do no harm to another file.
    pub(super) fn raw(&self) -> RawFd {
        self.number
    }

    /// Nothing is closed when it is dropped.
    pub(super) fn forget(&self) {
        self.is_forgotten.store(true, Ordering::Relaxed);
    }

    fn is_the_same(&self) -> bool {
        let is = identity_of(self.number);
        is == Ok(load(&self.identity)) || is == Ok(load(&DEAD))
    }

    /// The number, for all other calls. `EBADF` when it is not this library's any more.
    pub(super) fn checked(&self) -> Result<RawFd> {
        if self.is_the_same() {
            Ok(self.number)
        } else {
            Err(self.report())
        }
    }

    #[cold]
    fn report(&self) -> Errno {
        // What the number means by now is for a child to keep.
        child::closing(self.number);
        MEDDLED.store(true, Ordering::Release);
        if !REPORTED.swap(true, Ordering::Relaxed) {
            warning::warn(
                "the program has closed or replaced descriptors that are not its own (closefrom, \
                 close_range or dup2): the connections that need them end",
            );
        }
        libc::EBADF
    }
}

/// Whether one was found to be something else since this was asked last.
pub(crate) fn were_meddled_with() -> bool {
    MEDDLED.load(Ordering::Relaxed) && MEDDLED.swap(false, Ordering::AcqRel)
}

/// Whether one was found to be something else, at any time.
pub(crate) fn were_ever_meddled_with() -> bool {
    REPORTED.load(Ordering::Relaxed)
}

impl Drop for Fd {
    fn drop(&mut self) {
        if self.is_high {
            HIGH.fetch_sub(1, Ordering::Relaxed);
        }
        if !self.is_forgotten.load(Ordering::Relaxed) && self.is_the_same() {
            // SAFETY: it is this library's, and nobody uses it any more.
            unsafe { sys::close(self.number) };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn both_ends_of_a_pipe_have_high_numbers_and_one_identity() {
        let (read, write) = Fd::pipe(0, false).unwrap();
        for end in [&read, &write] {
            assert!(end.raw() >= lowest_high());
            assert_eq!(end.checked(), Ok(end.raw()));
            assert_eq!(identity_of(end.raw()), Ok(load(&end.identity)));
        }
        let (read, _write) = Fd::pipe(0, true).unwrap();
        assert!((256..1024).contains(&read.raw()) || lowest_high() < 256);
    }

    #[test]
    fn what_has_got_its_number_stays_open() {
        let (fd, _other) = Fd::pipe(0, false).unwrap();
        let number = fd.raw();
        let file = File::open("/proc/self/status").unwrap();
        // SAFETY: no pointers; what the number was is not used any more.
        let replaced = unsafe { libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) };
        let replaced = File::from(owned(replaced).unwrap());
        assert_eq!(fd.checked(), Err(libc::EBADF));
        assert!(were_meddled_with());
        drop(fd);
        let still = replaced.metadata().unwrap();
        assert_eq!(still.ino(), file.metadata().unwrap().ino());
    }
}
