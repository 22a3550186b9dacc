// SPDX-License-Identifier: BSD-3-Clause

//! Requests become frames of the next batch.

use std::sync::Arc;

use crate::instrument::{inject, pace};
use crate::objects::pd::Pd;
use crate::types::completion::Status;
use crate::types::limits;
use crate::types::region::{GenerationRef, Range, Violation};
use crate::types::work::{Data, Operation, Progress, Request, Scatter};
use crate::wire::{Carriage, Descriptor, Frame};

use super::link::{BodySource, Link};
use super::pulling;
use super::transmit::{COPIED, index};
use super::{Inner, Qp, State};

impl Qp {
    /// Stages the next request, if it may be sent now. Whether it was.
    pub(super) fn stage_request(&self, q: &mut Inner) -> bool {
        if q.state != State::ReadyToSend || q.held || q.stopped || Self::shares_first_request(q) {
            return false;
        }
        if pace::is_on() && self.is_on_its_way(q) {
            return false;
        }
        if inject::is_armed() && self.finds_no_receive(q) {
            return false;
        }
        let may_share = self.may_share_next_request(q);
        let seq = q.next;
        let Some(index) = index(q.first, seq) else {
            return false;
        };
        let Inner {
            sq, link, reads, ..
        } = q;
        let (Some(request), Some(link)) = (sq.get_mut(index), link.as_mut()) else {
            return false;
        };
        let waits_for_reads = request.fence && *reads > 0
            || request.is_read() && *reads >= usize::from(q.attributes.reads);
        if waits_for_reads {
            return false;
        }
        let pd = self.setup.pd.as_ref();
        if let Err(status) = check_locally(request, pd) {
            request.progress = Progress::Failed(status);
            q.stopped = true;
            self.reap(q);
            return false;
        }
        request.progress = Progress::Sent;
        if request.is_read() {
            *reads += 1;
        }
        let length = request.length();
        let carriage = match carriage_of(request, link) {
            carriage if may_share => Self::share(link, seq, request, carriage),
            carriage => carriage,
        };
        let frame = frame_of(request, seq, link, carriage);
        let staged = link.tx.staging();
        let before = staged.len();
        staged.extend_from_slice(&frame.encode());
        let has_body = frame.payload() > 0 && goes_as_body(request, carriage);
        let staged_all = match &request.data {
            _ if frame.payload() == 0 || has_body => Ok(()),
            Data::Inline(bytes) => {
                staged.extend_from_slice(bytes);
                Ok(())
            }
            Data::Memory(Scatter::One(range)) if is_copied(carriage) => {
                stage_descriptor(staged, *range, pd, q.generation.reference())
            }
            Data::Memory(scatter) => stage_bytes(staged, scatter, pd),
        };
        if staged_all.is_err() {
            // Deregistered since it was checked a moment ago, or registered but not there.
            staged.truncate(before);
            request.progress = Progress::Failed(Status::LocalProtection);
            q.stopped = true;
            self.reap(q);
            return false;
        }
        q.next += 1;
        if has_body {
            Self::set_body(q, BodySource::Request(seq), length);
        }
        true
    }
}

/// How the payload gets to the peer: the peer copies it, it follows the header, or it is there already.
fn carriage_of(request: &Request, link: &mut Link) -> Carriage {
    if request.placed {
        return Carriage::Placed;
    }
    let by_reference = link.paths.sends_locally()
        && pulling::is_worth_it(request.length())
        && request.can_go_by_reference()
        && link.peer_pulls();
    if by_reference {
        Carriage::ByReference
    } else {
        Carriage::Inband
    }
}

/// Whether the peer copies the payload.
fn is_copied(carriage: Carriage) -> bool {
    matches!(carriage, Carriage::ByReference | Carriage::InChunks)
}

/// Whether the payload is sent from where it is, as the last of the batch.
fn goes_as_body(request: &Request, carriage: Carriage) -> bool {
    matches!(request.data, Data::Memory(_))
        && carriage == Carriage::Inband
        && request.length() as usize > COPIED
}

fn frame_of(request: &Request, seq: u64, link: &Link, carriage: Carriage) -> Frame {
    let length = request.length();
    match request.operation {
        Operation::Send => Frame::Send {
            seq,
            length,
            imm: request.imm,
            solicited: request.solicited,
            carriage,
        },
        Operation::Write { to } => Frame::Write {
            seq,
            to: Range { length, ..to },
            imm: request.imm,
            // Without immediate data the peer has no completion.
            solicited: request.solicited && request.imm.is_some(),
            carriage,
        },
        Operation::Read { from } => Frame::Read {
            seq,
            from: Range { length, ..from },
            can_pull: link.source.process().is_some() && request.can_go_by_reference(),
            in_chunks: carriage == Carriage::InChunks,
        },
        Operation::AtomicWrite { to } => Frame::AtomicWrite {
            seq,
            to: Range { length: 8, ..to },
        },
        Operation::Flush {
            at,
            placement,
            whole_region,
        } => Frame::Flush {
            seq,
            at,
            placement,
            whole_region,
        },
    }
}

fn stage_descriptor(
    staged: &mut Vec<u8>,
    range: Range,
    pd: Option<&Arc<Pd>>,
    owner: GenerationRef,
) -> Result<(), Violation> {
    range.with_held(pd.ok_or(Violation)?, 0, |held| {
        let descriptor = Descriptor {
            addr: held.span(0).addr() as u64,
            region: held.generation(),
            owner,
        };
        staged.extend_from_slice(&descriptor.encode());
    })
}

fn stage_bytes(
    staged: &mut Vec<u8>,
    scatter: &Scatter,
    pd: Option<&Arc<Pd>>,
) -> Result<(), Violation> {
    for range in scatter.ranges() {
        if range.length > 0 {
            range.with_held(pd.ok_or(Violation)?, 0, |held| held.append_to(staged))??;
        }
    }
    Ok(())
}

/// The checks of the initiator's own memory.
pub(super) fn check_locally(request: &Request, pd: Option<&Arc<Pd>>) -> Result<(), Status> {
    if request.data.length() > u64::from(limits::MAX_MESSAGE) {
        return Err(Status::LocalLength);
    }
    let pd = pd.ok_or(Status::LocalProtection)?;
    let needs = request.operation.local_needs();
    for range in request.data.scatter().ranges() {
        if range.length > 0 {
            range
                .grant(pd, needs)
                .map_err(|_| Status::LocalProtection)?;
        }
    }
    Ok(())
}
