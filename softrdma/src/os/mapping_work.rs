// SPDX-License-Identifier: BSD-3-Clause

//! What the mapper's thread does (`mapper`), with descriptors of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file_under::{FileUnder, NoFile};
use super::huge_pages::Collapsing;
use super::lease::SharedRegion;
use super::mapped::{MOST_BYTES_OF_PEER, Mapped, Part};
use super::mapper::{Awaited, Job, Mapper, Question, WAKES};
use super::mappings::{Mappings, WindowNumber, is_written};
use super::private_epoll::PrivateEpoll;
use super::private_fd::{PrivateFd, close_discarded};
use super::region_table::RegionTable;
use super::watches::WatchName;
use crate::types::region::Window;
use crate::wire::{ANSWER, Answer, Ask};
use crate::{Errno, Result};

/// How many sockets the thread has, at most. The others get no answer.
const MOST_SOCKETS: usize = 768;
/// How many questions of one pair of processes wait, and how many windows it may have got.
const MOST_QUESTIONS_OF_PAIR: usize = 16;
const MOST_SERVED_OF_PAIR: usize = 256;
/// The thread does nothing for so many times as long as the last answer has taken: peers may ask without end.
const PAUSE: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How soon it is tried again to unmap what another thread is copying from or to.
const UNMAP_AGAIN: Duration = Duration::from_millis(10);

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
    /// None of the regions in the window can be mapped, if the region is one of them, or it alone.
    fn refuse(&self, mappings: &Mappings, window: Window) {
        if window.has(&self.region) {
            mappings.refuse(window, &self.region, is_written(&self.terms));
        } else {
            self.refuse_only(mappings);
        }
    }

    fn refuse_only(&self, mappings: &Mappings) {
        mappings.refuse_only(&self.region, is_written(&self.terms));
    }

    /// It is not mapped, or not any more. It may be asked for again.
    pub(super) fn forget(&self) {
        if let Some(mappings) = self.mappings.upgrade() {
            mappings.is_answered(self.entry, self.generation);
            if let Some(window) = self.window {
                mappings.forget(window);
            }
        }
    }

    /// The window is mapped, or the region alone where there is no room for all of it.
    fn map(
        &self,
        mappings: &Mappings,
        (window, offset): (Window, u64),
        file: &PrivateFd,
    ) -> Result<WindowNumber> {
        let (all, facts) = Part::of(file, window, offset, is_written(&self.terms))?;
        let only = all.only(&self.region)?;
        if window.before <= self.region.serial {
            return Err(libc::EINVAL);
        }
        let new = |part: Part| {
            if let Some(same) = mappings.same(|mapped| mapped.part().is_same(&part)) {
                return Ok(same);
            }
            if mappings.bytes().saturating_add(part.length()) > MOST_BYTES_OF_PEER {
                return Err(libc::EFBIG);
            }
            let mapped = Mapped::new(self.own, file, part, &facts)?;
            Ok(Arc::new(mapped))
        };
        let which = (self.entry, self.generation);
        let whole = new(all).map(|mapped| (all, mapped, None));
        let (part, mapped, of_one) = whole.or_else(|errno| match errno {
            // EAGAIN: the program has asked for all its memory to be locked, and may not lock so much.
            libc::EFBIG | libc::ENOMEM | libc::EAGAIN => {
                new(only).map(|mapped| (only, mapped, Some(which)))
            }
            errno => Err(errno),
        })?;
        Ok(mappings.add(part.window(window.before), mapped, of_one))
    }

    /// What has come is no answer, or one.
    fn answered(&mut self, mappings: &Mappings, answer: &[u8], file: Option<&PrivateFd>) {
        let whole = match (Answer::decode(answer), file) {
            (Ok(Answer::Refusal { window }), _) => return self.refuse(mappings, window),
            (Ok(Answer::File { window, offset }), Some(file)) => {
                let mapped = self.map(mappings, (window, offset), file);
                mapped.map_err(|errno| (errno, window))
            }
            // This process may have no descriptor left for it.
            (Ok(Answer::File { window, .. }), None) => Err((libc::EMFILE, window)),
            (Err(_), _) => return self.refuse_only(mappings),
        };
        match whole {
            Ok(number) => self.window = Some(number),
            Err((errno, _)) if passes(errno) => {}
            // Other regions may lie within the file, and there may be room for them.
            Err((libc::EINVAL | libc::EFBIG, _)) => self.refuse_only(mappings),
            Err((_, window)) => self.refuse(mappings, window),
        }
    }

    /// The socket brings the answer, or the end of the regions. Whether there may be more to come.
    fn take_answer(&mut self, socket: &PrivateFd) -> bool {
        let Some(mappings) = self.mappings.upgrade() else {
            return false;
        };
        let is_asked = self.window.is_none() && mappings.is_asked(self.entry, self.generation);
        let mut bytes = [0; ANSWER];
        match socket.receive(&mut bytes) {
            Err(libc::EAGAIN | libc::EINTR) => return true,
            Err(_) if is_asked => self.refuse_only(&mappings),
            Ok((n, file)) if n > 0 && is_asked => {
                self.answered(&mappings, &bytes[..n], file.as_ref());
                mappings.is_answered(self.entry, self.generation);
                return self.window.is_some();
            }
            // No region is registered any more, or there is no answer for now.
            _ => {}
        }
        self.forget();
        false
    }

    /// What is to be unmapped now, of all windows of the other process.
    fn take_unused(&self) -> Vec<Arc<Mapped>> {
        let mappings = self.mappings.upgrade();
        mappings.map_or_else(Vec::new, |mappings| mappings.take_unused())
    }

    /// Whether somebody may still have use for what the socket brings.
    fn is_needed(&self) -> bool {
        self.mappings.upgrade().is_some_and(|mappings| {
            self.window.map_or_else(
                || mappings.is_asked(self.entry, self.generation),
                |window| mappings.has(window),
            )
        })
    }
}

/// A window of this process that another one has got, when it asked for this region.
struct Given {
    entry: u32,
    generation: u64,
    pair: usize,
    watch: WatchName,
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
    /// To be unmapped when no other thread has it.
    unused: Vec<Arc<Mapped>>,
    /// Regions of this process that cannot be mapped.
    collapsing: Collapsing,
    /// The next answer is not given before this, and nothing is moved to huge pages.
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
            unused: Vec::new(),
            collapsing: Collapsing::default(),
            not_before: Instant::now(),
        })
    }

    /// Waits for something to do, and does it. Fails when the process has no more use for the thread.
    pub(super) fn step(&mut self) -> Result<()> {
        let asked = self.questions.front().map(|_| self.not_before);
        let due = self.collapsing.due().map(|due| due.max(self.not_before));
        let now = Instant::now();
        let until = asked.into_iter().chain(due).min();
        let until = until.map(|until| until.saturating_duration_since(now));
        let again = Some(UNMAP_AGAIN).filter(|_| !self.unused.is_empty());
        let until = until.into_iter().chain(again).min();
        let ready = self.watched.wait(until)?;
        let is_ready = |socket: &PrivateFd| ready.contains(&socket.raw());
        // What the peer does not want any more: it says nothing else.
        self.forget_given(|socket, given| {
            let is_over = is_ready(socket);
            if is_over {
                unwatch(given.watch);
            }
            is_over
        });
        self.forget_awaited(|socket, awaited| is_ready(socket) && !awaited.take_answer(socket));
        if is_ready(&self.jobs) {
            self.take_jobs()?;
        }
        // After the messages were taken that say that there are such: what ends from now on sends another one.
        let unused = RegionTable::known().map_or_else(Vec::new, RegionTable::unused_windows);
        self.forget_given(|_, given| unused.contains(&given.watch));
        // Those of pairs of processes that are let go of end too, and those of windows that another one has replaced:
        // the owner sees the end of the socket.
        self.forget_awaited(|_, awaited| !awaited.is_needed());
        self.unmap_unused();
        if Instant::now() >= self.not_before {
            let begun = Instant::now();
            if let Some((socket, question)) = self.questions.pop_front() {
                self.answer(socket, question);
            } else {
                self.collapsing.step(begun);
            }
            let now = Instant::now();
            self.not_before = now + (PAUSE * (now - begun)).min(LONGEST_PAUSE);
        }
        close_discarded();
        Ok(())
    }

    /// Nothing is mapped any more, and nobody hears of what happens to this process's regions.
    pub(super) fn end(&mut self) {
        for (socket, awaited) in self.awaited.drain(..) {
            awaited.forget();
            drop(awaited.take_unused());
            socket.shut_down();
        }
        for (socket, given) in self.given.drain(..) {
            unwatch(given.watch);
            socket.shut_down();
        }
    }

    fn forget_given(&mut self, is_over: impl Fn(&PrivateFd, &Given) -> bool) {
        let watched = &self.watched;
        self.given.retain(|(socket, given)| {
            let is_over = is_over(socket, given);
            if is_over {
                watched.remove(socket);
            }
            !is_over
        });
    }

    fn forget_awaited(&mut self, is_over: impl Fn(&PrivateFd, &mut Awaited) -> bool) {
        let (watched, unused) = (&self.watched, &mut self.unused);
        self.awaited.retain_mut(|(socket, awaited)| {
            let is_over = is_over(socket, awaited);
            if is_over {
                watched.remove(socket);
                unused.append(&mut awaited.take_unused());
            }
            !is_over
        });
    }

    fn unmap_unused(&mut self) {
        let all = std::mem::take(&mut self.unused);
        // A thread that is about to copy either has it before this, or does not get it.
        let in_use = all
            .into_iter()
            .filter_map(|mapped| Arc::try_unwrap(mapped).err());
        self.unused = in_use.collect();
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
        let added = self.watched.add(&socket).map_err(Failure::of_region);
        let answered = added.and_then(|()| question.answer(&socket));
        match answered {
            Ok(watch) => {
                let given = Given {
                    entry: question.ask.entry,
                    generation: question.ask.generation,
                    pair: question.pair,
                    watch,
                };
                self.given.push((socket, given));
            }
            Err(Failure { errno, window }) => {
                self.watched.remove(&socket);
                if !passes(errno) {
                    // Otherwise it asks again.
                    let _ = socket.send(&Answer::Refusal { window }.encode(), None);
                    self.collapsing.plan(window);
                }
            }
        }
    }
}

fn unwatch(watch: WatchName) {
    if let Some(own) = RegionTable::known() {
        own.unwatch(watch);
    }
}

/// Why no region of a window can be mapped.
struct Failure {
    errno: Errno,
    window: Window,
}

impl Failure {
    /// Nothing is said of others than the region that the question is about.
    fn of_region(errno: Errno) -> Self {
        let window = Window {
            from: 0,
            to: 0,
            before: 0,
        };
        Self { errno, window }
    }
}

impl Question {
    /// The region, if it is still what was asked for. If it is not, there is no answer: it may be on its way to be
    /// deregistered, or be described anew, and then is asked for again.
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
            .ok_or(libc::EAGAIN)
    }

    /// Sends the file of a window. From then on it is watched.
    fn answer(&self, socket: &PrivateFd) -> std::result::Result<WatchName, Failure> {
        let fail = Failure::of_region;
        if !is_readable_by_others() {
            return Err(fail(libc::EPERM));
        }
        let region = self.region().map_err(fail)?;
        let own = RegionTable::known().ok_or(fail(libc::ENOENT))?;
        // First: what is found now is the memory of all regions that have been registered until now.
        let before = own.registered();
        let window = |from, to| Window { from, to, before };
        let terms = region.terms;
        let found = FileUnder::of(terms.addr, terms.length, is_written(&terms), self.thread);
        let FileUnder {
            file,
            from,
            to,
            offset,
        } = found.map_err(|NoFile { errno, from, to }| Failure {
            errno,
            window: window(from, to),
        })?;
        // The memory has been this region's all the time, so this is its file: unless the program has mapped another
        // one in its place, which nothing can tell, and which copies by the kernel would reach too.
        self.region().map_err(fail)?;
        let window = window(from, to);
        // A region that goes from now on is noticed.
        let watch = own.watch(window).ok_or(fail(libc::EAGAIN))?;
        let sent = socket.send(&Answer::File { window, offset }.encode(), Some(&file));
        sent.map(|()| watch).map_err(|errno| {
            own.unwatch(watch);
            fail(errno)
        })
    }
}

/// Whether the kernel lets other processes of the user at the memory of this one. If it does not, they get nothing.
fn is_readable_by_others() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) == 1 }
}
