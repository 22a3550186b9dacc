// SPDX-License-Identifier: BSD-3-Clause

//! How many descriptors the process has left.

use std::os::fd::AsRawFd;

use super::{fd, owned};

/// How many are in use, as far as is known, unless all are: those below the lowest free number, and those of this
/// library that have higher ones.
pub(crate) fn in_use() -> Option<usize> {
    // A new one gets it. Nobody minds this kind, should a child inherit it.
    // SAFETY: no pointers.
    let probe = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).ok()?;
    let lowest_free = usize::try_from(probe.as_raw_fd()).ok()?;
    if probe.as_raw_fd() < fd::lowest_high() {
        Some(lowest_free + fd::high_ones())
    } else {
        Some(lowest_free)
    }
}
