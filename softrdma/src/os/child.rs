// SPDX-License-Identifier: BSD-3-Clause

//! What `fork` does to descriptors.
//!
//! A child has copies of all of them, and its copies of sockets would keep connections open that the parent has
//! closed. So none of these stays: its number stands for a socket whose other end is gone, until the child has
//! taken the sockets over (`os/handover.rs`).

use std::os::fd::RawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{check, sys};
use crate::Result;

/// Descriptors as bits: the handlers may run while any lock is held.
struct Descriptors([AtomicU64; 2048]);

impl Descriptors {
    const fn none() -> Self {
        Self([const { AtomicU64::new(0) }; 2048])
    }

    fn slot(&self, fd: RawFd) -> Option<(&AtomicU64, u64)> {
        let fd = usize::try_from(fd).ok()?;
        Some((self.0.get(fd / 64)?, 1 << (fd % 64)))
    }

    fn add(&self, fd: RawFd) {
        if let Some((bits, bit)) = self.slot(fd) {
            bits.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn remove(&self, fd: RawFd) {
        if let Some((bits, bit)) = self.slot(fd) {
            bits.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn each(&self, mut use_it: impl FnMut(RawFd)) {
        for (word, bits) in self.0.iter().enumerate() {
            let mut bits = bits.load(Ordering::Relaxed);
            while bits != 0 {
                use_it((word * 64 + bits.trailing_zeros() as usize) as RawFd);
                bits &= bits - 1;
            }
        }
    }
}

/// Those that a child closes.
static PRIVATE: Descriptors = Descriptors::none();
/// Those that one process uses at a time.
static SOCKETS: Descriptors = Descriptors::none();

/// A descriptor that a child must not keep.
pub(crate) fn opened(fd: RawFd) {
    PRIVATE.add(fd);
}

/// One that a child may take over.
pub(crate) fn socket_opened(fd: RawFd) {
    SOCKETS.add(fd);
}

/// It is about to be closed.
pub(crate) fn closing(fd: RawFd) {
    PRIVATE.remove(fd);
    SOCKETS.remove(fd);
}

/// In a child: closes what it must not keep.
pub(crate) fn close_private() {
    PRIVATE.each(|fd| {
        PRIVATE.remove(fd);
        // SAFETY: the child's own copy of a descriptor of this library, which the child does not use any more.
        unsafe { sys::close(fd) };
    });
}

/// In a child: closes one of them, unless that was done.
pub(crate) fn close_if_private(fd: RawFd) {
    let is_private = |(bits, bit): (&AtomicU64, u64)| bits.load(Ordering::Relaxed) & bit != 0;
    if PRIVATE.slot(fd).is_some_and(is_private) {
        PRIVATE.remove(fd);
        // SAFETY: as above.
        unsafe { sys::close(fd) };
    }
}

/// In a child that uses nothing of its parent: closes its copies of sockets.
pub(crate) fn close_sockets() {
    // SAFETY: as above.
    SOCKETS.each(|fd| unsafe {
        sys::close(fd);
    });
}

pub(crate) fn sockets() -> Vec<RawFd> {
    let mut all = Vec::new();
    SOCKETS.each(|fd| all.push(fd));
    all
}

/// From now on these are called before and after each fork.
pub(crate) fn watch_forks(
    prepare: extern "C" fn(),
    parent: extern "C" fn(),
    child: extern "C" fn(),
) {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: functions that are there as long as this library, which is never unloaded.
        unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    });
}

static FORKED: AtomicBool = AtomicBool::new(false);

/// From now on other processes may have copies of descriptors.
pub(crate) fn forks() {
    FORKED.store(true, Ordering::Relaxed);
}

pub(crate) fn has_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// From now on `number` is another name of this descriptor.
pub(crate) fn put_at(fd: RawFd, number: RawFd) -> Result<()> {
    // SAFETY: what `number` was before belongs to this library.
    check(unsafe { libc::dup3(fd, number, libc::O_CLOEXEC) }).map(|_| ())
}
