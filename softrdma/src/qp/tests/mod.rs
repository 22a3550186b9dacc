// SPDX-License-Identifier: BSD-3-Clause

//! Both ends of a connection in one process, which copies from itself.

mod copying;
mod chunks;
mod direct;
mod ending;
mod hostile;
mod local;
mod protection;
mod way;

use std::sync::Arc;

use crate::Result;
use crate::objects::context::Context;
use crate::objects::cq::{CompChannel, Cq};
use crate::objects::mr::Mr;
use crate::objects::pd::Pd;
use crate::objects::srq::Srq;
use crate::os::memory::Span;
use crate::os::socket::Socket;
use crate::os::testing::Mapped;
use crate::types::completion::{Opcode, Status};
use crate::types::region::{Range, Terms, access};
use crate::wire::{Frame, HEADER};

use super::attributes::Attributes;
use super::fuzz::small_setup;
use super::link::Link;
use super::path::{Paths, Stream};
use super::pulling::{Puller, Source};
use super::{Qp, State};
use crate::types::work::{Data, InChunks, Operation, Progress, Receive, Request, Scatter};

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
    std::process::id() as i32
}

/// The operation on the peer's memory, whose ranges have the keys that only their owner uses.
fn as_the_peer_names_it(mut operation: Operation) -> Operation {
    match &mut operation {
        Operation::Write { to: range }
        | Operation::AtomicWrite { to: range }
        | Operation::Read { from: range }
        | Operation::Flush { at: range, .. } => range.key |= 1,
        Operation::Send => {}
    }
    operation
}

/// No process has it.
const NOBODY: i32 = i32::MAX;

impl Side {
    fn new(socket: Socket, plan: Plan) -> Result<Self> {
        let side = Self::unconnected(plan.shared, false)?;
        {
            let mut q = side.qp.inner.lock();
            let mut link = Link::new(Paths::within_the_host(Stream::Socket(socket)));
            link.source = Source::Process(plan.pid);
            link.peer = Puller::that(true);
            q.link = Some(link);
        }
        Ok(side)
    }

    fn unconnected(shared: bool, has_events: bool) -> Result<Self> {
        let context = Context::new()?;
        let pd = Pd::new(&context);
        let channel = match has_events {
            true => Some(Arc::new(CompChannel::new(&context)?)),
            false => None,
        };
        let cq = Cq::new(&context, 64, channel)?;
        let srq = match shared {
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
        let qp = Qp::new(small_setup(pd, &cq, srq.clone()), State::ReadyToSend)?;
        qp.inner.lock().attributes = Attributes {
            rnr_retry: 7,
            reads: crate::types::limits::MAX_READS,
            access: access::REMOTE_WRITE | access::REMOTE_READ,
            ..Attributes::default()
        };
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
            key: self.mr.lkey,
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
            operation: as_the_peer_names_it(operation),
            data: Data::Memory(Scatter::One(data)),
            imm: more.imm,
            signaled: true,
            solicited: more.solicited,
            fence: more.fence,
            placed: false,
            chunks: InChunks::default(),
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
            // Of a failed one the program does not see the opcode.
            let is_message = completion.received && completion.status == Status::Success;
            seen.push(Seen {
                wr_id: completion.wr_id,
                status: completion.status,
                received: is_message.then_some(completion.opcode),
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
        self.mr.deregister()?;
        // An event that nobody has taken holds the queue, and that its channel.
        if let Some(channel) = &self.cq.channel {
            channel.events.withdraw(|_| true);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Default)]
struct More {
    imm: Option<u32>,
    fence: bool,
    solicited: bool,
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
    solicited: false,
};
const WITH_IMM: More = More {
    imm: Some(7),
    ..PLAIN
};

const ANY_WRITE: Operation = Operation::Write { to: NOWHERE };
const ANY_READ: Operation = Operation::Read { from: NOWHERE };
const NOWHERE: Range = Range {
    addr: 0,
    length: 0,
    key: 0,
};
