// SPDX-License-Identifier: BSD-3-Clause

//! Descriptors of a thread that has a table of descriptors of its own.
//!
//! When a process closes any descriptor of a file, it loses all record locks (`fcntl(2)`, `F_SETLK`) that it has on
//! that file, by whatever descriptor it has got them. To the kernel, such a thread is another process in this respect:
//! what it closes concerns no lock of the program. And what it opens takes none of the program's numbers.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use super::{check, check_size, passing, sys};
use crate::Result;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
}

/// Closed when it is dropped, which is on the same thread.
pub(super) struct PrivateFd {
    number: RawFd,
    /// Its number means nothing to other threads.
    stays: PhantomData<*const ()>,
}

impl Drop for PrivateFd {
    fn drop(&mut self) {
        // Not by the C library: ThreadSanitizer would take the number for the one that other threads know.
        // SAFETY: the descriptor of this thread, which nobody else uses.
        unsafe { libc::syscall(libc::SYS_close, self.number) };
    }
}

/// From now on this thread has its own table, with one of the descriptors of the process. Fails on kernels before 5.9.
pub(super) fn separate(keeps: RawFd) -> Result<PrivateFd> {
    const LAST: u32 = u32::MAX;
    let close = |first: u32, last: u32, flags: u32| {
        if first > last {
            return Ok(());
        }
        // SAFETY: no pointers. The first of these calls makes the table; the others are for what is in there only.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
        check(closed as i32).map(|_| ())
    };
    let kept = u32::try_from(keeps).map_err(|_| libc::EBADF)?;
    close(kept + 1, LAST, libc::CLOSE_RANGE_UNSHARE)?;
    if let Some(last) = kept.checked_sub(1) {
        close(0, last, 0)?;
    }
    Ok(PrivateFd::of(keeps))
}

impl PrivateFd {
    fn of(number: RawFd) -> Self {
        Self {
            number,
            stays: PhantomData,
        }
    }

    pub(super) fn raw(&self) -> RawFd {
        self.number
    }

    pub(super) fn open(path: &CStr, flags: i32) -> Result<Self> {
        let flags = flags | libc::O_CLOEXEC;
        // SAFETY: a string.
        let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) };
        check(fd as i32).map(Self::of)
    }

    /// The next message of a socket, and the descriptor that came with it.
    pub(super) fn receive(&self, bytes: &mut [u8]) -> Result<(usize, Option<Self>)> {
        let (n, fd) = passing::receive(self.number, bytes)?;
        Ok((n, fd.map(Self::of)))
    }

    pub(super) fn send(&self, bytes: &[u8], fd: &Self) -> Result<()> {
        passing::send(self.number, bytes, Some(fd.number))
    }

    /// Appends all of the file, up to a limit.
    pub(super) fn read_to_end(&self, to: &mut Vec<u8>, most: usize) -> Result<()> {
        const PART: usize = 64 * 1024;
        while to.len() < most {
            let begin = to.len();
            to.try_reserve(PART).map_err(|_| libc::ENOMEM)?;
            let room = &mut to.spare_capacity_mut()[..PART];
            // SAFETY: room for so many bytes, of which those that are read become a part of the vector.
            let n = unsafe {
                let n = check_size(sys::read(self.number, room.as_mut_ptr().cast(), PART))?;
                to.set_len(begin + n);
                n
            };
            if n == 0 {
                return Ok(());
            }
        }
        Err(libc::EFBIG)
    }

    /// The names in a directory that are numbers.
    pub(super) fn numbers(&self) -> Result<Vec<u32>> {
        const NAME_AT: usize = 19;
        let mut all = Vec::new();
        let mut room = [0u64; 1024];
        loop {
            // SAFETY: room for so many bytes.
            let n = check_size(unsafe {
                let (to, size) = (room.as_mut_ptr(), size_of_val(&room));
                libc::syscall(libc::SYS_getdents64, self.number, to, size) as isize
            })?;
            if n == 0 {
                return Ok(all);
            }
            let bytes: Vec<u8> = room.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let mut rest = bytes.get(..n).ok_or(libc::EIO)?;
            // Each begins with two numbers of 64 bits, its length in 16 bits and a type; then there is the name.
            while let Some(&[low, high]) = rest.get(16..18) {
                let length = usize::from(u16::from_ne_bytes([low, high]));
                let name = rest.get(NAME_AT..length).ok_or(libc::EIO)?;
                let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
                let number = std::str::from_utf8(name).ok();
                all.extend(number.and_then(|number| number.parse::<u32>().ok()));
                rest = rest.get(length..).ok_or(libc::EIO)?;
            }
        }
    }

    /// What a regular file is, and its size. Fails for other files.
    pub(super) fn regular_file(&self) -> Result<(Identity, u64)> {
        regular_file(self.number, c"")
    }

    /// What kind of file system it is on.
    pub(super) fn system(&self) -> Result<libc::c_long> {
        // SAFETY: plain data, for which zeros are valid.
        let mut system: libc::statfs = unsafe { std::mem::zeroed() };
        // SAFETY: room for the answer.
        check(unsafe { libc::fstatfs(self.number, &raw mut system) })?;
        Ok(system.f_type as libc::c_long)
    }
}

/// What a regular file is, by its path, or by its descriptor if that is empty. No server of a file system is asked.
pub(super) fn regular_file(at: RawFd, path: &CStr) -> Result<(Identity, u64)> {
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    let wanted = libc::STATX_TYPE | libc::STATX_INO | libc::STATX_SIZE;
    // SAFETY: a string and room for the answer, for which zeros are valid.
    let answer = unsafe {
        let to = answer.as_mut_ptr();
        check(libc::syscall(libc::SYS_statx, at, path.as_ptr(), flags, wanted, to) as i32)?;
        answer.assume_init()
    };
    if u32::from(answer.stx_mode) & libc::S_IFMT != libc::S_IFREG {
        return Err(libc::EINVAL);
    }
    let identity = Identity {
        device: (answer.stx_dev_major, answer.stx_dev_minor),
        inode: answer.stx_ino,
    };
    Ok((identity, answer.stx_size))
}
