// SPDX-License-Identifier: BSD-3-Clause

//! How many descriptors the process has left.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{fd, owned};

/// The lowest free number, as far as is known, and how often it has been relied on since it was asked for.
static LOWEST_FREE: AtomicUsize = AtomicUsize::new(usize::MAX);
static RELIED_ON: AtomicUsize = AtomicUsize::new(usize::MAX);
/// How often it may be.
const TIMES: usize = 16;
/// The limit, when that was asked for last.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// A descriptor that the kernel has just made had this number.
pub(super) fn lowest_free_was(number: RawFd) {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    LOWEST_FREE.store(number, Ordering::Relaxed);
}

/// How many there may be, and how many are in use: those below the lowest free number, and those of this library that
/// have higher ones. None if there is no more. With less than a quarter in use, it is what was found a few calls ago,
/// brought up to date by each connection that was accepted since.
pub(crate) fn limit_and_in_use() -> Option<(usize, usize)> {
    let relied_on = RELIED_ON.load(Ordering::Relaxed);
    if relied_on < TIMES {
        let limit = LIMIT.load(Ordering::Relaxed);
        let in_use = in_use(LOWEST_FREE.load(Ordering::Relaxed));
        if in_use < limit / 4 {
            RELIED_ON.store(relied_on + 1, Ordering::Relaxed);
            return Some((limit, in_use));
        }
    }
    let limit = fd::limit();
    // A new one gets it. Nobody minds this kind, should a child inherit it.
    // SAFETY: no pointers.
    let probe = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).ok()?;
    lowest_free_was(probe.as_raw_fd());
    LIMIT.store(limit, Ordering::Relaxed);
    RELIED_ON.store(0, Ordering::Relaxed);
    Some((limit, in_use(LOWEST_FREE.load(Ordering::Relaxed))))
}

fn in_use(lowest_free: usize) -> usize {
    if lowest_free < fd::lowest_high() as usize {
        lowest_free.saturating_add(fd::high_ones())
    } else {
        lowest_free
    }
}
