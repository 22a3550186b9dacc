// SPDX-License-Identifier: BSD-3-Clause

//! Both ends of a connection in one process, which copies from itself.

use std::sync::Arc;

use crate::Result;
use crate::context::Context;
use crate::cq::{Cq, Opcode, Status};
use crate::mr::{Mr, Range, Terms, access};
use crate::os::memory::Span;
use crate::os::socket::Socket;
use crate::os::testing::Mapped;
use crate::pd::Pd;
use crate::srq::Srq;
use crate::wire::{Frame, HEADER};

use super::link::Link;
use super::path::Stream;
use super::pulling::{Puller, Source};
use super::work::{Data, Operation, Progress, Receive, Request, Scatter};
use super::{Caps, Qp, Setup, State};

/// Large enough for more than one step of a copy.
const BIG: u32 = 3 << 20;
/// Of each side: what it sends or offers, and what it receives.
const MEMORY: usize = 2 * BIG as usize;

struct Side {
    qp: Arc<Qp>,
    cq: Arc<Cq>,
    srq: Option<Arc<Srq>>,
    mr: Arc<Mr>,
    memory: Vec<u8>,
}

/// Which process each side copies from, and whether with shared receive queues.
#[derive(Clone, Copy)]
struct Plan {
    pid: i32,
    shared: bool,
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// No process has it.
const NOBODY: i32 = i32::MAX;

impl Side {
    fn new(socket: Socket, plan: Plan) -> Result<Self> {
        let context = Context::new()?;
        let pd = Pd::new(&context);
        let cq = Cq::new(&context, 64, None)?;
        let srq = match plan.shared {
            true => Some(Srq::new(&pd, 16, 4, 0)?),
            false => None,
        };
        let mut memory = vec![0u8; MEMORY];
        let terms = Terms {
            addr: memory.as_mut_ptr().expose_provenance() as u64,
            length: MEMORY as u64,
            iova: 0,
            access: access::LOCAL_WRITE | access::REMOTE_WRITE | access::REMOTE_READ,
        };
        let mr = Mr::register(&pd, terms.check()?)?;
        let qp = Qp::new(
            Setup {
                pd: Some(pd),
                send_cq: Some(Arc::clone(&cq)),
                recv_cq: Some(Arc::clone(&cq)),
                srq: srq.clone(),
                caps: Caps {
                    max_send_wr: 15,
                    max_recv_wr: 15,
                    max_send_sge: 4,
                    max_recv_sge: 4,
                    max_inline: 64,
                },
                signal_all: true,
            },
            State::ReadyToSend,
        );
        {
            let mut q = qp.inner.lock();
            q.peer_params.rnr_retry_count = 7;
            let mut link = Link::new(Stream::Socket(socket), None);
            link.source = Source::Process(plan.pid);
            link.peer = Puller::that(true);
            q.link = Some(link);
        }
        Ok(Self {
            qp,
            cq,
            srq,
            mr,
            memory,
        })
    }

    fn pair(plan: Plan) -> Result<(Self, Self)> {
        let (a, b) = Socket::pair()?;
        Ok((Self::new(a, plan)?, Self::new(b, plan)?))
    }

    /// The half of the memory that bytes come from.
    fn source(&self, length: u32) -> Range {
        Range {
            addr: 0,
            length,
            key: self.mr.key,
        }
    }

    /// The half of the memory that bytes go to.
    fn place(&self, length: u32) -> Range {
        Range {
            addr: u64::from(BIG),
            ..self.source(length)
        }
    }

    fn fill_source(&mut self, seed: u8) {
        for (i, byte) in self.memory[..BIG as usize].iter_mut().enumerate() {
            *byte = (i as u8).wrapping_mul(7).wrapping_add((i >> 11) as u8) ^ seed;
        }
    }

    fn post(&self, wr_id: u64, operation: Operation, data: Range, more: More) -> Result<()> {
        self.qp.posting().add(Request {
            wr_id,
            operation,
            data: Data::Memory(Scatter::One(data)),
            imm: more.imm,
            signaled: true,
            solicited: false,
            fence: more.fence,
            progress: Progress::Waiting,
        })
    }

    fn post_receive(&self, wr_id: u64, into: Range) -> Result<()> {
        let receive = Receive {
            wr_id,
            into: Scatter::One(into),
        };
        match &self.srq {
            Some(srq) => srq.post(receive),
            None => self.qp.post_receive(receive),
        }
    }

    fn completions(&self) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        self.cq.poll(64, |completion| {
            seen.push(Seen {
                wr_id: completion.wr_id,
                status: completion.status,
                received: completion.received.then_some(completion.opcode),
            });
        })?;
        Ok(seen)
    }

    fn pulls(&self) -> bool {
        let q = self.qp.inner.lock();
        q.link
            .as_ref()
            .is_some_and(|link| link.source.process().is_some())
    }

    fn sends_references(&self) -> bool {
        let q = self.qp.inner.lock();
        q.link.as_ref().is_some_and(|link| link.peer.pulls)
    }

    fn end(self) -> Result<()> {
        self.qp.close();
        self.qp.release();
        self.mr.deregister();
        Ok(())
    }
}

#[derive(Clone, Copy, Default)]
struct More {
    imm: Option<u32>,
    fence: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    wr_id: u64,
    status: Status,
    received: Option<Opcode>,
}

fn sent(wr_id: u64, status: Status) -> Seen {
    Seen {
        wr_id,
        status,
        received: None,
    }
}

fn received(wr_id: u64, opcode: Opcode) -> Seen {
    Seen {
        wr_id,
        status: Status::Success,
        received: Some(opcode),
    }
}

/// Lets both sides do what there is to do, until neither gets any further.
fn run(a: &Side, b: &Side) {
    // No step moves less than what a socket takes at a time, and a few do nothing.
    for _ in 0..2000 {
        a.qp.progress();
        b.qp.progress();
    }
}

const PLAIN: More = More {
    imm: None,
    fence: false,
};
const WITH_IMM: More = More {
    imm: Some(7),
    fence: false,
};

/// Every kind of request one after the other, so that what is asked for again has others before and
/// behind it, small ones among them. All of them come to their end, in order, with the right bytes.
fn everything_arrives(plan: Plan) -> Result<()> {
    for swapped in [false, true] {
        let (a, b) = Side::pair(plan)?;
        let (mut a, mut b) = if swapped { (b, a) } else { (a, b) };
        a.fill_source(1);
        b.fill_source(2);
        let third = BIG / 3;
        let part = |range: Range, n: u64, length| Range {
            addr: range.addr + n * u64::from(third),
            length,
            ..range
        };
        let (from, at) = (a.source(third), b.place(third));
        b.post_receive(100, part(b.place(third), 1, third))?;
        b.post_receive(101, b.place(0))?;
        // What was read lands where nothing else does; what is fenced waits for it.
        let landing = a.place(third);
        a.post(0, Operation::Write { to: at }, from, PLAIN)?;
        a.post(
            1,
            Operation::Read {
                from: b.source(third),
            },
            landing,
            PLAIN,
        )?;
        a.post(2, Operation::Send, part(from, 1, third), PLAIN)?;
        let small = part(landing, 1, 8);
        let from_there = part(b.source(third), 1, 8);
        a.post(3, Operation::Read { from: from_there }, small, PLAIN)?;
        let to = part(b.place(third), 2, third);
        let fence = More {
            fence: true,
            ..WITH_IMM
        };
        a.post(4, Operation::Write { to }, part(from, 2, third), fence)?;
        run(&a, &b);
        let done: Vec<Seen> = (0..5).map(|wr_id| sent(wr_id, Status::Success)).collect();
        assert_eq!(a.completions()?, done);
        assert_eq!(
            b.completions()?,
            [
                received(100, Opcode::Receive),
                received(101, Opcode::ReceiveRdmaWithImm)
            ]
        );
        let big = BIG as usize;
        assert!(
            b.memory[big..] == a.memory[..big],
            "the bytes that were sent"
        );
        let third = third as usize;
        assert!(
            a.memory[big..big + third] == b.memory[..third],
            "those read"
        );
        assert_eq!(a.memory[big + third..][..8], b.memory[third..][..8]);
        let pulls = plan.pid == own_pid();
        assert_eq!(a.pulls() && b.pulls(), pulls);
        assert_eq!(a.sends_references() && b.sends_references(), pulls);
        a.end()?;
        b.end()?;
    }
    Ok(())
}

#[test]
fn what_is_copied_arrives() -> Result<()> {
    let pid = own_pid();
    everything_arrives(Plan { pid, shared: false })?;
    everything_arrives(Plan { pid, shared: true })
}

#[test]
fn what_cannot_be_copied_arrives_in_band() -> Result<()> {
    let pid = NOBODY;
    everything_arrives(Plan { pid, shared: false })?;
    everything_arrives(Plan { pid, shared: true })
}

#[test]
fn a_read_that_cannot_be_copied_waits_for_its_bytes_whatever_is_acknowledged() -> Result<()> {
    let (a, mut b) = Side::pair(Plan {
        pid: NOBODY,
        shared: false,
    })?;
    b.fill_source(3);
    let read = Operation::Read {
        from: b.source(BIG),
    };
    a.post(0, read, a.place(BIG), PLAIN)?;
    let small = Operation::Write { to: b.place(8) };
    a.post(1, small, a.source(8), PLAIN)?;
    b.qp.progress();
    // The descriptor has come, and the acknowledgement of both requests.
    a.qp.progress();
    assert_eq!(a.completions()?, []);
    assert_eq!(a.qp.inner.lock().reads, 1);
    run(&a, &b);
    assert_eq!(
        a.completions()?,
        [sent(0, Status::Success), sent(1, Status::Success)]
    );
    assert_eq!(a.qp.inner.lock().reads, 0);
    assert!(a.memory[BIG as usize..] == b.memory[..BIG as usize]);
    a.end()?;
    b.end()
}

/// Requests whose source is given up between the descriptor and the copy.
fn after_the_descriptor(give_up: impl Fn(&Side), operation: Operation) -> Result<(Side, Side)> {
    let (mut a, b) = Side::pair(Plan {
        pid: own_pid(),
        shared: false,
    })?;
    a.fill_source(4);
    b.post_receive(100, b.place(BIG))?;
    b.post_receive(101, b.place(BIG))?;
    let operation = match operation {
        Operation::Write { .. } => Operation::Write { to: b.place(BIG) },
        Operation::Read { .. } => Operation::Read {
            from: b.source(BIG),
        },
        other => other,
    };
    let is_read = matches!(operation, Operation::Read { .. });
    let data = if is_read { a.place(BIG) } else { a.source(BIG) };
    a.post(0, operation, data, PLAIN)?;
    if is_read {
        b.qp.progress();
        give_up(&b);
    } else {
        give_up(&a);
    }
    run(&a, &b);
    Ok((a, b))
}

const ANY_WRITE: Operation = Operation::Write { to: NOWHERE };
const ANY_READ: Operation = Operation::Read { from: NOWHERE };
const NOWHERE: Range = Range {
    addr: 0,
    length: 0,
    key: 0,
};

#[test]
fn a_source_that_was_deregistered_fails_its_request() -> Result<()> {
    for operation in [ANY_WRITE, Operation::Send] {
        let (a, b) = after_the_descriptor(|side| side.mr.deregister(), operation)?;
        assert_eq!(a.completions()?, [sent(0, Status::LocalProtection)]);
        // The responder knows nothing of it.
        assert_eq!(b.completions()?, []);
        assert_eq!(b.qp.state(), State::ReadyToSend);
        assert_eq!(b.qp.inner.lock().rq.len(), 2);
        b.end()?;
    }
    let (a, b) = after_the_descriptor(|side| side.mr.deregister(), ANY_READ)?;
    assert_eq!(a.completions()?, [sent(0, Status::RemoteAccess)]);
    assert_eq!(b.qp.state(), State::Error);
    a.end()
}

#[test]
fn a_source_that_was_registered_anew_is_read_on_its_new_terms() -> Result<()> {
    // The bytes are now those of the other half.
    let change = |side: &Side| {
        let terms = side.mr.terms().map(|terms| Terms {
            addr: terms.addr + u64::from(BIG),
            length: u64::from(BIG),
            ..terms
        });
        if let Some(Ok(terms)) = terms.map(Terms::check) {
            side.mr.change(terms);
        }
    };
    let (a, b) = after_the_descriptor(change, ANY_WRITE)?;
    assert_eq!(a.completions()?, [sent(0, Status::Success)]);
    assert!(b.memory[BIG as usize..] == a.memory[BIG as usize..]);
    let forbid = |side: &Side| {
        let terms = side.mr.terms().map(|terms| Terms {
            access: access::LOCAL_WRITE,
            ..terms
        });
        if let Some(Ok(terms)) = terms.map(Terms::check) {
            side.mr.change(terms);
        }
    };
    let (a, _b) = after_the_descriptor(forbid, ANY_READ)?;
    assert_eq!(a.completions()?, [sent(0, Status::RemoteAccess)]);
    Ok(())
}

#[test]
fn a_queue_pair_that_leaves_its_state_is_not_copied_from() -> Result<()> {
    for state in [State::Error, State::Reset] {
        let leave = |side: &Side| side.qp.modify(state).unwrap_or_default();
        let (a, b) = after_the_descriptor(leave, Operation::Send)?;
        let flushed = match state {
            State::Error => vec![sent(0, Status::Flushed)],
            _ => vec![],
        };
        assert_eq!(a.completions()?, flushed);
        assert_eq!(b.completions()?, [], "{state:?}");
        assert_eq!(b.qp.inner.lock().rq.len(), 2, "{state:?}");
        b.end()?;
    }
    Ok(())
}

#[test]
fn a_peer_says_once_that_it_cannot_copy() -> Result<()> {
    let (socket, peer) = Socket::pair()?;
    let a = Side::new(
        socket,
        Plan {
            pid: own_pid(),
            shared: false,
        },
    )?;
    for wr_id in 0..2 {
        a.post(wr_id, Operation::Send, a.source(BIG), PLAIN)?;
    }
    let again = Frame::InBand { seq: 1 }.encode();
    peer.send(&[Span::from_slice(&again)])?;
    a.qp.progress();
    assert!(!a.sends_references());
    assert!(a.qp.has_connection());
    // What was asked for is on its way: after two descriptors a header, and then bytes.
    let mut got = [0u8; 2 * (HEADER + 40) + HEADER];
    peer.receive(&[Span::from_mut(&mut got)])?;
    let header = got.last_chunk().map(Frame::decode);
    assert!(
        matches!(
            header,
            Some(Ok(Frame::Send {
                seq: 1,
                length: BIG,
                ..
            }))
        ),
        "{header:?}"
    );
    peer.send(&[Span::from_slice(&again)])?;
    a.qp.progress();
    assert!(!a.qp.has_connection());
    a.end()
}

#[test]
fn a_request_with_a_bad_key_fails_for_that_reason_whatever_is_under_way() -> Result<()> {
    let bad = Range {
        addr: 0,
        length: 8,
        key: 1,
    };
    // The one before it is done in the end; or the program gives up first.
    for gives_up in [false, true] {
        let (a, b) = Side::pair(Plan {
            pid: own_pid(),
            shared: false,
        })?;
        let write = Operation::Write { to: b.place(8) };
        a.post(0, write, a.source(8), PLAIN)?;
        a.post(1, write, bad, PLAIN)?;
        a.post(2, write, a.source(8), PLAIN)?;
        let first = if gives_up {
            a.qp.modify(State::Error)?;
            Status::Flushed
        } else {
            run(&a, &b);
            Status::Success
        };
        assert_eq!(
            a.completions()?,
            [
                sent(0, first),
                sent(1, Status::LocalProtection),
                sent(2, Status::Flushed)
            ]
        );
        a.end()?;
        b.end()?;
    }
    Ok(())
}

/// A request whose memory, on the initiator's side or on the other one, is a file that was truncated after
/// it was registered. Nobody may be killed; the statuses at both sides.
fn on_a_truncated_file(
    length: u32,
    is_initiators: bool,
    operation: Operation,
) -> Result<(Vec<Seen>, Vec<Seen>)> {
    let (a, b) = Side::pair(Plan {
        pid: own_pid(),
        shared: false,
    })?;
    let file = Mapped::new(1 << 20)?;
    let owner = if is_initiators { &a } else { &b };
    let terms = Terms {
        addr: file.addr(),
        length: 1 << 20,
        ..owner.mr.terms().ok_or(libc::EINVAL)?
    };
    let mr = Mr::register(
        owner.qp.setup.pd.as_ref().ok_or(libc::EINVAL)?,
        terms.check()?,
    )?;
    let in_file = Range {
        addr: 0,
        length,
        key: mr.key,
    };
    file.resize(0)?;
    let (here, there) = if is_initiators {
        (in_file, b.place(length))
    } else {
        (a.place(length), in_file)
    };
    b.post_receive(100, there)?;
    let operation = match operation {
        Operation::Write { .. } => Operation::Write { to: there },
        Operation::AtomicWrite { .. } => Operation::AtomicWrite { to: there },
        Operation::Read { .. } => Operation::Read { from: there },
        other => other,
    };
    a.post(0, operation, here, PLAIN)?;
    run(&a, &b);
    let seen = (a.completions()?, b.completions()?);
    mr.deregister();
    a.end()?;
    b.end()?;
    Ok(seen)
}

#[test]
fn a_file_that_was_truncated_kills_nobody() -> Result<()> {
    // Behind its header, from its place, and by reference.
    for length in [1, 8, 4096, 5000, 64 << 10] {
        for operation in [ANY_WRITE, ANY_READ, Operation::Send] {
            let (a, _) = on_a_truncated_file(length, true, operation)?;
            assert_eq!(
                a,
                [sent(0, Status::LocalProtection)],
                "{operation:?} of {length}"
            );
        }
        for operation in [ANY_WRITE, ANY_READ] {
            let (a, b) = on_a_truncated_file(length, false, operation)?;
            assert_eq!(
                a,
                [sent(0, Status::RemoteAccess)],
                "{operation:?} of {length}"
            );
            assert_eq!(b, [sent(100, Status::Flushed)], "{operation:?} of {length}");
        }
        let (a, b) = on_a_truncated_file(length, false, Operation::Send)?;
        assert_eq!(a, [sent(0, Status::RemoteOperation)], "send of {length}");
        assert_eq!(b, [sent(100, Status::LocalProtection)], "send of {length}");
    }
    Ok(())
}

#[test]
fn an_atomic_write_to_a_truncated_file_kills_nobody() -> Result<()> {
    let operation = Operation::AtomicWrite { to: NOWHERE };
    let (a, _) = on_a_truncated_file(8, false, operation)?;
    assert_eq!(a, [sent(0, Status::RemoteAccess)]);
    Ok(())
}

#[test]
fn a_flush_of_a_whole_region_names_only_its_key() -> Result<()> {
    let (a, b) = Side::pair(Plan {
        pid: own_pid(),
        shared: false,
    })?;
    let flush = |range: Range, whole_region| Operation::Flush {
        at: range,
        // No access is asked for that needs a capability of the device.
        placement: 0,
        whole_region,
    };
    let beyond = Range {
        addr: 1 << 40,
        ..b.source(8)
    };
    a.post(0, flush(beyond, true), NOWHERE, PLAIN)?;
    let other = Range { key: 1, ..beyond };
    a.post(1, flush(other, true), NOWHERE, PLAIN)?;
    run(&a, &b);
    assert_eq!(
        a.completions()?,
        [sent(0, Status::Success), sent(1, Status::RemoteAccess)]
    );
    a.end()?;
    b.end()
}

#[test]
fn a_flush_of_a_range_is_one_of_the_region() -> Result<()> {
    let (a, b) = Side::pair(Plan {
        pid: own_pid(),
        shared: false,
    })?;
    for (wr_id, addr) in [(0, 0), (1, 1 << 40)] {
        let at = Range {
            addr,
            ..b.source(8)
        };
        let flush = Operation::Flush {
            at,
            placement: 0,
            whole_region: false,
        };
        a.post(wr_id, flush, NOWHERE, PLAIN)?;
    }
    run(&a, &b);
    assert_eq!(
        a.completions()?,
        [sent(0, Status::Success), sent(1, Status::RemoteAccess)]
    );
    a.end()?;
    b.end()
}
