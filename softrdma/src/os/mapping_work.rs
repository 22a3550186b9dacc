// SPDX-License-Identifier: BSD-3-Clause

//! What the mapper's thread does (`mapper`), with descriptors of its own.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::file_under::FileUnder;
use super::lease::SharedRegion;
use super::mapped::{MOST_BYTES_OF_PEER, Mapped};
use super::mapper::{Awaited, Job, Mapper, Question, WAKES};
use super::private_epoll::PrivateEpoll;
use super::private_fd::{PrivateFd, close_discarded};
use super::region_table::RegionTable;
use crate::types::region::access;
use crate::wire::{ANSWER, Answer, Ask, REFUSAL};
use crate::{Errno, Result};

/// How many sockets the thread has, at most. The others get no answer.
const MOST_SOCKETS: usize = 768;
/// How many questions of one pair of processes wait, and how many regions it may have got.
const MOST_QUESTIONS_OF_PAIR: usize = 16;
const MOST_SERVED_OF_PAIR: usize = 256;
/// The thread does nothing for so many times as long as the last answer has taken: peers may ask without end.
const PAUSE: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whether something may succeed later that has failed with this: for lack of memory or descriptors, or since another
/// process has a lease of the file.
fn passes(errno: Errno) -> bool {
    matches!(
        errno,
        libc::ENOMEM
            | libc::EMFILE
            | libc::ENFILE
            | libc::EAGAIN
            | libc::EINTR
            | libc::ENOBUFS
            | libc::ETOOMANYREFS
    )
}

impl Awaited {
    /// The region cannot be mapped.
    fn refuse(&self) {
        if let Some(mappings) = self.mappings.upgrade() {
            mappings.set(self.entry, self.generation, None);
        }
    }

    /// It is not mapped, or not any more. It may be asked for again.
    pub(super) fn forget(&self) {
        if let Some(mappings) = self.mappings.upgrade() {
            mappings.forget(self.entry, self.generation);
        }
    }

    fn map(&self, answer: &[u8], file: Option<&PrivateFd>) -> Result<Mapped> {
        if answer == REFUSAL {
            return Err(libc::ENODEV);
        }
        let Answer { offset } = Answer::decode(answer).map_err(|_| libc::EBADMSG)?;
        // This process may have no descriptor left for it.
        let file = file.ok_or(libc::EMFILE)?;
        let mappings = self.mappings.upgrade().ok_or(libc::EAGAIN)?;
        if mappings.bytes().saturating_add(self.region.terms.length) > MOST_BYTES_OF_PEER {
            return Err(libc::EFBIG);
        }
        Mapped::new(self.own, &self.region, file, offset)
    }

    /// The socket brings the answer, or the end of the region. Whether there may be more to come.
    fn take_answer(&self, socket: &PrivateFd) -> bool {
        let mut bytes = [0; ANSWER];
        let (n, file) = match socket.receive(&mut bytes) {
            Err(libc::EAGAIN | libc::EINTR) => return true,
            Err(_) if self.is_asked() => {
                self.refuse();
                return false;
            }
            Ok((n, file)) if n > 0 && self.is_asked() => (n, file),
            // The region is not registered any more, or there is no answer for now.
            _ => {
                self.forget();
                return false;
            }
        };
        match self.map(&bytes[..n], file.as_ref()) {
            Ok(mapped) => {
                if let Some(mappings) = self.mappings.upgrade() {
                    mappings.set(self.entry, self.generation, Some(mapped));
                }
                return true;
            }
            Err(errno) if passes(errno) => self.forget(),
            Err(_) => self.refuse(),
        }
        false
    }

    fn is_asked(&self) -> bool {
        let mappings = self.mappings.upgrade();
        mappings.is_some_and(|mappings| mappings.is_asked(self.entry, self.generation))
    }
}

/// A region of this process that another one has got.
struct Given {
    entry: u32,
    generation: u64,
    pair: usize,
}

/// What the thread has.
pub(super) struct Work {
    mapper: &'static Mapper,
    jobs: PrivateFd,
    /// `jobs`, and the sockets of what is awaited and what was given.
    watched: PrivateEpoll,
    awaited: Vec<(PrivateFd, Awaited)>,
    given: Vec<(PrivateFd, Given)>,
    questions: VecDeque<(PrivateFd, Question)>,
    /// The next answer is not given before this.
    not_before: Instant,
}

impl Work {
    pub(super) fn new(mapper: &'static Mapper, jobs: PrivateFd) -> Result<Self> {
        let watched = PrivateEpoll::new()?;
        watched.add(&jobs)?;
        Ok(Self {
            mapper,
            jobs,
            watched,
            awaited: Vec::new(),
            given: Vec::new(),
            questions: VecDeque::new(),
            not_before: Instant::now(),
        })
    }

    /// Waits for something to do, and does it. Fails when the process has no more use for the thread.
    pub(super) fn step(&mut self) -> Result<()> {
        let until = (!self.questions.is_empty())
            .then(|| self.not_before.saturating_duration_since(Instant::now()));
        let ready = self.watched.wait(until)?;
        self.forget_given(&ready);
        let watched = &self.watched;
        // Those of pairs of processes that are let go of end too: the owner sees the end of the socket.
        self.awaited.retain(|(socket, awaited)| {
            let stays = (!ready.contains(&socket.raw()) || awaited.take_answer(socket))
                && awaited.mappings.strong_count() > 0;
            if !stays {
                watched.remove(socket);
            }
            stays
        });
        if ready.contains(&self.jobs.raw()) {
            self.take_jobs()?;
        }
        if Instant::now() >= self.not_before {
            if let Some((socket, question)) = self.questions.pop_front() {
                self.answer(socket, question);
            }
        }
        close_discarded();
        Ok(())
    }

    /// Nothing is mapped any more, and nobody hears of what happens to this process's regions.
    pub(super) fn end(&mut self) {
        for (socket, awaited) in self.awaited.drain(..) {
            awaited.forget();
            socket.shut_down();
        }
        for (socket, given) in self.given.drain(..) {
            self.mapper.is_not_served(given.entry);
            socket.shut_down();
        }
    }

    /// What the peer does not want any more, since it says nothing else, and what is not registered any more.
    fn forget_given(&mut self, ready: &[RawFd]) {
        let gone = {
            let mut served = self.mapper.served.lock();
            let gone = std::mem::take(&mut served.gone);
            served.entries.retain(|entry| !gone.contains(entry));
            gone
        };
        let (mapper, watched) = (self.mapper, &self.watched);
        self.given.retain(|(socket, given)| {
            let is_gone = gone.contains(&given.entry);
            let is_over = is_gone || ready.contains(&socket.raw());
            if is_over {
                watched.remove(socket);
            }
            if is_over && !is_gone {
                mapper.is_not_served(given.entry);
            }
            !is_over
        });
    }

    fn take_jobs(&mut self) -> Result<()> {
        loop {
            let mut kind = [0];
            let (n, socket) = match self.jobs.receive(&mut kind) {
                Err(libc::EAGAIN | libc::EINTR) => return Ok(()),
                received => received?,
            };
            if n == 0 {
                return Err(libc::EPIPE);
            }
            if kind == [WAKES] {
                continue;
            }
            let has_room =
                self.awaited.len() + self.given.len() + self.questions.len() < MOST_SOCKETS;
            match (self.mapper.next_job(), socket.filter(|_| has_room)) {
                (Some(Job::Await(awaited)), Some(socket)) if self.watched.add(&socket).is_ok() => {
                    self.awaited.push((socket, awaited));
                }
                (Some(Job::Await(awaited)), _) => awaited.forget(),
                (Some(Job::Answer(question)), Some(socket)) if self.has_room_for(&question) => {
                    self.questions.push_back((socket, question));
                }
                _ => {}
            }
        }
    }

    /// One pair must not take the room of others, and has no use for the same region twice.
    fn has_room_for(&self, question: &Question) -> bool {
        let of_pair = |asked: &&Question| asked.pair == question.pair;
        let asked = self.questions.iter().map(|(_, asked)| asked);
        let given = self.given.iter().map(|(_, given)| given);
        let given = given.filter(|given| given.pair == question.pair);
        let which = (question.ask.entry, question.ask.generation);
        asked.clone().filter(of_pair).count() < MOST_QUESTIONS_OF_PAIR
            && given.clone().count() < MOST_SERVED_OF_PAIR
            && given
                .clone()
                .all(|given| (given.entry, given.generation) != which)
            && asked
                .filter(of_pair)
                .all(|asked| (asked.ask.entry, asked.ask.generation) != which)
    }

    fn answer(&mut self, socket: PrivateFd, question: Question) {
        let begun = Instant::now();
        let given = Given {
            entry: question.ask.entry,
            generation: question.ask.generation,
            pair: question.pair,
        };
        // First: a thread that deregisters the region from now on tells this one.
        self.mapper.is_served(given.entry);
        let answered = self
            .watched
            .add(&socket)
            .and_then(|()| question.answer(&socket));
        if let Err(errno) = answered {
            self.watched.remove(&socket);
            self.mapper.is_not_served(given.entry);
            if !passes(errno) {
                // Otherwise it asks again.
                let _ = socket.send(&REFUSAL, None);
            }
        } else {
            self.given.push((socket, given));
        }
        let now = Instant::now();
        self.not_before = now + (PAUSE * (now - begun)).min(LONGEST_PAUSE);
    }
}

impl Question {
    fn region(&self) -> Result<SharedRegion> {
        let Ask {
            table,
            entry,
            generation,
            key,
            proof,
        } = self.ask;
        let own = RegionTable::known().ok_or(libc::ENOENT)?;
        // A process that gets the file can read and change all of it, not the region only.
        if !own.is_proof(proof) {
            return Err(libc::EPERM);
        }
        let region = own.described(table, entry, generation);
        region
            .filter(|region| region.key == key)
            .ok_or(libc::ENOENT)
    }

    fn answer(&self, socket: &PrivateFd) -> Result<()> {
        if !is_readable_by_others() {
            return Err(libc::EPERM);
        }
        let region = self.region()?;
        let writable = region.terms.access & access::REMOTE_WRITE != 0;
        let (addr, length) = (region.terms.addr, region.terms.length);
        let FileUnder { file, offset } = FileUnder::of(addr, length, writable, self.thread)?;
        // The memory has been this region's all the time, so this is its file: unless the program has mapped another
        // one in its place, which nothing can tell, and which copies by the kernel would reach too.
        self.region()?;
        socket.send(&Answer { offset }.encode(), Some(&file))
    }
}

/// Whether the kernel lets other processes of the user at the memory of this one. If it does not, they get nothing.
fn is_readable_by_others() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) == 1 }
}
