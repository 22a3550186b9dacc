// SPDX-License-Identifier: BSD-3-Clause

//! Descriptors of this library.

use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use super::sys;

/// Closed when it is dropped.
#[derive(Debug)]
pub(super) struct Fd(RawFd);

impl Fd {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd.into_raw_fd())
    }

    pub(super) fn raw(&self) -> RawFd {
        self.0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: it is this library's, and nobody uses it any more.
        unsafe { sys::close(self.0) };
    }
}
