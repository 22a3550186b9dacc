// SPDX-License-Identifier: BSD-3-Clause

//! What goes back to the peer, in order.

use std::collections::VecDeque;

use crate::types::region::Range;
use crate::wire::Reason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    Ack(u64),
    Nak(u64, Reason),
    /// The data of a read.
    Data {
        seq: u64,
        from: Range,
        can_pull: bool,
    },
    NotReady(u64),
    Ready(u64),
    InBand(u64),
    /// This side's read, once more.
    ReadInBand {
        seq: u64,
        from: Range,
    },
    ChangesOver,
    Disconnect,
    Disconnected,
}

/// More reads than an initiator may have waiting.
const MOST_READS: usize = 256;

/// An acknowledgement covers all before it, so two in a row are one.
pub(super) fn acknowledge(responses: &mut VecDeque<Response>, seq: u64) {
    if let Some(Response::Ack(last)) = responses.back_mut() {
        *last = seq;
    } else {
        responses.push_back(Response::Ack(seq));
    }
}

/// Whether the peer has asked for more reads than it may.
pub(super) fn too_many_reads(responses: &VecDeque<Response>) -> bool {
    // Each read has its data and its acknowledgement.
    responses.len() > 2 * MOST_READS
}
