// SPDX-License-Identifier: BSD-3-Clause

//! What the program holds: how many objects of each kind it has been given and not given back, and the
//! numbers by which traces tell them apart.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A kind of object that programs are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// What `ibv_open_device` gives.
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
    /// What `rdma_getaddrinfo` gives.
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

/// How many there are of each.
#[derive(Debug)]
pub struct Live {
    counts: [AtomicI64; NAMES.len()],
    /// The last numbers that were given to objects in a trace.
    numbers: [AtomicU64; NAMES.len()],
}

/// Those of this process.
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

    /// The program has one more.
    pub fn given(&self, kind: Kind) {
        self.add(kind, 1);
    }

    /// The program has one less.
    pub fn taken_back(&self, kind: Kind) {
        self.add(kind, -1);
    }

    /// The number of an object that a trace shows for the first time, from 1.
    pub fn number(&self, kind: Kind) -> u64 {
        self.numbers
            .get(kind as usize)
            .map_or(0, |last| last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Nothing of it is the program's any more.
    pub fn forget(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        for number in &self.numbers {
            number.store(0, Ordering::Relaxed);
        }
    }

    /// What there is, for example `1 ibv_pd, 2 ibv_mr`; empty when there is nothing.
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
