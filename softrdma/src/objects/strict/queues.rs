// SPDX-License-Identifier: BSD-3-Clause

//! The queues of a queue pair as a device has them: a request keeps its place in the send queue until the program has
//! polled a completion of it, or of a later request.

use std::collections::VecDeque;

use crate::objects::mr::Grant;
use crate::types::completion::Opcode;

use super::buffers::{Content, Ticket};

/// How a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    UnderWay,
    /// Without a completion: it was not signaled.
    Silent,
    Shown,
    Failed,
}

/// A part of the memory of a request.
pub(super) struct Source {
    pub(super) ticket: Ticket,
    pub(super) grant: Grant,
    /// What it held when the request was posted. None of what the request writes to.
    pub(super) content: Option<Content>,
}

/// A request that has a place in the send queue.
pub(super) struct Sent {
    pub(super) wr_id: u64,
    pub(super) opcode: Opcode,
    pub(super) sources: Vec<Source>,
    pub(super) outcome: Outcome,
}

pub(super) struct Queues {
    /// The addresses of its completion queues.
    send_cq: usize,
    recv_cq: usize,
    /// The number of the queue pair at the other end.
    pub(super) peer: u32,
    /// All requests that have a place.
    pub(super) sends: VecDeque<Sent>,
    /// So many of them are done.
    done: usize,
    /// Receives of its own queue whose completion was not polled.
    pub(super) receives: usize,
}

impl Queues {
    pub(super) fn new(send_cq: usize, recv_cq: usize) -> Self {
        Self {
            send_cq,
            recv_cq,
            peer: 0,
            sends: VecDeque::new(),
            done: 0,
            receives: 0,
        }
    }

    /// The first request that is under way is done. They are done in their order.
    pub(super) fn complete(&mut self, outcome: Outcome) {
        if let Some(sent) = self.sends.get_mut(self.done) {
            sent.outcome = outcome;
            self.done += 1;
        }
    }

    /// A completion was polled: of the first request that has one. Those before it are free as well.
    pub(super) fn polled(&mut self) -> Vec<Sent> {
        let done = self.sends.iter().take(self.done);
        let Some(last) = { done }.position(|sent| sent.outcome != Outcome::Silent) else {
            return Vec::new();
        };
        self.done -= last + 1;
        self.sends.drain(..=last).collect()
    }

    /// How many completions a completion queue may hold or get of its requests.
    pub(super) fn possible(&self, cq: usize) -> usize {
        let mut possible = 0;
        if self.send_cq == cq {
            let silent = |sent: &&Sent| sent.outcome == Outcome::Silent;
            possible += self.sends.len() - self.sends.iter().filter(silent).count();
        }
        if self.recv_cq == cq {
            possible += self.receives;
        }
        possible
    }
}
