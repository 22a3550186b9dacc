// SPDX-License-Identifier: BSD-3-Clause

//! Who drives a queue pair: reads what its connection brings, and sends what waits.
//!
//! ```text
//!                     enter_polling_mode_if_polled: the program polls,
//!                     finds requests, and waits for no event
//!      +---------+ ------------------------------------------------> +--------+
//!      | WATCHED |                                                   | POLLED |
//!      +---------+ <---------------------+                           +--------+
//!           ^                            |                                |
//!           |                            |  check_polling: the program    |
//!           |                            +- does not poll any more, or ---+
//!           |                               has missed something          |
//!           | check_polling                                               |
//!           |                                                             |
//!      +---------+   leave_polling_mode: the program arms its queue or    |
//!      | LEAVING | <------------------------------------------------------+
//!      +---------+   disconnects, or ready: the peer has rung its doorbell
//! ```
//!
//! - WATCHED: the I/O thread sleeps in epoll_wait until a socket or a doorbell is ready ([`Source::ready`]). A thread of
//!   the program that waits for an event takes the doorbell before it does ([`Rung::rung`], `io/waiting.rs`).
//! - POLLED, the polling mode: the program's polls of its completion queue read ([`Attached::progress_by_polling`]).
//!   The I/O thread watches nothing but the doorbell of a peer on this host, and checks once in a millisecond
//!   ([`Endpoint::check_polling`]).
//! - LEAVING: WATCHED again, but still on the list of those that are checked. It comes off at the next check. When it
//!   enters the polling mode again before that, it is POLLED, and listed only once.
//!
//! In each of them a thread that waits for an event may poll before it sleeps (`objects/busy_wait.rs`): meanwhile nothing
//! is watched, as in the polling mode.
//!
//! In each of them there may be work that no socket announces, for example when the budget of one turn is used up:
//! then it is on the I/O thread's list of busy ones as well (`progress_later`).
//!
//! While a thread copies from the memory of the peer, without the lock (`Inner::copying`), nobody reads on: the
//! sockets are not watched, and whoever copies reads on afterwards. Should that copy not end on the I/O thread, another
//! thread takes its place for all other queue pairs (`io/relief.rs`).

use std::any::Any;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::MutexGuard;

use crate::instrument::{inject, pace};
use crate::io;
use crate::io::Source;
use crate::io::endpoint::Endpoint;
use crate::io::fork_state::Turn;
use crate::objects::attached::{Attached, Hint, count_polled};
use crate::objects::context::AsyncKind;
use crate::objects::cq::Cq;
use crate::os::epoll::Interest;
use crate::os::pair::{Rung, ServedBy};
use crate::os::rings::RingHint;
use crate::types::limits;

use super::complete::Cause;
use super::link::Link;
use super::respond::Response;
use super::{Inner, Peer, Qp, Setup, State};

/// The program's polls read what comes.
const POLLED: u8 = 1;
/// It is on the I/O thread's list of those that are checked once in a millisecond.
const LISTED: u8 = 2;
/// It is on the I/O thread's list of those with work that no socket announces.
const BUSY: u8 = 4;

#[derive(Debug, Default)]
pub(super) struct Driver {
    state: AtomicU8,
    /// How often the program had polled its completion queues, when somebody last looked.
    polls: AtomicU32,
    /// A thread that waits for an event polls the connection.
    busy_wait: Turn,
}

impl Driver {
    pub(super) fn is_polled(&self) -> bool {
        self.state.load(Ordering::Acquire) & POLLED != 0
    }

    /// The I/O thread does not come to it by itself.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.state.load(Ordering::Acquire) & (LISTED | BUSY) == 0
    }

    /// Whether it was not so before.
    fn set(&self, flag: u8) -> bool {
        self.state.fetch_or(flag, Ordering::AcqRel) & flag == 0
    }

    /// Whether it was so before.
    fn clear(&self, flag: u8) -> bool {
        self.state.fetch_and(!flag, Ordering::AcqRel) & flag != 0
    }

    fn enter_polling_mode(&self) {
        if self.set(POLLED) {
            count_polled(true);
        }
    }

    /// Whether it was in it.
    pub(super) fn leave_polling_mode(&self) -> bool {
        let was_polled = self.clear(POLLED);
        if was_polled {
            count_polled(false);
        }
        was_polled
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.leave_polling_mode();
    }
}

impl Qp {
    /// Watches for what is of interest now.
    pub(super) fn update_interest(&self, q: &mut Inner) {
        if q.faults.peer_died {
            self.lose_dead_peer(q);
        }
        self.expect_acknowledgement(q);
        if self.watch(q) {
            self.progress_later();
        }
        self.update_wish_for_acks(q);
        let has_chunks = Self::shares_first_request(q);
        if let Some(link) = &mut q.link {
            link.paths
                .owe(!q.responses.is_empty() || !link.tx.is_idle() || has_chunks);
        }
    }

    /// Watches for input, unless somebody looks for it. Whether there is some of which nothing will tell.
    fn watch(&self, q: &mut Inner) -> bool {
        let is_polled = self.driver.is_polled() || self.driver.busy_wait.is_taken();
        // Who copies reads on afterwards.
        let reads_on = q.copying().is_some() && self.is_pulling(q);
        let Some(link) = &mut q.link else {
            return false;
        };
        let watched = link.paths.watch(!is_polled && !reads_on, link.tx.blocked);
        watched.unwrap_or_else(|_| {
            self.lost(q);
            false
        })
    }

    /// The peer need not wake this side for the acknowledgement of requests that are all sent, when the program waits
    /// for no event of theirs: its polls of the queue read it, or whatever reads what comes next.
    fn update_wish_for_acks(&self, q: &mut Inner) {
        /// Those of more queue pairs are not looked for when the queue is armed.
        const FEW: usize = 64;
        let (Some(send_cq), Some(recv_cq)) = (&self.setup.send_cq, &self.setup.recv_cq) else {
            return;
        };
        if q.sq.is_empty() || Arc::ptr_eq(send_cq, recv_cq) {
            return;
        }
        let all_are_sent = q.next - q.first >= q.sq.len() as u64;
        // Those that complete without the program are not to fill the queue.
        let are_few = q.sq.len() * 2 < limits::queue_room(self.setup.caps.max_send_wr);
        let may_stay = all_are_sent
            && are_few
            && q.state == State::ReadyToSend
            && q.peer == Peer::Connected
            && !q.held
            && !q.stopped
            && !pace::is_on()
            && !inject::is_armed()
            && send_cq.users.count() <= FEW;
        let wants = !(may_stay && send_cq.leaves_acks_unread());
        let link = q.link.as_mut();
        if link.is_some_and(|link| link.paths.want_acks(wants)) {
            self.progress_later();
        }
    }

    /// The program is about to end the connection. What the peer has acknowledged is complete by then, though nobody was
    /// woken for it.
    pub(super) fn read_unread_acks(&self, q: &mut MutexGuard<'_, Inner>) {
        let leaves = |link: &Link| link.paths.leaves_acks_unread();
        if q.state == State::ReadyToSend && !q.sq.is_empty() && q.link.as_ref().is_some_and(leaves)
        {
            self.receive_and_copy(q, ServedBy::Program);
            self.acknowledge_and_show(q);
        }
    }

    /// Sends what there is to send, and has the rest sent when there is room.
    pub(super) fn send_now(&self, q: &mut Inner) {
        self.transmit(q);
        self.update_interest(q);
    }

    /// The I/O thread makes progress soon.
    pub(super) fn progress_later(&self) {
        if let (Some(io), Some(me)) = (io::get(), self.me.upgrade()) {
            if self.driver.set(BUSY) {
                io.busy(me);
            }
        }
    }

    /// A socket is ready, or the peer has rung its doorbell. A thread of the program that takes a doorbell may be the one
    /// that waits for an event of this connection: then nobody polls.
    fn serve(&self, by: ServedBy) {
        let mut q = self.lock();
        let may_be_for_room = q.link.as_ref().is_some_and(|link| link.tx.blocked);
        let may_be_polled = by == ServedBy::IoThread || !self.waits_for_an_event();
        let before = q.expected;
        self.progress_of(&mut q, by, |q, something| {
            if !self.driver.is_polled() {
                if may_be_polled {
                    if q.expected != before && by == ServedBy::Program {
                        q.polls.thread_has_read();
                    }
                    self.enter_polling_mode_if_polled(q, by);
                }
            } else if something && !may_be_for_room && self.driver.leave_polling_mode() {
                q.polls.doorbell_was_needed();
            }
        });
    }

    /// Reads and writes as much as is possible now, on the I/O thread.
    pub(crate) fn progress(&self) {
        self.progress_of(&mut self.lock(), ServedBy::IoThread, |_, _| ());
    }

    /// As above; `decide` is told whether anything has come, before it is watched for more.
    fn progress_of(
        &self,
        q: &mut MutexGuard<'_, Inner>,
        by: ServedBy,
        decide: impl FnOnce(&mut Inner, bool),
    ) {
        self.take_table(q);
        let before = q.expected;
        let something = self.receive_and_copy(q, by);
        self.acknowledge_and_show(q);
        if q.expected != before && by == ServedBy::IoThread {
            q.polls.thread_has_read();
        }
        decide(q, something);
        self.send_now(q);
        // After a copy, the thread that made it comes here again.
        if !self.is_pulling(q) {
            let more = self.linger(q);
            let link = q.link.as_mut();
            if more || link.is_some_and(|link| link.paths.sleep_again()) {
                self.progress_later();
            }
        }
    }

    /// Of a connection that is looked at for input in shared memory.
    fn ring_hint_of(q: &Inner) -> Option<&Arc<RingHint>> {
        q.link.as_ref().and_then(|link| link.paths.ring_hint())
    }

    /// Whether the program has polled since this was asked last.
    fn was_polled(&self) -> bool {
        let Setup {
            send_cq, recv_cq, ..
        } = &self.setup;
        let polls = [send_cq, recv_cq]
            .into_iter()
            .flatten()
            .fold(0u32, |sum, cq| sum.wrapping_add(cq.polls()));
        self.driver.polls.swap(polls, Ordering::Relaxed) != polls
    }

    /// A program with many connections takes long to get round to each of them, where it needs a system call for some to
    /// see whether there is something.
    fn is_one_of_many(&self, q: &Inner) -> bool {
        if Self::ring_hint_of(q).is_some() {
            return false;
        }
        // So often as their queue for sends or receives. The thread checks each of them once in a millisecond.
        const MANY: usize = 256;
        let many = |cq: &Option<Arc<Cq>>| cq.as_ref().is_some_and(|cq| cq.users.count() > MANY);
        many(&self.setup.send_cq) || many(&self.setup.recv_cq)
    }

    pub(super) fn waits_for_an_event(&self) -> bool {
        let awaits = |cq: &Option<Arc<Cq>>| cq.as_ref().is_some_and(|cq| cq.awaits_event());
        awaits(&self.setup.send_cq) || awaits(&self.setup.recv_cq)
    }

    /// If the program has polled since the last time, has missed few requests so far, and waits for no event, its
    /// polls will find what comes.
    fn enter_polling_mode_if_polled(&self, q: &Inner, by: ServedBy) {
        if q.disconnected
            || !q.polls.find_requests()
            || !self.was_polled()
            || self.waits_for_an_event()
            || self.is_one_of_many(q)
        {
            return;
        }
        self.driver.enter_polling_mode();
        // Looked at once more: it may just have been armed.
        if self.waits_for_an_event() {
            self.driver.leave_polling_mode();
            return;
        }
        if self.driver.set(LISTED) {
            if let Some(io) = io::get() {
                io.check_polled(Weak::clone(&self.me) as _);
                if by == ServedBy::Program {
                    // It may sleep for longer than until the next check.
                    io.wake();
                }
            }
        }
    }
}

impl Rung for Qp {
    fn rung(self: Arc<Self>, by: ServedBy) {
        self.serve(by);
    }
}

impl Source for Qp {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn lose(self: Arc<Self>) {
        self.lost(&mut self.lock());
    }

    fn ready(self: Arc<Self>, _seen: Interest) {
        self.serve(ServedBy::IoThread);
    }

    fn watch_again(self: Arc<Self>, _: &io::Io, _: io::Token) {
        {
            let mut q = self.lock();
            if let Some(link) = &mut q.link {
                link.paths.is_not_watched();
            }
            self.update_interest(&mut q);
        }
        self.progress();
    }
}

impl Endpoint for Qp {
    fn progress_again(&self) {
        self.driver.clear(BUSY);
        self.progress();
    }

    fn check_polling(&self) -> bool {
        let is_polling = self.was_polled();
        if self.driver.is_polled() {
            // Whoever has it locked is at work on it.
            let Some(mut q) = self.inner.try_lock() else {
                return true;
            };
            if is_polling && q.polls.have_read_since_last_check() {
                self.send_now(&mut q);
                return true;
            }
            if is_polling && Self::ring_hint_of(&q).is_some_and(|hint| !hint.is_worth_a_look()) {
                return true;
            }
            self.progress_of(&mut q, ServedBy::IoThread, |q, something| {
                if something {
                    q.polls.check_found_input();
                }
                if something || !is_polling {
                    self.driver.leave_polling_mode();
                }
            });
            if self.driver.is_polled() {
                return true;
            }
        }
        self.driver.clear(LISTED);
        self.driver.leave_polling_mode();
        self.progress();
        false
    }

    fn flush_responses(&self) {
        if let Some(mut q) = self.inner.try_lock() {
            self.send_now(&mut q);
        }
    }
}

impl Attached for Qp {
    fn progress_by_polling(&self) -> bool {
        let Some(mut q) = self.inner.try_lock() else {
            return false;
        };
        if q.link.is_none() {
            return false;
        }
        self.made.touch();
        let before = q.expected;
        let something = self.receive_and_copy(&mut q, ServedBy::Program);
        if something {
            let requests = q.expected != before;
            q.polls.have_read(requests);
        } else if let Some(link) = &mut q.link {
            link.paths.urge();
        }
        // What the program posts next may take the acknowledgement with it.
        let can_wait = something
            && self.driver.is_polled()
            && q.link.as_ref().is_some_and(|link| link.tx.is_idle())
            && q.responses.len() == 1
            && matches!(q.responses.front(), Some(Response::Ack(_)));
        if can_wait {
            self.show_received(&mut q);
        } else {
            self.acknowledge_and_show(&mut q);
            self.execute(&mut q, Cq::push);
            self.transmit(&mut q);
        }
        self.update_interest(&mut q);
        something
    }

    fn hint(&self) -> Option<Hint> {
        let q = self.inner.try_lock()?;
        q.link.as_ref()?.paths.input_hint()
    }

    fn is_polled_though_armed(&self) {
        let Some(mut q) = self.inner.try_lock() else {
            return;
        };
        // The memory may be another process's, which would not be woken any more.
        if q.link.is_some() && self.made.is_served_here() && !self.driver.is_polled() {
            self.enter_polling_mode_if_polled(&q, ServedBy::Program);
            self.update_interest(&mut q);
        }
    }

    fn begin_busy_wait(&self) -> Option<Arc<RingHint>> {
        let mut q = self.inner.try_lock()?;
        let hint = Arc::clone(Self::ring_hint_of(&q)?);
        // As above.
        if !self.made.is_served_here() || !self.driver.busy_wait.take() {
            return None;
        }
        if self.watch(&mut q) {
            // The connection has failed.
            self.progress_later();
        }
        Some(hint)
    }

    fn progress_in_busy_wait(&self) {
        let mut q = self.lock();
        // As below.
        if self.made.is_own() {
            self.progress_of(&mut q, ServedBy::Program, |_, _| ());
        }
    }

    fn end_busy_wait(&self) {
        let mut q = self.lock();
        self.driver.busy_wait.give_back();
        // After a fork, the memory may be a child's: its word whether it sleeps is not to be changed here.
        if self.made.is_own() && self.watch(&mut q) {
            self.progress_of(&mut q, ServedBy::Program, |_, _| ());
        }
    }

    fn leave_polling_mode(&self) {
        if self.driver.leave_polling_mode() {
            let mut q = self.lock();
            self.send_now(&mut q);
        }
    }

    fn read_acks(&self) {
        let mut q = self.lock();
        self.update_interest(&mut q);
    }

    fn touch_if_connected(&self) {
        if self.has_connection() {
            self.made.touch();
        }
    }

    fn fail_for_its_cq(&self) {
        let mut q = self.lock();
        if q.released || q.state == State::Error {
            return;
        }
        if let Some(pd) = &self.setup.pd {
            pd.context.events.push(self.event(AsyncKind::QpFatal));
        }
        self.enter_error(&mut q, Cause::Local);
        self.tell_now_who_waits(&mut q);
    }
}
