// SPDX-License-Identifier: BSD-3-Clause

//! Strict mode: looks for what a device punishes and softrdma otherwise forgives.
//!
//! The hooks are called only where `instrument::strict::is_on()`. What they know of the program's requests is
//! behind one lock of the process, which is taken after all others; memory is read and written without it.

mod buffers;
mod keys;
mod queues;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Result;
use crate::instrument::strict::{finding, warning};
use crate::objects::cq::Cq;
use crate::objects::mr::Grant;
use crate::objects::numbers::QpNumber;
use crate::objects::pd::Pd;
use crate::os::held::Locks;
use crate::types::completion::{Completion, Status};
use crate::types::limits;
use crate::types::region::{Range, access};
use crate::types::work::{Data, Receive, Request};

use buffers::{Buffers, Content, Kind};
use queues::{Outcome, Queues, Sent, Source};

pub(crate) use keys::{deregistered, key_of_peer_refused, own_key_refused};

/// What is known of all queue pairs.
struct Watch {
    queues: BTreeMap<u32, Queues>,
    buffers: Buffers,
    /// Completion queues, by their addresses, that a warning was printed about.
    warned: BTreeSet<usize>,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch {
    queues: BTreeMap::new(),
    buffers: Buffers::new(),
    warned: BTreeSet::new(),
});

/// Before a fork.
pub(crate) fn hold(locks: &mut Locks) -> bool {
    locks.hold_static(&WATCH) && keys::hold(locks)
}

/// What strict mode knows of a queue pair.
#[derive(Clone, Copy)]
pub(crate) struct QueuePair<'a> {
    pub(crate) number: u32,
    /// The number of the queue pair at the other end.
    pub(crate) peer: u32,
    pub(crate) pd: Option<&'a Arc<Pd>>,
    pub(crate) send_cq: Option<&'a Arc<Cq>>,
    pub(crate) recv_cq: Option<&'a Arc<Cq>>,
    pub(crate) max_send_wr: u32,
}

fn address(cq: Option<&Arc<Cq>>) -> usize {
    cq.map_or(0, |cq| Arc::as_ptr(cq).addr())
}

impl Watch {
    fn queues_of(&mut self, qp: QueuePair<'_>) -> &mut Queues {
        let (send_cq, recv_cq) = (address(qp.send_cq), address(qp.recv_cq));
        let queues = self.queues.entry(qp.number);
        let queues = queues.or_insert_with(|| Queues::new(send_cq, recv_cq));
        queues.peer = qp.peer;
        queues
    }

    /// How many completions a queue may still get, if no more is posted. The warning is given once.
    fn may_overrun(&mut self, cq: Option<&Arc<Cq>>, room: usize) -> Option<usize> {
        let address = address(cq);
        let possible = self.queues.values().map(|q| q.possible(address)).sum();
        (possible > room && self.warned.insert(address)).then_some(possible)
    }

    fn remove(&mut self, sent: &Sent) {
        for source in &sent.sources {
            self.buffers.remove(source.ticket);
        }
    }
}

fn warn_of_overrun(cq: Option<&Arc<Cq>>) {
    let Some(queue) = cq else { return };
    let room = queue.room();
    let possible = WATCH.lock().may_overrun(cq, room);
    if let Some(possible) = possible {
        warning(&format_args!(
            "{queue}: the requests that are posted may have {possible} completions, and it has room for {room}: \
             when it overruns, a device reports IBV_EVENT_CQ_ERR and its queue pairs fail"
        ));
    }
}

// --- Sends -------------------------------------------------------------------------------------------

/// Whether a device has places for so many more requests. `under_way` are those that are not done.
pub(crate) fn may_post(qp: QueuePair<'_>, more: usize, under_way: usize) -> Result<()> {
    let room = limits::queue_room(qp.max_send_wr);
    let taken = WATCH.lock().queues_of(qp).sends.len();
    if taken + more <= room {
        return Ok(());
    }
    finding(&format_args!(
        "QP {:#x}: its send queue is full: {under_way} of its {room} requests are under way, and {} are done but keep \
         their places until a completion of them or of a later request is polled; on a device ibv_post_send fails \
         with ENOMEM, and so it does here",
        qp.number,
        taken.saturating_sub(under_way),
    ));
    Err(libc::ENOMEM)
}

/// A request was added to the send queue.
pub(crate) fn posted(qp: QueuePair<'_>, request: &Request) {
    let is_read = request.is_read();
    let needs = request.operation.local_needs();
    let parts: Vec<_> = ranges(request)
        .filter_map(|range| {
            let grant = range.grant(qp.pd?, needs).ok()?;
            let content = if is_read { None } else { Content::of(&grant) };
            Some((buffers::place(&grant)?, grant, content))
        })
        .collect();
    let kind = if is_read {
        Kind::Destination
    } else {
        Kind::Source
    };
    let mut watch = WATCH.lock();
    let sources = parts
        .into_iter()
        .map(|(place, grant, content)| Source {
            ticket: watch.buffers.add(place, kind),
            grant,
            content,
        })
        .collect();
    watch.queues_of(qp).sends.push_back(Sent {
        wr_id: request.wr_id,
        opcode: request.operation.opcode(),
        sources,
        outcome: Outcome::UnderWay,
    });
    drop(watch);
    warn_of_overrun(qp.send_cq);
}

fn ranges(request: &Request) -> impl Iterator<Item = Range> + '_ {
    let all = match &request.data {
        Data::Memory(scatter) => scatter.ranges(),
        Data::Inline(_) => &[],
    };
    all.iter().copied().filter(|range| range.length > 0)
}

/// The first request of a queue pair that is under way is done. `shown` says whether there is a completion.
pub(crate) fn completed(number: u32, status: Status, shown: bool) {
    let mut watch = WATCH.lock();
    if let Some(queues) = watch.queues.get_mut(&number) {
        queues.complete(match (status, shown) {
            (Status::Success, false) => Outcome::Silent,
            (Status::Success, true) => Outcome::Shown,
            _ => Outcome::Failed,
        });
    }
}

/// The program is about to get this completion.
pub(crate) fn polled(completion: &Completion) {
    let number = completion.qp_num;
    let mut free = Vec::new();
    {
        let mut watch = WATCH.lock();
        let Watch {
            queues, buffers, ..
        } = &mut *watch;
        let Some(queues) = queues.get_mut(&number) else {
            return;
        };
        if completion.received {
            queues.receives = queues.receives.saturating_sub(1);
            return;
        }
        for mut sent in queues.polled() {
            // The device itself may have changed this memory, so it is no evidence against the program.
            sent.sources.retain(|source| !buffers.remove(source.ticket));
            free.push(sent);
        }
    }
    for sent in free.iter().filter(|sent| sent.outcome != Outcome::Failed) {
        for source in &sent.sources {
            source_is_unchanged(number, sent, source);
        }
    }
}

fn source_is_unchanged(number: u32, sent: &Sent, source: &Source) {
    let Some(first) = source
        .content
        .as_ref()
        .and_then(|content| content.first_difference(&source.grant))
    else {
        return;
    };
    let Range { addr, length, key } = source.grant.range();
    finding(&format_args!(
        "QP {number:#x}: the data of the request with wr_id {:#x} ({:?}, {length} bytes at {addr:#x}, lkey {key:#x}) was \
         changed before its completion was polled, at byte {} or soon after it: a device may send the old or the \
         new bytes",
        sent.wr_id, sent.opcode, first,
    ));
}

/// The peer has refused access to memory that a request of this process names.
pub(crate) fn remote_access_refused(number: u32, range: Range) {
    let peer = WATCH.lock().queues.get(&number).map(|queues| queues.peer);
    // The rkey of a region of this process is the right one if the peer is in this process. The peer reports others.
    if !peer.is_some_and(QpNumber::is_taken) {
        keys::own_key_sent_to_peer(number, range);
    }
}

/// The queue pair was reset or destroyed: nothing more is polled of what it had.
pub(crate) fn forget(number: u32) {
    let mut watch = WATCH.lock();
    if let Some(queues) = watch.queues.remove(&number) {
        for sent in &queues.sends {
            watch.remove(sent);
        }
    }
}

// --- Receives ----------------------------------------------------------------------------------------

fn destinations(pd: Option<&Arc<Pd>>, receive: &Receive) -> Vec<Grant> {
    let Some(pd) = pd else { return Vec::new() };
    let ranges = receive
        .into
        .ranges()
        .iter()
        .filter(|range| range.length > 0);
    ranges
        .filter_map(|range| range.grant(pd, access::LOCAL_WRITE).ok())
        .collect()
}

/// A receive is about to be posted: its memory is filled, so that a program that reads it too early, or more of it
/// than has arrived, does not find old data there that looks right.
pub(crate) fn receive_posted(pd: Option<&Arc<Pd>>, receive: &Receive) {
    for grant in destinations(pd, receive) {
        let Some(place) = buffers::place(&grant) else {
            continue;
        };
        let is_shared = WATCH.lock().buffers.add_receive(place, grant.range());
        if !is_shared {
            buffers::fill(&grant);
        }
    }
}

/// The same for a receive of a queue pair's own queue, which has a completion.
pub(crate) fn own_receive_posted(qp: QueuePair<'_>, receive: &Receive) {
    receive_posted(qp.pd, receive);
    WATCH.lock().queues_of(qp).receives += 1;
    warn_of_overrun(qp.recv_cq);
}

/// A receive leaves its queue without a message.
pub(crate) fn receive_withdrawn(receive: &Receive) {
    let mut watch = WATCH.lock();
    for range in receive.into.ranges() {
        watch.buffers.remove_receive(*range);
    }
}

/// A receive was put back, after a part of a message had arrived in it.
pub(crate) fn receive_put_back(pd: Option<&Arc<Pd>>, receive: &Receive) {
    for grant in destinations(pd, receive) {
        if let Some(place) = buffers::place(&grant) {
            WATCH.lock().buffers.add_touched(place, grant.range());
        }
    }
}

/// A message is about to arrive in this receive, which has left its queue.
pub(crate) fn message_arrives(number: u32, pd: Option<&Arc<Pd>>, receive: &Receive) {
    for grant in destinations(pd, receive) {
        let range = grant.range();
        if WATCH.lock().buffers.remove_receive(range) != Some(false) {
            continue;
        }
        if let Some(at) = buffers::first_not_filled(&grant) {
            let Range { addr, length, key } = range;
            finding(&format_args!(
                "QP {number:#x}: the memory of the receive with wr_id {:#x} ({length} bytes at {addr:#x}, lkey {key:#x}) \
                 was written to before its message arrived, at byte {at}: it belongs to the device until the \
                 completion of the receive is polled, and a device overwrites it at any time",
                receive.wr_id,
            ));
        }
    }
}

// --- Completion queues -------------------------------------------------------------------------------

/// A completion is lost.
pub(crate) fn overrun(cq: &Cq, qp_num: u32, room: usize) {
    finding(&format_args!(
        "{cq}: it overruns: it holds {room} completions, all that it has room for, and one of QP {qp_num:#x} is lost; \
         a device reports IBV_EVENT_CQ_ERR, and the queue pairs of the completion queue fail"
    ));
}

/// More events were acknowledged than the program has taken.
pub(crate) fn acknowledged_too_often(cq: &Cq, surplus: u64) {
    finding(&format_args!(
        "{cq}: ibv_ack_cq_events acknowledges {surplus} more events than the program has taken; with a device \
         ibv_destroy_cq waits for ever"
    ));
}

/// The queue is destroyed. Another one may get its address.
pub(crate) fn forget_cq(cq: &Cq) {
    WATCH.lock().warned.remove(&std::ptr::from_ref(cq).addr());
}
