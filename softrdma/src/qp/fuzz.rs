// SPDX-License-Identifier: BSD-3-Clause

//! A connection that reads from memory, for fuzzers.

use std::sync::Arc;

use crate::Result;
use crate::context::Context;
use crate::cq::Cq;
use crate::mr::{Mr, Range, Terms, access};
use crate::pd::Pd;

use super::link::Link;
use super::path::Stream;
use super::work::{Data, Operation, Progress, Receive, Request, Scatter};
use super::{Caps, Qp, Setup, State};

/// How much memory the peer may touch.
const MEMORY: usize = 4096;

impl Qp {
    /// Feeds what a peer might send to a queue pair with a region, receives and requests under way. The
    /// key of the region, so that the input can name it, is its first one.
    pub(crate) fn fuzz(input: &[u8]) {
        // Without memory there is nothing to test.
        let _ = Self::try_fuzz(input);
    }

    fn try_fuzz(input: &[u8]) -> Result<()> {
        let context = Context::new()?;
        let pd = Pd::new(&context);
        let cq = Cq::new(&context, 64, None)?;
        let mut memory = vec![0u8; MEMORY];
        let addr = memory.as_mut_ptr().expose_provenance() as u64;
        let mr = Mr::register(
            &pd,
            Terms {
                addr,
                length: MEMORY as u64,
                // The input cannot know where the memory is.
                iova: 0,
                access: access::LOCAL_WRITE | access::REMOTE_WRITE | access::REMOTE_READ,
            },
        )?;
        let qp = Self::new(
            Setup {
                pd: Some(Arc::clone(&pd)),
                send_cq: Some(Arc::clone(&cq)),
                recv_cq: Some(Arc::clone(&cq)),
                srq: None,
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
        let part = |offset| Range {
            addr: offset,
            length: 64,
            key: mr.key,
        };
        for i in 0..4 {
            qp.post_receive(Receive {
                wr_id: i,
                into: Scatter::One(part(i * 64)),
            })?;
        }
        {
            let mut q = qp.inner.lock();
            // What is sent goes nowhere, so all of it is under way at once.
            q.link = Some(Link::new(
                Stream::Memory(input.iter().copied().collect()),
                None,
            ));
        }
        {
            let mut posting = qp.posting();
            for (wr_id, operation) in [
                Operation::Send,
                Operation::Read { from: part(0) },
                Operation::Write { to: part(64) },
            ]
            .into_iter()
            .enumerate()
            {
                posting.add(Request {
                    wr_id: wr_id as u64,
                    operation,
                    data: Data::Memory(Scatter::One(part(1024))),
                    imm: None,
                    signaled: true,
                    solicited: false,
                    fence: false,
                    progress: Progress::Waiting,
                })?;
            }
        }
        for _ in 0..64 {
            qp.progress();
            if qp.inner.lock().link.is_none() {
                break;
            }
        }
        qp.close();
        qp.release();
        mr.deregister();
        drop(memory);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frame;

    #[test]
    fn a_peer_that_sends_anything_does_no_harm() {
        let mut input = Vec::new();
        let frames = [
            Frame::Ack { seq: 0 },
            Frame::Write {
                seq: 0,
                to: Range {
                    addr: 1 << 40,
                    length: 8,
                    key: 77,
                },
                imm: Some(1),
                solicited: false,
                carriage: crate::wire::Carriage::Inband,
            },
            Frame::Disconnect,
        ];
        for frame in frames {
            input.extend_from_slice(&frame.encode());
            input.resize(input.len() + frame.payload(), 7);
        }
        for end in 0..=input.len() {
            Qp::fuzz(&input[..end]);
        }
        let mut noise = 1u64;
        for _ in 0..2000 {
            let mut bytes = Vec::new();
            for _ in 0..30 {
                noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1);
                bytes.extend_from_slice(&noise.to_le_bytes());
            }
            bytes[0] = (noise >> 60) as u8;
            bytes[1] = 0;
            Qp::fuzz(&bytes);
        }
    }
}
