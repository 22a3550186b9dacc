// SPDX-License-Identifier: BSD-3-Clause

//! What happens to a queue pair when a fault is injected (`instrument/fault.rs`). It is meant to look to the program
//! as if the device or the peer had done it.
//!
//! The functions here are called only if there are faults at all.

use std::sync::Weak;
use std::time::Duration;

use super::complete::Cause;
use super::owner::ConnectionOwner;
use super::{Inner, Peer, Qp, State};
use crate::instrument::fault::{Async, Event};
use crate::instrument::inject::Planned;
use crate::io::{self, Alarm};
use crate::objects::context::{AsyncEvent, AsyncKind};
use crate::types::completion::{Completion, Status};
use crate::types::work::{Operation, Progress, Request};

/// The faults of a connection that have begun.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// The peer counts as dead, and its connection has not been closed yet.
    pub(super) peer_died: bool,
    /// The message that the peer has no receive for.
    rnr: Option<u64>,
    /// When that is over, or its sender gives up.
    rnr_end: Option<Alarm>,
    /// The messages before this request were counted.
    counted: u64,
}

impl Qp {
    /// A request is done. The status that it completes with, if not success.
    #[cold]
    pub(super) fn injected_status(&self, request: &Request) -> Option<Status> {
        let completes = request.signaled || self.setup.signal_all;
        let injected =
            (completes && self.setup.send_cq.is_some()).then(|| self.counts.completion());
        injected.flatten().map(Status::of_number)
    }

    /// Shows the program what it has received: as `show_received`.
    #[cold]
    pub(super) fn show_received_with_faults(&self, q: &mut Inner) {
        let Some(cq) = &self.setup.recv_cq else {
            q.unshown.clear();
            return;
        };
        let mut has_failed = false;
        for completion in std::mem::take(&mut q.unshown) {
            let status = if has_failed {
                Some(Status::Flushed)
            } else {
                self.counts.completion().map(Status::of_number)
            };
            has_failed |= status.is_some();
            cq.push(match status {
                None => completion,
                Some(status) => Completion::failed(completion.wr_id, self.number, status),
            });
        }
        if has_failed {
            self.enter_error(q, Cause::Local);
            self.tell_who_waits(q);
            // Whoever shows completions may be in the middle of sending.
            self.progress_later();
        }
    }

    // --- The peer dies ---------------------------------------------------------------------------

    /// A request of this side or of the peer was carried out. Returns whether the peer dies now: the code that receives
    /// or sends closes the connection, as soon as no frame is in progress.
    #[cold]
    pub(super) fn peer_dies_now(&self, q: &mut Inner) -> bool {
        q.faults.peer_died |= self.counts.request();
        q.faults.peer_died
    }

    /// Closes the connection of a dead peer.
    #[cold]
    pub(super) fn lose_dead_peer(&self, q: &mut Inner) {
        self.lost(q);
        q.faults.peer_died = false;
    }

    // --- No receive ------------------------------------------------------------------------------

    /// Whether the peer has no receive for the message to be sent next.
    #[cold]
    pub(super) fn finds_no_receive(&self, q: &mut Inner) -> bool {
        if q.faults.rnr.is_some() {
            return true;
        }
        let seq = q.next;
        let request = super::transmit::index(q.first, seq).and_then(|index| q.sq.get(index));
        let Some(request) = request else { return false };
        let needs_receive = request.operation == Operation::Send || request.imm.is_some();
        // One that is sent again was counted.
        if !needs_receive || seq < q.faults.counted {
            return false;
        }
        q.faults.counted = seq + 1;
        let Some(pause) = self.counts.message() else {
            return false;
        };
        q.faults.rnr = Some(seq);
        match q.attributes.rnr_timeout() {
            Some(timeout) if timeout <= pause => self.after_rnr(q, timeout, Self::give_up_message),
            _ => self.after_rnr(q, pause, |_, _, _| ()),
        }
        true
    }

    /// At the end of this time there is a receive; `then` may see to it that the message does not need it any more.
    fn after_rnr(&self, q: &mut Inner, delay: Duration, then: fn(&Self, &mut Inner, u64)) {
        let Some((io, seq)) = io::get().zip(q.faults.rnr) else {
            return;
        };
        let me = Weak::clone(&self.me);
        let timer = io.after(delay, move || {
            let Some(qp) = me.upgrade() else { return };
            let mut q = qp.inner.lock();
            if q.faults.rnr == Some(seq) {
                q.faults.rnr = None;
                then(&qp, &mut q, seq);
                qp.send_now(&mut q);
            }
        });
        q.faults.rnr_end = Some(timer.into());
    }

    /// The message was sent as often as the peer permits.
    fn give_up_message(&self, q: &mut Inner, seq: u64) {
        if q.state != State::ReadyToSend || q.next != seq {
            return;
        }
        let index = super::transmit::index(q.first, seq);
        if let Some(request) = index.and_then(|index| q.sq.get_mut(index)) {
            request.progress = Progress::Failed(Status::ReceiverNotReady);
            q.stopped = true;
            self.reap(q);
        }
    }

    // --- Events ----------------------------------------------------------------------------------

    /// The connection is established, and gets what is planned for it.
    pub(crate) fn suffer(&self, owner: &dyn ConnectionOwner, planned: Planned) {
        self.suffer_locked(&mut self.inner.lock(), owner, planned);
    }

    pub(super) fn suffer_locked(
        &self,
        q: &mut Inner,
        owner: &dyn ConnectionOwner,
        planned: Planned,
    ) {
        if let Some(event) = planned.async_event {
            self.suffer_event_of_device(q, event);
        }
        match planned.event {
            Some(Event::Disconnected) => {
                self.cut_off(q);
                q.peer = Peer::Left;
                owner.peer_disconnected();
            }
            Some(Event::TimewaitExit) => {
                self.cut_off(q);
                q.peer = Peer::Left;
                owner.ends_with_timewait_exit();
            }
            Some(Event::DeviceRemoval) => {
                owner.ends_with_device_removal();
                self.enter_error(q, Cause::Local);
                self.lost(q);
            }
            // There was no connection to be established.
            Some(Event::Rejected | Event::Unreachable) | None => {}
        }
    }

    fn suffer_event_of_device(&self, q: &mut Inner, event: Async) {
        let (event, is_fatal) = match event {
            Async::PortErr => (AsyncEvent::of_device(AsyncKind::PortError), false),
            Async::PortActive => (AsyncEvent::of_device(AsyncKind::PortActive), false),
            Async::DeviceFatal => (AsyncEvent::of_device(AsyncKind::DeviceFatal), true),
            Async::QpFatal => (self.event(AsyncKind::QpFatal), true),
            Async::QpReqErr => (self.event(AsyncKind::QpRequestError), true),
            Async::QpAccessErr => (self.event(AsyncKind::QpAccessError), true),
        };
        if let Some(pd) = &self.setup.pd {
            pd.context.events.push(event);
        }
        if is_fatal {
            self.enter_error(q, Cause::Local);
            self.tell_who_waits(q);
            self.progress_later();
        }
    }
}
