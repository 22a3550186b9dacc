// SPDX-License-Identifier: BSD-3-Clause

//! A second I/O thread, for when the first one waits for the memory of a peer.
//!
//! That memory need not resolve: its process may handle the faults itself (`userfaultfd`), or have mapped a file
//! whose server does not answer. No call ends a copy from there but the end of the process. So the thread that leads
//! counts its copies, and a second thread, which sleeps as long as there are none, takes over when one of them does
//! not end. The first one ends with its copy.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::os::held::Locks;

/// A copy that takes at least this long, and less than twice as long, counts as one that does not end.
const INTERVAL: Duration = Duration::from_millis(50);

/// The copies of a thread that leads: odd while it makes one.
#[derive(Debug, Default)]
struct Copies(AtomicU64);

/// The thread leads as long as this goes on.
#[derive(Clone, Copy)]
pub(crate) struct Lead {
    takeovers: u64,
    relief: &'static Relief,
}

#[derive(Debug)]
pub(crate) struct Relief {
    /// Those of the thread that leads.
    leader: Mutex<Option<Arc<Copies>>>,
    /// How often another thread has taken over.
    takeovers: AtomicU64,
    has_second: AtomicBool,
    /// The second thread sleeps until there is a copy.
    sleeps: AtomicBool,
    sleeping: Mutex<()>,
    wakes: Condvar,
}

thread_local! {
    static OWN: RefCell<Option<Arc<Copies>>> = const { RefCell::new(None) };
}

impl Lead {
    pub(crate) fn goes_on(&self) -> bool {
        self.takeovers == self.relief.takeovers.load(Ordering::Acquire)
    }
}

impl Relief {
    pub(crate) const fn new() -> Self {
        Self {
            leader: Mutex::new(None),
            takeovers: AtomicU64::new(0),
            has_second: AtomicBool::new(false),
            sleeps: AtomicBool::new(false),
            sleeping: Mutex::new(()),
            wakes: Condvar::new(),
        }
    }

    /// Before a fork.
    pub(crate) fn hold(&'static self, locks: &mut Locks) -> bool {
        locks.hold_static(&self.leader) && locks.hold_static(&self.sleeping)
    }

    /// In a child, which has neither of the threads. Those that wait for locks are forgotten after this.
    pub(crate) fn begin_anew(&self) {
        // That of the parent would be woken instead of the child's.
        self.wakes.notify_all();
        self.has_second.store(false, Ordering::Release);
        self.sleeps.store(false, Ordering::Release);
    }

    /// This thread leads from now on.
    pub(crate) fn lead(&'static self) -> Lead {
        let copies = Arc::new(Copies::default());
        *self.leader.lock() = Some(Arc::clone(&copies));
        OWN.with_borrow_mut(|own| *own = Some(Arc::clone(&copies)));
        Lead {
            takeovers: self.takeovers.load(Ordering::Acquire),
            relief: self,
        }
    }

    /// Makes a copy. If this is the thread that leads, the second one sees to it that it ends; `spawn` makes that one.
    pub(crate) fn watch<T>(&self, spawn: impl FnOnce() -> bool, copies: impl FnOnce() -> T) -> T {
        // A thread that is ending has none any more.
        let own = OWN.try_with(|own| own.borrow().clone());
        let Some(own) = own.ok().flatten() else {
            return copies();
        };
        own.0.fetch_add(1, Ordering::SeqCst);
        if !self.has_second.swap(true, Ordering::AcqRel) && !spawn() {
            // Without one it is as it is; the next copy tries again.
            self.has_second.store(false, Ordering::Release);
        }
        if self.sleeps.load(Ordering::SeqCst) {
            let _sleeping = self.sleeping.lock();
            self.sleeps.store(false, Ordering::SeqCst);
            self.wakes.notify_one();
        }
        let done = copies();
        own.0.fetch_add(1, Ordering::SeqCst);
        done
    }

    /// The second thread: returns when it is to lead.
    pub(crate) fn take_over(&self) -> bool {
        loop {
            let leader = self.leader.lock().clone();
            let Some(leader) = leader else { return false };
            let mut seen = leader.0.load(Ordering::SeqCst);
            loop {
                std::thread::sleep(INTERVAL);
                let now = leader.0.load(Ordering::SeqCst);
                if now != seen {
                    seen = now;
                    continue;
                }
                if now % 2 == 1 {
                    self.takeovers.fetch_add(1, Ordering::AcqRel);
                    // The thread that leads then gets another one when it copies.
                    self.has_second.store(false, Ordering::Release);
                    return true;
                }
                break;
            }
            let mut sleeping = self.sleeping.lock();
            self.sleeps.store(true, Ordering::SeqCst);
            // Looked at once more: a copy may just have begun.
            if leader.0.load(Ordering::SeqCst) != seen {
                self.sleeps.store(false, Ordering::SeqCst);
                continue;
            }
            while self.sleeps.load(Ordering::SeqCst) {
                self.wakes.wait(&mut sleeping);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_copy_that_does_not_end_is_left_to_its_thread() {
        static RELIEF: Relief = Relief::new();
        let (ends, end) = mpsc::channel::<()>();
        let (says, heard) = mpsc::channel();
        let second = move || {
            let takes_over = RELIEF.take_over();
            says.send(takes_over && RELIEF.lead().goes_on()).unwrap();
        };
        let first = std::thread::spawn(move || {
            let lead = RELIEF.lead();
            // Many that end are no reason.
            for _ in 0..1000 {
                RELIEF.watch(|| true, || ());
            }
            assert!(lead.goes_on());
            RELIEF.has_second.store(false, Ordering::SeqCst);
            let spawn = || std::thread::Builder::new().spawn(second).is_ok();
            RELIEF.watch(spawn, || end.recv()).unwrap();
            lead.goes_on()
        });
        let wait = Duration::from_secs(10);
        assert_eq!(heard.recv_timeout(wait), Ok(true));
        ends.send(()).unwrap();
        assert!(!first.join().unwrap(), "it still leads");
    }

    #[test]
    fn the_second_thread_sleeps_while_there_is_nothing_to_watch() {
        static RELIEF: Relief = Relief::new();
        let (ends, end) = mpsc::channel::<()>();
        let (says, heard) = mpsc::channel();
        std::thread::spawn(move || {
            RELIEF.lead();
            let second = move || {
                says.send(RELIEF.take_over()).unwrap();
            };
            let spawn = || std::thread::Builder::new().spawn(second).is_ok();
            RELIEF.watch(spawn, || ());
            while !RELIEF.sleeps.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            RELIEF.watch(|| false, || end.recv()).unwrap();
        });
        // It was woken, and has seen this one.
        assert_eq!(heard.recv_timeout(Duration::from_secs(10)), Ok(true));
        ends.send(()).unwrap();
    }
}
