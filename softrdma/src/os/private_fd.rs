// SPDX-License-Identifier: BSD-3-Clause

//! Descriptors of a thread that has a table of descriptors of its own.
//!
//! When a process closes any descriptor of a file, it loses all record locks (`fcntl(2)`, `F_SETLK`) that it has on
//! that file, by whatever descriptor it has got them. To the kernel, such a thread is another process in this respect:
//! what it closes concerns no lock of the program. And what it opens takes none of the program's numbers.

use std::cell::RefCell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use super::{check, check_size, discard, passing, sys};
use crate::Result;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
}

/// What is known of a regular file without asking for it.
pub(super) struct Facts {
    pub(super) is: Identity,
    pub(super) size: u64,
    pub(super) owner: u32,
    /// The number of the mount. None on kernels before 5.8.
    pub(super) mount: Option<u64>,
}

/// Closed when it is dropped, which is on the same thread.
pub(super) struct PrivateFd {
    number: RawFd,
    /// Another process knows it, too: to close it may take as long as that one likes (`discard`).
    is_foreign: bool,
    /// Its number means nothing to other threads.
    stays: PhantomData<*const ()>,
}

thread_local! {
    /// Those that are to be closed by another thread.
    static DISCARDED: RefCell<Vec<RawFd>> = const { RefCell::new(Vec::new()) };
}

impl Drop for PrivateFd {
    fn drop(&mut self) {
        let waits = self.is_foreign && !discard::is_memory_file(self.number);
        let put = |discarded: &RefCell<Vec<RawFd>>| discarded.borrow_mut().push(self.number);
        if !waits || DISCARDED.try_with(put).is_err() {
            discard::close(self.number);
        }
    }
}

/// Closes what this thread must not wait for. What cannot be closed now is closed by a later call.
pub(super) fn close_discarded() {
    let discarded = DISCARDED.with(RefCell::take);
    if let Err(again) = discard::close_elsewhere(discarded) {
        DISCARDED.set(again);
    }
}

impl PrivateFd {
    /// A descriptor of this thread's table.
    pub(super) fn of(number: RawFd) -> Self {
        Self {
            number,
            is_foreign: false,
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
        let foreign = |number| {
            let mut fd = Self::of(number);
            fd.is_foreign = true;
            fd
        };
        Ok((n, fd.map(foreign)))
    }

    pub(super) fn send(&self, bytes: &[u8], fd: Option<&Self>) -> Result<()> {
        passing::send(self.number, bytes, fd.map(Self::raw))
    }

    /// Of a socket: the other side sees its end, even if it is not closed soon.
    pub(super) fn shut_down(&self) {
        // SAFETY: no pointers.
        unsafe { libc::shutdown(self.number, libc::SHUT_RDWR) };
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

    /// What a regular file is. Fails for other files.
    pub(super) fn regular_file(&self) -> Result<Facts> {
        regular_file(self.number, c"")
    }

    /// Whether it is in memory only, as ordinary pages.
    pub(super) fn is_in_memory(&self) -> Result<bool> {
        if !discard::is_memory_file(self.number) {
            return Ok(false);
        }
        // SAFETY: plain data, for which zeros are valid.
        let mut system: libc::statfs = unsafe { std::mem::zeroed() };
        // SAFETY: room for the answer.
        check(unsafe { libc::fstatfs(self.number, &raw mut system) })?;
        // Otherwise it has huge pages, which may not be there.
        if system.f_type == libc::TMPFS_MAGIC {
            Ok(true)
        } else {
            Err(libc::EXDEV)
        }
    }
}

/// What a file is, by its path, or by its descriptor if that is empty. No server of a file system is asked.
pub(super) fn status(at: RawFd, path: &CStr) -> Result<libc::statx> {
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    let wanted = libc::STATX_TYPE | libc::STATX_INO | libc::STATX_SIZE | libc::STATX_UID | MOUNT;
    // SAFETY: a string and room for the answer, for which zeros are valid.
    unsafe {
        let to = answer.as_mut_ptr();
        check(libc::syscall(libc::SYS_statx, at, path.as_ptr(), flags, wanted, to) as i32)?;
        Ok(answer.assume_init())
    }
}

/// `STATX_MNT_ID` of the kernel.
const MOUNT: libc::c_uint = 0x1000;

pub(super) fn mount(answer: &libc::statx) -> Option<u64> {
    (answer.stx_mask & MOUNT != 0).then_some(answer.stx_mnt_id)
}

/// As above, of a regular file. Fails for other files.
pub(super) fn regular_file(at: RawFd, path: &CStr) -> Result<Facts> {
    let answer = status(at, path)?;
    if u32::from(answer.stx_mode) & libc::S_IFMT != libc::S_IFREG {
        return Err(libc::EINVAL);
    }
    Ok(Facts {
        is: Identity {
            device: (answer.stx_dev_major, answer.stx_dev_minor),
            inode: answer.stx_ino,
        },
        size: answer.stx_size,
        owner: answer.stx_uid,
        mount: mount(&answer),
    })
}
