// SPDX-License-Identifier: BSD-3-Clause

//! What becomes of the fabric in a child that was made by `fork`.
//!
//! The I/O thread is not in the child, locks may be held by threads that do not exist there, and its
//! copies of the sockets would keep connections open that the parent has closed. So in the child every
//! call fails, and the copies are closed at once. A process that has not used the fabric when it forks
//! has children that can.

use std::os::fd::RawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::sys;
use crate::{Errno, Result};

/// What every call fails with in the child.
pub(crate) const GONE: Errno = libc::ENODEV;

static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// The descriptors to close in a child, as bits: the handler may run while any lock is held.
static OPEN: [AtomicU64; 2048] = [const { AtomicU64::new(0) }; 2048];

fn slot(fd: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok()?;
    Some((OPEN.get(fd / 64)?, 1 << (fd % 64)))
}

/// A descriptor that a child must not keep.
pub(crate) fn opened(fd: RawFd) {
    if let Some((bits, bit)) = slot(fd) {
        bits.fetch_or(bit, Ordering::Relaxed);
    }
}

/// It is about to be closed.
pub(crate) fn closing(fd: RawFd) {
    if let Some((bits, bit)) = slot(fd) {
        bits.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Fails in a child of a process that used the fabric.
#[inline]
pub(crate) fn refuse() -> Result<()> {
    if IS_CHILD.load(Ordering::Relaxed) {
        Err(GONE)
    } else {
        Ok(())
    }
}

/// From now on, children are refused.
pub(crate) fn watch_forks() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the handler does what a signal handler may do: stores to atomics, and close.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

extern "C" fn in_child() {
    IS_CHILD.store(true, Ordering::Relaxed);
    for (word, bits) in OPEN.iter().enumerate() {
        let mut bits = bits.swap(0, Ordering::Relaxed);
        while bits != 0 {
            let fd = word * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            // SAFETY: the child's own copy of a descriptor of this library, which the child does not
            // use any more.
            unsafe { sys::close(fd as RawFd) };
        }
    }
}
