// SPDX-License-Identifier: BSD-3-Clause

//! How a process finds out that it is a child of the one that made something.

use std::ptr::{self, NonNull};

use super::{check, errno};
use crate::Result;

/// Memory that a child of `fork` finds empty, however it was made.
pub(super) struct ForkMark(NonNull<u8>);

// SAFETY: a byte that is written before there are other threads.
unsafe impl Send for ForkMark {}
// SAFETY: as above.
unsafe impl Sync for ForkMark {}

impl ForkMark {
    const SIZE: usize = 1;

    pub(super) fn new() -> Result<Self> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(ptr::null_mut(), Self::SIZE, rights, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        let mark = Self(NonNull::new(at.cast()).ok_or(libc::ENOMEM)?);
        // SAFETY: the mapping from above.
        unsafe {
            check(libc::madvise(at, Self::SIZE, libc::MADV_WIPEONFORK))?;
            mark.0.write(1);
        }
        Ok(mark)
    }

    pub(super) fn is_this_process(&self) -> bool {
        // SAFETY: it is mapped, and nobody writes it any more. The compiler must not remember it over a fork.
        unsafe { self.0.read_volatile() != 0 }
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and not used any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), Self::SIZE) };
    }
}
