// SPDX-License-Identifier: BSD-3-Clause

//! Memory of the program: ranges of it for system calls, and small copies.
//!
//! The program reads and writes its memory at any time, so no Rust reference to it is ever made: copies
//! go through raw pointers, as those of a device would.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::check_size;
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
    pub(super) fn after(self, length: usize) -> Self {
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

    /// As `copy_to`, done by the kernel: where there is no memory it fails with `EFAULT`.
    pub(super) fn copy_to_by_kernel(&self, to: Span<'_>) -> Result<usize> {
        let n = self.len().min(to.len());
        let (source, target) = (self.first(n), to.first(n));
        // SAFETY: both are valid for the call, or it fails.
        let copied = unsafe {
            let (source, target) = (&raw const source.range, &raw const target.range);
            libc::process_vm_writev(libc::getpid(), source, 1, target, 1, 0)
        };
        match all_or_efault(copied, n) {
            // The call is not allowed here at all.
            Err(libc::ENOSYS | libc::EPERM) => Ok(self.copy_to(to)),
            done => done.map(|()| n),
        }
    }

    /// Copies from `from`, as much as both have.
    pub(crate) fn write(&self, from: &[u8]) -> usize {
        Span::from_slice(from).copy_to(*self)
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

    /// As `write`, done by the kernel: where there is no memory it fails with `EFAULT`.
    pub(crate) fn write_by_kernel(&self, from: &[u8]) -> Result<usize> {
        Span::from_slice(from).copy_to_by_kernel(*self)
    }

    /// As `append_to`, done by the kernel: where there is no memory it fails with `EFAULT`.
    pub(crate) fn append_by_kernel(&self, to: &mut Vec<u8>) -> Result<()> {
        let n = self.len();
        let before = to.len();
        to.resize(before + n, 0);
        let done = self.read_by_kernel(Span::from_mut(&mut to[before..]));
        if done.is_err() {
            to.truncate(before);
        }
        match done {
            Err(libc::ENOSYS | libc::EPERM) => {
                self.append_to(to);
                Ok(())
            }
            done => done,
        }
    }

    /// Whether the kernel can read it, for now.
    pub(crate) fn can_be_read(&self) -> bool {
        let mut bytes = [0; 8];
        let into = Span::from_mut(&mut bytes[..self.len().min(8)]);
        !matches!(self.read_by_kernel(into), Err(libc::EFAULT))
    }

    fn read_by_kernel(&self, into: Span<'_>) -> Result<()> {
        let n = into.len();
        let from = self.first(n);
        // SAFETY: both are valid for the call, or it fails; the first one is a buffer of this library.
        let read = unsafe {
            let (from, into) = (&raw const from.range, &raw const into.range);
            libc::process_vm_readv(libc::getpid(), into, 1, from, 1, 0)
        };
        all_or_efault(read, n)
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

/// What became of a copy of `wanted` bytes: the kernel copies as far as it gets.
fn all_or_efault(returned: isize, wanted: usize) -> Result<()> {
    match check_size(returned)? {
        n if n == wanted => Ok(()),
        _ => Err(libc::EFAULT),
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
