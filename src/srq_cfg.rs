// SPDX-License-Identifier: BSD-3-Clause

//! The configuration of a shared receive queue.

use std::sync::atomic::{AtomicU32, Ordering};

const DEFAULT_QUEUE_SIZE: u32 = 20;

// Every field is atomic, because several threads may set and get settings at the same time.
/// The configuration of a shared receive queue
pub struct SrqCfg {
    pub(crate) rq_size: AtomicU32,
    pub(crate) rcq_size: AtomicU32,
}

impl SrqCfg {
    pub(crate) const fn new() -> Self {
        Self {
            rq_size: AtomicU32::new(DEFAULT_QUEUE_SIZE),
            rcq_size: AtomicU32::new(DEFAULT_QUEUE_SIZE),
        }
    }

    pub(crate) fn rq_size(&self) -> u32 {
        self.rq_size.load(Ordering::Relaxed)
    }

    pub(crate) fn rcq_size(&self) -> u32 {
        self.rcq_size.load(Ordering::Relaxed)
    }
}
