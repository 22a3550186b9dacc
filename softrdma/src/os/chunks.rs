// SPDX-License-Identifier: BSD-3-Clause

//! Who copies which part of a large write or read that two processes execute together.
//!
//! The payload is cut into chunks. The *initiator* of the request takes them from the front, one at a time, and the
//! *owner* of the memory from the end, when it gets to run. One word in shared memory says how many each has taken, and
//! whether it is at work:
//!
//! ```text
//! initiator                              owner
//! open: the number of the request
//! send the frame of this number          receive it
//! take: front + 1, initiator copies      engage: owner is at work, or the word is closed
//!   copy                                 take_last: back + 1
//! finish: no copy any more                 copy
//! ...                                    ...
//! ```
//!
//! Who copies last ends the request. The initiator *closes* the word when all chunks are copied and the owner is
//! not at work: then the owner does nothing about the frame when it comes to it, however late. The owner acknowledges
//! the request when all chunks are copied and the initiator copies none. From the moment that it engages until it leaves
//! the last chunk to the initiator or has answered the request, it is at work. So of *closed* and *answered* a request
//! is exactly one.
//!
//! Each change is a read-modify-write of the one word. Each has Release for the copies that this side has made before
//! it, and Acquire for those of the other side: who ends the request has all of them behind it.
//!
//! What the other side writes into the word is nonsense if it likes: `EPROTO` for the initiator, and a request that is
//! not served for the owner. An index is never taken from the word without a look at how many chunks there are.

use super::sync::{AtomicU64, Ordering};
use crate::Result;

/// The size of a chunk; the last one is what is left. Both sides have to have the same.
pub(crate) const CHUNK: u32 = 128 * 1024;

/// How many chunks a payload has: at most 2^14, as the largest has 2 GiB.
pub(crate) fn count(length: u32) -> u32 {
    length.div_ceil(CHUNK)
}

/// Zero is right for a word that is closed.
#[repr(transparent)]
pub(crate) struct ChunkWord(AtomicU64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// How many chunks the initiator has taken, from the first one on.
    front: u16,
    /// How many the owner has taken, from the last one on.
    back: u16,
    /// The owner may still answer the request.
    is_open: bool,
    /// The initiator copies the last chunk that it has taken.
    initiator_copies: bool,
    /// The owner has got the frame. It copies chunks, or answers.
    owner_works: bool,
    /// The lowest bits of the number of the request.
    number: u32,
}

const NUMBER: u32 = (1 << 29) - 1;

impl State {
    fn unpack(word: u64) -> Self {
        let has = |bit: u32| word >> bit & 1 != 0;
        Self {
            front: word as u16,
            back: (word >> 16) as u16,
            is_open: has(32),
            initiator_copies: has(33),
            owner_works: has(34),
            number: (word >> 35) as u32,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.front)
            | u64::from(self.back) << 16
            | u64::from(self.is_open) << 32
            | u64::from(self.initiator_copies) << 33
            | u64::from(self.owner_works) << 34
            | u64::from(self.number & NUMBER) << 35
    }

    fn is_of(self, seq: u64) -> bool {
        self.is_open && self.number == seq as u32 & NUMBER
    }

    fn taken(self) -> u32 {
        u32::from(self.front) + u32::from(self.back)
    }
}

/// What the initiator gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The next chunk.
    Chunk,
    /// The owner has the rest.
    Nothing,
}

/// What has become of the request when the initiator has finished a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// There are more chunks, or the owner is at work on it, and will answer.
    Open,
    /// The owner has nothing to do with it.
    Closed,
}

/// What the owner gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Chunk(u32),
    /// All are copied: the owner answers.
    All,
    /// The initiator copies the last one, and ends the request.
    Left,
    /// The word is of another request.
    Gone,
}

impl ChunkWord {
    #[cfg(all(loom, test))]
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Nothing of the connection that had the memory before counts.
    pub(super) fn reset(&self) {
        // Relaxed: before the other side is told of the connection.
        self.0.store(0, Ordering::Relaxed);
    }

    /// None when `next` finds the word not as it has to be, or the other side changes it all the time.
    fn change<T>(&self, next: impl Fn(State) -> Option<(State, T)>) -> Option<T> {
        // An honest other side changes it once for each chunk.
        const ATTEMPTS: usize = 100;
        // Relaxed: what is stored depends on the exchange.
        let mut word = self.0.load(Ordering::Relaxed);
        for _ in 0..ATTEMPTS {
            let (state, result) = next(State::unpack(word))?;
            // AcqRel: see the top of this file.
            match self
                .0
                .compare_exchange(word, state.pack(), Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Some(result),
                Err(found) => word = found,
            }
        }
        None
    }

    // --- The initiator ---------------------------------------------------------------------------

    /// The request of this number is about to be sent, and the initiator has copied so many chunks of it.
    pub(crate) fn open(&self, seq: u64, copied: u32) {
        let state = State {
            front: copied as u16,
            back: 0,
            is_open: true,
            initiator_copies: false,
            owner_works: false,
            number: seq as u32 & NUMBER,
        };
        // Release: of the chunks that are copied. The owner has done with the request before.
        self.0.store(state.pack(), Ordering::Release);
    }

    /// Takes a chunk behind the first `copied` ones.
    pub(crate) fn take(&self, seq: u64, count: u32, copied: u32) -> Result<Taken> {
        let is_right = |state: State| {
            state.is_of(seq)
                && !state.initiator_copies
                && u32::from(state.front) == copied
                && state.taken() <= count
        };
        // Relaxed: nothing follows from it. A program that polls comes here often.
        let state = State::unpack(self.0.load(Ordering::Relaxed));
        if is_right(state) && state.taken() == count {
            return Ok(Taken::Nothing);
        }
        self.change(|state| {
            if !is_right(state) {
                return None;
            }
            if state.taken() == count {
                return Some((state, Taken::Nothing));
            }
            let next = State {
                front: state.front + 1,
                initiator_copies: true,
                ..state
            };
            Some((next, Taken::Chunk))
        })
        .ok_or(libc::EPROTO)
    }

    /// The chunk was copied or, if that failed, is given back. `copied` is how many are copied now.
    pub(crate) fn finish(
        &self,
        seq: u64,
        count: u32,
        copied: u32,
        failed: bool,
    ) -> Result<Finished> {
        let taken = copied + u32::from(failed);
        self.change(|state| {
            let is_right = state.is_of(seq)
                && state.initiator_copies
                && u32::from(state.front) == taken
                && state.taken() <= count;
            if !is_right {
                return None;
            }
            let is_over = !state.owner_works && (failed || state.taken() == count);
            let next = State {
                front: copied as u16,
                initiator_copies: false,
                is_open: !is_over,
                ..state
            };
            let finished = if is_over {
                Finished::Closed
            } else {
                Finished::Open
            };
            Some((next, finished))
        })
        .ok_or(libc::EPROTO)
    }

    // --- The owner -------------------------------------------------------------------------------

    /// The frame of the request has come. Whether there is anything to do about it.
    pub(crate) fn engage(&self, seq: u64) -> bool {
        self.change(|state| {
            let next = State {
                owner_works: true,
                ..state
            };
            state.is_of(seq).then_some((next, ()))
        })
        .is_some()
    }

    /// Takes a chunk from the end, when the one before is copied.
    pub(crate) fn take_last(&self, seq: u64, count: u32) -> Last {
        self.change(|state| {
            if !state.is_of(seq) || !state.owner_works {
                return None;
            }
            if let Some(left) = count.checked_sub(state.taken()).filter(|&left| left > 0) {
                let next = State {
                    back: state.back + 1,
                    ..state
                };
                // Those behind the ones that the initiator has.
                let index = u32::from(state.front) + left - 1;
                Some((next, Last::Chunk(index)))
            } else if state.initiator_copies {
                let next = State {
                    owner_works: false,
                    ..state
                };
                Some((next, Last::Left))
            } else {
                Some((state, Last::All))
            }
        })
        .unwrap_or(Last::Gone)
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn word() -> ChunkWord {
        ChunkWord(AtomicU64::new(0))
    }

    #[test]
    fn an_initiator_that_is_alone_closes_the_word_with_its_last_chunk() {
        let word = word();
        word.open(7, 1);
        for copied in 1..4 {
            assert_eq!(word.take(7, 4, copied), Ok(Taken::Chunk));
            let finished = word.finish(7, 4, copied + 1, false).unwrap();
            assert_eq!(finished == Finished::Closed, copied == 3);
        }
        assert!(!word.engage(7));
        assert_eq!(word.take(7, 4, 4), Err(libc::EPROTO));
    }

    #[test]
    fn an_owner_that_is_alone_answers() {
        let word = word();
        word.open(1 << 40 | 5, 0);
        let seq = 1 << 40 | 5;
        assert!(!word.engage(6));
        assert!(word.engage(seq));
        for index in [2, 1, 0] {
            assert_eq!(word.take_last(seq, 3), Last::Chunk(index));
        }
        assert_eq!(word.take_last(seq, 3), Last::All);
        assert_eq!(word.take(seq, 3, 0), Ok(Taken::Nothing));
    }

    #[test]
    fn who_copies_last_ends_the_request() {
        let word = word();
        word.open(1, 0);
        assert_eq!(word.take(1, 3, 0), Ok(Taken::Chunk));
        assert!(word.engage(1));
        assert_eq!(word.take_last(1, 3), Last::Chunk(2));
        assert_eq!(word.finish(1, 3, 1, false), Ok(Finished::Open));
        assert_eq!(word.take(1, 3, 1), Ok(Taken::Chunk));
        assert_eq!(word.take_last(1, 3), Last::Left);
        assert_eq!(word.finish(1, 3, 2, false), Ok(Finished::Closed));
        assert_eq!(word.take_last(1, 3), Last::Gone);
    }

    #[test]
    fn a_chunk_that_is_given_back_is_the_owners_if_it_is_at_work() {
        let word = word();
        word.open(1, 0);
        assert_eq!(word.take(1, 2, 0), Ok(Taken::Chunk));
        assert!(word.engage(1));
        assert_eq!(word.take_last(1, 2), Last::Chunk(1));
        assert_eq!(word.finish(1, 2, 0, true), Ok(Finished::Open));
        assert_eq!(word.take_last(1, 2), Last::Chunk(0));
        assert_eq!(word.take_last(1, 2), Last::All);
        // Otherwise nobody's.
        word.open(2, 0);
        assert_eq!(word.take(2, 2, 0), Ok(Taken::Chunk));
        assert_eq!(word.finish(2, 2, 0, true), Ok(Finished::Closed));
        assert!(!word.engage(2));
    }

    #[test]
    fn nonsense_in_the_word_is_found_out() {
        let word = word();
        word.open(3, 1);
        let good = word.0.load(Ordering::SeqCst);
        let state = State::unpack(good);
        let nonsense = [
            State { front: 2, ..state },
            State { front: 0, ..state },
            State { back: 9, ..state },
            State {
                back: u16::MAX,
                ..state
            },
            State { number: 4, ..state },
            State {
                is_open: false,
                ..state
            },
            State {
                initiator_copies: true,
                ..state
            },
        ];
        for state in nonsense {
            word.0.store(state.pack(), Ordering::SeqCst);
            assert_eq!(word.take(3, 3, 1), Err(libc::EPROTO), "{state:?}");
        }
        // No index of a chunk that there is not.
        for (front, back) in [(3, 0), (9, 9), (u16::MAX, u16::MAX), (0, 3)] {
            let owner_works = true;
            let state = State {
                front,
                back,
                owner_works,
                ..state
            };
            word.0.store(state.pack(), Ordering::SeqCst);
            assert_eq!(word.take_last(3, 3), Last::All);
        }
    }

    #[test]
    fn the_largest_payload_has_fewer_chunks_than_the_word_can_count() {
        let count = count(crate::types::limits::MAX_MESSAGE);
        assert!(count <= u32::from(u16::MAX));
    }
}

#[cfg(all(loom, test))]
mod model {
    use loom::cell::UnsafeCell;
    use loom::model::Builder;
    use loom::sync::Arc;
    use loom::thread;

    use super::super::sync::AtomicU32;
    use super::*;

    const CHUNKS: u32 = 3;
    const SEQ: u64 = 9;

    /// The memory of the owner: how often each chunk was copied. The model checker reports two accesses of which
    /// neither is before the other one.
    struct World {
        word: ChunkWord,
        /// The frame was sent, and was acknowledged.
        sent: AtomicU32,
        acknowledged: AtomicU32,
        chunks: [UnsafeCell<u32>; CHUNKS as usize],
    }

    impl World {
        fn copy(&self, index: u32) {
            // SAFETY: what the model is to show.
            self.chunks[index as usize].with_mut(|times| unsafe { *times += 1 });
        }

        /// The initiator. `fails` is the number of a chunk that it cannot copy. Whether the request is complete; else
        /// it was closed, and is to be sent anew.
        fn initiate(&self, fails: Option<u32>) -> bool {
            self.word.open(SEQ, 0);
            self.sent.store(1, Ordering::Release);
            let mut copied = 0;
            loop {
                let taken = self.word.take(SEQ, CHUNKS, copied);
                if taken.unwrap() == Taken::Nothing {
                    break;
                }
                let failed = fails == Some(copied);
                if !failed {
                    self.copy(copied);
                    copied += 1;
                }
                match self.word.finish(SEQ, CHUNKS, copied, failed).unwrap() {
                    Finished::Closed => return !failed,
                    Finished::Open if failed => break,
                    Finished::Open => {}
                }
            }
            while self.acknowledged.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            true
        }

        fn own(&self) {
            while self.sent.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            if !self.word.engage(SEQ) {
                return;
            }
            loop {
                match self.word.take_last(SEQ, CHUNKS) {
                    Last::Chunk(index) => self.copy(index),
                    Last::All => break,
                    Last::Left => return,
                    Last::Gone => unreachable!(),
                }
            }
            self.acknowledged.store(1, Ordering::Release);
        }
    }

    fn check(fails: Option<u32>) {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let world = Arc::new(World {
                word: ChunkWord::new(),
                sent: AtomicU32::new(0),
                acknowledged: AtomicU32::new(0),
                chunks: [(); CHUNKS as usize].map(|()| UnsafeCell::new(0)),
            });
            let owner = {
                let world = Arc::clone(&world);
                thread::spawn(move || world.own())
            };
            let is_complete = world.initiate(fails);
            // The memory is the program's again.
            for (index, chunk) in world.chunks.iter().enumerate() {
                // SAFETY: what the model is to show.
                let times = chunk.with_mut(|times| unsafe { std::mem::take(&mut *times) });
                assert_eq!(times == 1, is_complete || times == 1, "chunk {index}");
                assert!(times <= 1);
            }
            assert!(owner.join().is_ok());
            // Nobody has copied since.
            for chunk in &world.chunks {
                // SAFETY: as above.
                chunk.with(|times| assert_eq!(unsafe { *times }, 0));
            }
        });
    }

    /// A complete request has each chunk once, and nobody copies afterwards.
    #[test]
    fn each_chunk_is_copied_once_and_none_after_the_end() {
        check(None);
    }

    /// When the initiator cannot copy one of them, the owner does all the rest, or nothing any more.
    #[test]
    fn a_chunk_that_is_given_back_is_copied_by_the_owner_or_nobody() {
        check(Some(0));
        check(Some(1));
    }
}
