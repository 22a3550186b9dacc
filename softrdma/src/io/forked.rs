// SPDX-License-Identifier: BSD-3-Clause

//! The I/O thread's work, for a fork: held before it, and given to the process that goes on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::MutexGuard;

use super::endpoint::Endpoint;
use super::{IO, Io, Job, Source, Timer, Token, pace};
use crate::Result;
use crate::os::epoll::Epoll;
use crate::os::held::{Guard as _, Locks};

/// What a process has for its I/O thread to do.
#[derive(Default)]
pub(crate) struct Work {
    sources: BTreeMap<Token, Arc<dyn Source>>,
    timers: BTreeMap<Timer, Job>,
    jobs: VecDeque<Job>,
    polled: VecDeque<Weak<dyn Endpoint>>,
    busy: VecDeque<Arc<dyn Endpoint>>,
    paced: pace::Waiting,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

/// The same, locked.
pub(crate) struct HeldWork {
    sources: MutexGuard<'static, BTreeMap<Token, Arc<dyn Source>>>,
    timers: MutexGuard<'static, BTreeMap<Timer, Job>>,
    jobs: MutexGuard<'static, VecDeque<Job>>,
    polled: MutexGuard<'static, VecDeque<Weak<dyn Endpoint>>>,
    busy: MutexGuard<'static, VecDeque<Arc<dyn Endpoint>>>,
    paced: pace::Held,
}

impl HeldWork {
    /// In a child: as that of each lock.
    pub(crate) fn forget_waiters(&self) {
        self.sources.forget_waiters();
        self.timers.forget_waiters();
        self.jobs.forget_waiters();
        self.polled.forget_waiters();
        self.busy.forget_waiters();
        self.paced.forget_waiters();
    }

    pub(crate) fn take_out(&mut self) -> Work {
        Work {
            sources: std::mem::take(&mut *self.sources),
            timers: std::mem::take(&mut *self.timers),
            jobs: std::mem::take(&mut *self.jobs),
            polled: std::mem::take(&mut *self.polled),
            busy: std::mem::take(&mut *self.busy),
            paced: pace::take_out(&mut self.paced),
        }
    }
}

impl Io {
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    pub(crate) fn epoll(&self) -> &'static Epoll {
        self.epoll.get()
    }

    pub(crate) fn sources(&self) -> Vec<Arc<dyn Source>> {
        self.sources.lock().values().cloned().collect()
    }

    /// Before a fork.
    pub(crate) fn hold(&'static self, locks: &mut Locks) -> Option<HeldWork> {
        let until = locks.deadline();
        if !locks.hold_static(&self.renewing) || !self.relief.hold(locks) {
            return None;
        }
        Some(HeldWork {
            sources: self.sources.try_lock_until(until)?,
            timers: self.timers.try_lock_until(until)?,
            jobs: self.jobs.try_lock_until(until)?,
            polled: self.polled.try_lock_until(until)?,
            busy: self.busy.try_lock_until(until)?,
            paced: pace::hold(until)?,
        })
    }

    /// In a child, which has none of the threads, and watches nothing yet.
    pub(crate) fn begin_anew(&self) -> Result<()> {
        self.running.store(false, Ordering::Release);
        self.relief.begin_anew();
        self.epoll.replace(Epoll::new()?.keep());
        Ok(())
    }

    /// What was taken out of the parent's copy. Only the process that has the sockets goes on with it.
    pub(crate) fn put_back(&self, work: Work, goes_on: bool) {
        self.sources.lock().extend(work.sources);
        if goes_on {
            self.timers.lock().extend(work.timers);
            self.jobs.lock().extend(work.jobs);
            self.polled.lock().extend(work.polled);
            self.busy.lock().extend(work.busy);
            pace::put_all_back(work.paced);
        }
    }

    /// Whether programs have been told of all that has come in.
    pub(crate) fn announce(&self) -> bool {
        let mut ready = Vec::new();
        let _ = self.epoll.get().wait(&mut ready, 0);
        let mut all = true;
        for event in &ready {
            let source = self.sources.lock().get(&Token(event.token)).cloned();
            all &= source.is_some_and(Source::announce);
        }
        all
    }

    /// Everything that it has is another process's.
    pub(crate) fn lose_all() {
        if let Some(io) = IO.get() {
            for source in io.sources() {
                source.lose();
            }
        }
    }

    /// Everything that it has is this process's from now on.
    pub(crate) fn serve_all() {
        if let Some(io) = IO.get() {
            io.watch_all_again();
        }
    }
}
