// SPDX-License-Identifier: BSD-3-Clause

//! Requests that take as long as on a link of a certain latency and bandwidth (`io/pace.rs`).
//!
//! The functions here are called only if there is such a link.

use std::collections::VecDeque;
use std::sync::Weak;

use super::{Inner, Peer, Qp};
use crate::io;
use crate::io::pace::{self, Paced, Time, Times};
use crate::types::completion::Completion;
use crate::types::work::{Progress, Request};

/// When the requests of a queue pair arrive and complete.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// With their numbers, in order.
    times: VecDeque<(u64, Times)>,
    /// What was received behind answers that are not due yet. Each with the number of the first request that may be
    /// incomplete when the program sees it.
    received: VecDeque<(u64, Completion)>,
    /// When it goes on, if it waits.
    waits_until: Option<Time>,
}

impl Pace {
    fn of(&mut self, seq: u64, first: u64) -> Option<Times> {
        while self.times.front().is_some_and(|(seq, _)| *seq < first) {
            self.times.pop_front();
        }
        let index = self
            .times
            .binary_search_by_key(&seq, |(seq, _)| *seq)
            .ok()?;
        self.times.get(index).map(|(_, times)| *times)
    }
}

/// The answer to a request was read, although it may not be due yet.
fn is_answered(request: &Request) -> bool {
    matches!(request.progress, Progress::Done | Progress::Failed(_))
}

impl Qp {
    /// The last request was just posted.
    #[cold]
    pub(super) fn plan_last_request(&self, q: &mut Inner) {
        let Some(request) = q.sq.back() else { return };
        let length = request.length();
        let (out, back) = if request.is_read() {
            (0, length)
        } else {
            (length, 0)
        };
        let seq = q.first + q.sq.len() as u64 - 1;
        let planned = &mut q.pace.times;
        // Those of requests that were flushed, whose numbers are used again.
        while planned.back().is_some_and(|(last, _)| *last >= seq) {
            planned.pop_back();
        }
        // Without memory for its times the request is not delayed.
        if planned.try_reserve(1).is_ok() {
            planned.push_back((seq, pace::plan(out, back)));
        }
    }

    /// Whether the next request has still to arrive.
    #[cold]
    pub(super) fn is_on_its_way(&self, q: &mut Inner) -> bool {
        let times = q.pace.of(q.next, q.first);
        times.is_some_and(|times| self.has_to_wait(q, times.arrives))
    }

    /// Whether the first request was answered, and the answer is not due yet.
    #[cold]
    pub(super) fn is_on_its_way_back(&self, q: &mut Inner) -> bool {
        let first = q.sq.front();
        if !first.is_some_and(is_answered) {
            return false;
        }
        let times = q.pace.of(q.first, q.first);
        times.is_some_and(|times| self.has_to_wait(q, times.completes))
    }

    fn has_to_wait(&self, q: &mut Inner, until: Time) -> bool {
        if until <= pace::now() {
            return false;
        }
        if q.pace.waits_until.is_none_or(|before| until < before) {
            q.pace.waits_until = Some(until);
            let me = Weak::clone(&self.me);
            if let (true, Some(io)) = (pace::wait_until(until, me), io::get()) {
                io.wake();
            }
        }
        true
    }

    /// What has come behind the answer to a request does not overtake it: of what was received, only that is left to be
    /// shown which may be shown now.
    #[cold]
    pub(super) fn hold_received(&self, q: &mut Inner) {
        let answered = q.sq.iter().take_while(|request| is_answered(request));
        let first_open = q.first + answered.count() as u64;
        let received = &mut q.pace.received;
        received.extend(
            q.unshown
                .drain(..)
                .map(|completion| (first_open, completion)),
        );
        while received.front().is_some_and(|(open, _)| *open <= q.first) {
            q.unshown
                .extend(received.pop_front().map(|(_, completion)| completion));
        }
    }

    /// A receive fails. Those before it are shown first, and do not wait for anything any more.
    #[cold]
    pub(super) fn let_received_pass(q: &mut Inner) {
        let received = &mut q.pace.received;
        received.extend(q.unshown.drain(..).map(|completion| (0, completion)));
        for (first_open, _) in received {
            *first_open = 0;
        }
    }

    /// The peer is gone, but has answered before: what it has answered completes first, when the answer comes.
    #[cold]
    pub(super) fn completes_before_the_end(&self, q: &mut Inner) -> bool {
        if q.faults.peer_died {
            return false;
        }
        self.reap(q);
        q.sq.front().is_some_and(is_answered)
    }
}

impl Paced for Qp {
    fn go_on(&self, may_wait: bool) -> bool {
        let q = if may_wait {
            Some(self.inner.lock())
        } else {
            self.inner.try_lock()
        };
        let Some(mut q) = q else { return false };
        q.pace.waits_until = None;
        if q.released {
            // The program has destroyed it, and may have destroyed its completion queue.
            q.pace.received.clear();
            return true;
        }
        self.reap(&mut q);
        self.show_received(&mut q);
        if q.peer == Peer::Gone {
            self.fail_for_the_peer(&mut q);
        }
        self.send_now(&mut q);
        true
    }
}
