// SPDX-License-Identifier: BSD-3-Clause

//! Decides when events of a completion queue are acknowledged, and how many.

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the events that were taken from the channel of a completion queue.
///
/// An acknowledgement takes the queue's mutex, so events are acknowledged in batches. The count only grows:
/// just one of the threads that add to it sees each multiple of a batch, and that thread acknowledges one
/// batch. A thread that is held up between the two delays its own batch and no other, so the events that are
/// not acknowledged never exceed one batch for each thread that takes events.
pub(super) struct EventCount(AtomicU32);

impl EventCount {
    /// A power of two, so that the count may wrap around between two batches.
    #[cfg(not(all(loom, test)))]
    pub(super) const BATCH: u32 = 128;
    #[cfg(all(loom, test))]
    pub(super) const BATCH: u32 = 2;

    pub(super) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Counts one event. Returns whether this thread has to acknowledge a batch now.
    #[inline]
    pub(super) fn add_completes_batch(&self) -> bool {
        // Relaxed: no other memory access depends on the count.
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        before % Self::BATCH == Self::BATCH - 1
    }

    /// The number of events that are not acknowledged, once no thread takes events any more.
    pub(super) fn rest(&self) -> u32 {
        self.0.load(Ordering::Relaxed) % Self::BATCH
    }
}

const _: () = assert!(EventCount::BATCH.is_power_of_two());

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_batch_is_reported_once() {
        let count = EventCount::new();
        let batches = (0..1000).filter(|_| count.add_completes_batch()).count();
        assert_eq!(batches, 7);
        assert_eq!(count.rest(), 1000 - 7 * EventCount::BATCH);
    }

    #[test]
    fn the_count_may_wrap_around() {
        let count = EventCount(AtomicU32::new(u32::MAX - 1));
        assert!(!count.add_completes_batch());
        assert!(count.add_completes_batch());
        assert_eq!(count.rest(), 0);
    }
}

#[cfg(all(loom, test))]
mod model {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use loom::thread;

    use super::*;

    const THREADS: u32 = 3;
    const EVENTS: u32 = 3;

    /// Whatever the order in which threads take events: all are acknowledged in the end, never more than were
    /// taken, and no more than a batch for each thread is outstanding at any time.
    #[test]
    fn all_events_are_acknowledged_and_few_are_outstanding() {
        let mut model = loom::model::Builder::new();
        // Enough to hold up each thread between its count and its acknowledgement, in any order.
        model.preemption_bound = Some(3);
        model.check(|| {
            let shared = Arc::new((EventCount::new(), AtomicU32::new(0)));
            let threads = (0..THREADS - 1).map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || take_events(&shared))
            });
            let threads: Vec<_> = threads.collect();
            take_events(&shared);
            for thread in threads {
                assert!(thread.join().is_ok());
            }
            let (count, outstanding) = &*shared;
            assert_eq!(outstanding.load(SeqCst), count.rest());
        });
    }

    fn take_events((count, outstanding): &(EventCount, AtomicU32)) {
        for _ in 0..EVENTS {
            let before = outstanding.fetch_add(1, SeqCst);
            assert!(before < THREADS * EventCount::BATCH);
            if count.add_completes_batch() {
                let before = outstanding.fetch_sub(EventCount::BATCH, SeqCst);
                assert!(before >= EventCount::BATCH);
            }
        }
    }
}
