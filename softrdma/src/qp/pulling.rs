// SPDX-License-Identifier: BSD-3-Clause

//! One copy on one host: the side that the bytes are for copies them from the other process's memory.
//!
//! Instead of the bytes a descriptor is sent: their address, and those of generations. The side that receives it copies
//! the bytes and then, in the same call, the generations. A generation that is not what the descriptor said means that
//! the memory may have been something else by then, and the copy does not count. So these copies only read from another
//! process, and write to the own memory under the own locks. (What the initiator executes itself, `direct.rs`, is another
//! way.)
//!
//! When it cannot be done (the other process's memory may not be read any more, or is not what it was),
//! the side that copies says so, and gets the bytes with the frame: a request is dropped and comes again,
//! with those behind it, as one does that has found no receive; the data of a read is asked for again.
//! What is wrong with the memory of either side then shows where it always does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use crate::instrument;
use crate::io;
use crate::io::fork_state::Made;
use crate::objects::mr::Grant;
use crate::os::chunks::{CHUNK, Last};
use crate::os::memory::Span;
use crate::os::pair::ServedBy;
use crate::os::pull::{Foreign, pull};
use crate::types::region::{GenerationRef, Range};
use crate::wire::{Carriage, DESCRIPTOR, Descriptor, Malformed, Reason};

use super::guard::ServedRead;
use super::receive::Sink;
use super::respond::{self, Response};
use super::{Copying, Inner, Qp};
use crate::types::work::{Operation, Progress};

/// Below this, bytes that come with their frame are as fast.
const WORTH_IT: u32 = 16 * 1024;
/// How much is copied at a time, so that others have their turn.
const TURN: usize = 1 << 20;

pub(super) fn is_worth_it(length: u32) -> bool {
    length >= WORTH_IT
}

/// Where the bytes are that the peer names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Source {
    /// Its memory cannot be read: they come with the frames.
    #[default]
    Never,
    /// In the memory of this process.
    Process(i32),
    /// It could be read once. What the peer sent before it hears of that is asked for again.
    GivenUp {
        /// For the peer's requests it was told: with what follows, their bytes come.
        told: bool,
    },
}

impl Source {
    pub(super) fn of(pid: Option<i32>) -> Self {
        pid.map_or(Self::Never, Self::Process)
    }

    pub(super) fn process(self) -> Option<i32> {
        match self {
            Self::Process(pid) => Some(pid),
            _ => None,
        }
    }
}

/// What the peer does with this process's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Puller {
    /// It copies from it.
    pub(super) pulls: bool,
    /// It may say once that it cannot copy what requests name.
    may_decline: bool,
}

impl Puller {
    pub(super) fn that(pulls: bool) -> Self {
        Self {
            pulls,
            may_decline: pulls,
        }
    }
}

/// Bytes on their way.
pub(super) struct Pull {
    number: u64,
    pub(super) sink: Sink,
    from: Descriptor,
    /// Where the next bytes are.
    pub(super) done: u64,
    length: u32,
    /// This side has taken the chunk at `done`, of a payload of which both sides copy chunks.
    has_chunk: bool,
}

/// What is to be copied next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// From `done` on, so many bytes at most.
    Bytes(usize),
    /// All has been copied.
    End,
    /// The initiator copies the last bytes itself, and ends the request.
    Left,
    /// The request is none any more.
    Gone,
}

enum Copied {
    Some(usize),
    /// This side's memory is no good.
    NoPlace,
    /// The queue pair whose request it is has left its state.
    NoOwner,
    /// The other side's memory cannot be read, or is not what it was.
    NoSource,
}

/// One step of a copy.
struct Step {
    pid: i32,
    grant: Grant,
    from: Foreign,
    region: GenerationRef,
    owner: GenerationRef,
}

impl Step {
    /// Copies, however long that takes. No queue pair is locked, but the region that is written to is held.
    fn run(&self) -> Copied {
        let Ok(held) = self.grant.hold() else {
            return Copied::NoPlace;
        };
        let (mut region, mut owner) = ([0; 8], [0; 8]);
        let place_of = |generation: GenerationRef| Foreign {
            addr: generation.addr,
            length: 8,
        };
        let from_there = [self.from, place_of(self.region), place_of(self.owner)];
        let into = [
            held.span(0).first(self.from.length),
            Span::from_mut(&mut region),
            Span::from_mut(&mut owner),
        ];
        let wanted = into.iter().map(Span::len).sum();
        let copied = io::may_take_long(|| pull(self.pid, from_there, into)) == Ok(wanted);
        // This side's memory may also be what is not there. That shows when the bytes come in band.
        if !copied || u64::from_ne_bytes(region) != self.region.value {
            Copied::NoSource
        } else if u64::from_ne_bytes(owner) != self.owner.value {
            Copied::NoOwner
        } else {
            Copied::Some(self.from.length)
        }
    }
}

/// Memory of the peer, and of its generations, that was there at this time.
pub(super) type InMemory = ((u64, usize, u64, u64), Instant);

/// After this time a copy is taken for one that may never end.
const LONG: Duration = Duration::from_millis(500);

impl Qp {
    pub(super) fn is_pulling(&self, q: &Inner) -> bool {
        q.link.as_ref().is_some_and(|link| link.rx.pull.is_some())
    }

    /// Where bytes belong that came in this way, or are to be had.
    pub(super) fn carried(
        &self,
        q: &mut Inner,
        sink: Sink,
        length: u32,
        carriage: Carriage,
    ) -> Result<Sink, Malformed> {
        match carriage {
            Carriage::Inband => return Ok(sink),
            Carriage::Placed => return self.placed(q, sink),
            Carriage::ByReference | Carriage::InChunks => {}
        }
        // On TCP it could be anybody who names memory of the peer.
        let link = q.link.as_ref().filter(|link| link.paths.receives_locally());
        let may_come = match link.map(|link| link.source) {
            None | Some(Source::Never) => false,
            Some(Source::Process(_)) => true,
            Some(Source::GivenUp { told }) => !told || matches!(sink, Sink::ReadData { .. }),
        };
        if may_come {
            Ok(Sink::Descriptor {
                sink: Box::new(sink),
                length,
            })
        } else {
            // Nothing can be copied from this peer, and it knows.
            self.give_back(q, sink);
            Err(Malformed)
        }
    }

    pub(super) fn begin_pull(
        &self,
        q: &mut Inner,
        sink: Sink,
        length: u32,
        descriptor: &[u8; DESCRIPTOR],
    ) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let done = match sink {
            Sink::ReadData { seq } => Self::copied_of_read(q, seq),
            _ => 0,
        };
        if let Some(link) = &mut q.link {
            link.rx.pull = Some(Pull {
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                sink,
                from: Descriptor::decode(descriptor),
                done,
                length,
                has_chunk: false,
            });
        }
    }

    /// Reads what has come, and copies what it names. Whether there was anything.
    pub(super) fn receive_and_copy(&self, q: &mut MutexGuard<'_, Inner>, by: ServedBy) -> bool {
        // What the I/O thread has begun, it ends.
        if self.is_pulling(q) && by == ServedBy::Program {
            return true;
        }
        let mut something = false;
        loop {
            if self.is_pulling(q) {
                something = true;
                if q.copying().is_some() {
                    self.give_up_if_abandoned(q);
                    return true;
                }
                if self.pull_some(q, by).is_err() {
                    self.lost(q);
                }
                if self.is_pulling(q) {
                    return true;
                }
            }
            something |= self.receive(q);
            if !self.is_pulling(q) {
                return something;
            }
        }
    }

    /// Goes on with a copy; at its end with what came after it. The queue pair is not locked meanwhile.
    fn pull_some(&self, q: &mut MutexGuard<'_, Inner>, by: ServedBy) -> Result<(), Malformed> {
        let mut budget = TURN;
        loop {
            let Some(next) = Self::next_bytes(q, budget) else {
                if self.is_pulling(q) {
                    self.progress_later();
                }
                return Ok(());
            };
            let Some(pull) = q.link.as_ref().and_then(|link| link.rx.pull.as_ref()) else {
                return Ok(());
            };
            let (number, length) = (pull.number, u64::from(pull.length));
            let copied = match next {
                Next::End => None,
                Next::Left => return self.leave_to_initiator(q),
                Next::Gone => Some(Copied::NoOwner),
                Next::Bytes(most) => Some(match self.next_step(q, pull, most) {
                    Ok(step) => {
                        let now = Instant::now();
                        if by == ServedBy::Program && !Self::is_in_memory(q, &step, now) {
                            self.progress_later();
                            return Ok(());
                        }
                        self.run_unlocked(q, number, &step, now)
                    }
                    Err(copied) => copied,
                }),
            };
            let rx = q.link.as_mut().map(|link| &mut link.rx);
            let Some(rx) = rx.filter(|rx| rx.pull.as_ref().is_some_and(|p| p.number == number))
            else {
                // Nobody wants the bytes any more.
                return Ok(());
            };
            if let (Some(Copied::Some(n)), Some(pull)) = (&copied, &mut rx.pull) {
                pull.has_chunk = false;
                pull.done += *n as u64;
                budget = budget.saturating_sub(*n);
                continue;
            }
            let Some(pull) = rx.pull.take() else {
                return Ok(());
            };
            return match copied {
                None | Some(Copied::Some(_)) => self.finish(q, pull.sink, false, length),
                Some(Copied::NoPlace) => self.finish(q, pull.sink, true, length),
                Some(Copied::NoOwner) => {
                    // The connection is ending: the receive was not used.
                    self.give_back(q, pull.sink);
                    q.refused = true;
                    Ok(())
                }
                Some(Copied::NoSource) => self.ask_for_the_bytes(q, pull.sink),
            };
        }
    }

    /// Which bytes are next, if there is anything to do within the budget.
    pub(super) fn next_bytes(q: &mut Inner, budget: usize) -> Option<Next> {
        let pull = q.link.as_ref()?.rx.pull.as_ref()?;
        let Sink::Write {
            seq,
            in_chunks: true,
            ..
        } = pull.sink
        else {
            return if pull.done >= u64::from(pull.length) {
                Some(Next::End)
            } else {
                (budget > 0).then_some(Next::Bytes(budget))
            };
        };
        let chunk = Next::Bytes(CHUNK as usize);
        if pull.has_chunk {
            return Some(chunk);
        }
        if budget == 0 {
            return None;
        }
        match Self::take_last_chunk(q, seq, pull.length) {
            Last::Chunk(index) => {
                let pull = q.link.as_mut()?.rx.pull.as_mut()?;
                pull.done = u64::from(index) * u64::from(CHUNK);
                pull.has_chunk = true;
                Some(chunk)
            }
            Last::All => Some(Next::End),
            Last::Left => Some(Next::Left),
            Last::Gone => Some(Next::Gone),
        }
    }

    /// What comes behind the request that is under way is the next one.
    fn leave_to_initiator(&self, q: &mut Inner) -> Result<(), Malformed> {
        if let Some(link) = &mut q.link {
            link.rx.pull = None;
        }
        q.expected += 1;
        Ok(())
    }

    fn next_step(&self, q: &Inner, under_way: &Pull, most: usize) -> Result<Step, Copied> {
        let source = q.link.as_ref().and_then(|link| link.source.process());
        let Some(pid) = source.filter(|_| !instrument::fails("process_vm_readv")) else {
            return Err(Copied::NoSource);
        };
        // The number could be another process's by now. The kernel looks it up as the first thing that it does in
        // the copy, so that it would have to become one in between.
        if !Self::peer_is_there(q) {
            return Err(Copied::NoSource);
        }
        let Pull { from, done, .. } = under_way;
        let target = Self::target(q, &under_way.sink, *done).ok_or(Copied::NoPlace)?;
        let left = u64::from(under_way.length) - done;
        let length = u64::from(target.length()).min(left).min(most as u64) as usize;
        let grant = self.grant_target(q, target.first(length as u32));
        Ok(Step {
            pid,
            grant: grant.ok_or(Copied::NoPlace)?,
            from: Foreign {
                addr: from.addr.wrapping_add(*done),
                length,
            },
            region: from.region,
            owner: from.owner,
        })
    }

    /// Whether the copy waits for nobody, as far as is known. What was in memory a moment ago is taken to be there
    /// still: to look takes as long as to copy a few pages.
    fn is_in_memory(q: &mut Inner, step: &Step, now: Instant) -> bool {
        const MOMENT: Duration = Duration::from_millis(5);
        let Some(link) = &mut q.link else {
            return true;
        };
        let Foreign { addr, length } = step.from;
        let range = (addr, length, step.region.addr, step.owner.addr);
        let known = link.rx.in_memory.filter(|known| known.0 == range);
        if known.is_some_and(|(_, seen)| now.saturating_duration_since(seen) < MOMENT) {
            return true;
        }
        let is_there = link.paths.peer().is_none_or(|peer| {
            peer.has_in_memory(addr, length)
                && peer.has_in_memory(step.region.addr, 8)
                && peer.has_in_memory(step.owner.addr, 8)
        });
        link.rx.in_memory = is_there.then_some((range, now));
        is_there
    }

    fn run_unlocked(
        &self,
        q: &mut MutexGuard<'_, Inner>,
        number: u64,
        step: &Step,
        now: Instant,
    ) -> Copied {
        q.copying = Some(Copying {
            number,
            begun: now,
            made: Made::now(),
        });
        self.copies.store(number, Ordering::SeqCst);
        let copied = MutexGuard::unlocked(q, || {
            let copied = step.run();
            // Before the lock is taken: who waits for this has it.
            let (from, to) = (Ordering::SeqCst, Ordering::Relaxed);
            let _ = self.copies.compare_exchange(number, 0, from, to);
            copied
        });
        q.copying = q.copying.filter(|other| other.number != number);
        copied
    }

    fn peer_is_there(q: &Inner) -> bool {
        let link = q.link.as_ref();
        link.is_some_and(|link| link.paths.peer_is_there())
    }

    // --- Copies that take long -------------------------------------------------------------------

    /// The memory of a copy under way is about to be the program's again. A copy that may never end is not
    /// waited for: it writes to memory that cannot be deregistered as long.
    pub(super) fn wait_for_the_copy(&self, q: &Inner) {
        let Some(copying) = q.copying().filter(|_| self.is_pulling(q)) else {
            return;
        };
        let Copying { number, begun, .. } = copying;
        while self.copies.load(Ordering::SeqCst) == number && begun.elapsed() < LONG {
            std::thread::yield_now();
        }
    }

    /// The peer of a copy that takes long is gone.
    fn give_up_if_abandoned(&self, q: &mut Inner) {
        let is_long = q
            .copying()
            .is_some_and(|copying| copying.begun.elapsed() >= LONG);
        let local = q.link.as_mut().and_then(|link| link.paths.local_stream());
        if is_long && local.is_some_and(|local| local.has_ended()) {
            self.lost(q);
        }
    }

    // --- When it cannot be done ------------------------------------------------------------------

    /// Nothing is copied any more on this connection: the bytes have to come with the frames.
    fn ask_for_the_bytes(&self, q: &mut Inner, sink: Sink) -> Result<(), Malformed> {
        match sink {
            Sink::ReadData { seq } => {
                if let Some(link) = &mut q.link {
                    if link.source.process().is_some() {
                        link.source = Source::GivenUp { told: false };
                    }
                }
                if q.is_down() {
                    return Ok(());
                }
                let request = Self::sent(q, seq)?;
                let length = request.length();
                let Operation::Read { from } = request.operation else {
                    return Err(Malformed);
                };
                request.progress = Progress::AskedAgain;
                let from = Range { length, ..from };
                q.responses.push_back(Response::ReadInBand { seq, from });
            }
            Sink::Receive { seq, .. } | Sink::Write { seq, .. } => {
                if let Some(link) = &mut q.link {
                    link.source = Source::GivenUp { told: true };
                }
                self.give_back(q, sink);
                q.dropping = true;
                q.responses.push_back(Response::InBand(seq));
            }
            sink => self.give_back(q, sink),
        }
        Ok(())
    }

    /// The responder could not copy what this request names. It has dropped it, and drops those after it.
    pub(super) fn go_on_in_band(&self, q: &mut Inner, seq: u64) -> Result<(), Malformed> {
        let Some(link) = &mut q.link else {
            return Ok(());
        };
        if !std::mem::take(&mut link.peer.may_decline) {
            return Err(Malformed);
        }
        link.peer.pulls = false;
        if q.is_down() {
            return Ok(());
        }
        if q.held {
            return Err(Malformed);
        }
        let request = Self::sent(q, seq)?;
        let may_be_declined = request.progress == Progress::Sent
            && !request.is_read()
            && request.can_go_by_reference();
        if !may_be_declined {
            return Err(Malformed);
        }
        Self::rewind(q, seq)
    }

    /// The initiator could not copy the data of a read that was served.
    pub(super) fn read_in_band(
        &self,
        q: &mut Inner,
        seq: u64,
        from: Range,
    ) -> Result<(), Malformed> {
        let Some(link) = &mut q.link else {
            return Ok(());
        };
        let served = link.take_served_read(ServedRead { seq, from });
        let region = served.ok_or(Malformed)?;
        if respond::too_many_reads(&q.responses) {
            return Err(Malformed);
        }
        link.peer.pulls = false;
        if !q.is_down() {
            q.responses.push_back(Response::Data {
                seq,
                from,
                can_pull: false,
            });
            // Once more: an acknowledgement is what says that the data before it is good.
            respond::acknowledge(&mut q.responses, q.expected - 1);
        } else if !q.disconnected {
            // A region that has changed may be why a later request of the peer was refused, too.
            let reason = if self.is_still(from, region) {
                Reason::QueuePairGone
            } else {
                Reason::RemoteAccess
            };
            q.responses.push_back(Response::Nak(seq, reason));
        }
        Ok(())
    }
}
