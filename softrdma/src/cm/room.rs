// SPDX-License-Identifier: BSD-3-Clause

//! How many connections of strangers a process holds: those that have said nothing, those that wait for the
//! program's answer, and those that were accepted and are not used.
//!
//! Each has a descriptor, and the program needs some too. So there is only room for a part of what
//! `RLIMIT_NOFILE` allows. Further clients wait with the kernel, which needs no descriptor for them, as the
//! requests that a device drops are sent again.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::os::descriptors;

/// As many silent ones at most, whatever the limit.
const MOST_SILENT: usize = 128;
/// As many requests for one listener at most, whatever the limit.
pub(super) const MOST_REQUESTS: usize = 1024;
/// As many of both when more than half of the descriptors are in use.
const FEW: usize = 16;
/// The last descriptors are the program's alone.
const LAST: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) silent: usize,
    /// Requests of one listener that the program has not taken.
    pub(super) requests: usize,
    /// Connections that were accepted and are not used.
    pub(super) unused: usize,
}

impl Room {
    /// None: there is no descriptor for anybody.
    pub(super) fn now() -> Option<Self> {
        let (limit, in_use) = descriptors::limit_and_in_use()?;
        Self::of(limit, in_use)
    }

    fn of(limit: usize, in_use: usize) -> Option<Self> {
        if in_use >= limit - (limit / 8).min(LAST) {
            return None;
        }
        let part = (limit / 16).max(1);
        Some(if in_use < limit / 2 {
            Self {
                silent: part.min(MOST_SILENT),
                requests: part.min(MOST_REQUESTS),
                unused: usize::MAX,
            }
        } else {
            Self {
                silent: part.min(FEW),
                requests: part.min(FEW),
                unused: 2 * part,
            }
        })
    }
}

static UNUSED: AtomicUsize = AtomicUsize::new(0);

/// A connection that was accepted and is not used, as long as this is there.
#[derive(Debug)]
pub(super) struct Unused(());

impl Unused {
    pub(super) fn new() -> Self {
        UNUSED.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    pub(super) fn count() -> usize {
        UNUSED.load(Ordering::Relaxed)
    }
}

impl Drop for Unused {
    fn drop(&mut self) {
        UNUSED.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_a_part_of_the_descriptors() {
        let room = |limit, in_use| {
            Room::of(limit, in_use).map(|room| (room.silent, room.requests, room.unused))
        };
        assert_eq!(room(1024, 511), Some((64, 64, usize::MAX)));
        assert_eq!(room(1024, 512), Some((16, 16, 128)));
        assert_eq!(room(1024, 1007), Some((16, 16, 128)));
        assert_eq!(room(1024, 1008), None);
        assert_eq!(room(1 << 20, 5000), Some((128, 1024, usize::MAX)));
        assert_eq!(room(64, 20), Some((4, 4, usize::MAX)));
        assert_eq!(room(64, 56), None);
        assert_eq!(room(8, 3), Some((1, 1, usize::MAX)));
        assert_eq!(room(0, 0), None);
    }
}
