// SPDX-License-Identifier: BSD-3-Clause

//! How many descriptors the process has left.

use std::os::fd::AsRawFd;

use super::owned;

/// How many it may have.
pub(crate) fn limit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for the limits.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// The lowest number that is free, if there is one below the limit. All below it are in use.
pub(crate) fn lowest_free() -> Option<usize> {
    // A new one gets it. Nobody minds this kind, should a child inherit it.
    // SAFETY: no pointers.
    let probe = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).ok()?;
    usize::try_from(probe.as_raw_fd()).ok()
}
