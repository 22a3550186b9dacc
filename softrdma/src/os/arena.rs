// SPDX-License-Identifier: BSD-3-Clause

//! Memory that two processes share for all their connections: memory files that are cut into slots. A connection has
//! one slot.
//!
//! The process that connects makes the files, and sends their descriptors to the other one. The files are sparse: a
//! slot takes memory as far as it is used (`Slot::provide`).

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use super::{check, errno, memfd, populate};
use crate::Result;

/// The sizes of the two parts of a slot: its words and its bytes. A page is the smallest unit of memory. In a file there
/// are the words of all its slots first, so that a process that uses many connections finds their pages by few entries
/// of the kernel's tables.
pub(super) const WORDS: usize = 4096;
const BYTES: usize = 64 * 1024;
const SLOT: usize = WORDS + BYTES;
/// How many slots the first file has. Each next one has twice as many as the one before it, up to the last number.
const FEWEST: usize = 4;
const MOST: usize = 1024;
/// How many slots two processes may have.
const MOST_SLOTS: usize = 64 * 1024;
/// The size of a file stays: memory behind its end must not be touched.
const SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
/// How many slots are looked at for one that the peer has left.
const LOOKS: usize = 8;
/// The same, while nobody waits for one: a few at a time, since others wait for the lock.
const LOOKS_FOR_IDLE: usize = 32;
/// Of how many slots the memory is given back at once.
const IDLE_AT_ONCE: usize = 32;
/// How many slots the peer may keep that this side has left, before there is no more memory for it.
const MOST_LEFT: usize = MOST_SLOTS / 4;

/// A memory file, mapped until it is dropped.
struct Segment {
    at: NonNull<u8>,
    slots: usize,
}

// SAFETY: it is mapped for the process, not for a thread; `Rings` decides who uses which part.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

impl Segment {
    fn new(slots: usize) -> Result<(Self, OwnedFd)> {
        let size = slots * SLOT;
        let fd = memfd::create(size)?;
        if populate::is_supported() {
            memfd::set_size(&fd, size)?;
        } else {
            memfd::allocate(fd.as_raw_fd(), 0, size)?;
        }
        memfd::seal(&fd, SEALS)?;
        Ok((Self::map(&fd, slots)?, fd))
    }

    /// Fails for a file that has not been made by `new`.
    fn of_peer(fd: &OwnedFd) -> Result<Self> {
        let size = memfd::size_of_sent(fd, SEALS)?;
        let slots = size / SLOT;
        if slots == 0 || slots > MOST || slots * SLOT != size {
            return Err(libc::EINVAL);
        }
        Self::map(fd, slots)
    }

    fn map(fd: &OwnedFd, slots: usize) -> Result<Self> {
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                slots * SLOT,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        let at = NonNull::new(at.cast()).ok_or(libc::ENOMEM)?;
        Ok(Self { at, slots })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nothing of it is used any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.slots * SLOT) };
    }
}

/// A part of the memory, which is mapped as long as this exists.
#[derive(Clone)]
pub(super) struct Slot {
    segment: Arc<Segment>,
    index: usize,
}

impl Slot {
    /// Where its words are, aligned to a page.
    pub(super) fn words(&self) -> NonNull<u8> {
        // SAFETY: within the mapping, as the index is below the number of slots.
        unsafe { self.segment.at.add(self.index * WORDS) }
    }

    /// Where its bytes are, aligned to a page.
    pub(super) fn bytes(&self) -> NonNull<u8> {
        let words = self.segment.slots * WORDS;
        // SAFETY: as above, behind the words of all slots.
        unsafe { self.segment.at.add(words + self.index * BYTES) }
    }

    /// Has the kernel provide memory: if it was not there when it is written, that would be fatal.
    fn provide(at: NonNull<u8>, length: usize) -> Result<()> {
        if !populate::is_supported() {
            // It is there since the file was made.
            return Ok(());
        }
        let at = at.addr().get();
        populate::check(at as u64, length as u64, true).map_err(|_| libc::ENOMEM)
    }

    fn provide_words(&self) -> Result<()> {
        Self::provide(self.words(), WORDS)
    }

    /// Has the kernel provide the memory of a range of the bytes. Models have no such memory.
    #[cfg(not(all(loom, test)))]
    pub(super) fn provide_bytes(&self, from: usize, length: usize) -> Result<()> {
        // SAFETY: within the slot.
        let at = unsafe { self.bytes().add(from) };
        Self::provide(at, length)
    }

    fn give_back(at: NonNull<u8>, length: usize) {
        if !populate::is_supported() {
            // It could not be provided again.
            return;
        }
        // SAFETY: within the slot, whose bytes nobody needs any more.
        let given = check(unsafe { libc::madvise(at.as_ptr().cast(), length, libc::MADV_REMOVE) });
        // Otherwise it is there for the next connection.
        let _ = given;
    }

    /// Gives the memory of a range of the bytes back to the kernel. It is read as zeros from now on.
    pub(super) fn give_bytes_back(&self, from: usize, length: usize) {
        // SAFETY: within the slot.
        Self::give_back(unsafe { self.bytes().add(from) }, length);
    }

    /// As above, of the whole slot. Before it is used again, its words have to be provided.
    pub(super) fn give_all_back(&self) {
        Self::give_back(self.words(), WORDS);
        Self::give_back(self.bytes(), BYTES);
    }
}

/// The slots of two processes. Both have the same numbers for them.
#[derive(Default)]
pub(super) struct Arena {
    /// Each with the number of its first slot.
    segments: Vec<(u32, Arc<Segment>)>,
    slots: usize,
    /// Of the side that makes the memory: those that were used, and that both sides have left. The next one to be used
    /// again is the last, and so the first ones are those that have not been used for longest.
    free: Vec<u32>,
    /// How many of the first ones have been free since this was counted last.
    idle: usize,
    /// Those that are free, and whose memory the kernel has again.
    bare: Vec<u32>,
    /// Slots that this side has left; the peer may still use them.
    left: VecDeque<u32>,
    /// How many of them are still to be looked at for idle ones, if some were.
    to_look_at: Option<usize>,
    /// The first that was never used.
    unused: u32,
    /// Of the side that is sent the memory: some of it could not be had. What comes later would have other numbers.
    misses_some: bool,
}

impl Arena {
    pub(super) fn slot(&self, number: u32) -> Option<Slot> {
        let after = self.segments.partition_point(|(first, _)| *first <= number);
        let (first, segment) = self.segments.get(after.checked_sub(1)?)?;
        let index = (number - first) as usize;
        (index < segment.slots).then(|| Slot {
            segment: Arc::clone(segment),
            index,
        })
    }

    fn add(&mut self, segment: Segment) {
        self.slots += segment.slots;
        let first = (self.slots - segment.slots) as u32;
        self.segments.push((first, Arc::new(segment)));
    }

    // --- The side that makes the memory ----------------------------------------------------------

    /// A slot, and the descriptor of its file if that is new. `is_left` says whether the peer has left a slot.
    pub(super) fn take(
        &mut self,
        is_left: impl Fn(&Slot) -> bool,
    ) -> Result<(u32, Slot, Option<OwnedFd>)> {
        self.look_for_free(LOOKS, is_left);
        if let Some(number) = self.free.pop() {
            self.idle = self.idle.min(self.free.len());
            let slot = self.slot(number).ok_or(libc::ENOMEM)?;
            return Ok((number, slot, None));
        }
        if let Some(&number) = self.bare.last() {
            let slot = self.slot(number).ok_or(libc::ENOMEM)?;
            slot.provide_words()?;
            self.bare.pop();
            return Ok((number, slot, None));
        }
        let number = self.unused;
        let fd = if number as usize >= self.slots {
            Some(self.grow()?)
        } else {
            None
        };
        let slot = self.slot(number).ok_or(libc::ENOMEM)?;
        if let Err(errno) = slot.provide_words() {
            if fd.is_some() {
                // The peer is not told of the new file.
                self.segments.pop();
                self.slots -= slot.segment.slots;
            }
            return Err(errno);
        }
        self.unused += 1;
        Ok((number, slot, fd))
    }

    /// No slot that `take` returns next has a higher number.
    pub(super) fn highest_next(&self) -> u32 {
        (self.slots + self.slots.clamp(FEWEST, MOST)) as u32
    }

    fn grow(&mut self) -> Result<OwnedFd> {
        // The peer does not give slots back.
        if self.left.len() >= MOST_LEFT {
            return Err(libc::ENOMEM);
        }
        let slots = self.slots.clamp(FEWEST, MOST);
        if self.slots + slots > MOST_SLOTS {
            return Err(libc::ENOMEM);
        }
        let (segment, fd) = Segment::new(slots)?;
        self.add(segment);
        Ok(fd)
    }

    fn look_for_free(&mut self, looks: usize, is_left: impl Fn(&Slot) -> bool) {
        for _ in 0..looks.min(self.left.len()) {
            let Some(number) = self.left.pop_front() else {
                return;
            };
            if self.slot(number).is_some_and(|slot| is_left(&slot)) {
                self.free.push(number);
            } else {
                self.left.push_back(number);
            }
        }
    }

    /// This side has left the slot.
    pub(super) fn leave(&mut self, number: u32) {
        self.left.push_back(number);
    }

    /// Takes out slots whose memory is to be given back: they were free since this was called last. Then they go to
    /// `gave_back`. No more than some at a time: whether all that was to be taken out was.
    pub(super) fn take_idle(&mut self, is_left: impl Fn(&Slot) -> bool) -> (Vec<u32>, bool) {
        let to_look_at = self.to_look_at.take().unwrap_or(self.left.len());
        let looks = to_look_at.min(self.left.len()).min(LOOKS_FOR_IDLE);
        self.look_for_free(looks, is_left);
        let count = self.idle.min(IDLE_AT_ONCE);
        self.idle -= count;
        let taken = self.free.drain(..count).collect();
        let to_look_at = (to_look_at - looks).min(self.left.len());
        let is_all = self.idle == 0 && to_look_at == 0;
        if is_all {
            self.idle = self.free.len();
        } else {
            self.to_look_at = Some(to_look_at);
        }
        (taken, is_all)
    }

    pub(super) fn gave_back(&mut self, numbers: Vec<u32>) {
        self.bare.extend(numbers);
    }

    /// Whether there are slots without a connection that have memory.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// The same, of those that the peer has not left, as far as is known.
    pub(super) fn has_left(&self) -> bool {
        !self.left.is_empty()
    }

    // --- The side that is sent the memory --------------------------------------------------------

    /// The peer uses this slot for a connection. Fails unless the slot is there, or is the first one of the memory that
    /// has come with it. Memory for which this side has no room is left out: its slots do not exist here.
    pub(super) fn follow(&mut self, number: u32, memory: Option<&OwnedFd>) -> Result<()> {
        let is_there = (number as usize) < self.slots;
        let Some(memory) = memory else {
            // The kernel drops descriptors that the process may not have.
            self.misses_some |= !is_there;
            return Ok(());
        };
        if self.misses_some {
            return Ok(());
        }
        if number as usize != self.slots {
            return Err(libc::EINVAL);
        }
        match Segment::of_peer(memory) {
            Ok(segment) if self.slots + segment.slots <= MOST_SLOTS => self.add(segment),
            Ok(_) | Err(libc::EINVAL) => return Err(libc::EINVAL),
            Err(_) => self.misses_some = true,
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_misses_some_memory_goes_on_with_what_there_is() {
        let (mut client, mut server) = (Arena::default(), Arena::default());
        let mut take = || client.take(|_| false).unwrap();
        for number in 0..=FEWEST as u32 {
            let (taken, _, fd) = take();
            assert_eq!(taken, number);
            // The second file does not arrive.
            let fd = fd.filter(|_| number == 0);
            assert_eq!(server.follow(number, fd.as_ref()), Ok(()));
            assert_eq!(server.slot(number).is_some(), number < FEWEST as u32);
        }
        let (number, fd) = loop {
            if let (number, _, Some(fd)) = take() {
                break (number, fd);
            }
        };
        assert_eq!(server.follow(number, Some(&fd)), Ok(()));
        assert!(server.slot(number).is_none());
        assert!(server.slot(0).is_some());
    }

    #[test]
    fn only_memory_that_cannot_shrink_is_taken_and_in_turn() {
        let mut server = Arena::default();
        let (_, fd) = Segment::new(1).unwrap();
        assert_eq!(server.follow(1, Some(&fd)), Err(libc::EINVAL));
        assert_eq!(server.follow(0, Some(&fd)), Ok(()));
        assert_eq!(server.follow(0, Some(&fd)), Err(libc::EINVAL));
        assert!(std::fs::File::from(fd).set_len(0).is_err());
        for (size, seals) in [(SLOT, 0), (SLOT / 2, SEALS), (SLOT * 3 / 2, SEALS)] {
            let fd = memfd::create(size).unwrap();
            memfd::set_size(&fd, size).unwrap();
            memfd::seal(&fd, seals).unwrap();
            assert_eq!(server.follow(1, Some(&fd)), Err(libc::EINVAL));
        }
    }

    #[test]
    fn a_peer_that_gives_nothing_back_gets_no_more_memory() {
        let mut client = Arena::default();
        let mut taken = 0;
        while let Ok((number, _, _)) = client.take(|_| false) {
            client.leave(number);
            taken += 1;
        }
        // As many as are left, and the rest of the last file.
        assert!((MOST_LEFT..=MOST_LEFT + MOST).contains(&taken), "{taken}");
        // When it has left some, there are these.
        assert!(client.take(|_| true).is_ok());
    }
}
