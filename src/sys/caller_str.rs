// SPDX-License-Identifier: BSD-3-Clause

//! Strings that the C caller passes to a function that can block.

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

/// A C string of the caller, kept as a pointer. It is read each time it is needed, so that no reference to the
/// caller's memory lives across a call that can block.
#[derive(Clone, Copy)]
pub(crate) struct CallerStr(NonNull<c_char>);

impl CallerStr {
    /// # Safety
    ///
    /// `string` must end with a NUL whenever it is read, until the function that it was passed to returns.
    pub(crate) unsafe fn new(string: NonNull<c_char>) -> Self {
        Self(string)
    }

    pub(crate) fn as_ptr(self) -> *const c_char {
        self.0.as_ptr()
    }

    /// Passes the bytes of the string, as they are now, to `read`, which must not block.
    pub(crate) fn read<T>(self, read: impl FnOnce(&[u8]) -> T) -> T {
        // SAFETY: a string at this moment, by the contract of `new`.
        read(unsafe { CStr::from_ptr(self.0.as_ptr()) }.to_bytes())
    }
}
