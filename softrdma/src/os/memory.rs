// SPDX-License-Identifier: BSD-3-Clause

//! Memory of the program: ranges of it for system calls, and small copies.
//!
//! The program reads and writes its memory at any time, and may take it away while it is registered. So no
//! Rust reference to it is ever made: copies go through raw pointers, as those of a device would, and are guarded.

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::{guard, own_memory};
use crate::Result;

/// A range of memory that a system call may read or write while `'a` lasts.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Span<'a> {
    range: libc::iovec,
    lives: PhantomData<&'a mut [u8]>,
}

impl<'a> Span<'a> {
    pub(crate) const NONE: Span<'static> = Span {
        range: libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        },
        lives: PhantomData,
    };

    /// For reading only: every call that writes into spans gets them from the other constructors.
    pub(crate) fn from_slice(slice: &'a [u8]) -> Self {
        Self {
            range: libc::iovec {
                iov_base: slice.as_ptr().cast_mut().cast(),
                iov_len: slice.len(),
            },
            lives: PhantomData,
        }
    }

    pub(crate) fn from_mut(slice: &'a mut [u8]) -> Self {
        Self {
            range: libc::iovec {
                iov_base: slice.as_mut_ptr().cast(),
                iov_len: slice.len(),
            },
            lives: PhantomData,
        }
    }

    /// Memory that the program registered. `holder` keeps it from being deregistered: the only callers
    /// are in `mr`, which checks the range.
    pub(crate) fn of_program<T>(_holder: &'a T, addr: usize, length: usize) -> Self {
        Self {
            range: libc::iovec {
                iov_base: std::ptr::with_exposed_provenance_mut(addr),
                iov_len: length,
            },
            lives: PhantomData,
        }
    }

    /// # Safety
    /// The range must be valid for reading and writing while `'a` lasts, and nothing of this process may rely
    /// on what it holds.
    pub(super) unsafe fn from_raw(at: NonNull<u8>, length: usize) -> Self {
        Self {
            range: libc::iovec {
                iov_base: at.as_ptr().cast(),
                iov_len: length,
            },
            lives: PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.range.iov_len
    }

    pub(super) fn as_ptr(&self) -> *const libc::c_void {
        self.range.iov_base
    }

    pub(super) fn as_mut_ptr(&self) -> *mut libc::c_void {
        self.range.iov_base
    }

    pub(crate) fn addr(&self) -> usize {
        self.range.iov_base.addr()
    }

    /// The first `length` bytes, or all.
    pub(crate) fn first(self, length: usize) -> Self {
        Self {
            range: libc::iovec {
                iov_base: self.range.iov_base,
                iov_len: self.range.iov_len.min(length),
            },
            lives: PhantomData,
        }
    }

    /// What follows the first `length` bytes.
    pub(crate) fn after(self, length: usize) -> Self {
        let length = length.min(self.range.iov_len);
        Self {
            range: libc::iovec {
                iov_base: self.range.iov_base.wrapping_byte_add(length),
                iov_len: self.range.iov_len - length,
            },
            lives: PhantomData,
        }
    }

    /// Copies to `to`, as much as both have.
    pub(super) fn copy_to(&self, to: Span<'_>) -> usize {
        let n = self.len().min(to.len());
        // SAFETY: both ranges are valid (see the constructors), and one of them is a buffer of this library, or
        // memory that it shares with another process: they do not overlap.
        unsafe {
            let (from, to) = (self.range.iov_base.cast::<u8>(), to.range.iov_base.cast());
            std::ptr::copy_nonoverlapping(from, to, n);
        }
        n
    }

    // --- Memory of the program -------------------------------------------------------------------

    // It may have been unmapped, protected or truncated since it was registered. What a device would still
    // reach, having pinned the pages, is reached here too; the rest is `EFAULT`.

    /// Copies from this memory of the program to a buffer of this library, as much as both have.
    pub(super) fn load(&self, to: Span<'_>) -> Result<usize> {
        let n = self.len().min(to.len());
        // SAFETY: the buffer is valid for writing and not the program's; the program's memory is guarded.
        let copied = unsafe {
            let (to, from) = (to.range.iov_base.cast(), self.range.iov_base.cast_const());
            guard::copy(to, from.cast(), n)
        };
        if copied.is_err() {
            own_memory::read(self.addr(), to.first(n))?;
        }
        Ok(n)
    }

    /// Copies to this memory of the program from a buffer of this library, as much as both have.
    pub(super) fn store(&self, from: Span<'_>) -> Result<usize> {
        let n = self.len().min(from.len());
        // SAFETY: as above, the other way round.
        let copied = unsafe {
            let (to, from) = (self.range.iov_base.cast(), from.range.iov_base.cast_const());
            guard::copy(to, from.cast(), n)
        };
        if copied.is_err() {
            own_memory::write(self.addr(), from.first(n))?;
        }
        Ok(n)
    }

    /// Copies from `from`, as much as both have.
    pub(crate) fn write(&self, from: &[u8]) -> Result<usize> {
        self.store(Span::from_slice(from))
    }

    /// Appends all of it to `to`, or nothing.
    pub(crate) fn append_to(&self, to: &mut Vec<u8>) -> Result<()> {
        let n = self.len();
        to.reserve(n);
        let room = NonNull::from(&mut to.spare_capacity_mut()[..n]).cast();
        // SAFETY: room for n bytes, which the copy initialises if it succeeds.
        unsafe {
            self.load(Span::from_raw(room, n))?;
            to.set_len(to.len() + n);
        }
        Ok(())
    }

    /// Stores eight bytes at once. Fails with `EINVAL` unless this is a range of eight aligned bytes.
    pub(crate) fn store_atomically(&self, bytes: [u8; 8]) -> Result<()> {
        let at = self.range.iov_base.cast::<u64>();
        if self.len() != 8 || !at.is_aligned() {
            return Err(libc::EINVAL);
        }
        // SAFETY: aligned memory of the program.
        if unsafe { guard::store(at, u64::from_ne_bytes(bytes)) }.is_err() {
            own_memory::write(self.addr(), Span::from_slice(&bytes))?;
        }
        Ok(())
    }
}

/// Appends a range of the program's memory that is not registered: inline data, taken in the call.
///
/// # Safety
/// The range must be readable.
pub(crate) unsafe fn append_inline(to: &mut Vec<u8>, addr: u64, length: usize) {
    let from = std::ptr::with_exposed_provenance::<u8>(addr as usize);
    if length > 0 {
        // SAFETY: the caller's promise.
        to.extend_from_slice(unsafe { std::slice::from_raw_parts(from, length) });
    }
}
