// SPDX-License-Identifier: BSD-3-Clause

//! The queue pairs of a completion queue, and which of them a program that polls the queue looks at.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::os::rings::Glance;

/// What a completion queue asks of its queue pairs.
pub(crate) trait Attached: Send + Sync {
    /// Reads what has come, on a thread of the program that has found the queue empty. Whether there was anything.
    fn progress_by_polling(&self) -> bool;

    /// What shows in shared memory that something has come, if it comes that way.
    fn glance(&self) -> Option<Arc<Glance>>;

    /// The program is about to wait for an event: the I/O thread reads what comes from now on.
    fn leave_polling_mode(&self);

    /// After a fork: the program waits for what its connection brings.
    fn touch_if_connected(&self);

    /// The queue is full: a completion may be lost.
    fn fail_for_its_cq(&self);
}

/// How many queue pairs are in polling mode: left to the polls of their program.
static POLLED: AtomicUsize = AtomicUsize::new(0);

/// One more queue pair is in polling mode, or one less.
pub(crate) fn count_polled(is_polled: bool) {
    if is_polled {
        POLLED.fetch_add(1, Ordering::AcqRel);
    } else {
        POLLED.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether any queue pair is. Usually none is: then a program with many connections need not check them.
pub(super) fn any_is_polled() -> bool {
    POLLED.load(Ordering::Acquire) > 0
}

#[derive(Debug, Default)]
pub(super) struct QueuePairs {
    all: Vec<Entry>,
    /// The one that looks for input next.
    next: usize,
    /// Where the next one goes that has something.
    next_recent: usize,
}

#[derive(Debug)]
struct Entry {
    qp: Weak<dyn Attached>,
    /// Some once its input comes through shared memory.
    glance: Option<Arc<Glance>>,
}

/// How many queue pairs a poll picks, to lock and read from.
const AT_ONCE: usize = 4;
/// How many queue pairs a poll checks by their glance, without a lock.
const GLANCES: usize = 64;
/// How many of the queue pairs that had something last are checked first by each poll.
const RECENT: usize = 8;

/// With the places of those that have no glance yet.
pub(super) type Picks = [Option<(Option<usize>, Arc<dyn Attached>)>; AT_ONCE];

impl QueuePairs {
    pub(super) fn add(&mut self, qp: &Arc<dyn Attached>) {
        // It may be attached twice, for both of its queues.
        let last = self.all.last();
        if last.is_none_or(|last| !last.is_of(Arc::as_ptr(qp))) {
            self.all.push(Entry {
                qp: Arc::downgrade(qp),
                glance: None,
            });
        }
    }

    pub(super) fn remove<Q>(&mut self, qp: &Q) {
        self.all.retain(|other| !other.is_of(qp));
    }

    pub(super) fn all(&self) -> Vec<Arc<dyn Attached>> {
        let all = self.all.iter();
        all.filter_map(|entry| entry.qp.upgrade()).collect()
    }

    pub(super) fn each(&self, mut does: impl FnMut(&dyn Attached)) {
        for entry in &self.all {
            if let Some(qp) = entry.qp.upgrade() {
                does(qp.as_ref());
            }
        }
    }

    /// From now on the one in this place is looked at in shared memory, if it is still there.
    pub(super) fn set_glance(&mut self, index: usize, qp: &Arc<dyn Attached>, glance: Arc<Glance>) {
        let entry = self.all.get_mut(index);
        if let Some(entry) = entry.filter(|entry| entry.is_of(Arc::as_ptr(qp))) {
            entry.glance = Some(glance);
        }
    }

    /// Picks those that may have something, by a glance where that is possible.
    pub(super) fn pick(&mut self, picks: &mut Picks) {
        let count = self.all.len();
        let recent = if count > RECENT { RECENT } else { 0 };
        let mut picked = 0;
        for index in 0..recent {
            if picked < AT_ONCE && self.all[index].has_something() {
                picks[picked] = self.all[index].qp.upgrade().map(|qp| (None, qp));
                picked += 1;
            }
        }
        for _ in 0..GLANCES.min(count) {
            if picked == AT_ONCE {
                break;
            }
            if self.next >= count {
                self.next = 0;
            }
            let index = self.next;
            self.next += 1;
            let entry = &mut self.all[index];
            if entry
                .glance
                .as_ref()
                .is_some_and(|glance| glance.is_closed())
            {
                entry.glance = None;
            }
            match &entry.glance {
                // Of the recent ones it was looked at above.
                Some(glance) if index < recent || !glance.is_worth_a_look() => continue,
                Some(_) => {
                    picks[picked] = entry.qp.upgrade().map(|qp| (None, qp));
                    if recent > 0 {
                        // The others are looked at in no particular order.
                        self.all.swap(index, self.next_recent);
                        self.next_recent = (self.next_recent + 1) % recent;
                    }
                }
                None => picks[picked] = entry.qp.upgrade().map(|qp| (Some(index), qp)),
            }
            picked += 1;
        }
    }
}

impl Entry {
    fn is_of<Q: ?Sized>(&self, qp: *const Q) -> bool {
        std::ptr::addr_eq(self.qp.as_ptr(), qp)
    }

    fn has_something(&self) -> bool {
        let glance = self.glance.as_ref();
        glance.is_some_and(|glance| !glance.is_closed() && glance.is_worth_a_look())
    }
}
