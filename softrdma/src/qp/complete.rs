// SPDX-License-Identifier: BSD-3-Clause

//! The end of work requests: done, failed, flushed.

use std::sync::{Arc, Weak};

use crate::instrument::{inject, pace, strict};
use crate::io;
use crate::objects::context::AsyncKind;
use crate::objects::cq::Cq;
use crate::objects::strict as watch;
use crate::types::completion::{Completion, Status};
use crate::wire::{Malformed, Reason};

use super::link::BodySource;
use super::receive::Sink;
use super::{Inner, Qp, State};
use crate::types::work::{Operation, Progress, Receive, Request, Sharing};

/// Whose doing an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Local,
    /// The peer knows, and drops what still comes.
    Peer,
}

impl Qp {
    pub(super) fn complete_request(&self, request: &Request, status: Status) {
        self.complete_request_by(request, status, Cq::push);
    }

    /// As above, for a request that this side has executed. `add` puts the completion into the queue.
    pub(super) fn complete_request_by(
        &self,
        request: &Request,
        status: Status,
        add: fn(&Arc<Cq>, Completion),
    ) {
        if strict::is_on() {
            self.completed_strictly(request, status);
        }
        let Some(cq) = &self.setup.send_cq else {
            return;
        };
        if status != Status::Success {
            add(cq, Completion::failed(request.wr_id, self.number, status));
        } else if request.signaled || self.setup.signal_all {
            let completion = Completion {
                opcode: request.operation.opcode(),
                byte_len: request.length(),
                // That there was one is all that the initiator is told.
                imm: request.imm.map(|_| 0),
                ..Completion::failed(request.wr_id, self.number, status)
            };
            add(cq, completion);
        }
    }

    /// Completes a receive that has failed or is flushed.
    pub(super) fn complete_receive(&self, q: &mut Inner, wr_id: u64, status: Status) {
        // In the order in which they were used.
        if pace::is_on() {
            Self::let_received_pass(q);
        }
        self.show_received(q);
        if let Some(cq) = &self.setup.recv_cq {
            cq.push(Completion {
                received: true,
                ..Completion::failed(wr_id, self.number, status)
            });
        }
    }

    /// Completes what is done, in order, up to the first that is not.
    pub(super) fn reap(&self, q: &mut Inner) {
        while !(pace::is_on() && self.is_on_its_way_back(q)) {
            let Some(request) = q.sq.front() else { return };
            match request.progress {
                Progress::Done => {
                    if inject::is_armed() {
                        if q.faults.peer_died {
                            return;
                        }
                        if let Some(status) = self.injected_status(request) {
                            self.fail(q, status, Cause::Local);
                            return;
                        }
                    }
                    self.complete_request(request, Status::Success);
                    if let Some(request) = q.sq.pop_front() {
                        Self::count_help(q.link.as_mut(), &request);
                    }
                    q.first += 1;
                    if inject::is_armed() && self.peer_dies_now(q) {
                        return;
                    }
                }
                Progress::Failed(status) => {
                    // The peer knows of those failures that it has reported itself.
                    let cause = match status {
                        Status::LocalProtection | Status::LocalLength => Cause::Local,
                        _ => Cause::Peer,
                    };
                    self.fail(q, status, cause);
                    return;
                }
                _ => return,
            }
        }
    }

    /// The first request fails, and with it the queue pair.
    fn fail(&self, q: &mut Inner, status: Status, cause: Cause) {
        // The peer executes nothing any more when the program sees the completion.
        self.revoke(q);
        if let Some(request) = q.sq.pop_front() {
            self.complete_request(&request, status);
            q.first += 1;
            q.next = q.next.max(q.first);
        }
        for request in &mut q.sq {
            // The first that failed is the only one; the others are flushed.
            request.progress = Progress::Waiting;
        }
        self.enter_error(q, cause);
        self.tell_who_waits(q);
    }

    /// What was posted to a peer that is gone fails.
    pub(super) fn fail_for_the_peer(&self, q: &mut Inner) {
        if pace::is_on() && self.completes_before_the_end(q) {
            return;
        }
        if q.state == State::ReadyToSend && !q.sq.is_empty() {
            self.fail(q, Status::RetryExceeded, Cause::Peer);
        }
    }

    /// Moves to the error state: all that is queued is flushed.
    pub(super) fn enter_error(&self, q: &mut Inner, cause: Cause) {
        if q.state == State::Error {
            return;
        }
        q.state = State::Error;
        q.generation.end();
        self.update_grant(q);
        if let Some(link) = &mut q.link {
            match &mut link.tx.body {
                Some(body) if matches!(body.source, BodySource::Request(_)) => match cause {
                    Cause::Peer => body.source = BodySource::Zeros,
                    // The memory is the program's again, and the peer waits for the rest of the frame.
                    Cause::Local => link.abort_sending(),
                },
                _ => {}
            }
        }
        self.wait_for_the_copy(q);
        let in_transit = q.link.as_mut().and_then(|link| link.rx.drop_payload());
        for request in std::mem::take(&mut q.sq) {
            let status = match request.progress {
                Progress::Failed(status) if cause == Cause::Local => status,
                _ => Status::Flushed,
            };
            self.complete_request(&request, status);
        }
        q.first = q.next;
        q.reads = 0;
        q.held = false;
        q.stopped = false;
        if strict::is_on() {
            self.withdrawn_strictly(q);
        }
        for receive in in_transit.into_iter().chain(std::mem::take(&mut q.rq)) {
            self.complete_receive(q, receive.wr_id, Status::Flushed);
        }
        let violation = q.violation.take();
        if q.released {
            return;
        }
        if let (Some(event), Some(pd)) = (violation, &self.setup.pd) {
            pd.context.events.push(self.event(event));
        }
        if let (Some(_), Some(pd)) = (&self.setup.srq, &self.setup.pd) {
            pd.context
                .events
                .push(self.event(AsyncKind::LastWqeReached));
        }
    }

    /// Nothing of the program's memory is read or written any more for this queue pair.
    pub(super) fn drop_data_in_transit(&self, q: &mut Inner) {
        self.wait_for_the_copy(q);
        if let Some(link) = &mut q.link {
            link.rx.drop_payload();
            let body = link.tx.body.as_ref();
            if body.is_some_and(|body| matches!(body.source, BodySource::Request(_))) {
                link.abort_sending();
            }
        }
    }

    /// The connection ended in the middle of a message: its receive was not used.
    pub(super) fn put_back_the_receive_in_transit(&self, q: &mut Inner) {
        self.wait_for_the_copy(q);
        if let Some(receive) = q.link.as_mut().and_then(|link| link.rx.drop_payload()) {
            self.give_back_receive(q, receive);
        }
    }

    /// A message does not come: its receive, if it has one, was not used.
    pub(super) fn give_back(&self, q: &mut Inner, sink: Sink) {
        if let Some(receive) = sink.into_receive() {
            self.give_back_receive(q, receive);
        }
    }

    fn give_back_receive(&self, q: &mut Inner, receive: Receive) {
        match &self.setup.srq {
            Some(srq) => srq.put_back(receive),
            None if q.state == State::Error => {
                self.complete_receive(q, receive.wr_id, Status::Flushed);
            }
            None => {
                if strict::is_on() {
                    watch::receive_put_back(self.setup.pd.as_ref(), &receive);
                }
                q.rq.push_front(receive);
                self.receives_changed(q);
            }
        }
    }

    // --- What the responder says -----------------------------------------------------------------

    /// The request whose bytes are being sent.
    fn body_under_way(q: &Inner) -> Option<u64> {
        match q.link.as_ref()?.tx.body.as_ref()?.source {
            BodySource::Request(seq) => Some(seq),
            _ => None,
        }
    }

    /// The request of this number, if it was sent and is not complete.
    pub(super) fn sent(q: &mut Inner, seq: u64) -> Result<&mut Request, Malformed> {
        if seq >= q.next {
            return Err(Malformed);
        }
        let index = seq.checked_sub(q.first).ok_or(Malformed)?;
        usize::try_from(index)
            .ok()
            .and_then(|index| q.sq.get_mut(index))
            .ok_or(Malformed)
    }

    /// All requests up to this one are done.
    pub(super) fn acknowledged(&self, q: &mut Inner, seq: u64) -> Result<(), Malformed> {
        if q.is_down() {
            return Ok(());
        }
        Self::sent(q, seq)?;
        if Self::body_under_way(q).is_some_and(|under_way| under_way <= seq) {
            // It cannot have all of it.
            return Err(Malformed);
        }
        let count = usize::try_from(seq - q.first + 1).map_err(|_| Malformed)?;
        let mut reads_done = 0;
        for request in q.sq.iter_mut().take(count) {
            match request.progress {
                Progress::Sent if !request.is_read() => request.progress = Progress::Done,
                Progress::Arrived => {
                    request.progress = Progress::Done;
                    reads_done += 1;
                }
                // What was acknowledged of it before its data was asked for again counts for nothing.
                Progress::AskedAgain | Progress::Done | Progress::Failed(_) => {}
                Progress::Sent | Progress::Waiting => return Err(Malformed),
            }
        }
        q.reads = q.reads.saturating_sub(reads_done);
        self.reap(q);
        Ok(())
    }

    pub(super) fn refused(&self, q: &mut Inner, seq: u64, reason: Reason) -> Result<(), Malformed> {
        if q.is_down() {
            return Ok(());
        }
        let status = match reason {
            Reason::RemoteAccess => Status::RemoteAccess,
            Reason::InvalidRequest => Status::RemoteInvalidRequest,
            Reason::RemoteOperation => Status::RemoteOperation,
            Reason::QueuePairGone => Status::RetryExceeded,
        };
        if q.held && seq == q.next {
            // It was not to be sent before there is a receive, and there will be none.
            q.held = false;
            q.next += 1;
        }
        Self::sent(q, seq)?.progress = Progress::Failed(status);
        self.reap(q);
        Ok(())
    }

    /// The responder has no receive for this request. It has dropped it, and drops those after it.
    pub(super) fn not_ready(&self, q: &mut Inner, seq: u64) -> Result<(), Malformed> {
        if q.is_down() {
            return Ok(());
        }
        let request = Self::sent(q, seq)?;
        let needs_receive = request.operation == Operation::Send || request.imm.is_some();
        if !needs_receive || request.progress != Progress::Sent || q.held {
            return Err(Malformed);
        }
        Self::rewind(q, seq)?;
        q.held = true;
        self.start_rnr_timer(q, seq);
        Ok(())
    }

    /// All from this request on was dropped, and is to be sent again.
    pub(super) fn rewind(q: &mut Inner, seq: u64) -> Result<(), Malformed> {
        Self::sent(q, seq)?;
        let done = usize::try_from(seq - q.first).map_err(|_| Malformed)?;
        let sent = usize::try_from(q.next - q.first).map_err(|_| Malformed)?;
        let mut reads = 0;
        for (index, request) in q.sq.iter_mut().enumerate().skip(done) {
            reads += usize::from(index < sent && request.is_read());
            // One that failed is checked again when its turn comes.
            request.progress = Progress::Waiting;
            if request.chunks.sharing != Sharing::Alone {
                request.chunks.sharing = Sharing::Never;
            }
        }
        q.reads = q.reads.saturating_sub(reads);
        q.next = seq;
        q.stopped = false;
        Ok(())
    }

    /// The peer has said how often a message is offered that finds no receive.
    fn start_rnr_timer(&self, q: &mut Inner, seq: u64) {
        Self::be_patient(q);
        let Some(timeout) = q.attributes.rnr_timeout() else {
            return;
        };
        if timeout.is_zero() {
            self.not_received(q, seq);
            return;
        }
        let me = Weak::clone(&self.me);
        if let Some(io) = io::get() {
            let timer = io.after(timeout, move || {
                if let Some(qp) = me.upgrade() {
                    let mut q = qp.inner.lock();
                    qp.not_received(&mut q, seq);
                    qp.send_now(&mut q);
                }
            });
            q.rnr_timer = Some(timer.into());
        }
    }

    /// No message waits for a receive any more, or another one does.
    fn be_patient(q: &mut Inner) {
        q.rnr_timer = None;
    }

    fn not_received(&self, q: &mut Inner, seq: u64) {
        if q.is_down() || !q.held || q.next != seq {
            return;
        }
        let index = seq.checked_sub(q.first);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some(request) = index.and_then(|index| q.sq.get_mut(index)) {
            request.progress = Progress::Failed(Status::ReceiverNotReady);
            self.reap(q);
        }
    }

    pub(super) fn ready_again(&self, q: &mut Inner, seq: u64) -> Result<(), Malformed> {
        if q.is_down() {
            return Ok(());
        }
        if !q.held || seq != q.next {
            return Err(Malformed);
        }
        q.held = false;
        Self::be_patient(q);
        Ok(())
    }
}
