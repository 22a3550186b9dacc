// SPDX-License-Identifier: BSD-3-Clause

//! Receiving: frames from the peer, and their payloads straight to where they belong.
//!
//! Nothing here waits for the program. A message that finds no receive is dropped and asked for again
//! when there is one, so that the responses behind it are never held up.

use crate::os::memory::Span;
use crate::os::socket;
use crate::types::completion::{Opcode, Status};
use crate::types::region::Range;
use crate::wire::{Carriage, DESCRIPTOR, Frame, HEADER, Malformed, Reason};

use super::guard::{Target, Wish};
use super::link::Link;
use super::pulling::{InMemory, Pull};
use super::{Inner, Peer, Qp};
use crate::types::work::{Progress, Receive};

/// Input that is not for the program's memory, and what comes along with it.
const BUFFER: usize = 4096;
/// How much one call reads, so that others have their turn.
const BUDGET: usize = 4 << 20;

pub(super) struct Rx {
    /// Allocated when something comes.
    pub(super) buffer: Vec<u8>,
    start: usize,
    end: usize,
    payload: Option<Payload>,
    /// Bytes that another process holds are on their way to the program's memory.
    pub(super) pull: Option<Pull>,
    pub(super) in_memory: Option<InMemory>,
    /// A request of the peer was dropped in the middle: it waits for an answer.
    pub(super) cut: bool,
    /// A request that both sides executed is over: the next one may come at once.
    pub(super) expects_more: bool,
}

/// A payload, as far as it has come.
pub(super) struct Payload {
    pub(super) sink: Sink,
    pub(super) length: u64,
    done: u64,
    /// The memory was no good after all: the rest is dropped.
    failed: bool,
}

/// Where a payload belongs.
pub(super) enum Sink {
    Nowhere,
    Receive {
        seq: u64,
        receive: Receive,
        imm: Option<u32>,
        solicited: bool,
    },
    Write {
        seq: u64,
        to: Range,
        with_imm: Option<WithImm>,
        /// The peer copies some of it itself.
        in_chunks: bool,
    },
    AtomicWrite {
        seq: u64,
        to: Range,
    },
    /// The data of a request of this side.
    ReadData {
        seq: u64,
    },
    /// A descriptor: `sink` is where the bytes that it stands for belong.
    Descriptor {
        sink: Box<Sink>,
        length: u32,
    },
}

pub(super) struct WithImm {
    pub(super) receive: Receive,
    pub(super) imm: u32,
    pub(super) solicited: bool,
}

enum Step {
    Went,
    /// More bytes are needed.
    Needs,
}

impl Rx {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            payload: None,
            pull: None,
            in_memory: None,
            cut: false,
            expects_more: false,
        }
    }

    /// The connection has begun, and may move nothing for long: the buffer is allocated anew for what comes next.
    fn release_buffer(&mut self) {
        if self.start == self.end {
            self.buffer = Vec::new();
            self.start = 0;
            self.end = 0;
        }
    }

    /// Whether something has come that was not worked off.
    pub(super) fn has_input(&self) -> bool {
        !self.buffered().is_empty() || self.payload.is_some()
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, n: usize) {
        self.start += n;
        if self.start >= self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.buffered().first_chunk::<N>()?;
        self.consume(N);
        Some(bytes)
    }

    /// The payload under way goes nowhere. The receive that it was for.
    pub(super) fn drop_payload(&mut self) -> Option<Receive> {
        let sink = match (self.pull.take(), &mut self.payload) {
            (Some(pull), _) => pull.sink,
            (None, Some(payload)) => std::mem::replace(&mut payload.sink, Sink::Nowhere),
            (None, None) => return None,
        };
        self.cut |= sink.is_of_a_request();
        sink.into_receive()
    }
}

impl Sink {
    pub(super) fn into_receive(self) -> Option<Receive> {
        match self {
            Self::Receive { receive, .. } => Some(receive),
            Self::Write {
                with_imm: Some(with),
                ..
            } => Some(with.receive),
            Self::Descriptor { sink, .. } => sink.into_receive(),
            _ => None,
        }
    }

    fn is_of_a_request(&self) -> bool {
        match self {
            Self::Nowhere | Self::ReadData { .. } => false,
            Self::Descriptor { sink, .. } => sink.is_of_a_request(),
            Self::Receive { .. } | Self::Write { .. } | Self::AtomicWrite { .. } => true,
        }
    }

    /// What is needed in one piece before anything can be done.
    fn whole(&self) -> bool {
        matches!(self, Self::AtomicWrite { .. } | Self::Descriptor { .. })
    }
}

impl Qp {
    /// Reads what has come. Whether there was anything.
    pub(super) fn receive(&self, q: &mut Inner) -> bool {
        if !self.knows_its_way(q) {
            return false;
        }
        let mut read = 0;
        loop {
            match self.work_off(q) {
                Ok(()) => {}
                Err(Malformed) => {
                    self.lost(q);
                    return true;
                }
            }
            if read >= BUDGET || self.is_pulling(q) {
                return true;
            }
            match self.read_more(q) {
                // Less than there was room for: it was all. The rest of the work is done above.
                Ok(More::Some { all: true, .. }) => {
                    if self.work_off(q).is_err() {
                        self.lost(q);
                    }
                    return true;
                }
                Ok(More::Some { n, all: false }) => read += n,
                Ok(More::Nothing) => return read > 0,
                Err(()) => {
                    self.lost(q);
                    return true;
                }
            }
        }
    }

    /// Does what can be done with what was read.
    fn work_off(&self, q: &mut Inner) -> Result<(), Malformed> {
        loop {
            if q.link.is_none() || self.is_pulling(q) {
                return Ok(());
            }
            match self.step(q)? {
                Step::Went => {}
                Step::Needs => return Ok(()),
            }
            if q.faults.peer_died {
                self.lose_dead_peer(q);
                return Ok(());
            }
        }
    }

    fn step(&self, q: &mut Inner) -> Result<Step, Malformed> {
        let Some(link) = &mut q.link else {
            return Ok(Step::Needs);
        };
        if link.rx.payload.is_some() {
            return self.payload_step(q);
        }
        let Some(header) = link.rx.take::<HEADER>() else {
            return Ok(Step::Needs);
        };
        let frame = Frame::decode(&header)?;
        let sink = self.begin(q, frame)?;
        let length = frame.payload() as u64;
        if let Some(link) = &mut q.link {
            link.rx.payload = Some(Payload {
                sink,
                length,
                done: 0,
                failed: false,
            });
        }
        Ok(Step::Went)
    }

    // --- Frames ----------------------------------------------------------------------------------

    /// What is to be done with the payload of a frame.
    fn begin(&self, q: &mut Inner, frame: Frame) -> Result<Sink, Malformed> {
        if !q.may_come(&frame) {
            return Err(Malformed);
        }
        match frame {
            Frame::Send { seq, .. }
            | Frame::Write { seq, .. }
            | Frame::Read { seq, .. }
            | Frame::AtomicWrite { seq, .. }
            | Frame::Flush { seq, .. } => {
                if self.engage(q, &frame)? && self.is_next(q, seq)? {
                    return self.request(q, frame);
                }
            }
            Frame::Ack { seq } => self.acknowledged(q, seq)?,
            Frame::Nak { seq, reason } => self.refused(q, seq, reason)?,
            Frame::ReadData {
                seq,
                length,
                carriage,
            } => return self.read_data(q, seq, length, carriage),
            Frame::NotReady { seq } => self.not_ready(q, seq)?,
            Frame::Ready { seq } => self.ready_again(q, seq)?,
            Frame::InBand { seq } => self.go_on_in_band(q, seq)?,
            Frame::ReadInBand { seq, from } => self.read_in_band(q, seq, from)?,
            Frame::Use => {
                if let Some(link) = &mut q.link {
                    link.rx.release_buffer();
                }
                self.is_in_use(q);
            }
            Frame::ChangesOver => Self::peer_changes_over(q)?,
            Frame::Disconnect => {
                q.peer = Peer::Left;
                if let Some(owner) = q.owner() {
                    owner.peer_disconnected();
                }
            }
            Frame::Disconnected => {
                if !q.disconnected {
                    return Err(Malformed);
                }
                q.peer = Peer::Left;
                if let Some(owner) = q.owner() {
                    owner.peer_answered_disconnect();
                }
            }
        }
        Ok(Sink::Nowhere)
    }

    /// What follows goes through the shared memory. Nothing may follow on TCP: it could be somebody else's, and
    /// would be taken for what the process at the other end of the memory says.
    fn peer_changes_over(q: &mut Inner) -> Result<(), Malformed> {
        let Some(link) = &mut q.link else {
            return Ok(());
        };
        if !link.paths.has_local()
            || link.paths.receives_locally()
            || !link.rx.buffered().is_empty()
        {
            return Err(Malformed);
        }
        link.paths.receive_locally();
        link.rx.release_buffer();
        Ok(())
    }

    fn read_data(
        &self,
        q: &mut Inner,
        seq: u64,
        length: u32,
        carriage: Carriage,
    ) -> Result<Sink, Malformed> {
        if q.is_down() {
            return Ok(Sink::Nowhere);
        }
        let request = Self::sent(q, seq)?;
        let awaited = match request.progress {
            Progress::Sent => true,
            Progress::AskedAgain => carriage == Carriage::Inband,
            _ => false,
        };
        if !request.is_read() || !awaited || request.length() != length {
            return Err(Malformed);
        }
        Self::is_answered(request);
        self.carried(q, Sink::ReadData { seq }, length, carriage)
    }

    // --- Payloads --------------------------------------------------------------------------------

    /// What of the program's memory the payload's next bytes belong to.
    pub(super) fn target(q: &Inner, sink: &Sink, done: u64) -> Option<Target> {
        match sink {
            Sink::Receive { receive, .. } => Some(Target::Own(receive.into.rest_at(done)?)),
            Sink::Write { to, .. } => Some(Target::Peers(Range {
                addr: to.addr.checked_add(done)?,
                length: to.length.checked_sub(u32::try_from(done).ok()?)?,
                key: to.key,
            })),
            Sink::ReadData { seq } => {
                let index = usize::try_from(seq.checked_sub(q.first)?).ok()?;
                let request = q.sq.get(index)?;
                Some(Target::Own(request.data.scatter().rest_at(done)?))
            }
            _ => None,
        }
    }

    /// Moves on with a payload: with what is in the buffer, or to its end.
    fn payload_step(&self, q: &mut Inner) -> Result<Step, Malformed> {
        let Some(mut payload) = q.link.as_mut().and_then(|link| link.rx.payload.take()) else {
            return Ok(Step::Needs);
        };
        if payload.sink.whole() {
            return self.whole_payload(q, payload);
        }
        while payload.done < payload.length {
            let left = payload.length - payload.done;
            let target = if payload.failed {
                None
            } else {
                Self::target(q, &payload.sink, payload.done)
            };
            let available = match &q.link {
                Some(link) => link.rx.buffered(),
                None => return Ok(Step::Needs),
            };
            let available = &available[..available.len().min(left as usize)];
            let n = match target {
                _ if available.is_empty() => 0,
                None => {
                    payload.failed |= !matches!(payload.sink, Sink::Nowhere);
                    available.len()
                }
                Some(target) => {
                    let part = target.first(available.len() as u32);
                    let wrote = self.grant_target(q, part).and_then(|grant| {
                        let held = grant.hold().ok()?;
                        held.write(available).ok()
                    });
                    payload.failed |= wrote.is_none();
                    wrote.unwrap_or(available.len())
                }
            };
            let nothing_came = available.is_empty();
            let Some(link) = &mut q.link else {
                return Ok(Step::Needs);
            };
            if nothing_came {
                link.rx.payload = Some(payload);
                return Ok(Step::Needs);
            }
            link.rx.consume(n);
            payload.done += n as u64;
        }
        self.finish(q, payload.sink, payload.failed, payload.length)?;
        Ok(Step::Went)
    }

    /// A payload that is needed in one piece. It is small.
    fn whole_payload(&self, q: &mut Inner, payload: Payload) -> Result<Step, Malformed> {
        let Some(link) = &mut q.link else {
            return Ok(Step::Needs);
        };
        match payload.sink {
            Sink::AtomicWrite { seq, to } => {
                let Some(bytes) = link.rx.take::<8>() else {
                    link.rx.payload = Some(payload);
                    return Ok(Step::Needs);
                };
                let granted = self.grant_to_peer(q, to, Wish::AtomicWrite);
                let stored = granted.and_then(|grant| {
                    let grant = grant.ok_or(Reason::RemoteAccess)?;
                    let held = grant.hold().map_err(|_| Reason::RemoteAccess)?;
                    let stored = held.store_atomically(bytes);
                    stored.map_err(|_| Reason::RemoteAccess)
                });
                match stored {
                    Ok(()) => self.served(q, seq),
                    Err(reason) => self.refuse(q, seq, reason),
                }
            }
            Sink::Descriptor { sink, length } => {
                let Some(bytes) = link.rx.take::<DESCRIPTOR>() else {
                    link.rx.payload = Some(Payload {
                        sink: Sink::Descriptor { sink, length },
                        ..payload
                    });
                    return Ok(Step::Needs);
                };
                self.begin_pull(q, *sink, length, &bytes);
            }
            _ => {}
        }
        Ok(Step::Went)
    }

    /// All of the payload has come.
    pub(super) fn finish(
        &self,
        q: &mut Inner,
        sink: Sink,
        failed: bool,
        length: u64,
    ) -> Result<(), Malformed> {
        let byte_len = u32::try_from(length).unwrap_or(u32::MAX);
        match sink {
            Sink::Receive {
                seq,
                receive,
                imm,
                solicited,
            } => {
                if failed {
                    self.complete_receive(q, receive.wr_id, Status::LocalProtection);
                    self.refuse(q, seq, Reason::RemoteOperation);
                } else {
                    self.received(q, &receive, Opcode::Receive, byte_len, imm, solicited);
                    self.served(q, seq);
                }
            }
            Sink::Write {
                seq, to, with_imm, ..
            } => {
                if failed {
                    if let Some(with) = with_imm {
                        self.complete_receive(q, with.receive.wr_id, Status::RemoteAccess);
                    }
                    self.refuse(q, seq, Reason::RemoteAccess);
                } else {
                    if let Some(with) = with_imm {
                        let opcode = Opcode::ReceiveRdmaWithImm;
                        let imm = Some(with.imm);
                        // The bytes need not have come with the frame.
                        self.received(q, &with.receive, opcode, to.length, imm, with.solicited);
                    }
                    self.served(q, seq);
                }
            }
            Sink::ReadData { seq } if !q.is_down() => {
                Self::sent(q, seq)?.progress = if failed {
                    Progress::Failed(Status::LocalProtection)
                } else {
                    Progress::Arrived
                };
                self.reap(q);
            }
            _ => {}
        }
        Ok(())
    }

    // --- Bytes -----------------------------------------------------------------------------------

    /// Reads what has come: into the program's memory if a payload is under way, and into the buffer.
    fn read_more(&self, q: &mut Inner) -> Result<More, ()> {
        let target = match q.link.as_ref().and_then(|link| link.rx.payload.as_ref()) {
            Some(payload) if !payload.failed => Self::target(q, &payload.sink, payload.done)
                .zip(Some(payload.length - payload.done)),
            _ => None,
        };
        let grant = target.and_then(|(target, left)| {
            let part = target.first(u32::try_from(left).unwrap_or(u32::MAX));
            self.grant_target(q, part)
        });
        let Some(link) = &mut q.link else {
            return Ok(More::Nothing);
        };
        let Link { paths, rx, .. } = link;
        let is_first = rx.buffer.is_empty();
        if is_first {
            rx.buffer.try_reserve_exact(BUFFER).map_err(|_| ())?;
            rx.buffer.resize(BUFFER, 0);
        }
        if rx.start > 0 {
            rx.buffer.copy_within(rx.start..rx.end, 0);
            rx.end -= rx.start;
            rx.start = 0;
        }
        let held = grant.as_ref().and_then(|grant| grant.hold().ok());
        if target.is_some() && held.is_none() {
            if let Some(payload) = &mut rx.payload {
                payload.failed = true;
            }
        }
        // A payload's bytes in the buffer have been used up by now, so the order is right.
        let direct = held.as_ref().map_or(Span::NONE, |held| held.span(0));
        let direct_length = direct.len();
        let room = rx.buffer.len() - rx.end;
        let buffer = Span::from_mut(&mut rx.buffer[rx.end..]);
        match paths.receive(direct, buffer) {
            Ok(0) => Err(()),
            Ok(n) => {
                let placed = n.min(direct_length);
                if let Some(payload) = &mut rx.payload {
                    payload.done += placed as u64;
                }
                rx.end += n - placed;
                Ok(More::Some {
                    n,
                    all: n < direct_length + room,
                })
            }
            Err(errno) if socket::would_block(errno) => {
                if is_first {
                    rx.release_buffer();
                }
                Ok(More::Nothing)
            }
            // The program's memory is not there any more.
            Err(libc::EFAULT) => {
                if let Some(held) = &held {
                    held.is_gone();
                }
                if let Some(payload) = &mut rx.payload {
                    payload.failed = true;
                }
                Ok(More::Some { n: 0, all: false })
            }
            Err(errno) => {
                if errno == libc::ETIMEDOUT {
                    self.host_vanished(q);
                }
                Err(())
            }
        }
    }
}

enum More {
    /// So many bytes were read; `all` when there were no more.
    Some {
        n: usize,
        all: bool,
    },
    Nothing,
}
