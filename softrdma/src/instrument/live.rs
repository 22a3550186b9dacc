// SPDX-License-Identifier: BSD-3-Clause

//! The objects that the program has created and not destroyed, counted by kind, and the running numbers by
//! which traces name objects.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// The result of `ibv_open_device`.
    Context,
    /// A protection domain.
    Pd,
    /// A memory region.
    Mr,
    /// A completion channel.
    CompChannel,
    /// A completion queue.
    Cq,
    /// A shared receive queue.
    Srq,
    /// A queue pair.
    Qp,
    /// A channel of the connection manager.
    EventChannel,
    /// An event of the connection manager.
    CmEvent,
    /// An identifier of the connection manager.
    CmId,
    /// The result of `rdma_getaddrinfo`.
    AddrInfo,
}

/// The C types, in the order of the kinds.
const NAMES: [&str; 11] = [
    "ibv_context",
    "ibv_pd",
    "ibv_mr",
    "ibv_comp_channel",
    "ibv_cq",
    "ibv_srq",
    "ibv_qp",
    "rdma_event_channel",
    "rdma_cm_event",
    "rdma_cm_id",
    "rdma_addrinfo",
];

/// The number of live objects of each kind.
#[derive(Debug)]
pub struct Live {
    counts: [AtomicI64; NAMES.len()],
    /// The last running number of each kind in the trace.
    numbers: [AtomicU64; NAMES.len()],
}

/// The counts of this process.
pub static LIVE: Live = Live::new();

impl Live {
    const fn new() -> Self {
        Self {
            counts: [const { AtomicI64::new(0) }; NAMES.len()],
            numbers: [const { AtomicU64::new(0) }; NAMES.len()],
        }
    }

    fn add(&self, kind: Kind, change: i64) {
        if let Some(count) = self.counts.get(kind as usize) {
            count.fetch_add(change, Ordering::Relaxed);
        }
    }

    /// Counts a created object.
    pub fn given(&self, kind: Kind) {
        self.add(kind, 1);
    }

    /// Counts a destroyed object.
    pub fn taken_back(&self, kind: Kind) {
        self.add(kind, -1);
    }

    /// The number of an object that a trace shows for the first time, from 1.
    pub fn number(&self, kind: Kind) -> u64 {
        self.numbers
            .get(kind as usize)
            .map_or(0, |last| last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Resets all counts.
    pub fn forget(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        for number in &self.numbers {
            number.store(0, Ordering::Relaxed);
        }
    }

    /// The live objects, for example `1 ibv_pd, 2 ibv_mr`; empty when there are none.
    pub fn list(&self) -> String {
        let mut list = String::new();
        for (count, name) in self.counts.iter().zip(NAMES) {
            let count = count.load(Ordering::Relaxed);
            if count != 0 {
                let between = if list.is_empty() { "" } else { ", " };
                // Writing to a string cannot fail.
                let _ = write!(list, "{between}{count} {name}");
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_not_listed() {
        let live = Live::new();
        assert_eq!(live.list(), "");
        live.given(Kind::Mr);
        live.given(Kind::Mr);
        live.given(Kind::AddrInfo);
        live.given(Kind::Cq);
        live.taken_back(Kind::Cq);
        assert_eq!(live.list(), "2 ibv_mr, 1 rdma_addrinfo");
    }

    #[test]
    fn each_kind_has_its_own_numbers() {
        let live = Live::new();
        assert_eq!(live.number(Kind::Mr), 1);
        assert_eq!(live.number(Kind::Mr), 2);
        assert_eq!(live.number(Kind::Cq), 1);
        live.forget();
        assert_eq!(live.number(Kind::Mr), 1);
    }
}
