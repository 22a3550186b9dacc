// SPDX-License-Identifier: BSD-3-Clause

//! A connection that reads from memory, for fuzzers.
//!
//! The first byte of the input says how the connection is set up; frames follow.

use std::sync::{Arc, OnceLock};

use crate::Result;
use crate::objects::context::Context;
use crate::objects::cq::Cq;
use crate::objects::generation::Generation;
use crate::objects::mr::Mr;
use crate::objects::pd::Pd;
use crate::objects::srq::Srq;
use crate::types::region::{GenerationRef, Range, Terms, access};
use crate::wire::{DESCRIPTOR, Descriptor, Frame, HEADER};

use super::link::Link;
use super::path::{Paths, Stream};
use super::pulling::{Puller, Source};
use super::{Caps, Qp, Setup, State};
use crate::types::work::{Data, InChunks, Operation, Progress, Receive, Request, Scatter};

/// How much memory the peer may touch.
const MEMORY: usize = 4096;

/// What all runs share.
struct Bed {
    context: Arc<Context>,
    pd: Arc<Pd>,
    mr: Arc<Mr>,
    /// What the peer has, for this process to copy, and the generation of that.
    peers: &'static [u8],
    generation: Generation,
}

/// How a connection is set up: bits of the first byte.
mod setup {
    pub(super) const SHARED_RECEIVES: u8 = 1;
    /// What the peer names by reference can be copied: the peer is this process.
    pub(super) const COPIES: u8 = 2;
    /// It cannot, although it could when the connection was made.
    pub(super) const CANNOT_COPY: u8 = 4;
    /// What is sent by reference, the peer copies.
    pub(super) const PEER_COPIES: u8 = 8;
    /// Nothing is taken of what is sent.
    pub(super) const FULL: u8 = 16;
    /// The peer is a client that has not said yet how it uses the connection.
    pub(super) const AWAITS_USE: u8 = 32;
}

/// What input names the region by, whose key is another one in each process.
const KEY: u32 = 0x162;
/// No process has it.
const NOBODY: i32 = i32::MAX;
/// More responses than a peer can have waiting, whatever it sends.
const MOST_RESPONSES: usize = 600;
/// More bytes than are prepared to be sent.
const MOST_STAGED: usize = 32 * 1024;

fn bed() -> Result<&'static Bed> {
    static BED: OnceLock<Bed> = OnceLock::new();
    if let Some(bed) = BED.get() {
        return Ok(bed);
    }
    let context = Context::new()?;
    let pd = Pd::new(&context);
    let memory = Box::leak(vec![0u8; MEMORY].into_boxed_slice());
    let mr = Mr::register(
        &pd,
        Terms {
            addr: memory.as_mut_ptr().expose_provenance() as u64,
            length: MEMORY as u64,
            // The input cannot know where the memory is.
            iova: 0,
            access: access::LOCAL_WRITE | access::REMOTE_WRITE | access::REMOTE_READ,
        }
        .check()?,
    )?;
    Ok(BED.get_or_init(|| Bed {
        context,
        pd,
        mr,
        peers: Box::leak(vec![7u8; MEMORY].into_boxed_slice()),
        generation: Generation::new(),
    }))
}

/// The input cannot know the key of the region, nor where the peer's memory is. Its descriptors are made to
/// name that, and mostly the right generation.
fn lend(input: &[u8], bed: &Bed) -> Vec<u8> {
    let mut lent = input.to_vec();
    let mut at = 0;
    while let Some((header, rest)) = lent
        .get_mut(at..)
        .and_then(|rest| rest.split_first_chunk_mut::<HEADER>())
    {
        let key = &mut header[24..28];
        if *key == KEY.to_le_bytes() {
            key.copy_from_slice(&bed.mr.rkey().to_le_bytes());
        }
        let Ok(frame) = Frame::decode(header) else {
            break;
        };
        let descriptor = rest
            .first_chunk_mut::<DESCRIPTOR>()
            .filter(|_| frame.payload() == DESCRIPTOR && frame.is_by_reference());
        if let Some(descriptor) = descriptor {
            let named = Descriptor::decode(descriptor);
            let generation = |named: GenerationRef| GenerationRef {
                value: bed.generation.reference().value + u64::from(named.value % 8 == 1),
                ..bed.generation.reference()
            };
            *descriptor = Descriptor {
                addr: bed.peers.as_ptr().addr() as u64 + named.addr % MEMORY as u64,
                region: generation(named.region),
                owner: generation(named.owner),
            }
            .encode();
        }
        at += HEADER + frame.payload();
    }
    lent
}

/// Of a queue pair with one completion queue, into which every request goes.
pub(super) fn small_setup(pd: Arc<Pd>, cq: &Arc<Cq>, srq: Option<Arc<Srq>>) -> Setup {
    Setup {
        pd: Some(pd),
        send_cq: Some(Arc::clone(cq)),
        recv_cq: Some(Arc::clone(cq)),
        srq,
        caps: Caps {
            max_send_wr: 15,
            max_recv_wr: 15,
            max_send_sge: 4,
            max_recv_sge: 4,
            max_inline: 64,
        },
        signal_all: true,
    }
}

impl Qp {
    /// Feeds what a peer might send to a queue pair with a region, receives and requests under way.
    pub(crate) fn fuzz(input: &[u8]) {
        // Without memory there is nothing to test.
        let _ = Self::try_fuzz(input);
    }

    fn try_fuzz(input: &[u8]) -> Result<()> {
        let Some((&how, input)) = input.split_first() else {
            return Ok(());
        };
        let is = |bit| how & bit != 0;
        let bed = bed()?;
        let cq = Cq::new(&bed.context, 64, None)?;
        let srq = match is(setup::SHARED_RECEIVES) {
            true => Some(Srq::new(&bed.pd, 15, 4, 0)?),
            false => None,
        };
        let qp = Self::new(
            small_setup(Arc::clone(&bed.pd), &cq, srq.clone()),
            State::ReadyToSend,
        )?;
        let part = |offset| Range {
            addr: offset,
            length: 64,
            key: bed.mr.lkey,
        };
        let of_peer = |offset| Range {
            key: bed.mr.rkey(),
            ..part(offset)
        };
        for i in 0..4 {
            let receive = Receive {
                wr_id: i,
                into: Scatter::One(part(i * 64)),
            };
            match &srq {
                Some(srq) => srq.post(receive)?,
                None => qp.post_receive(receive)?,
            }
        }
        qp.connect_to_input(how, input, bed);
        qp.post_one_of_each(part(1024), of_peer)?;
        for _ in 0..64 {
            qp.progress();
            let q = qp.inner.lock();
            assert!(q.responses.len() < MOST_RESPONSES, "too many responses");
            let Some(link) = &q.link else { break };
            assert!(link.tx.staged.len() < MOST_STAGED, "too much is staged");
        }
        // Every request and receive completes once, at the latest when the queue pair fails, but for those
        // of a shared queue that were not used.
        qp.modify(State::Error)?;
        let mut seen = 0;
        cq.poll(64, |_| seen += 1)?;
        while srq.as_ref().and_then(Srq::take).is_some() {
            seen += 1;
        }
        assert_eq!(seen, 4 + 3, "a completion is missing, or came twice");
        qp.close();
        qp.release();
        drop(qp);
        if let Some(srq) = srq {
            srq.destroy()?;
        }
        cq.destroy()
    }

    /// The connection's input is what the peer might send. What is sent goes nowhere, so all of it is under way at
    /// once.
    fn connect_to_input(&self, how: u8, input: &[u8], bed: &'static Bed) {
        let is = |bit| how & bit != 0;
        let mut q = self.inner.lock();
        q.attributes.rnr_retry = 7;
        q.attributes.reads = crate::types::limits::MAX_READS;
        q.attributes.access = access::REMOTE_WRITE | access::REMOTE_READ;
        let stream = Stream::Memory {
            input: lend(input, bed).into(),
            has_room: !is(setup::FULL),
        };
        let mut link = Link::new(Paths::within_the_host(stream));
        link.awaits_use = is(setup::AWAITS_USE);
        link.source = Source::of(if is(setup::COPIES) {
            Some(std::process::id() as i32)
        } else {
            is(setup::CANNOT_COPY).then_some(NOBODY)
        });
        link.peer = Puller::that(is(setup::PEER_COPIES));
        q.link = Some(link);
    }

    fn post_one_of_each(&self, data: Range, of_peer: impl Fn(u64) -> Range) -> Result<()> {
        let mut posting = self.posting();
        for (wr_id, operation) in [
            Operation::Send,
            Operation::Read { from: of_peer(0) },
            Operation::Write { to: of_peer(64) },
        ]
        .into_iter()
        .enumerate()
        {
            posting.add(Request {
                wr_id: wr_id as u64,
                operation,
                data: Data::Memory(Scatter::One(data)),
                imm: None,
                signaled: true,
                solicited: false,
                fence: false,
                placed: false,
                chunks: InChunks::default(),
                progress: Progress::Waiting,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::completion::Status;
    use crate::wire::{Carriage, Reason};

    struct Noise(u64);

    impl Noise {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (self.0 >> 33) % n
        }

        fn flip(&mut self) -> bool {
            self.below(2) == 0
        }

        /// Mostly what makes sense.
        fn range(&mut self) -> Range {
            Range {
                addr: [0, 8, 64, 1000, 4090, 1 << 40][self.below(6) as usize],
                length: [0, 1, 8, 64, 100, 5000][self.below(6) as usize],
                key: if self.below(8) == 0 {
                    1
                } else {
                    bed().map_or(0, |bed| bed.mr.rkey())
                },
            }
        }

        fn frame(&mut self, expected: u64) -> Frame {
            let seq = if self.below(6) == 0 {
                self.below(6)
            } else {
                expected
            };
            let imm = self.flip().then_some(7);
            let carriage = if self.below(3) == 0 {
                Carriage::ByReference
            } else {
                Carriage::Inband
            };
            match self.below(15) {
                0 | 1 => Frame::Send {
                    seq,
                    length: self.below(80) as u32,
                    imm,
                    solicited: self.flip(),
                    carriage,
                },
                2 => Frame::Write {
                    seq,
                    to: self.range(),
                    imm,
                    solicited: self.flip(),
                    carriage,
                },
                3 => Frame::Write {
                    seq,
                    to: self.range(),
                    imm: None,
                    solicited: false,
                    carriage: Carriage::InChunks,
                },
                4 => Frame::Read {
                    seq,
                    from: self.range(),
                    can_pull: true,
                    in_chunks: self.flip(),
                },
                5 => Frame::AtomicWrite {
                    seq,
                    to: Range {
                        length: 8,
                        ..self.range()
                    },
                },
                6 => Frame::Flush {
                    seq,
                    at: self.range(),
                    placement: self.below(4) as u8,
                    whole_region: self.flip(),
                },
                7 => Frame::Ack { seq: self.below(4) },
                8 => Frame::Nak {
                    seq: self.below(4),
                    reason: Reason::RemoteAccess,
                },
                9 => Frame::ReadData {
                    seq: 1,
                    length: [64, 63][self.below(2) as usize],
                    carriage,
                },
                10 => Frame::NotReady { seq: self.below(4) },
                11 => Frame::Ready { seq: self.below(4) },
                12 => Frame::InBand { seq: self.below(4) },
                13 => Frame::ReadInBand {
                    seq: self.below(4),
                    from: self.range(),
                },
                _ => [
                    Frame::Disconnect,
                    Frame::Disconnected,
                    Frame::ChangesOver,
                    Frame::Use,
                ][self.below(4) as usize],
            }
        }
    }

    #[test]
    fn a_peer_that_sends_anything_does_no_harm() {
        let rounds = std::env::var("FUZZ_ROUNDS")
            .ok()
            .and_then(|n| n.parse().ok());
        let mut noise = Noise(rounds.unwrap_or(7));
        for _ in 0..rounds.unwrap_or(3000) {
            let how = noise.below(64) as u8;
            let mut input = vec![how];
            if how & setup::AWAITS_USE != 0 && noise.below(8) > 0 {
                input.extend_from_slice(&Frame::Use.encode());
            }
            for seq in 0..noise.below(12) {
                let frame = noise.frame(seq);
                input.extend_from_slice(&frame.encode());
                // As a descriptor: generations that are right, or over, or only that of the queue pair is.
                let byte = if noise.below(4) == 0 { 1 } else { 7 };
                input.resize(input.len() + frame.payload().min(6000), byte);
                if frame.is_by_reference() && noise.below(4) == 0 {
                    let owner = input.len() - 8;
                    input[owner..].fill(1);
                }
            }
            if noise.below(4) == 0 {
                input.truncate(noise.below(input.len() as u64 + 1) as usize);
            }
            if noise.below(8) == 0 && !input.is_empty() {
                let at = noise.below(input.len() as u64) as usize;
                input[at] ^= 1 << noise.below(8);
            }
            Qp::fuzz(&input);
        }
    }

    #[test]
    fn a_request_that_failed_behind_one_without_a_receive_fails_in_its_turn() -> Result<()> {
        let bed = bed()?;
        let cq = Cq::new(&bed.context, 8, None)?;
        let qp = Qp::new(
            Setup {
                pd: Some(Arc::clone(&bed.pd)),
                send_cq: Some(Arc::clone(&cq)),
                caps: Caps {
                    max_send_wr: 15,
                    max_send_sge: 4,
                    ..Caps::default()
                },
                ..Setup::default()
            },
            State::ReadyToSend,
        )?;
        {
            let mut q = qp.inner.lock();
            q.attributes.rnr_retry = 7;
            q.attributes.reads = crate::types::limits::MAX_READS;
            q.attributes.access = access::REMOTE_WRITE | access::REMOTE_READ;
            let stream = Stream::Memory {
                input: [].into(),
                has_room: true,
            };
            q.link = Some(Link::new(Paths::within_the_host(stream)));
        }
        for (wr_id, key) in [(0, bed.mr.lkey), (1, 1)] {
            qp.posting().add(Request {
                wr_id,
                operation: Operation::Send,
                data: Data::Memory(Scatter::One(Range {
                    addr: 0,
                    length: 64,
                    key,
                })),
                imm: None,
                signaled: true,
                solicited: false,
                fence: false,
                placed: false,
                chunks: InChunks::default(),
                progress: Progress::Waiting,
            })?;
        }
        {
            let mut q = qp.inner.lock();
            let went = |result: std::result::Result<(), _>| result.map_err(|_| libc::EPROTO);
            went(qp.not_ready(&mut q, 0))?;
            went(qp.ready_again(&mut q, 0))?;
            qp.transmit(&mut q);
            went(qp.acknowledged(&mut q, 0))?;
        }
        let mut seen = Vec::new();
        cq.poll(8, |completion| {
            seen.push((completion.wr_id, completion.status));
        })?;
        assert_eq!(seen, [(0, Status::Success), (1, Status::LocalProtection)]);
        qp.close();
        qp.release();
        cq.destroy()
    }
}
