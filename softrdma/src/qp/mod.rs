// SPDX-License-Identifier: BSD-3-Clause

//! Queue pairs, each with its end of a connection.
//!
//! One lock for each queue pair guards its queues and its connection. Locks are taken in the order queue
//! pair, connection identifier, shared receive queue, completion queue, channel.

pub(crate) mod attributes;
mod chunks;
mod complete;
mod direct;
mod driver;
mod faults;
mod fuzz;
mod guard;
mod help;
pub(crate) mod link;
mod mapped;
mod polls;
pub(crate) mod owner;
mod pace;
mod path;
mod post;
mod pulling;
mod receive;
mod respond;
mod serve;
mod stage_requests;
mod stage_responses;
mod strict;
#[cfg(test)]
mod tests;
mod transmit;
mod vanished;

use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use crate::Result;
use crate::instrument::inject::{self, Counts};
use crate::io::Alarm;
use crate::io::fork_state::Made;
use crate::objects::attached::Attached as _;
use crate::objects::channel::Unacknowledged;
use crate::objects::context::{AsyncEvent, AsyncKind, EventSource};
use crate::objects::cq::Cq;
use crate::objects::generation::Generation;
use crate::objects::numbers::QpNumber;
use crate::objects::pd::Pd;
use crate::objects::srq::Srq;
use crate::os::brief;
use crate::os::held::Locks;
use crate::os::prefetch;
use crate::types::completion::Completion;
use crate::types::limits;
use crate::wire::Params;

use crate::types::work::{Receive, Request};
use attributes::Attributes;
use driver::Driver;
use faults::Faults;
use link::Link;
use owner::ConnectionOwner;
use pace::Pace;
use polls::Polls;
use respond::Response;

/// What a queue pair is made of.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// None of these: the end of a connection for which the program has no queue pair.
    pub(crate) pd: Option<Arc<Pd>>,
    pub(crate) send_cq: Option<Arc<Cq>>,
    pub(crate) recv_cq: Option<Arc<Cq>>,
    pub(crate) srq: Option<Arc<Srq>>,
    pub(crate) caps: Caps,
    /// Every request has a completion, asked for or not.
    pub(crate) signal_all: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caps {
    pub(crate) max_send_wr: u32,
    pub(crate) max_recv_wr: u32,
    pub(crate) max_send_sge: u32,
    pub(crate) max_recv_sge: u32,
    pub(crate) max_inline: u32,
}

impl Caps {
    /// As rxe does it: what the larger of both needs is there for the ranges and the inline data.
    pub(crate) fn granted(self) -> Result<Self> {
        if self.max_send_wr > limits::MAX_QP_WR
            || self.max_recv_wr > limits::MAX_QP_WR
            || self.max_send_sge > limits::MAX_SGE
            || self.max_recv_sge > limits::MAX_SGE
            || self.max_inline > limits::MAX_INLINE
        {
            return Err(libc::EINVAL);
        }
        let room = self
            .max_inline
            .max(self.max_send_sge * 16)
            .next_multiple_of(16);
        Ok(Self {
            max_send_sge: (room / 16).min(limits::MAX_SGE),
            max_inline: room,
            ..self
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Reset,
    Init,
    ReadyToReceive,
    ReadyToSend,
    Error,
}

/// Where the other end is, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Connected,
    /// It has disconnected. Its queue pair does not answer any more.
    Left,
    /// It is gone without a word.
    Gone,
}

/// What posting a request takes comes first, here and in what is inside: a program with thousands of connections finds
/// none of it in the cache.
#[repr(C)]
pub(crate) struct Qp {
    pub(crate) number: u32,
    made: Made,
    /// Where the words in shared memory are that tell what the peer grants, or 0. Only to be loaded ahead.
    grant_at: AtomicUsize,
    pub(crate) setup: Setup,
    inner: Mutex<Inner>,
    pub(crate) unacknowledged: Unacknowledged,
    me: Weak<Qp>,
    /// The address of what the program has of it.
    pub(crate) handle: AtomicUsize,
    /// The number of the copy that a thread makes for it, without the lock.
    copies: AtomicU64,
    /// What injected faults count.
    counts: Counts,
    driver: Driver,
    _taken: QpNumber,
}

/// A copy, by its number, and since when.
#[derive(Clone, Copy, Debug)]
struct Copying {
    number: u64,
    begun: Instant,
    made: Made,
}

/// What is guarded by the lock.
#[repr(C)]
struct Inner {
    state: State,
    peer: Peer,
    /// The responder has no receive for request `next`, and will say when.
    held: bool,
    /// A request failed before it was sent: it waits for those before it.
    stopped: bool,
    /// The program has destroyed it.
    released: bool,
    /// This side has disconnected.
    disconnected: bool,
    /// There is no receive for the request to come next.
    no_receive: bool,
    /// Requests after it may still be on their way: they are dropped.
    dropping: bool,
    /// The peer was told that the queue pair is in error.
    refused: bool,
    /// What the program is told of a request of the peer that broke a rule, once the queue pair is in error.
    violation: Option<AsyncKind>,
    first: u64,
    /// The number of the request to send next.
    next: u64,
    /// The requests that are not complete. The first has the number `first`.
    sq: VecDeque<Request>,
    responses: VecDeque<Response>,
    link: Option<Link>,
    attributes: Attributes,
    peer_params: Params,
    rq: VecDeque<Receive>,
    /// Completions of messages that the peer has not been told of.
    unshown: Vec<Completion>,
    /// The number of the request to come next.
    expected: u64,
    /// Reads that wait for their data.
    reads: usize,
    polls: Polls,
    generation: Generation,
    /// How long this side waits for the responder to have a receive, if not for ever.
    rnr_timer: Option<Alarm>,
    /// What a thread of this process copies, or has copied and is about to say so.
    copying: Option<Copying>,
    /// Who has made the connection.
    owner: Option<Weak<dyn ConnectionOwner>>,
    faults: Faults,
    pace: Pace,
}

impl Inner {
    /// What a thread copies for it. A child has none of its parent's threads.
    fn copying(&self) -> Option<Copying> {
        self.copying.filter(|copying| !copying.made.is_inherited())
    }

    /// It was reset and may have another connection, in which both sides begin to count anew.
    fn forget_the_connection(&mut self) {
        self.peer = Peer::Connected;
        self.first = 0;
        self.next = 0;
        self.expected = 0;
        self.no_receive = false;
        self.dropping = false;
        self.refused = false;
        self.disconnected = false;
        self.responses.clear();
        self.faults = Faults::default();
        self.owner = None;
    }

    fn owner(&self) -> Option<Arc<dyn ConnectionOwner>> {
        self.owner.as_ref().and_then(Weak::upgrade)
    }

    /// It takes no part in its connection: in error, or reset by the program.
    fn is_down(&self) -> bool {
        matches!(self.state, State::Error | State::Reset | State::Init)
    }
}

impl std::fmt::Debug for Qp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qp")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Qp {
    /// Has the processor load what posting a request takes.
    fn load_ahead(&self) {
        const HOT: usize = offset_of!(Qp, inner) + offset_of!(Inner, link) + link::HOT;
        prefetch::begin_of(self, HOT);
        // Relaxed: if it is not where it was, that only takes longer.
        prefetch::address(self.grant_at.load(Ordering::Relaxed));
    }

    /// On the data path; elsewhere `inner` is locked directly.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        brief::lock(&self.inner)
    }

    pub(crate) fn new(setup: Setup, state: State) -> Result<Arc<Self>> {
        let number = QpNumber::take()?;
        let counts = inject::queue_pair(setup.pd.is_some());
        let qp = Arc::new_cyclic(|me| Self {
            number: number.get(),
            _taken: number,
            handle: AtomicUsize::new(0),
            setup,
            unacknowledged: Unacknowledged::default(),
            me: Weak::clone(me),
            made: Made::now(),
            grant_at: AtomicUsize::new(0),
            inner: Mutex::new(Inner {
                state,
                peer: Peer::Connected,
                sq: VecDeque::new(),
                first: 0,
                next: 0,
                reads: 0,
                held: false,
                rnr_timer: None,
                stopped: false,
                rq: VecDeque::new(),
                unshown: Vec::new(),
                expected: 0,
                no_receive: false,
                dropping: false,
                responses: VecDeque::new(),
                refused: false,
                violation: None,
                disconnected: false,
                released: false,
                link: None,
                copying: None,
                owner: None,
                generation: Generation::new(),
                peer_params: Params::default(),
                attributes: Attributes {
                    // Only the connection manager makes one that is beyond this state.
                    port: u8::from(state != State::Reset),
                    ..Attributes::default()
                },
                polls: Polls::new(),
                faults: Faults::default(),
                pace: Pace::default(),
            }),
            copies: AtomicU64::new(0),
            counts,
            driver: Driver::default(),
        });
        let Setup {
            pd,
            send_cq,
            recv_cq,
            srq,
            ..
        } = &qp.setup;
        if let Some(pd) = pd {
            pd.users.add();
        }
        if let Some(srq) = srq {
            srq.users.add();
        }
        for cq in [send_cq, recv_cq].into_iter().flatten() {
            cq.attach(&qp);
        }
        Ok(qp)
    }

    /// Before a fork, with the owner of its connection.
    pub(crate) fn hold(
        self: &Arc<Self>,
        locks: &mut Locks,
        owners: &mut Vec<Arc<dyn ConnectionOwner>>,
    ) -> bool {
        locks.hold_and(self, |qp| &qp.inner, |q| owners.extend(q.owner()))
    }

    /// What is taken before its lock.
    pub(crate) fn hold_lists(&self, locks: &mut Locks) -> bool {
        let Setup {
            send_cq, recv_cq, ..
        } = &self.setup;
        send_cq.as_ref().is_none_or(|cq| cq.hold_list(locks))
            && recv_cq.as_ref().is_none_or(|cq| cq.hold_list(locks))
    }

    // What it shares with others, of each kind for all queue pairs before the next one.

    pub(crate) fn hold_srq(&self, locks: &mut Locks) -> bool {
        self.setup.srq.as_ref().is_none_or(|srq| srq.hold(locks))
    }

    pub(crate) fn hold_cqs(&self, locks: &mut Locks) -> bool {
        let mut cqs = [&self.setup.send_cq, &self.setup.recv_cq].into_iter();
        cqs.all(|cq| cq.as_ref().is_none_or(|cq| cq.hold(locks)))
    }

    pub(crate) fn hold_channels(&self, locks: &mut Locks) -> bool {
        let mut cqs = [&self.setup.send_cq, &self.setup.recv_cq].into_iter();
        cqs.all(|cq| cq.as_ref().is_none_or(|cq| cq.hold_channel(locks)))
            && self
                .setup
                .pd
                .as_ref()
                .is_none_or(|pd| pd.context.hold(locks))
    }

    fn event(&self, kind: AsyncKind) -> AsyncEvent {
        AsyncEvent::new(kind, Weak::clone(&self.me) as _)
    }

    pub(crate) fn state(&self) -> State {
        let mut cqs = [&self.setup.send_cq, &self.setup.recv_cq].into_iter();
        if cqs.any(|cq| cq.as_ref().is_some_and(|cq| cq.is_overrun())) {
            // The I/O thread may not have come to it.
            self.fail_for_its_cq();
        }
        self.inner.lock().state
    }

    /// What the peer has said of itself.
    pub(crate) fn peer_params(&self) -> Params {
        self.inner.lock().peer_params
    }

    pub(crate) fn has_connection(&self) -> bool {
        self.inner.lock().link.is_some()
    }

    /// The program changes the state.
    pub(crate) fn modify(&self, state: State) -> Result<()> {
        self.made.touch();
        let mut q = self.inner.lock();
        if state == State::Error {
            self.read_unread_acks(&mut q);
        }
        self.move_to(&mut q, state)
    }

    fn move_to(&self, q: &mut Inner, state: State) -> Result<()> {
        match (q.state, state) {
            (_, State::Error) => {
                self.enter_error(q, complete::Cause::Local);
                self.tell_now_who_waits(q);
            }
            (_, State::Reset) => {
                q.state = State::Reset;
                // The peer is not to copy any more what was posted.
                q.generation = Generation::new();
                self.update_grant(q);
                self.put_back_the_receive_in_transit(q);
                self.drop_data_in_transit(q);
                self.forget_if_strict(q);
                q.sq.clear();
                q.rq.clear();
                q.first = q.next;
                q.reads = 0;
                q.held = false;
                q.stopped = false;
                self.tell_now_who_waits(q);
            }
            (State::Reset, State::Init) => {
                q.state = State::Init;
                if q.link.is_none() {
                    q.forget_the_connection();
                }
            }
            (State::Init, State::Init | State::ReadyToReceive)
            | (State::ReadyToReceive | State::ReadyToSend, State::ReadyToSend) => q.state = state,
            _ => return Err(libc::EINVAL),
        }
        Ok(())
    }

    /// The program is about to disconnect, which the peer will hear of.
    pub(crate) fn stop(&self) {
        self.made.touch();
        let mut q = self.inner.lock();
        self.read_unread_acks(&mut q);
        self.enter_error(&mut q, complete::Cause::Local);
    }

    /// The program destroys it. Its connection, if it has one, stays with the identifier.
    pub(crate) fn release(&self) {
        self.made.touch();
        {
            let mut q = self.inner.lock();
            if q.released {
                return;
            }
            q.released = true;
            q.state = State::Error;
            q.generation.end();
            self.forget_if_strict(&q);
            self.update_grant(&mut q);
            q.sq.clear();
            q.rq.clear();
            q.first = q.next;
            self.drop_data_in_transit(&mut q);
            self.tell_now_who_waits(&mut q);
        }
        let Setup {
            pd,
            send_cq,
            recv_cq,
            srq,
            ..
        } = &self.setup;
        for cq in [send_cq, recv_cq].into_iter().flatten() {
            cq.detach(self);
        }
        if let Some(srq) = srq {
            srq.users.remove();
        }
        if let Some(pd) = pd {
            pd.users.remove();
            pd.context.events.withdraw(|event| event.is_of(self));
        }
        self.unacknowledged
            .wait_for_none(format_args!("QP {:#x}", self.number));
    }
}

impl EventSource for Qp {
    fn handle(&self) -> &AtomicUsize {
        &self.handle
    }

    fn async_unacknowledged(&self) -> &Unacknowledged {
        &self.unacknowledged
    }
}
