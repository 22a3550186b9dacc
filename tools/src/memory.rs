// SPDX-License-Identifier: BSD-3-Clause

//! Memory to register: anonymous, or of a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::{self, NonNull};

/// A mapping, unmapped when dropped. Devices write to it at any time, so nothing here makes a reference into it.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it is only an address range that belongs to this object.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing is read or written through it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Private memory, filled with zeros.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        Self::map(
            len,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
            -1,
        )
    }

    /// The first `len` bytes of a file, which is made and extended if need be; of a device (device DAX), which is
    /// mapped in units of 2 MiB, maybe more.
    pub fn file(path: &Path, len: usize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            // A device is not made: what is missing in /dev would become a file in volatile memory.
            .create(!path.starts_with("/dev") || path.starts_with("/dev/shm"))
            .truncate(false)
            .open(path)?;
        Self::of_open_file(&file, len)
    }

    /// The first `len` bytes of a new file without a name, which nobody else can open or have made before.
    pub fn unnamed_file(directory: &Path, len: usize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .mode(0o600)
            .open(directory)?;
        Self::of_open_file(&file, len)
    }

    fn of_open_file(file: &File, len: usize) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.len() < len as u64 {
            file.set_len(len as u64)?;
        }
        let len = if metadata.is_file() {
            len
        } else {
            len.next_multiple_of(2 << 20)
        };
        Self::map(len, libc::MAP_SHARED, file.as_raw_fd())
    }

    fn map(len: usize, flags: i32, fd: i32) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Self { start, len }),
            None => Err(io::Error::other("mapped at address 0")),
        }
    }

    /// Where it begins.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: an empty mapping cannot be made.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's own.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.len);
        }
    }
}
