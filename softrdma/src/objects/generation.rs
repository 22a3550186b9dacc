// SPDX-License-Identifier: BSD-3-Clause

//! By what another process finds out that memory it has copied was no longer what a request took it for.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::region::GenerationRef;

/// A number that changes when memory is no longer what a request took it for. Another process that
/// copies the memory reads it afterwards: if it is still the same, then all that was copied was valid.
///
/// Its place is never freed, so that a late reader finds a wrong number and not nothing.
#[derive(Debug)]
pub(crate) struct Generation {
    place: &'static AtomicU64,
    value: u64,
}

pub(super) static FREE_PLACES: parking_lot::Mutex<Vec<&'static AtomicU64>> =
    parking_lot::Mutex::new(Vec::new());
static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);

impl Generation {
    pub(crate) fn new() -> Self {
        const BATCH: usize = 512;
        let mut free = FREE_PLACES.lock();
        if free.is_empty() {
            let places: &'static [AtomicU64] =
                Box::leak((0..BATCH).map(|_| AtomicU64::new(0)).collect());
            free.extend(places);
        }
        let value = NEXT_GENERATION.fetch_add(1, Ordering::Relaxed);
        static NOWHERE: AtomicU64 = AtomicU64::new(0);
        let place = free.pop().unwrap_or(&NOWHERE);
        place.store(value, Ordering::Release);
        Self { place, value }
    }

    pub(crate) fn end(&self) {
        let _ = self
            .place
            .compare_exchange(self.value, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub(crate) fn reference(&self) -> GenerationRef {
        GenerationRef {
            addr: std::ptr::from_ref(self.place).addr() as u64,
            value: self.value,
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.end();
        FREE_PLACES.lock().push(self.place);
    }
}
