// SPDX-License-Identifier: BSD-3-Clause

//! For tests: a file that is mapped, and truncated; a wait for a descriptor.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
#[cfg(not(loom))]
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::{check, errno, owned};
use crate::Result;

/// A mapped file. Its memory is given back at the end of the process.
pub(crate) struct Mapped {
    file: File,
    addr: u64,
}

impl Mapped {
    pub(crate) fn new(length: u64) -> Result<Self> {
        Self::at(None, length)
    }

    /// Another file in the place of this one.
    #[cfg(not(loom))]
    pub(crate) fn over(other: &Self, length: u64) -> Result<Self> {
        Self::at(Some(other.addr), length)
    }

    fn at(place: Option<u64>, length: u64) -> Result<Self> {
        // SAFETY: a string.
        let fd = owned(unsafe { libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC) })?;
        let file = File::from(fd);
        let mapped = Self { file, addr: 0 };
        mapped.resize(length)?;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let fd = mapped.file.as_raw_fd();
        let wanted = std::ptr::with_exposed_provenance_mut(place.unwrap_or(0) as usize);
        let flags = libc::MAP_SHARED | place.map_or(0, |_| libc::MAP_FIXED);
        // SAFETY: a new mapping, wherever there is room, or in the place of one of a test.
        let at = unsafe { libc::mmap(wanted, length as usize, rights, flags, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        Ok(Self {
            addr: at.expose_provenance() as u64,
            ..mapped
        })
    }

    pub(crate) fn addr(&self) -> u64 {
        self.addr
    }

    /// What is in the file.
    #[cfg(not(loom))]
    pub(crate) fn bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = self.file.read_exact_at(&mut bytes, at);
        read.map(|()| bytes).unwrap_or_default()
    }

    /// Whoever touches what is behind the new end is killed.
    pub(crate) fn resize(&self, length: u64) -> Result<()> {
        let length = libc::off_t::try_from(length).map_err(|_| libc::EINVAL)?;
        // SAFETY: no pointers.
        check(unsafe { libc::ftruncate(self.file.as_raw_fd(), length) }).map(|_| ())
    }
}

/// Private memory. It is given back at the end of the process.
#[cfg(not(loom))]
pub(crate) struct Private {
    at: *mut u8,
    length: usize,
}

#[cfg(not(loom))]
impl Private {
    pub(crate) fn new(length: usize) -> Result<Self> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever there is room.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        at.expose_provenance();
        let at = at.cast();
        Ok(Self { at, length })
    }

    pub(crate) fn addr(&self) -> usize {
        self.at.addr()
    }

    pub(crate) fn set(&self, byte: u8) {
        // SAFETY: the mapping, to which nobody has references.
        unsafe { self.at.write_bytes(byte, self.length) };
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        // SAFETY: the mapping, which nobody writes to now.
        unsafe { std::slice::from_raw_parts(self.at, self.length) }.to_vec()
    }

    pub(crate) fn advise(&self, offset: usize, length: usize, advice: i32) -> Result<()> {
        assert!(offset + length <= self.length);
        // SAFETY: within the mapping, of which no pages are taken away.
        check(unsafe { libc::madvise(self.at.add(offset).cast(), length, advice) }).map(|_| ())
    }

    /// Protects a part as long as the descriptor is open: a write to it is an error. None where this process may not do
    /// that.
    pub(crate) fn protect(&self, offset: usize, length: usize) -> Option<File> {
        const API: u64 = 0xc018_aa3f;
        const REGISTER: u64 = 0xc020_aa00;
        const WRITE_PROTECT: u64 = 0xc018_aa06;
        /// Write protection, and errors instead of messages.
        const FEATURES: u64 = 1 | 1 << 7;
        let start = (self.addr() + offset) as u64;
        let (mut api, mut range) = ([0xaa, FEATURES, 0], [start, length as u64, 2, 0]);
        let mut protect = [start, length as u64, 1];
        // SAFETY: no pointers; then numbers in the form of each call.
        unsafe {
            let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK);
            let faults = File::from(owned(fd as i32).ok()?);
            let fd = faults.as_raw_fd();
            let is_done = libc::ioctl(fd, API as _, api.as_mut_ptr()) == 0
                && libc::ioctl(fd, REGISTER as _, range.as_mut_ptr()) == 0
                && libc::ioctl(fd, WRITE_PROTECT as _, protect.as_mut_ptr()) == 0;
            is_done.then_some(faults)
        }
    }
}

#[allow(clippy::disallowed_methods)]
pub(crate) fn is_readable_within(fd: RawFd, time: Duration) -> bool {
    let mut fd = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry that lives through the call.
    unsafe { libc::poll(&raw mut fd, 1, time.as_millis() as i32) == 1 }
}
