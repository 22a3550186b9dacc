// SPDX-License-Identifier: BSD-3-Clause

//! The atomic types of what two processes share: those of the model checker in its test build.
//!
//! The model checker takes `SeqCst` accesses for `AcqRel` ones. So where a store has to come before a load of another
//! place, there is a `fence(SeqCst)` between the two.

#[cfg(all(loom, test))]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(all(loom, test)))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
