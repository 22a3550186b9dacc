// SPDX-License-Identifier: BSD-3-Clause

//! Responses become frames of the next batch.

use crate::objects::context::AsyncKind;
use crate::types::region::Range;
use crate::wire::{Carriage, Descriptor, Frame, Reason};

use super::complete::Cause;
use super::guard::{ServedRead, Wish};
use super::link::BodySource;
use super::pulling;
use super::respond::Response;
use super::transmit::COPIED;
use super::{Inner, Qp};

impl Qp {
    pub(super) fn stage_response(&self, q: &mut Inner) -> bool {
        let Some(response) = q.responses.pop_front() else {
            return false;
        };
        let frame = match response {
            Response::Ack(seq) => Frame::Ack { seq },
            Response::Nak(seq, reason) => {
                Self::stage(q, Frame::Nak { seq, reason }, &[]);
                // Only now: what was being sent to the peer is complete.
                if !q.is_down() {
                    if reason == Reason::RemoteAccess {
                        q.violation = Some(AsyncKind::QpAccessError);
                    }
                    self.enter_error(q, Cause::Local);
                }
                return true;
            }
            Response::Data {
                seq,
                from,
                can_pull,
            } => {
                self.stage_data(q, seq, from, can_pull);
                return true;
            }
            Response::NotReady(seq) => Frame::NotReady { seq },
            Response::Ready(seq) => Frame::Ready { seq },
            Response::InBand(seq) => Frame::InBand { seq },
            Response::ReadInBand { seq, from } => Frame::ReadInBand { seq, from },
            Response::ChangesOver => {
                if let Some(link) = &mut q.link {
                    link.tx.leaves_tcp = true;
                }
                Frame::ChangesOver
            }
            Response::Disconnect => Frame::Disconnect,
            Response::Disconnected => Frame::Disconnected,
        };
        Self::stage(q, frame, &[]);
        true
    }

    fn stage_data(&self, q: &mut Inner, seq: u64, from: Range, can_pull: bool) {
        let length = from.length;
        let inband = Frame::ReadData {
            seq,
            length,
            carriage: Carriage::Inband,
        };
        let refuse = |q: &mut Inner, reason| {
            q.responses.push_front(Response::Nak(seq, reason));
        };
        let grant = match self.grant_to_peer(q, from, Wish::Read) {
            Ok(Some(grant)) => grant,
            Ok(None) => return Self::stage(q, inband, &[]),
            Err(reason) => return refuse(q, reason),
        };
        let Ok(held) = grant.hold() else {
            return refuse(q, Reason::RemoteAccess);
        };
        let link = q.link.as_ref();
        let goes_within_the_host = link.is_some_and(|link| link.paths.sends_locally());
        if can_pull && goes_within_the_host && pulling::is_worth_it(length) {
            let descriptor = Descriptor {
                addr: held.span(0).addr() as u64,
                region: held.generation(),
                // What was read when it could be is the peer's, whatever becomes of the queue pair.
                owner: held.generation(),
            };
            let frame = Frame::ReadData {
                seq,
                length,
                carriage: Carriage::ByReference,
            };
            Self::stage(q, frame, &descriptor.encode());
            if let Some(link) = &mut q.link {
                link.may_come_in_band(ServedRead { seq, from }, descriptor.region);
            }
        } else if length as usize <= COPIED {
            let Some(link) = &mut q.link else { return };
            let staged = link.tx.staging();
            let before = staged.len();
            staged.extend_from_slice(&inband.encode());
            if held.append_to(staged).is_err() {
                staged.truncate(before);
                refuse(q, Reason::RemoteAccess);
            }
        } else {
            drop(held);
            Self::stage(q, inband, &[]);
            Self::set_body(q, BodySource::Region(seq, grant), length);
        }
    }
}
