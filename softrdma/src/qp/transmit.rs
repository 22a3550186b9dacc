// SPDX-License-Identifier: BSD-3-Clause

//! Sending: responses and requests become frames, as many as the way to the peer takes.
//!
//! Small payloads are copied behind their headers, so that many frames go with one call. A large one is
//! sent from where it is, as the last of a batch.

use std::sync::{Arc, Weak};

use crate::objects::context::AsyncEvent;
use crate::objects::pd::Pd;
use crate::os::memory::Span;
use crate::os::socket;
use crate::types::completion::Status;
use crate::types::limits;
use crate::types::region::{Range, SealRef, Violation};
use crate::wire::{Carriage, Descriptor, Frame, Reason};

use super::complete::Cause;
use super::guard::{ServedRead, Wish};
use super::link::{Body, BodySource, Tx};
use super::pulling;
use super::respond::Response;
use super::{Inner, Qp, State};
use crate::types::work::{Data, Operation, Progress, Request, Scatter};

/// Payloads up to this go behind their header.
const COPIED: usize = 4096;
/// What a batch has room for at first. Not as much as the first frame needs: sizes that are all
/// different do an allocator no good.
pub(super) const ROOM: usize = 1024;
/// A batch is large enough.
const BATCH: usize = 16 * 1024;
/// How much one call sends, so that others have their turn.
const BUDGET: usize = 8 << 20;

enum Sent {
    Some(usize),
    /// Nothing goes, for now or for ever.
    Stuck,
}

static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

impl Qp {
    /// Sends what there is to send, until there is no room.
    pub(super) fn transmit(&self, q: &mut Inner) {
        let mut budget = BUDGET;
        loop {
            let Some(link) = &mut q.link else { return };
            if link.tx.broken {
                return;
            }
            if link.tx.is_idle() {
                link.tx.blocked = false;
                if std::mem::take(&mut link.tx.leaves_tcp) {
                    link.paths.send_locally();
                }
                if !self.fill(q) {
                    return;
                }
            }
            match self.send_some(q) {
                Sent::Some(n) => budget = budget.saturating_sub(n),
                Sent::Stuck => return,
            }
            if budget == 0 {
                return self.come_back();
            }
        }
    }

    /// Shows the program what it has received, after the peer has been told. So a completion of the peer's does
    /// not wait for what this program does next. What goes out for longer does not hold it up.
    pub(super) fn acknowledge_and_show(&self, q: &mut Inner) {
        if q.unshown.is_empty() {
            return;
        }
        if q.link.as_ref().is_some_and(|link| link.tx.is_idle()) {
            self.stage_responses_now(q);
            if q.link.as_ref().is_some_and(|link| !link.tx.is_idle()) {
                self.send_some(q);
            }
        }
        self.show_received(q);
    }

    fn send_some(&self, q: &mut Inner) -> Sent {
        let serves = !q.is_down() && !q.released;
        let Inner {
            link, sq, first, ..
        } = q;
        let Some(link) = link else { return Sent::Stuck };
        let Tx {
            staged, sent, body, ..
        } = &mut link.tx;
        let grant;
        let held;
        let mut program = None;
        let mut spans = [Span::from_slice(&staged[*sent..]), Span::NONE];
        if let Some(Body {
            source,
            done,
            length,
        }) = body
        {
            let left = (*length - *done) as usize;
            spans[1] = match source {
                BodySource::Zeros => Span::from_slice(&ZEROS[..left.min(ZEROS.len())]),
                BodySource::Region(_, region) => {
                    grant = region.clone();
                    match grant.hold() {
                        Ok(now_held) if serves => {
                            held = now_held;
                            program = Some(&held);
                            held.span(*done as usize).first(left)
                        }
                        _ => Span::NONE,
                    }
                }
                BodySource::Request(seq) => {
                    let range = index(*first, *seq)
                        .and_then(|index| sq.get(index))
                        .and_then(|request| request.data.scatter().rest_at(*done));
                    let pd = self.setup.pd.as_ref();
                    let granted = range
                        .zip(pd)
                        .and_then(|(range, pd)| range.grant(pd, 0).ok());
                    if let Some(granted) = granted {
                        grant = granted;
                        match grant.hold() {
                            Ok(now_held) => {
                                held = now_held;
                                program = Some(&held);
                                held.span(0).first(left)
                            }
                            Err(_) => Span::NONE,
                        }
                    } else {
                        Span::NONE
                    }
                }
            };
            if spans[1].len() == 0 && left > 0 {
                // The program deregistered the memory.
                return self.source_is_gone(q);
            }
        }
        match link.paths.send(spans[0], spans[1]) {
            Ok(n) => {
                let of_staged = n.min(staged.len() - *sent);
                *sent += of_staged;
                if let Some(body) = body {
                    body.done += (n - of_staged) as u64;
                }
                let body_done = body.as_ref().is_none_or(|body| body.done >= body.length);
                if *sent == staged.len() && body_done {
                    staged.clear();
                    *sent = 0;
                    *body = None;
                }
                Sent::Some(n)
            }
            Err(errno) if socket::would_block(errno) => {
                link.tx.blocked = true;
                Sent::Stuck
            }
            // The memory is registered, but not there any more.
            Err(libc::EFAULT) if body.is_some() => {
                if let Some(held) = program {
                    held.is_gone();
                }
                self.source_is_gone(q)
            }
            Err(_) => {
                // The end of the input will tell why, after what is still to be read.
                link.tx.stop();
                Sent::Stuck
            }
        }
    }

    /// The memory that is being sent cannot be read.
    fn source_is_gone(&self, q: &mut Inner) -> Sent {
        let Some(link) = &mut q.link else {
            return Sent::Stuck;
        };
        let Some(body) = &mut link.tx.body else {
            return Sent::Stuck;
        };
        match body.source {
            BodySource::Region(seq, _) => {
                // The rest of the frame has to come, and then that it is no good.
                body.source = BodySource::Zeros;
                let reason = if q.is_down() || q.released {
                    Reason::QueuePairGone
                } else {
                    Reason::RemoteAccess
                };
                q.responses.push_front(Response::Nak(seq, reason));
                Sent::Some(0)
            }
            BodySource::Request(seq) => {
                link.abort_sending();
                if let Ok(request) = Self::sent(q, seq) {
                    request.progress = Progress::Failed(Status::LocalProtection);
                }
                self.reap(q);
                self.enter_error(q, Cause::Local);
                Sent::Stuck
            }
            BodySource::Zeros => Sent::Stuck,
        }
    }

    /// Prepares the next batch. Whether there is anything to send.
    fn fill(&self, q: &mut Inner) -> bool {
        loop {
            let Some(link) = &q.link else { return false };
            if link.tx.body.is_some() || link.tx.staged.len() >= BATCH || link.tx.leaves_tcp {
                return true;
            }
            // A stream of large responses must not keep requests from being sent, nor the reverse.
            // An acknowledgement is before the answer of the program that it was delayed for.
            let requests_first =
                link.tx.last_was_response && !matches!(q.responses.front(), Some(Response::Ack(_)));
            let staged = (requests_first && self.stage_request(q))
                || self.stage_response(q)
                || (!requests_first && self.stage_request(q));
            // A request that failed may have left something to say.
            if !staged && q.responses.is_empty() {
                return q.link.as_ref().is_some_and(|link| !link.tx.is_idle());
            }
        }
    }

    /// Puts a frame into the batch.
    fn stage(q: &mut Inner, frame: Frame, payload: &[u8]) {
        if let Some(link) = &mut q.link {
            link.tx.staged.extend_from_slice(&frame.encode());
            link.tx.staged.extend_from_slice(payload);
        }
    }

    fn set_body(q: &mut Inner, source: BodySource, length: u32) {
        if let Some(link) = &mut q.link {
            link.tx.last_was_response = matches!(source, BodySource::Region(..));
            link.tx.body = Some(Body {
                source,
                done: 0,
                length: u64::from(length),
            });
        }
    }

    /// Takes the data of small reads before the requests behind them change it.
    pub(super) fn stage_responses_now(&self, q: &mut Inner) {
        while q.link.as_ref().is_some_and(|link| {
            !link.tx.broken
                && !link.tx.leaves_tcp
                && link.tx.body.is_none()
                && link.tx.staged.len() < BATCH
        }) && self.stage_response(q)
        {}
    }

    // --- Responses -------------------------------------------------------------------------------

    fn stage_response(&self, q: &mut Inner) -> bool {
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
                        q.violation = Some(AsyncEvent::QpAccessError(Weak::clone(&self.me)));
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
            Response::CanPull => Frame::CanPull,
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
                region: held.seal(),
                // What was read when it could be is the peer's, whatever becomes of the queue pair.
                owner: held.seal(),
            };
            let frame = Frame::ReadData {
                seq,
                length,
                carriage: Carriage::ByReference,
            };
            Self::stage(q, frame, &descriptor.encode());
            if let Some(link) = &mut q.link {
                link.may_come_in_band(ServedRead { seq, from });
            }
        } else if length as usize <= COPIED {
            let Some(link) = &mut q.link else { return };
            let staged = &mut link.tx.staged;
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

    // --- Requests --------------------------------------------------------------------------------

    fn stage_request(&self, q: &mut Inner) -> bool {
        if q.state != State::ReadyToSend || q.held || q.stopped {
            return false;
        }
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
        if request.fence && *reads > 0 {
            return false;
        }
        if request.is_read() && *reads >= usize::from(q.attributes.reads) {
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
        let by_reference = link.peer_pulls()
            && link.paths.sends_locally()
            && pulling::is_worth_it(length)
            && request.can_go_by_reference();
        let carriage = if by_reference {
            Carriage::ByReference
        } else {
            Carriage::Inband
        };
        let frame = match request.operation {
            Operation::Send => Frame::Send {
                seq,
                length,
                imm: request.imm,
                solicited: request.solicited,
                carriage,
            },
            Operation::Write { mut to } => {
                to.length = length;
                Frame::Write {
                    seq,
                    to,
                    imm: request.imm,
                    solicited: request.solicited,
                    carriage,
                }
            }
            Operation::Read { mut from } => {
                from.length = length;
                Frame::Read {
                    seq,
                    from,
                    can_pull: link.source.process().is_some() && request.can_go_by_reference(),
                }
            }
            Operation::AtomicWrite { mut to } => {
                to.length = 8;
                Frame::AtomicWrite { seq, to }
            }
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
        };
        let staged = &mut link.tx.staged;
        let before = staged.len();
        staged.extend_from_slice(&frame.encode());
        let mut comes_later = false;
        let staged_all = match &request.data {
            _ if frame.payload() == 0 => Ok(()),
            Data::Inline(bytes) => {
                staged.extend_from_slice(bytes);
                Ok(())
            }
            Data::Memory(Scatter::One(range)) if by_reference => {
                stage_descriptor(staged, *range, pd, q.seal.reference())
            }
            Data::Memory(scatter) if length as usize <= COPIED => stage_bytes(staged, scatter, pd),
            Data::Memory(_) => {
                comes_later = true;
                Ok(())
            }
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
        if comes_later {
            Self::set_body(q, BodySource::Request(seq), length);
        }
        true
    }
}

fn stage_descriptor(
    staged: &mut Vec<u8>,
    range: Range,
    pd: Option<&Arc<Pd>>,
    owner: SealRef,
) -> Result<(), Violation> {
    let grant = range.grant(pd.ok_or(Violation)?, 0)?;
    let held = grant.hold()?;
    let descriptor = Descriptor {
        addr: held.span(0).addr() as u64,
        region: held.seal(),
        owner,
    };
    staged.extend_from_slice(&descriptor.encode());
    Ok(())
}

fn stage_bytes(
    staged: &mut Vec<u8>,
    scatter: &Scatter,
    pd: Option<&Arc<Pd>>,
) -> Result<(), Violation> {
    for range in scatter.ranges() {
        if range.length > 0 {
            let grant = range.grant(pd.ok_or(Violation)?, 0)?;
            grant.hold()?.append_to(staged)?;
        }
    }
    Ok(())
}

fn index(first: u64, seq: u64) -> Option<usize> {
    seq.checked_sub(first)
        .and_then(|index| usize::try_from(index).ok())
}

/// The checks of the initiator's own memory.
fn check_locally(request: &Request, pd: Option<&Arc<Pd>>) -> Result<(), Status> {
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
