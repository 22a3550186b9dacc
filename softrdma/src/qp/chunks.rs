// SPDX-License-Identifier: BSD-3-Clause

//! Large writes and reads of memory of a process of the same user on the same host, in chunks that both sides take
//! (`os/chunks.rs` has the word that says who has which).
//!
//! The initiator copies a chunk as it executes a small request (`direct.rs`): when the program posts or polls, a few
//! chunks in each call. It sends the frame of the request, too, as one by reference whose bytes the owner copies
//! (`pulling.rs`). So the request makes progress without the owner, and without a program that polls; and the owner
//! decides what is not permitted. A request that was complete before the owner has read its frame is none for the owner.
//!
//! Of a write the owner copies chunks from the end. Of a read it only says where the bytes are, and the initiator
//! copies what it has not copied yet, like that of other reads: so neither process writes to the other one but as
//! direct operations do.
//!
//! Requests behind one that both sides execute wait for its end: otherwise the owner could come to them while the
//! initiator still copies a chunk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use crate::Result;
use crate::objects::cq::Cq;
use crate::os::chunks::{CHUNK, Finished, Last, Taken, count};
use crate::os::local::Local;
use crate::types::completion::{Completion, Status};
use crate::types::limits::MAX_MESSAGE;
use crate::types::region::Range;
use crate::types::work::{Data, Operation, Progress, Request, Scatter, Sharing};
use crate::wire::{Carriage, Frame, Malformed};

use super::direct::LARGEST;
use super::link::Link;
use super::{Inner, Qp};

/// How a completion gets into the queue.
type Add = fn(&Arc<Cq>, Completion);

/// How many chunks are copied at once, when this side copies all of them: as many as one call may.
const AT_ONCE: u32 = 8;

/// The request that is a part of a large one: so many chunks at most, behind those that are copied. None if the large one
/// cannot be executed in chunks.
fn next_part(request: &Request, chunks: u32) -> Option<Request> {
    let Data::Memory(Scatter::One(own)) = &request.data else {
        return None;
    };
    let offset = request.chunks.copied.checked_mul(CHUNK)?;
    let length = own.length.checked_sub(offset)?.min(chunks * CHUNK);
    let part = |range: Range| {
        Some(Range {
            addr: range.addr.checked_add(u64::from(offset))?,
            length,
            key: range.key,
        })
    };
    let operation = match request.operation {
        Operation::Write { to } => Operation::Write { to: part(to)? },
        Operation::Read { from } => Operation::Read { from: part(from)? },
        _ => return None,
    };
    Some(Request {
        operation,
        data: Data::Memory(Scatter::One(part(*own)?)),
        ..request.clone()
    })
}

/// Whether this side may copy chunks of it. With an immediate the owner has to be asked for a receive first.
fn is_large(request: &Request) -> bool {
    request.imm.is_none()
        && request.length() > LARGEST
        && request.length() <= MAX_MESSAGE
        && request.chunks.sharing == Sharing::Alone
        && next_part(request, 1).is_some()
}

fn local(link: Option<&Link>) -> Option<&Local> {
    link.and_then(|link| link.paths.local_to_send())
}

impl Qp {
    // --- The initiator ---------------------------------------------------------------------------

    /// Both sides execute the first request, and nothing behind it is sent.
    pub(super) fn shares_first_request(q: &Inner) -> bool {
        let request = q.sq.front();
        q.next == q.first + 1
            && request.is_some_and(|request| {
                request.chunks.sharing == Sharing::Both && request.progress == Progress::Sent
            })
    }

    /// Whether the next request, which is about to be sent, may be executed by both sides.
    pub(super) fn may_share_next_request(&self, q: &Inner) -> bool {
        let (Some(request), Some(link)) = (q.sq.front(), &q.link) else {
            return false;
        };
        // A program that sleeps until its event comes copies nothing: the owner then has all at once.
        let sleeps = || q.sq.len() > 1 && self.waits_for_an_event();
        q.next == q.first
            && is_large(request)
            && Self::may_execute(link)
            && next_part(request, 1).is_some_and(|chunk| Self::is_granted(&chunk, link))
            && !sleeps()
    }

    /// The request that has this number is about to be sent: how its bytes go, if both sides execute it.
    pub(super) fn share(
        link: &Link,
        seq: u64,
        request: &mut Request,
        carriage: Carriage,
    ) -> Carriage {
        let can_copy = match request.operation {
            Operation::Read { .. } => link.source.process().is_some(),
            _ => carriage == Carriage::ByReference,
        };
        let Some(local) = local(Some(link)).filter(|_| can_copy) else {
            return carriage;
        };
        local.rings().own_chunks().open(seq, request.chunks.copied);
        request.chunks.sharing = Sharing::Both;
        Carriage::InChunks
    }

    /// Copies a chunk of the first request. How much of the budget that took; None when this side can do no more for now.
    /// `add` puts a completion into the queue.
    pub(super) fn execute_chunk(&self, q: &mut Inner, add: Add) -> Option<u32> {
        let is_read = q.sq.front()?.is_read();
        if !Self::shares_first_request(q) {
            let may_begin = Self::is_turn_of_first(q)
                && q.sq.front().is_some_and(is_large)
                && !(is_read && q.attributes.reads == 0);
            if !may_begin {
                return None;
            }
            // The owner of the memory of a write copies as soon as it is told.
            if !is_read && self.tells_owner_first(q) {
                self.transmit(q);
                if !Self::shares_first_request(q) {
                    return None;
                }
            }
        }
        if Self::shares_first_request(q) {
            self.share_chunk(q, add)
        } else {
            self.execute_chunk_alone(q, add)
        }
    }

    /// Whether the owner is told of the write at the head of the queue before this side copies.
    fn tells_owner_first(&self, q: &mut Inner) -> bool {
        let (Some(request), Some(link)) = (q.sq.front(), &mut q.link) else {
            return false;
        };
        // Of what was begun alone, it is told when this side does not go on.
        let is_begun = request.chunks.copied > 0;
        link.tx.is_idle() && !is_begun && link.direct.owner_help.begin(Instant::now())
    }

    /// A large write is complete.
    pub(super) fn count_help(link: Option<&mut Link>, request: &Request) {
        let is_large_write =
            matches!(request.operation, Operation::Write { .. }) && request.length() > LARGEST;
        if let Some(link) = link.filter(|_| is_large_write) {
            let chunks = count(request.length());
            link.direct.owner_help.end(Instant::now(), chunks);
        }
    }

    /// Of a request that the owner was not told of.
    fn execute_chunk_alone(&self, q: &mut Inner, add: Add) -> Option<u32> {
        let copied = self.copy_part(q, AT_ONCE);
        let request = q.sq.front_mut()?;
        let Some((length, taken)) = copied else {
            request.chunks.sharing = Sharing::Never;
            return None;
        };
        request.chunks.copied += count(length);
        if request.chunks.copied == count(request.length()) {
            let request = q.sq.pop_front()?;
            Self::count_help(q.link.as_mut(), &request);
            self.complete_request_by(&request, Status::Success, add);
        }
        Some(taken)
    }

    /// Of a request that the owner was told of.
    fn share_chunk(&self, q: &mut Inner, add: Add) -> Option<u32> {
        match self.take_chunk(q) {
            Ok(Taken::Chunk) => {}
            Ok(Taken::Nothing) => return None,
            Err(_) => {
                self.lost(q);
                return None;
            }
        }
        let copied = self.copy_part(q, 1);
        let failed = copied.is_none();
        match self.finish_chunk(q, failed) {
            Ok(Finished::Open) => {
                if let Some(request) = q.sq.front_mut().filter(|_| failed) {
                    request.chunks.sharing = Sharing::Owner;
                }
            }
            Ok(Finished::Closed) => self.end_shared_request(q, failed, add),
            Err(_) => self.lost(q),
        }
        copied.map(|(_, taken)| taken)
    }

    fn take_chunk(&self, q: &Inner) -> Result<Taken> {
        let (Some(local), Some(request)) = (local(q.link.as_ref()), q.sq.front()) else {
            return Ok(Taken::Nothing);
        };
        let is_own = q.link.as_ref().is_some_and(Link::is_own);
        if !is_own {
            return Ok(Taken::Nothing);
        }
        let copied = request.chunks.copied;
        let count = count(request.length());
        let word = local.rings().own_chunks();
        word.take(q.first, count, copied)
    }

    fn finish_chunk(&self, q: &mut Inner, failed: bool) -> Result<Finished> {
        let Inner {
            link, sq, first, ..
        } = q;
        let (Some(local), Some(request)) = (local(link.as_ref()), sq.front_mut()) else {
            return Err(libc::EPROTO);
        };
        request.chunks.copied += u32::from(!failed);
        let count = count(request.length());
        let word = local.rings().own_chunks();
        word.finish(*first, count, request.chunks.copied, failed)
    }

    /// The owner has nothing to do with the frame of the first request. If a chunk could not be copied, the request is
    /// sent anew, with the next number.
    fn end_shared_request(&self, q: &mut Inner, failed: bool, add: Add) {
        q.first += 1;
        let Some(request) = q.sq.front_mut() else {
            return;
        };
        if request.is_read() {
            q.reads = q.reads.saturating_sub(1);
        }
        if failed {
            request.progress = Progress::Waiting;
            request.chunks.sharing = Sharing::Never;
        } else if let Some(request) = q.sq.pop_front() {
            Self::count_help(q.link.as_mut(), &request);
            self.complete_request_by(&request, Status::Success, add);
        }
    }

    /// Copies the next chunks of the first request, so many at most. How many bytes, and what that took of the budget.
    fn copy_part(&self, q: &mut Inner, chunks: u32) -> Option<(u32, u32)> {
        q.link.as_ref().filter(|link| Self::may_execute(link))?;
        let part = next_part(q.sq.front()?, chunks)?;
        let taken = self.execute_part(&part, q.link.as_mut()?)?;
        // The call that copies much at once takes half of the time.
        let taken = if chunks > 1 { taken / 2 } else { taken };
        Some((part.length(), taken))
    }

    /// The owner answers this read: this side copies the rest of it as that of other reads.
    pub(super) fn is_answered(request: &mut Request) {
        if request.chunks.sharing == Sharing::Both {
            request.chunks.sharing = Sharing::Owner;
        }
    }

    /// How many bytes of the data of a read this side has copied.
    pub(super) fn copied_of_read(q: &Inner, seq: u64) -> u64 {
        let index = seq
            .checked_sub(q.first)
            .and_then(|index| usize::try_from(index).ok());
        index
            .and_then(|index| q.sq.get(index))
            .map_or(0, |request| {
                u64::from(request.chunks.copied) * u64::from(CHUNK)
            })
    }

    // --- The owner of the memory -----------------------------------------------------------------

    /// A request has come of which the initiator may copy chunks. Whether there is anything to do: if not, the next
    /// frame is that of the next request.
    pub(super) fn engage(&self, q: &mut Inner, frame: &Frame) -> Result<bool, Malformed> {
        let Some(seq) = frame.in_chunks() else {
            return Ok(true);
        };
        // As for what was placed, only from a peer that can access the memory itself.
        let link = q.link.as_ref();
        let link = link.filter(|link| link.paths.receives_locally() && link.direct.has_reach());
        let local = link.and_then(|link| link.paths.local()).ok_or(Malformed)?;
        if local.rings().peers_chunks().engage(seq) {
            return Ok(true);
        }
        if let Some(link) = &mut q.link {
            link.rx.expects_more = true;
        }
        if q.is_down() || q.refused || (q.dropping && seq != q.expected) {
            return Ok(false);
        }
        if seq != q.expected {
            return Err(Malformed);
        }
        // It may be the first one of those that the peer sends anew.
        q.dropping = false;
        q.expected += 1;
        Ok(false)
    }

    /// The next chunk of a write of the peer for this side.
    pub(super) fn take_last_chunk(q: &mut Inner, seq: u64, length: u32) -> Last {
        let Some(link) = &mut q.link else {
            return Last::Gone;
        };
        let Some(local) = link.paths.local() else {
            return Last::Gone;
        };
        let last = local.rings().peers_chunks().take_last(seq, count(length));
        link.rx.expects_more = !matches!(last, Last::Chunk(_));
        last
    }

    /// A program that has large requests executed posts the next one soon: the I/O thread looks for it for a moment, since
    /// to be woken takes as long as to copy several chunks. Whether something has come.
    pub(super) fn linger(&self, q: &mut MutexGuard<'_, Inner>) -> bool {
        /// Longer than the initiator copies its last chunk.
        const MOMENT: Duration = Duration::from_micros(25);
        let Some(link) = &mut q.link else {
            return false;
        };
        if !std::mem::take(&mut link.rx.expects_more) {
            return false;
        }
        let Some(hint) = link.paths.ring_hint().cloned() else {
            return false;
        };
        MutexGuard::unlocked(q, || {
            let begun = Instant::now();
            while begun.elapsed() < MOMENT {
                if hint.is_worth_a_look() {
                    return true;
                }
                std::hint::spin_loop();
            }
            false
        })
    }
}
