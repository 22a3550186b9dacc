// SPDX-License-Identifier: BSD-3-Clause

//! Serving the peer's requests: what of the program's memory and receives each one gets.

use crate::instrument::{inject, pace, strict};
use crate::objects::context::AsyncKind;
use crate::objects::strict as watch;
use crate::types::completion::{Completion, Opcode, Status};
use crate::types::region::{Range, access};
use crate::wire::{Carriage, Frame, Malformed, Reason};

use super::complete::Cause;
use super::guard::Wish;
use super::receive::{Sink, WithImm};
use super::respond::{self, Response};
use super::{Inner, Qp};
use crate::types::work::Receive;

impl Qp {
    /// Whether a request is the next one and can be served.
    pub(super) fn is_next(&self, q: &mut Inner, seq: u64) -> Result<bool, Malformed> {
        if q.is_down() || q.released {
            // One that comes behind a message that is to come once more waits for that one.
            let is_its_turn = !q.dropping || seq == q.expected;
            if is_its_turn && !q.refused && !q.disconnected {
                q.refused = true;
                q.responses
                    .push_back(Response::Nak(seq, Reason::QueuePairGone));
            }
            return Ok(false);
        }
        if q.refused {
            return Ok(false);
        }
        if seq != q.expected {
            // Those behind a message that found no receive come once more.
            return if q.dropping && seq > q.expected {
                Ok(false)
            } else {
                Err(Malformed)
            };
        }
        if q.no_receive || respond::too_many_reads(&q.responses) {
            // It was not asked for yet, or should not have been sent.
            return Err(Malformed);
        }
        q.dropping = false;
        Ok(true)
    }

    /// The queue pair takes no more part in its connection. A message that the peer was to send again will
    /// never find a receive, and a request that was arriving is not served.
    pub(super) fn tell_who_waits(&self, q: &mut Inner) {
        let cut = match &mut q.link {
            Some(link) => std::mem::take(&mut link.rx.cut),
            None => false,
        };
        if (q.no_receive || cut) && !q.refused && !q.disconnected {
            q.no_receive = false;
            q.refused = true;
            let reason = Reason::QueuePairGone;
            q.responses.push_back(Response::Nak(q.expected, reason));
        }
    }

    /// The same where nothing else is about to be sent.
    pub(super) fn tell_now_who_waits(&self, q: &mut Inner) {
        self.tell_who_waits(q);
        self.send_now(q);
    }

    pub(super) fn request(&self, q: &mut Inner, frame: Frame) -> Result<Sink, Malformed> {
        match frame {
            Frame::Send {
                seq,
                length,
                imm,
                solicited,
                carriage,
            } => match self.receive_for_send(q, seq, length) {
                Some(receive) => {
                    let sink = Sink::Receive {
                        seq,
                        receive,
                        imm,
                        solicited,
                    };
                    self.carried(q, sink, length, carriage)
                }
                None => Ok(Sink::Nowhere),
            },
            Frame::Write {
                seq,
                to,
                imm,
                solicited,
                carriage,
            } => {
                let imm = imm.map(|imm| (imm, solicited));
                let in_chunks = carriage == Carriage::InChunks;
                match self.place_for_write(q, seq, to, imm, in_chunks) {
                    Some(sink) => self.carried(q, sink, to.length, carriage),
                    None => Ok(Sink::Nowhere),
                }
            }
            Frame::Read {
                seq,
                from,
                can_pull,
                ..
            } => {
                self.serve_read(q, seq, from, can_pull)?;
                Ok(Sink::Nowhere)
            }
            Frame::AtomicWrite { seq, to } => {
                if !self.permits(q, seq, to, Wish::AtomicWrite) {
                    return Ok(Sink::Nowhere);
                }
                Ok(Sink::AtomicWrite { seq, to })
            }
            Frame::Flush {
                seq,
                at,
                placement,
                whole_region,
            } => {
                let wish = Wish::Flush {
                    placement,
                    whole_region,
                };
                // Writes are in the memory before they are acknowledged, so there is nothing to do.
                if self.permits(q, seq, at, wish) {
                    self.served(q, seq);
                }
                Ok(Sink::Nowhere)
            }
            _ => Ok(Sink::Nowhere),
        }
    }

    /// The receive that a message of this length goes to. If there is none that takes it, the peer was told.
    fn receive_for_send(&self, q: &mut Inner, seq: u64, length: u32) -> Option<Receive> {
        let receive = self.take_receive(q, seq)?;
        if strict::is_on() {
            watch::message_arrives(self.number, self.setup.pd.as_ref(), &receive);
        }
        if receive.into.length() < u64::from(length) {
            self.complete_receive(q, receive.wr_id, Status::LocalLength);
            self.refuse(q, seq, Reason::InvalidRequest);
            return None;
        }
        if !self.can_receive(&receive, length) {
            self.complete_receive(q, receive.wr_id, Status::LocalProtection);
            self.refuse(q, seq, Reason::RemoteOperation);
            return None;
        }
        Some(receive)
    }

    /// Where a write goes, with its immediate data and whether that is solicited. None if it was refused.
    fn place_for_write(
        &self,
        q: &mut Inner,
        seq: u64,
        to: Range,
        imm: Option<(u32, bool)>,
        in_chunks: bool,
    ) -> Option<Sink> {
        // A peer that may not write does not get a receive either.
        let unrelated = Range { length: 0, ..to };
        if !self.permits(q, seq, unrelated, Wish::Write) {
            return None;
        }
        let with_imm = match imm {
            Some((imm, solicited)) => Some(WithImm {
                receive: self.take_receive(q, seq)?,
                imm,
                solicited,
            }),
            None => None,
        };
        if let (true, Some(with)) = (strict::is_on(), &with_imm) {
            watch::receive_withdrawn(&with.receive);
        }
        if !self.permits(q, seq, to, Wish::Write) {
            if let Some(with) = with_imm {
                self.complete_receive(q, with.receive.wr_id, Status::RemoteAccess);
            }
            return None;
        }
        Some(Sink::Write {
            seq,
            to,
            with_imm,
            in_chunks,
        })
    }

    fn serve_read(
        &self,
        q: &mut Inner,
        seq: u64,
        from: Range,
        can_pull: bool,
    ) -> Result<(), Malformed> {
        if q.has_too_many_reads() {
            return Err(Malformed);
        }
        if self.permits(q, seq, from, Wish::Read) {
            let can_pull = can_pull && q.link.as_mut().is_some_and(|link| link.peer_pulls());
            q.responses.push_back(Response::Data {
                seq,
                from,
                can_pull,
            });
            self.served(q, seq);
            self.stage_responses_now(q);
        }
        Ok(())
    }

    /// Whether the peer gets what it asks for. If not, its request is refused.
    fn permits(&self, q: &mut Inner, seq: u64, range: Range, wish: Wish) -> bool {
        let granted = self.grant_to_peer(q, range, wish);
        if let Err(reason) = granted {
            if strict::is_on() {
                self.refused_strictly(range, reason);
            }
            if reason == Reason::InvalidRequest {
                q.violation = Some(AsyncKind::QpRequestError);
            }
            self.refuse(q, seq, reason);
        }
        granted.is_ok()
    }

    /// The receive for a message. If there is none, the message will come again.
    fn take_receive(&self, q: &mut Inner, seq: u64) -> Option<Receive> {
        let receive = match (&self.setup.srq, self.me.upgrade()) {
            (Some(srq), Some(me)) => srq.take_or_wait(&me),
            _ => q.rq.pop_front(),
        };
        self.receives_changed(q);
        if receive.is_none() {
            q.no_receive = true;
            q.dropping = true;
            q.responses.push_back(Response::NotReady(seq));
        }
        receive
    }

    fn can_receive(&self, receive: &Receive, length: u32) -> bool {
        let mut left = length;
        for range in receive.into.ranges() {
            if left == 0 {
                break;
            }
            if range.length > 0 && self.grant_own(*range, access::LOCAL_WRITE).is_none() {
                if strict::is_on() {
                    let pd = self.setup.pd.as_deref();
                    watch::own_key_refused(self.number, *range, pd);
                }
                return false;
            }
            left = left.saturating_sub(range.length);
        }
        true
    }

    /// The request is done: what follows it is the next one.
    pub(super) fn served(&self, q: &mut Inner, seq: u64) {
        q.expected = seq + 1;
        respond::acknowledge(&mut q.responses, seq);
        if inject::is_armed() {
            self.peer_dies_now(q);
        }
    }

    /// The request fails, and the queue pair with it, as soon as the peer was told.
    pub(super) fn refuse(&self, q: &mut Inner, seq: u64, reason: Reason) {
        q.refused = true;
        q.responses.push_back(Response::Nak(seq, reason));
        if q.link.as_ref().is_none_or(|link| link.tx.broken) {
            self.enter_error(q, Cause::Local);
        }
    }

    /// A message has come. Its completion is shown when it has been acknowledged.
    pub(super) fn received(
        &self,
        q: &mut Inner,
        receive: &Receive,
        opcode: Opcode,
        byte_len: u32,
        imm: Option<u32>,
        solicited: bool,
    ) {
        q.unshown.push(Completion {
            opcode,
            byte_len,
            imm,
            received: true,
            solicited,
            ..Completion::failed(receive.wr_id, self.number, Status::Success)
        });
    }

    /// Shows the program what it has received, now that the peer knows, or cannot be told yet.
    pub(super) fn show_received(&self, q: &mut Inner) {
        if pace::is_on() {
            self.hold_received(q);
        }
        if inject::is_armed() && !q.unshown.is_empty() {
            return self.show_received_with_faults(q);
        }
        for completion in q.unshown.drain(..) {
            if let Some(cq) = &self.setup.recv_cq {
                cq.push(completion);
            }
        }
    }
}
