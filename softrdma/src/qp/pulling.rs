// SPDX-License-Identifier: BSD-3-Clause

//! One copy on one host: the side that the bytes are for copies them from the other process's memory.
//!
//! Instead of the bytes a descriptor is sent: their address, and that of a seal. Whoever gets it copies
//! the bytes and then, in the same call, the seal. A seal that is not what the descriptor said means
//! that the memory may have been something else by then: the copy is worth nothing. So a process only
//! ever reads from another one, and writes to its own memory under its own locks.

use crate::os::memory::Span;
use crate::os::pull::{Foreign, pull};
use crate::wire::{self, DESCRIPTOR, Malformed, Proof, Reason};

use super::receive::Sink;
use super::respond::Response;
use super::work::Progress;
use super::{Inner, Qp, State};
use crate::cq::Status;
use crate::mr::{Range, SealRef};

/// Below this the socket is as fast.
const WORTH_IT: u32 = 16 * 1024;
/// How much is copied at a time, so that others have their turn.
const CHUNK: usize = 1 << 20;

pub(super) fn is_worth_it(length: u32) -> bool {
    length >= WORTH_IT
}

/// Bytes on their way.
pub(super) struct Pull {
    pub(super) sink: Sink,
    from: Foreign,
    seal: SealRef,
    done: u64,
    length: u32,
}

enum Copied {
    Some(usize),
    /// This side's memory is no good.
    NoPlace,
    /// What was copied is not what it should have been.
    BrokenSeal,
    /// The other side's memory is not there.
    NoSource,
}

impl Qp {
    pub(super) fn is_pulling(&self, q: &Inner) -> bool {
        q.link.as_ref().is_some_and(|link| link.rx.pull.is_some())
    }

    pub(super) fn begin_pull(
        &self,
        q: &mut Inner,
        sink: Sink,
        length: u32,
        descriptor: &[u8; DESCRIPTOR],
    ) -> Result<(), Malformed> {
        let (from, seal) = wire::decode_descriptor(descriptor, length);
        if let Some(link) = &mut q.link {
            link.rx.pull = Some(Pull {
                sink,
                from,
                seal,
                done: 0,
                length,
            });
        }
        self.pull_some(q)
    }

    /// Goes on with a copy; at its end with what came after it.
    pub(super) fn pull_some(&self, q: &mut Inner) -> Result<(), Malformed> {
        let Some(link) = &mut q.link else {
            return Ok(());
        };
        let (Some(mut pull), Some(pid)) = (link.rx.pull.take(), link.pull_from) else {
            return Ok(());
        };
        let mut budget = CHUNK;
        while pull.done < u64::from(pull.length) && budget > 0 {
            match self.copy(q, &pull, pid, budget) {
                Copied::Some(n) => {
                    pull.done += n as u64;
                    budget = budget.saturating_sub(n);
                }
                Copied::NoPlace => {
                    return self.finish(q, pull.sink, true, u64::from(pull.length));
                }
                Copied::BrokenSeal => return self.source_is_gone(q, pull.sink),
                Copied::NoSource => return self.source_is_unreadable(q, pull.sink),
            }
        }
        if pull.done < u64::from(pull.length) {
            if let Some(link) = &mut q.link {
                link.rx.pull = Some(pull);
            }
            if let (Some(io), Some(me)) = (crate::io::get(), self.me.upgrade()) {
                io.busy(me);
            }
            return Ok(());
        }
        self.finish(q, pull.sink, false, u64::from(pull.length))
    }

    fn copy(&self, q: &Inner, under_way: &Pull, pid: i32, most: usize) -> Copied {
        let Some((range, needs)) = Self::target(q, &under_way.sink, under_way.done) else {
            return Copied::NoPlace;
        };
        let left = u64::from(under_way.length) - under_way.done;
        let length = u64::from(range.length).min(left).min(most as u64) as usize;
        let range = Range {
            length: length as u32,
            ..range
        };
        let Some(grant) = self.remote_grant(range, needs) else {
            return Copied::NoPlace;
        };
        let Ok(held) = grant.hold() else {
            return Copied::NoPlace;
        };
        let mut seal = [0; 8];
        let from = [
            Foreign {
                addr: under_way.from.addr.wrapping_add(under_way.done),
                length,
            },
            Foreign {
                addr: under_way.seal.addr,
                length: seal.len(),
            },
        ];
        match pull(pid, from, [held.span(0), Span::from_mut(&mut seal)]) {
            Ok(n) if n == length + seal.len() => {
                if u64::from_ne_bytes(seal) == under_way.seal.value {
                    Copied::Some(length)
                } else {
                    Copied::BrokenSeal
                }
            }
            _ => Copied::NoSource,
        }
    }

    /// The other side has given up the memory: its queue pair is in error, or its region is gone.
    fn source_is_gone(&self, q: &mut Inner, sink: Sink) -> Result<(), Malformed> {
        match sink {
            Sink::ReadData { seq } => {
                if q.state != State::Error {
                    Self::sent(q, seq)?.progress = Progress::Failed(Status::RemoteAccess);
                    self.reap(q);
                }
                Ok(())
            }
            // The connection is ending: the receive was not used.
            sink => {
                self.give_back(q, sink);
                q.refused = true;
                Ok(())
            }
        }
    }

    fn source_is_unreadable(&self, q: &mut Inner, sink: Sink) -> Result<(), Malformed> {
        match sink {
            Sink::Receive { seq, receive, .. } => {
                self.complete_receive(receive.wr_id, Status::RemoteOperation);
                self.refuse(q, seq, Reason::InitiatorMemory);
                Ok(())
            }
            Sink::Write { seq, with_imm, .. } => {
                if let Some(with) = with_imm {
                    self.complete_receive(with.receive.wr_id, Status::RemoteOperation);
                }
                self.refuse(q, seq, Reason::InitiatorMemory);
                Ok(())
            }
            other => self.source_is_gone(q, other),
        }
    }

    // --- Who the peer is -------------------------------------------------------------------------

    /// The client has shown where in its memory the server's challenge is.
    pub(super) fn client_proves_itself(&self, q: &mut Inner, proof: Option<Proof>, can_pull: bool) {
        let id = q.cm.upgrade();
        let Some(link) = &mut q.link else { return };
        link.peer_pulls = can_pull;
        link.pull_from = id.zip(proof).and_then(|(id, proof)| id.check_proof(proof));
        if link.pull_from.is_some() {
            q.responses.push_back(Response::CanPull);
        }
    }
}
