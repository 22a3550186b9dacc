// SPDX-License-Identifier: BSD-3-Clause

//! Memory of the program: ranges of it for system calls, and small copies.
//!
//! The program reads and writes its memory at any time, so no Rust reference to it is ever made: copies
//! go through raw pointers, as those of a device would.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

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

    /// Copies from `from`, as much as both have.
    pub(crate) fn write(&self, from: &[u8]) -> usize {
        let n = from.len().min(self.len());
        // SAFETY: the range is the program's, registered for writing and held; it does not overlap a
        // buffer of this library.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.range.iov_base.cast(), n) };
        n
    }

    /// Appends all of it to `to`.
    pub(crate) fn append_to(&self, to: &mut Vec<u8>) {
        let n = self.len();
        to.reserve(n);
        // SAFETY: there is room for n bytes more, which the copy initialises; the range is held.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.range.iov_base.cast::<u8>(),
                to.as_mut_ptr().add(to.len()),
                n,
            );
            to.set_len(to.len() + n);
        }
    }

    /// Stores eight bytes at once, if this is a range of eight aligned bytes.
    pub(crate) fn store_atomically(&self, bytes: [u8; 8]) -> bool {
        let at = self.range.iov_base.cast::<u64>();
        if self.len() != 8 || !at.is_aligned() {
            return false;
        }
        // SAFETY: eight aligned bytes of registered memory, which is held.
        unsafe { AtomicU64::from_ptr(at) }.store(u64::from_ne_bytes(bytes), Ordering::Release);
        true
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
