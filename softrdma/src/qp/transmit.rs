// SPDX-License-Identifier: BSD-3-Clause

//! Sending: responses and requests become frames, as many as the way to the peer takes.
//!
//! Small payloads are copied behind their headers, so that many frames go with one call. A large one is
//! sent from where it is, as the last of a batch.

use std::collections::VecDeque;

use crate::objects::mr::Grant;
use crate::os::memory::Span;
use crate::os::socket;
use crate::types::completion::Status;
use crate::types::work::{Progress, Request};
use crate::wire::{Frame, Reason};

use super::complete::Cause;
use super::link::{Body, BodySource, Tx};
use super::respond::Response;
use super::{Inner, Qp};

/// Payloads up to this go behind their header.
pub(super) const COPIED: usize = 4096;
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
        if !self.knows_its_way(q) {
            return;
        }
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
                    // It may move nothing for long.
                    link.tx.staged = Vec::new();
                    if q.responses.is_empty() {
                        q.responses = VecDeque::new();
                    }
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
                return self.progress_later();
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
            staged,
            sent,
            body,
            only_acks,
            ..
        } = &mut link.tx;
        // What is sent of the program's memory is held as long as that.
        let memory = body
            .as_ref()
            .and_then(|body| self.memory_of(body, sq, *first, serves));
        let held = memory
            .as_ref()
            .and_then(|(grant, at)| Some((grant.hold().ok()?, *at)));
        let mut spans = [Span::from_slice(&staged[*sent..]), Span::NONE];
        if let Some(body) = body {
            let left = (body.length - body.done) as usize;
            spans[1] = match (&body.source, &held) {
                (BodySource::Zeros, _) => Span::from_slice(&ZEROS[..left.min(ZEROS.len())]),
                (_, Some((held, at))) => held.span(*at).first(left),
                (_, None) => Span::NONE,
            };
            if spans[1].len() == 0 && left > 0 {
                // The program deregistered the memory.
                return self.source_is_gone(q);
            }
        }
        if *only_acks && body.is_none() {
            link.paths.acks_are_next();
        }
        match link.paths.send(spans[0], spans[1]) {
            Ok(n) => {
                link.tx.advance(n);
                Sent::Some(n)
            }
            Err(errno) if socket::would_block(errno) => {
                link.tx.blocked = true;
                Sent::Stuck
            }
            // The memory is registered, but not there any more.
            Err(libc::EFAULT) if body.is_some() => {
                if let Some((held, _)) = held {
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

    /// The memory that the rest of a body is sent from, and where in it the rest begins. None if there is none, or it
    /// is not permitted any more.
    fn memory_of(
        &self,
        body: &Body,
        sq: &VecDeque<Request>,
        first: u64,
        serves: bool,
    ) -> Option<(Grant, usize)> {
        match &body.source {
            BodySource::Zeros => None,
            BodySource::Region(_, grant) => serves.then(|| (grant.clone(), body.done as usize)),
            BodySource::Request(seq) => {
                let request = sq.get(index(first, *seq)?)?;
                let range = request.data.scatter().rest_at(body.done)?;
                let grant = range.grant(self.setup.pd.as_ref()?, 0).ok()?;
                Some((grant, 0))
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
    pub(super) fn stage(q: &mut Inner, frame: Frame, payload: &[u8]) {
        if let Some(link) = &mut q.link {
            let only_acks =
                matches!(frame, Frame::Ack { .. }) && (link.tx.is_idle() || link.tx.only_acks);
            let staged = link.tx.staging();
            staged.extend_from_slice(&frame.encode());
            staged.extend_from_slice(payload);
            link.tx.only_acks = only_acks;
        }
    }

    pub(super) fn set_body(q: &mut Inner, source: BodySource, length: u32) {
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
}

/// The place of a request in the send queue.
pub(super) fn index(first: u64, seq: u64) -> Option<usize> {
    seq.checked_sub(first)
        .and_then(|index| usize::try_from(index).ok())
}
