// SPDX-License-Identifier: BSD-3-Clause

//! Memory that two processes share: a ring of bytes for each direction, and who waits for what.
//!
//! Each side keeps its own counters, and reads of the other one's no more than how far that is. What the
//! other side may change at any time is never looked at twice: bytes are copied out before they mean
//! anything.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::arena::Slot;
use super::chunks::ChunkWord;
use super::memory::Span;
#[cfg(all(loom, test))]
use super::rings_model::Memory;
use super::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::Result;

/// What each ring holds.
#[cfg(not(all(loom, test)))]
const ROOM: usize = 32 * 1024;
#[cfg(all(loom, test))]
pub(super) const ROOM: usize = 4;
/// How much memory a ring has at first. The rest is provided when so much has been written.
const SMALL: usize = ROOM / 8;

/// What one side writes stands by itself: a cache line each. The other side may be another build.
#[repr(C, align(64))]
pub(super) struct Line<T>(pub(super) T);

/// How far a ring is, and who waits. Zeros are right for a ring that is empty.
#[repr(C)]
pub(super) struct Control {
    pub(super) written: Line<AtomicU64>,
    pub(super) read: Line<AtomicU64>,
    /// Whether the reader has to be woken when there is something: `AWAKE`, `SLEEPS`, `SLEEPS_WITHOUT_ACKS`.
    pub(super) reader_sleeps: Line<AtomicU32>,
    /// The writer has to be woken when there is room.
    pub(super) writer_waits: Line<AtomicU32>,
    /// The state of the writer: `ENDED`, `LEFT`, `CAN_COPY`.
    pub(super) state: Line<AtomicU32>,
    /// In one line, though both sides write to it: the writer looks at both words for each request that it executes, and
    /// the reader seldom changes what it grants.
    pub(super) direct: Line<Direct>,
    /// Of a large request of the writer: who copies which part.
    pub(super) chunks: Line<ChunkWord>,
    /// Of the ring that the client writes: whether the connection goes on here. 0 as long as nobody has decided that.
    pub(super) way: Line<AtomicU32>,
}

/// For requests that the writer executes itself in the reader's memory.
#[repr(C)]
pub(super) struct Direct {
    /// What the reader's queue pair permits: 0 for nothing.
    pub(super) granted: AtomicU64,
    /// Not 0: the writer may be accessing the memory.
    pub(super) lease: AtomicU32,
}

impl Control {
    fn reset(&self) {
        self.written.0.store(0, Ordering::Relaxed);
        self.read.0.store(0, Ordering::Relaxed);
        self.reader_sleeps.0.store(0, Ordering::Relaxed);
        self.writer_waits.0.store(0, Ordering::Relaxed);
        self.direct.0.granted.store(0, Ordering::Relaxed);
        self.direct.0.lease.store(0, Ordering::Relaxed);
        self.chunks.0.reset();
        self.way.0.store(0, Ordering::Relaxed);
        self.state.0.store(0, Ordering::Release);
    }
}

/// Of the reader: it looks by itself, it wants to be woken, or it wants to be woken but for acknowledgements only.
const AWAKE: u32 = 0;
const SLEEPS: u32 = 1;
const SLEEPS_WITHOUT_ACKS: u32 = 2;

/// Nothing more is written to the ring.
const ENDED: u32 = 1;
/// Its writer has left both rings: nothing that it has mapped of them matters to it.
const LEFT: u32 = 2;
/// Its writer can copy from the memory of the other process.
const CAN_COPY: u32 = 4;

/// A slot that has rings in it.
#[cfg(not(all(loom, test)))]
#[derive(Clone)]
pub(super) struct Memory(Slot);

#[cfg(not(all(loom, test)))]
impl Memory {
    fn of(slot: Slot) -> Self {
        Self(slot)
    }

    /// Has memory provided for a part of the bytes of a ring.
    fn provide(&self, ring: usize, from: usize, length: usize) -> Result<()> {
        self.0.provide_bytes((ring & 1) * ROOM + from, length)
    }

    fn control(&self, ring: usize) -> &Control {
        // SAFETY: within the slot and aligned, since that is aligned to pages and both are small; atomics
        // may be changed by the other process meanwhile.
        unsafe { self.0.words().cast::<Control>().add(ring & 1).as_ref() }
    }

    /// The bytes of a ring from its byte `at` on, up to where it begins anew.
    fn span(&self, ring: usize, at: u64) -> Span<'_> {
        let at = at as usize % ROOM;
        // SAFETY: within the slot, which is mapped as long as `self`; what the other process does with the
        // bytes matters to their meaning only, as with memory of the program.
        unsafe {
            let from = self.0.bytes().add((ring & 1) * ROOM + at);
            Span::from_raw(from, ROOM - at)
        }
    }

    /// For the model checker: these bytes of a ring have been written, or read.
    fn accessed(&self, _ring: usize, _at: u64, _length: usize, _written: bool) {}
}

/// Whether the side that was sent the memory has left the rings in this slot.
pub(super) fn are_left_by_peer(slot: &Slot) -> bool {
    let memory = Memory::of(slot.clone());
    if memory.control(1).state.0.load(Ordering::Acquire) & LEFT == 0 {
        return false;
    }
    for ring in 0..2 {
        if memory.control(ring).written.0.load(Ordering::Relaxed) > SMALL as u64 {
            slot.give_bytes_back(ring * ROOM + SMALL, ROOM - SMALL);
        }
    }
    true
}

/// What a program that polls many connections sees of one without locking it.
pub(crate) struct RingHint {
    memory: Memory,
    /// The ring that is read, and how far.
    ring: usize,
    read: AtomicU64,
    /// This side has something to do, even if nothing has come.
    owes: AtomicBool,
    is_closed: AtomicBool,
}

impl RingHint {
    /// Something has come, or is to be done.
    pub(crate) fn is_worth_a_look(&self) -> bool {
        self.owes.load(Ordering::Relaxed) || self.has_input()
    }

    /// Something has come.
    pub(crate) fn has_input(&self) -> bool {
        let written = &self.memory.control(self.ring).written.0;
        // Acquire: the bytes are there.
        written.load(Ordering::Acquire) != self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn owe(&self, owes: bool) {
        // Mostly it does not change: then no other processor has to read it anew.
        if self.owes.load(Ordering::Relaxed) != owes {
            self.owes.store(owes, Ordering::Relaxed);
        }
    }

    /// The connection is over.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for RingHint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingHint").finish_non_exhaustive()
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        self.hint.is_closed.store(true, Ordering::Relaxed);
    }
}

/// One side's end of both rings.
pub(crate) struct Rings {
    memory: Memory,
    hint: Arc<RingHint>,
    written: u64,
    read: u64,
    /// The ring that this side writes. It reads the other one.
    own: u32,
    /// How much memory the ring has that this side writes.
    provided: u32,
}

impl Rings {
    /// New ones, in a slot that nobody uses. This is the end of the side that makes the memory.
    pub(super) fn new(slot: Slot) -> Self {
        let rings = Self::end(Memory::of(slot), 0);
        for ring in 0..2 {
            rings.memory.control(ring).reset();
        }
        rings
    }

    /// The end of the side that was sent the memory.
    pub(super) fn other_end(slot: Slot) -> Self {
        Self::end(Memory::of(slot), 1)
    }

    pub(super) fn end(memory: Memory, own: usize) -> Self {
        Self {
            hint: Arc::new(RingHint {
                memory: memory.clone(),
                ring: 1 - own,
                read: AtomicU64::new(0),
                owes: AtomicBool::new(false),
                is_closed: AtomicBool::new(false),
            }),
            memory,
            written: 0,
            read: 0,
            own: own as u32,
            provided: 0,
        }
    }

    pub(crate) fn hint(&self) -> &Arc<RingHint> {
        &self.hint
    }

    /// The ring that this side writes.
    fn own(&self) -> usize {
        self.own as usize
    }

    /// The ring that it reads.
    fn other(&self) -> usize {
        1 - self.own()
    }

    fn outgoing(&self) -> &Control {
        self.memory.control(self.own())
    }

    fn incoming(&self) -> &Control {
        self.memory.control(self.other())
    }

    /// How much fits in. Fails when the other side's counter is nonsense.
    fn room(&self) -> Result<usize> {
        // Acquire: what the reader has read it does not read any more, so it may be overwritten.
        let read = self.outgoing().read.0.load(Ordering::Acquire);
        usize::try_from(self.written.wrapping_sub(read))
            .ok()
            .and_then(|used| ROOM.checked_sub(used))
            .ok_or(libc::EPROTO)
    }

    fn available(&self) -> Result<usize> {
        // Acquire: the bytes are there.
        let written = self.incoming().written.0.load(Ordering::Acquire);
        usize::try_from(written.wrapping_sub(self.read))
            .ok()
            .filter(|&available| available <= ROOM)
            .ok_or(libc::EPROTO)
    }

    /// Has memory provided for so many bytes that are written next, which fit in before the ring begins anew.
    fn provide(&mut self, length: usize) -> Result<()> {
        let end = self.written as usize % ROOM + length;
        let provided = self.provided as usize;
        if end <= provided {
            return Ok(());
        }
        let wanted = if end <= SMALL { SMALL } else { ROOM };
        let memory = &self.memory;
        memory.provide(self.own(), provided, wanted - provided)?;
        self.provided = wanted as u32;
        Ok(())
    }

    // --- Bytes -----------------------------------------------------------------------------------

    /// Writes `own`, a buffer of this library, and then `program`, which may be memory that is not there
    /// (`EFAULT`), as far as there is room, and no more than a ring full however quick the reader is. With no
    /// room at all: `EAGAIN`, and the reader will say when there is.
    pub(crate) fn send(&mut self, own: Span<'_>, program: Span<'_>) -> Result<usize> {
        let offered = (own.len() + program.len()).min(ROOM);
        let mut sent = 0;
        let mut asked = false;
        while sent < offered {
            let room = self.room()?;
            if room == 0 {
                if asked {
                    break;
                }
                // It may have read meanwhile, without having seen this: so there is another look.
                // Relaxed: ordered by the fence.
                self.outgoing().writer_waits.0.store(1, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                asked = true;
                continue;
            }
            let before_the_end = ROOM - self.written as usize % ROOM;
            let length = room.min(offered - sent).min(before_the_end);
            match self.provide(length) {
                Ok(()) => {}
                Err(errno) if sent == 0 => return Err(errno),
                // As below.
                Err(_) => break,
            }
            let to = self.memory.span(self.own(), self.written);
            let to = to.first(length);
            let n = if sent < own.len() {
                own.after(sent).copy_to(to)
            } else {
                match program.after(sent - own.len()).load(to) {
                    Ok(n) => n,
                    Err(errno) if sent == 0 => return Err(errno),
                    // What was written before it goes, and the next call fails.
                    Err(_) => break,
                }
            };
            let memory = &self.memory;
            memory.accessed(self.own(), self.written, n, true);
            sent += n;
            self.written = self.written.wrapping_add(n as u64);
            // Release: the bytes come before it.
            self.outgoing()
                .written
                .0
                .store(self.written, Ordering::Release);
        }
        if sent == 0 {
            return Err(libc::EAGAIN);
        }
        // Between the store to `written` and the load in `reader_sleeps`.
        fence(Ordering::SeqCst);
        Ok(sent)
    }

    /// Reads into `program`, which may be memory that is not there (`EFAULT`), and then into `own`, a buffer of
    /// this library. With nothing to read: `EAGAIN`.
    pub(crate) fn receive(&mut self, program: Span<'_>, own: Span<'_>) -> Result<usize> {
        let mut left = self.available()?.min(program.len() + own.len());
        let mut received = 0;
        while left > 0 {
            let from = self.memory.span(self.other(), self.read).first(left);
            let n = if received < program.len() {
                match program.after(received).store(from) {
                    Ok(n) => n,
                    Err(errno) if received == 0 => return Err(errno),
                    Err(_) => break,
                }
            } else {
                from.copy_to(own.after(received - program.len()))
            };
            let memory = &self.memory;
            memory.accessed(self.other(), self.read, n, false);
            received += n;
            left -= n;
            self.read = self.read.wrapping_add(n as u64);
        }
        if received == 0 {
            return Err(libc::EAGAIN);
        }
        self.hint.read.store(self.read, Ordering::Relaxed);
        // Release: the bytes have been read before it.
        self.incoming().read.0.store(self.read, Ordering::Release);
        // Between this store and the load in `writer_waits`.
        fence(Ordering::SeqCst);
        Ok(received)
    }

    /// How far the other side has read, if there is something that it has not.
    pub(crate) fn unread_from(&self) -> Option<u64> {
        let read = self.outgoing().read.0.load(Ordering::Relaxed);
        (read != self.written).then_some(read)
    }

    /// How the connection goes on (`way`).
    pub(super) fn way(&self) -> &AtomicU32 {
        &self.memory.control(0).way.0
    }

    // --- Copies -----------------------------------------------------------------------------------

    // Relaxed: nothing else follows from it.

    /// This side can copy from the memory of the other process.
    pub(super) fn can_copy(&self) {
        let state = &self.outgoing().state.0;
        state.fetch_or(CAN_COPY, Ordering::Relaxed);
    }

    pub(super) fn peer_can_copy(&self) -> bool {
        self.incoming().state.0.load(Ordering::Relaxed) & CAN_COPY != 0
    }

    // --- The end ---------------------------------------------------------------------------------

    // Release and Acquire: whoever sees the end also sees all that was written before it.

    /// This side writes nothing any more. Whether the other side is still there to be told.
    pub(super) fn end_writing(&self) -> bool {
        self.outgoing().state.0.fetch_or(ENDED, Ordering::Release);
        !self.are_left()
    }

    /// This side uses the memory no more. Whether the other side is still there to be told.
    pub(super) fn leave(&self) -> bool {
        let state = &self.outgoing().state.0;
        state.fetch_or(ENDED | LEFT, Ordering::Release);
        !self.are_left()
    }

    fn are_left(&self) -> bool {
        self.incoming().state.0.load(Ordering::Acquire) & LEFT != 0
    }

    /// The other side writes nothing any more: what is not there by now will not come.
    pub(super) fn writer_has_ended(&self) -> bool {
        self.incoming().state.0.load(Ordering::Acquire) & ENDED != 0
    }

    // --- Who waits -------------------------------------------------------------------------------

    // A side that is about to sleep stores that, and checks once more for input or room. A side that has written or
    // read checks afterwards whether the other one sleeps. Each has a fence between its two steps, so at least one of
    // the two sees what the other one has stored.

    /// After something was written: whether the reader has to be woken.
    pub(crate) fn reader_sleeps(&self) -> bool {
        self.reader_sleeps_for(false)
    }

    /// As above; nothing but acknowledgements may have been written, which need not wake the reader as long as they are
    /// few.
    pub(crate) fn reader_sleeps_for(&self, only_acks: bool) -> bool {
        let sleeps = &self.outgoing().reader_sleeps.0;
        // Relaxed: behind the fence in `send`. It only decides who wakes the reader.
        match sleeps.load(Ordering::Relaxed) {
            AWAKE => false,
            SLEEPS_WITHOUT_ACKS if only_acks && self.is_mostly_empty() => false,
            _ => sleeps.swap(AWAKE, Ordering::Relaxed) != AWAKE,
        }
    }

    /// Whether the other side has read most of what was written.
    fn is_mostly_empty(&self) -> bool {
        self.room().is_ok_and(|room| room > ROOM / 2)
    }

    /// The reader sleeps, and what it has not read are acknowledgements that it does not wait for.
    pub(crate) fn reader_leaves_acks(&self) -> bool {
        let sleeps = &self.outgoing().reader_sleeps.0;
        // Relaxed: nothing follows from it but that a doorbell is not rung now.
        sleeps.load(Ordering::Relaxed) == SLEEPS_WITHOUT_ACKS && self.is_mostly_empty()
    }

    /// After something was read: whether the writer has to be woken. Not for each byte: when half of the ring
    /// is free.
    pub(crate) fn writer_waits(&self) -> bool {
        let waits = &self.incoming().writer_waits.0;
        // Relaxed: behind the fence in `receive`; otherwise as above.
        waits.load(Ordering::Relaxed) != 0
            && self.available().is_ok_and(|used| used <= ROOM / 2)
            && waits.swap(0, Ordering::Relaxed) != 0
    }

    /// This side wants to be woken when there is something to read. Whether there is something already, of
    /// which it will not be told.
    #[cfg(test)]
    pub(crate) fn sleep(&self) -> bool {
        self.sleep_for(true)
    }

    /// As above. Without `acks`, this side does not want to be woken for what is only acknowledgements.
    pub(crate) fn sleep_for(&self, acks: bool) -> bool {
        let sleeps = &self.incoming().reader_sleeps.0;
        let wanted = if acks { SLEEPS } else { SLEEPS_WITHOUT_ACKS };
        // Relaxed: ordered by the fence.
        match sleeps.swap(wanted, Ordering::Relaxed) {
            // It was told of what has come until now, or does not want to be told.
            SLEEPS => return false,
            SLEEPS_WITHOUT_ACKS if !acks => return false,
            _ => {}
        }
        // Between the store to `reader_sleeps` and the load of `written`.
        fence(Ordering::SeqCst);
        if self.available() == Ok(0) {
            return false;
        }
        self.stay_awake();
        true
    }

    /// This side looks by itself.
    pub(crate) fn stay_awake(&self) {
        let sleeps = &self.incoming().reader_sleeps.0;
        // Relaxed: a writer that does not see it wakes this side for nothing. A swap like all other changes of it, so
        // that they are in one order.
        if sleeps.load(Ordering::Relaxed) != 0 {
            sleeps.swap(0, Ordering::Relaxed);
        }
    }

    // --- Operations that the initiator executes --------------------------------------------------

    // As in `lease.rs`: each side stores, and after a fence looks at what the other one has stored.

    /// The owner: from now on, this is what its queue pair permits the peer.
    pub(crate) fn grant(&self, word: u64) {
        // Release: the peer finds the queue pair as it was when this was stored.
        self.incoming()
            .direct
            .0
            .granted
            .store(word, Ordering::Release);
    }

    /// The owner: afterwards `is_leased` tells whether the peer may still act on what it was granted before.
    pub(crate) fn grant_is_seen(&self) {
        fence(Ordering::SeqCst);
    }

    /// The owner: whether the peer may be accessing the memory.
    pub(crate) fn is_leased(&self) -> bool {
        // Acquire: what the peer has copied is there.
        self.incoming().direct.0.lease.load(Ordering::Acquire) != 0
    }

    /// The initiator: what the peer's queue pair permits this side.
    pub(crate) fn granted(&self) -> u64 {
        // Acquire: the copy does not begin before this.
        self.outgoing().direct.0.granted.load(Ordering::Acquire)
    }

    /// Where the words for the requests of the initiator are.
    pub(crate) fn grant_at(&self) -> usize {
        ptr::from_ref(&self.outgoing().direct).addr()
    }

    /// The initiator is about to access the memory. There has to be a `fence(SeqCst)` before it asks what is granted.
    pub(crate) fn begin_lease(&self) {
        // Relaxed: ordered by the fence.
        self.outgoing().direct.0.lease.store(1, Ordering::Relaxed);
    }

    pub(crate) fn end_lease(&self) {
        // Release: the copies come before it.
        self.outgoing().direct.0.lease.store(0, Ordering::Release);
    }

    /// The initiator: who copies which part of its large request.
    pub(crate) fn own_chunks(&self) -> &ChunkWord {
        &self.outgoing().chunks.0
    }

    /// The owner: the same of the peer's.
    pub(crate) fn peers_chunks(&self) -> &ChunkWord {
        &self.incoming().chunks.0
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::os::arena::Arena;
    use crate::os::testing::Mapped;

    fn ends() -> (Rings, Rings) {
        let (_, slot, _) = Arena::default().take(|_| false).unwrap();
        (Rings::new(slot.clone()), Rings::other_end(slot))
    }

    fn send(end: &mut Rings, bytes: &[u8]) -> Result<usize> {
        end.send(Span::from_slice(bytes), Span::NONE)
    }

    fn receive(end: &mut Rings, most: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; most];
        let n = end.receive(Span::NONE, Span::from_mut(&mut bytes))?;
        bytes.truncate(n);
        Ok(bytes)
    }

    #[test]
    fn bytes_come_in_order_however_often_the_ring_begins_anew() {
        let (mut one, mut other) = ends();
        let (mut sent, mut received) = (0u64, 0u64);
        let mut size = 1;
        while sent < 20 * ROOM as u64 {
            let bytes: Vec<u8> = (sent..sent + size).map(|n| (n % 251) as u8).collect();
            // The second part of it as if it were the program's.
            let (own, program) = bytes.split_at(bytes.len() / 3);
            sent += one
                .send(Span::from_slice(own), Span::from_slice(program))
                .unwrap() as u64;
            let (mut program, mut own) = (vec![0; size as usize / 2], vec![0; size as usize]);
            let n = other
                .receive(Span::from_mut(&mut program), Span::from_mut(&mut own))
                .unwrap();
            for byte in program.iter().chain(&own).take(n) {
                assert_eq!(*byte, (received % 251) as u8);
                received += 1;
            }
            size = size * 7 % 5003 + 1;
        }
        assert_eq!(sent, received);
        assert_eq!(receive(&mut other, 1), Err(libc::EAGAIN));
        // And the other way.
        assert_eq!(send(&mut other, b"back"), Ok(4));
        assert_eq!(receive(&mut one, 9).unwrap(), b"back");
    }

    #[test]
    fn a_full_ring_takes_no_more_and_its_writer_hears_of_room() {
        let (mut one, mut other) = ends();
        assert_eq!(send(&mut one, &[7; ROOM + 5]), Ok(ROOM));
        assert_eq!(send(&mut one, &[7; 5]), Err(libc::EAGAIN));
        assert_eq!(receive(&mut other, 100).unwrap(), [7; 100]);
        // Not for a few bytes.
        assert!(!other.writer_waits());
        assert_eq!(receive(&mut other, ROOM / 2).unwrap().len(), ROOM / 2);
        assert!(other.writer_waits());
        assert!(!other.writer_waits());
        assert_eq!(send(&mut one, &[7; 5]), Ok(5));
        assert_eq!(receive(&mut other, ROOM).unwrap().len(), ROOM / 2 - 100 + 5);
        assert!(!other.writer_waits());
    }

    #[test]
    fn a_hint_shows_what_has_come_or_is_to_be_done() {
        let (mut one, mut other) = ends();
        let hint = Arc::clone(other.hint());
        assert!(!hint.is_worth_a_look());
        send(&mut one, &[1, 2]).unwrap();
        assert!(hint.is_worth_a_look());
        receive(&mut other, 1).unwrap();
        assert!(hint.is_worth_a_look());
        receive(&mut other, 1).unwrap();
        assert!(!hint.is_worth_a_look());
        hint.owe(true);
        assert!(hint.is_worth_a_look());
        assert!(!hint.is_closed());
        drop(other);
        assert!(hint.is_closed());
    }

    #[test]
    fn who_sleeps_is_woken_once_and_not_when_there_is_something() {
        let (mut one, mut other) = ends();
        assert!(!one.reader_sleeps());
        assert!(!other.sleep());
        send(&mut one, &[1]).unwrap();
        assert!(one.reader_sleeps());
        assert!(!one.reader_sleeps());
        assert!(other.sleep());
        assert!(!one.reader_sleeps());
        receive(&mut other, 1).unwrap();
        assert!(!other.sleep());
        other.stay_awake();
        send(&mut one, &[1]).unwrap();
        assert!(!one.reader_sleeps());
    }

    #[test]
    fn memory_that_is_not_there_is_no_more_than_an_error() {
        let (mut one, mut other) = ends();
        let file = Mapped::new(4096).unwrap();
        file.resize(0).unwrap();
        let nowhere = || Span::of_program(&file, file.addr() as usize, 8);
        assert_eq!(one.send(Span::NONE, nowhere()), Err(libc::EFAULT));
        // What comes before it goes.
        assert_eq!(one.send(Span::from_slice(b"own"), nowhere()), Ok(3));
        let mut own = [0; 3];
        let received = other.receive(nowhere(), Span::from_mut(&mut own));
        assert_eq!(received, Err(libc::EFAULT));
        assert_eq!(receive(&mut other, 9).unwrap(), b"own");
    }

    #[test]
    fn a_peer_that_counts_wrong_is_found_out() {
        let (mut one, mut other) = ends();
        for written in [ROOM as u64 + 1, u64::MAX, 1 << 40] {
            let control = one.hint.memory.control(0);
            control.written.0.store(written, Ordering::SeqCst);
            assert_eq!(receive(&mut other, 10), Err(libc::EPROTO));
        }
        for read in [1, u64::MAX - ROOM as u64, 1 << 40] {
            other
                .hint
                .memory
                .control(0)
                .read
                .0
                .store(read, Ordering::SeqCst);
            assert_eq!(send(&mut one, b"x"), Err(libc::EPROTO));
        }
    }

    #[test]
    fn the_end_comes_behind_the_bytes_and_both_sides_leave() {
        let (mut one, mut other) = ends();
        let slot = one.hint.memory.0.clone();
        send(&mut one, &[7; SMALL + 1]).unwrap();
        assert!(!other.writer_has_ended());
        assert!(one.leave());
        assert!(other.writer_has_ended());
        assert_eq!(receive(&mut other, ROOM).unwrap(), [7; SMALL + 1]);
        assert!(!are_left_by_peer(&slot));
        assert!(!other.leave());
        assert!(are_left_by_peer(&slot));
        let (mut one, mut other) = (Rings::new(slot.clone()), Rings::other_end(slot));
        assert!(!other.writer_has_ended());
        send(&mut one, &[8; ROOM]).unwrap();
        assert_eq!(receive(&mut other, ROOM).unwrap(), [8; ROOM]);
    }
}
