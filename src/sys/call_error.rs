// SPDX-License-Identifier: BSD-3-Clause

//! Calls of other libraries that failed.

use std::ffi::c_int;
use std::panic::Location;

use super::errno;

/// A verbs, CM or system call that failed, with its errno (0 if it gave none) and the place of the call in this
/// library.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallError {
    pub(crate) call: &'static str,
    pub(crate) errno: c_int,
    pub(crate) at: &'static Location<'static>,
}

impl CallError {
    #[cold]
    #[track_caller]
    pub(crate) fn new(call: &'static str, errno: c_int) -> Self {
        Self {
            call,
            errno: errno.saturating_abs(),
            at: Location::caller(),
        }
    }

    /// A call that has set `errno`.
    #[cold]
    #[track_caller]
    pub(crate) fn last(call: &'static str) -> Self {
        Self::new(call, errno::get())
    }
}
