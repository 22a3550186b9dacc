// SPDX-License-Identifier: BSD-3-Clause

//! How the file under a region comes to a process that maps it: a thread of each process exchanges descriptors.
//!
//! An initiator that uses a region of another process makes two connected sockets. It sends one to the owner, with the
//! question which file is mapped under the region, and goes on meanwhile. The owner opens the file anew (`file_under`)
//! and sends it through that socket, or closes the socket if the region cannot be mapped. Afterwards the sockets stay
//! as long as the region is registered: the owner closes its one then, and the initiator unmaps the region. When either
//! process ends, the other one sees that in the same way.
//!
//! All of this is done by a thread that has a table of descriptors of its own, in both processes: neither the locks nor
//! the numbers that the program has are concerned (`private_fd`). What that thread waits for, nobody else does.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::fd::Fd;
use super::file_under::FileUnder;
use super::fork_mark::ForkMark;
use super::lease::SharedRegion;
use super::mapped::{Mapped, Mappings};
use super::private_fd::{PrivateFd, separate};
use super::region_table::RegionTable;
use super::{cancel, check, child, owned, passing, sys, thread};
use crate::Result;
use crate::types::region::access;
use crate::wire::{ANSWER, Answer, Ask};

/// How many sockets the thread has, at most. The others get no answer.
const MOST_SOCKETS: usize = 768;
/// How many questions wait for the thread.
const MOST_QUESTIONS: usize = 64;
/// The thread does nothing for so many times as long as the last answer has taken: peers may ask without end.
const PAUSE: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// What a message to the thread is: a job, which comes with a socket, or no more than a message.
const JOB: u8 = 1;
const WAKES: u8 = 0;

/// What the thread is to do with a socket.
enum Job {
    /// Map the region when the answer comes.
    Await(Awaited),
    Answer(Question),
}

/// A region that this process has asked for.
struct Awaited {
    mappings: Weak<Mappings>,
    own: &'static RegionTable,
    entry: u32,
    generation: u64,
    region: SharedRegion,
}

/// A region that another process has asked for.
struct Question {
    ask: Ask,
    /// A thread that has the program's descriptors.
    thread: i32,
}

struct Mapper {
    mark: ForkMark,
    /// By which jobs are sent, each with its socket.
    socket: Fd,
    /// The thread's end, as long as other threads have it too.
    end: Mutex<Option<Fd>>,
    /// The thread has its own, or has ended.
    is_separate: AtomicBool,
    jobs: Mutex<Jobs>,
    served: Mutex<Served>,
}

#[derive(Default)]
struct Jobs {
    given: VecDeque<Job>,
    /// There is no thread.
    are_refused: bool,
}

#[derive(Default)]
struct Served {
    /// Regions of this process that others have got, by their entries in its table.
    entries: Vec<u32>,
    /// Those among them that are gone.
    gone: Vec<u32>,
}

static MAPPER: AtomicPtr<Mapper> = AtomicPtr::new(ptr::null_mut());
static MAKING: Mutex<()> = Mutex::new(());

/// The socket for an answer, before it is sent.
pub(super) struct Questioner {
    pub(super) mappings: Weak<Mappings>,
    pub(super) own: &'static RegionTable,
    pub(super) region: SharedRegion,
}

/// Two sockets that are connected with each other: they are closed again at once by threads that have the table of the
/// process, and a child must not keep them.
struct Ends {
    here: OwnedFd,
    there: OwnedFd,
}

fn sockets() -> Result<Ends> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let mut fds = [-1; 2];
    // SAFETY: room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    let ends = Ends {
        here: owned(fds[0])?,
        there: owned(fds[1])?,
    };
    child::opened(ends.here.as_raw_fd());
    child::opened(ends.there.as_raw_fd());
    Ok(ends)
}

impl Drop for Ends {
    fn drop(&mut self) {
        child::closing(self.here.as_raw_fd());
        child::closing(self.there.as_raw_fd());
    }
}

/// Has the owner of a region asked for its file; `send` sends it the question, with this descriptor.
pub(super) fn ask(
    questioner: Questioner,
    ask: &Ask,
    send: impl FnOnce(RawFd) -> Result<()>,
) -> Result<()> {
    // Descriptors are closed here, which is a cancellation point.
    let _uncancelled = cancel::Hold::new();
    let ends = sockets()?;
    let awaited = Awaited {
        mappings: questioner.mappings,
        own: questioner.own,
        entry: ask.entry,
        generation: ask.generation,
        region: questioner.region,
    };
    Mapper::get()?.give(Job::Await(awaited), ends.here.as_raw_fd())?;
    // If it is not sent, the thread sees the end of the socket.
    send(ends.there.as_raw_fd())
}

/// Another process asks for the file under a region of this one: the answer goes through this socket. It is closed if
/// there is none. `thread` is one that has the program's descriptors.
pub(crate) fn answer(ask: Ask, socket: OwnedFd, thread: i32) {
    let question = Question { ask, thread };
    if let Ok(mapper) = Mapper::get() {
        // Otherwise the region stays unmapped.
        let _ = mapper.give(Job::Answer(question), socket.as_raw_fd());
    }
}

/// A region of this process is not registered any more: whoever has mapped it is told. Nobody waits for that.
pub(crate) fn forget(entry: u32) {
    if let Some(mapper) = Mapper::known() {
        mapper.forget(entry);
    }
}

/// What this process has mapped of another one is gone, and so are the sockets for it. Nobody waits for that.
pub(super) fn mappings_are_gone() {
    if let Some(mapper) = Mapper::known() {
        mapper.wake();
    }
}

/// Has what mappings need: a process takes its descriptors when it connects, and none for good later.
pub(super) fn prepare() {
    // Tried again when a region is worth it.
    let _ = Mapper::get();
}

impl Mapper {
    fn known() -> Option<&'static Self> {
        // SAFETY: null, or never freed.
        let known = unsafe { MAPPER.load(Ordering::Acquire).as_ref() };
        known.filter(|known| known.mark.is_this_process())
    }

    /// The one of this process, which is made with the first call.
    fn get() -> Result<&'static Self> {
        if let Some(known) = Self::known() {
            return Ok(known);
        }
        let _uncancelled = cancel::Hold::new();
        // Not for ever: in a child, the thread that had it at the fork is not there.
        const AT_MOST: Duration = Duration::from_millis(100);
        let _making = MAKING.try_lock_for(AT_MOST).ok_or(libc::EAGAIN)?;
        if let Some(known) = Self::known() {
            return Ok(known);
        }
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        let mut fds = [-1; 2];
        // SAFETY: room for two descriptors.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
        let (socket, end) = (Fd::new(owned(fds[0])?), Fd::new(owned(fds[1])?));
        child::opened(socket.raw());
        child::opened(end.raw());
        let number = end.raw();
        let mapper: &Self = Box::leak(Box::new(Self {
            mark: ForkMark::new()?,
            socket,
            end: Mutex::new(Some(end)),
            is_separate: AtomicBool::new(false),
            jobs: Mutex::default(),
            served: Mutex::default(),
        }));
        MAPPER.store(ptr::from_ref(mapper).cast_mut(), Ordering::Release);
        let spawned = thread::spawn(c"softrdma-map", move || mapper.run(number));
        if spawned.is_err() {
            mapper.fail();
        }
        spawned?;
        mapper.wait_for_thread();
        Ok(mapper)
    }

    /// Sends the thread a job and its socket.
    fn give(&self, job: Job, socket: RawFd) -> Result<()> {
        self.let_go_of_end();
        let mut jobs = self.jobs.lock();
        if jobs.are_refused || jobs.given.len() >= MOST_QUESTIONS {
            return Err(libc::EAGAIN);
        }
        jobs.given.try_reserve(1).map_err(|_| libc::ENOMEM)?;
        // Under the lock: sockets come in the order of their jobs.
        passing::send(self.socket.checked()?, &[JOB], Some(socket))?;
        jobs.given.push_back(job);
        Ok(())
    }

    /// Until it has a table of its own: then the other threads need not keep its end of the socket.
    fn wait_for_thread(&self) {
        const AT_MOST: Duration = Duration::from_millis(20);
        let begun = Instant::now();
        while !self.is_separate.load(Ordering::Acquire) && begun.elapsed() < AT_MOST {
            std::thread::yield_now();
        }
        // Otherwise with the next job.
        self.let_go_of_end();
    }

    fn let_go_of_end(&self) {
        if self.is_separate.load(Ordering::Acquire) {
            let end = self.end.lock().take();
            if let Some(end) = end {
                child::closing(end.raw());
            }
        }
    }

    fn forget(&self, entry: u32) {
        let mut served = self.served.lock();
        if !served.entries.contains(&entry) {
            return;
        }
        served.gone.push(entry);
        drop(served);
        self.wake();
    }

    fn wake(&self) {
        if let Ok(socket) = self.socket.checked() {
            // If there is no room, then the thread is about to wake.
            let _ = passing::send(socket, &[WAKES], None);
        }
    }

    /// From now on `forget` tells the thread when the region in this entry is gone.
    fn is_served(&self, entry: u32) {
        self.served.lock().entries.push(entry);
    }

    /// As before one call of `is_served`.
    fn is_not_served(&self, entry: u32) {
        let entries = &mut self.served.lock().entries;
        if let Some(at) = entries.iter().position(|&known| known == entry) {
            entries.swap_remove(at);
        }
    }

    // --- The thread ------------------------------------------------------------------------------

    fn run(&'static self, end: RawFd) {
        match separate(end) {
            Ok(end) => {
                self.is_separate.store(true, Ordering::Release);
                let mut work = Work::new(self);
                while work.step(&end).is_ok() {}
                self.fail();
            }
            Err(_) => self.fail(),
        }
    }

    /// There is no thread: nothing is given from now on, and what was given has no answer.
    fn fail(&self) {
        let mut jobs = self.jobs.lock();
        jobs.are_refused = true;
        let given = std::mem::take(&mut jobs.given);
        drop(jobs);
        for job in given {
            if let Job::Await(awaited) = job {
                awaited.set(None);
            }
        }
        // With its sockets on their way, which the peers see closed when nobody has this end any more.
        self.is_separate.store(true, Ordering::Release);
        self.let_go_of_end();
    }
}

impl Awaited {
    fn set(&self, mapped: Option<Mapped>) {
        if let Some(mappings) = self.mappings.upgrade() {
            mappings.set(self.entry, self.generation, mapped);
        }
    }

    fn map(&self, answer: &[u8], file: Option<&PrivateFd>) -> Result<Mapped> {
        let Answer { offset } = Answer::decode(answer).map_err(|_| libc::EBADMSG)?;
        let file = file.ok_or(libc::ENODEV)?;
        Mapped::new(self.own, &self.region, file, offset)
    }

    /// The socket brings the answer, or the end of the region. Whether there may be more to come.
    fn hear(&self, socket: &PrivateFd) -> bool {
        let mut bytes = [0; ANSWER];
        match socket.receive(&mut bytes) {
            Err(libc::EAGAIN | libc::EINTR) => true,
            Ok((n, file)) => {
                let mapped = bytes.get(..n).map(|answer| self.map(answer, file.as_ref()));
                match mapped {
                    Some(Ok(mapped)) if self.is_asked() => {
                        self.set(Some(mapped));
                        true
                    }
                    _ => self.end(),
                }
            }
            Err(_) => self.end(),
        }
    }

    fn is_asked(&self) -> bool {
        let mappings = self.mappings.upgrade();
        mappings.is_some_and(|mappings| mappings.is_asked(self.entry, self.generation))
    }

    /// Nothing comes any more.
    fn end(&self) -> bool {
        if let Some(mappings) = self.mappings.upgrade() {
            if mappings.is_asked(self.entry, self.generation) {
                mappings.set(self.entry, self.generation, None);
            } else {
                mappings.forget(self.entry, self.generation);
            }
        }
        false
    }
}

/// What the thread has.
struct Work {
    mapper: &'static Mapper,
    awaited: Vec<(PrivateFd, Awaited)>,
    /// Regions of this process, by their entries in its table.
    served: Vec<(PrivateFd, u32)>,
    questions: VecDeque<(PrivateFd, Question)>,
    /// The next answer is not given before this.
    not_before: Instant,
}

impl Work {
    fn new(mapper: &'static Mapper) -> Self {
        Self {
            mapper,
            awaited: Vec::new(),
            served: Vec::new(),
            questions: VecDeque::new(),
            not_before: Instant::now(),
        }
    }

    /// Waits for something to do, and does it. Fails when the process has no more use for the thread.
    fn step(&mut self, end: &PrivateFd) -> Result<()> {
        let (jobs, awaited, served) = self.wait(end)?;
        if jobs {
            self.take_jobs(end)?;
        }
        let mut comes = awaited.into_iter();
        self.awaited
            .retain(|(socket, awaited)| comes.next() != Some(true) || awaited.hear(socket));
        // Nobody says anything more there, so this is the end.
        let mut ends = served.into_iter();
        let mapper = self.mapper;
        self.served.retain(|(_, entry)| {
            let is_over = ends.next() == Some(true);
            if is_over {
                mapper.is_not_served(*entry);
            }
            !is_over
        });
        self.forget_gone();
        // Of pairs of processes that are let go of: the owner sees the end of the socket.
        self.awaited
            .retain(|(_, awaited)| awaited.mappings.strong_count() > 0);
        if Instant::now() >= self.not_before {
            if let Some((socket, question)) = self.questions.pop_front() {
                self.answer(socket, &question);
            }
        }
        Ok(())
    }

    /// Whether there are jobs, and for which sockets something has come.
    fn wait(&self, end: &PrivateFd) -> Result<(bool, Vec<bool>, Vec<bool>)> {
        let awaited = self.awaited.iter().map(|(socket, _)| socket.raw());
        let served = self.served.iter().map(|(socket, _)| socket.raw());
        let mut fds: Vec<_> = [end.raw()]
            .into_iter()
            .chain(awaited)
            .chain(served)
            .map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        let until = (!self.questions.is_empty())
            .then(|| self.not_before.saturating_duration_since(Instant::now()));
        sys::poll(&mut fds, until)?;
        let mut ready = fds.iter().map(|fd| fd.revents != 0);
        let jobs = ready.next() == Some(true);
        let awaited = ready.by_ref().take(self.awaited.len()).collect();
        Ok((jobs, awaited, ready.collect()))
    }

    fn sockets(&self) -> usize {
        self.awaited.len() + self.served.len() + self.questions.len()
    }

    fn take_jobs(&mut self, end: &PrivateFd) -> Result<()> {
        loop {
            let mut kind = [0];
            let (n, socket) = match end.receive(&mut kind) {
                Err(libc::EAGAIN | libc::EINTR) => return Ok(()),
                received => received?,
            };
            if n == 0 {
                return Err(libc::EPIPE);
            }
            if kind == [WAKES] {
                continue;
            }
            let job = self.mapper.jobs.lock().given.pop_front();
            let has_room = self.sockets() < MOST_SOCKETS;
            match (job, socket.filter(|_| has_room)) {
                (Some(Job::Await(awaited)), Some(socket)) => self.awaited.push((socket, awaited)),
                (Some(Job::Await(awaited)), None) => awaited.set(None),
                (Some(Job::Answer(question)), Some(socket))
                    if self.questions.len() < MOST_QUESTIONS =>
                {
                    self.questions.push_back((socket, question));
                }
                _ => {}
            }
        }
    }

    fn forget_gone(&mut self) {
        let gone = {
            let mut served = self.mapper.served.lock();
            let gone = std::mem::take(&mut served.gone);
            served.entries.retain(|entry| !gone.contains(entry));
            gone
        };
        if !gone.is_empty() {
            self.served.retain(|(_, entry)| !gone.contains(entry));
        }
    }

    fn answer(&mut self, socket: PrivateFd, question: &Question) {
        let begun = Instant::now();
        let entry = question.ask.entry;
        // First: whoever deregisters the region from now on says so.
        self.mapper.is_served(entry);
        match question.answer(&socket) {
            Ok(()) => self.served.push((socket, entry)),
            Err(_) => self.mapper.is_not_served(entry),
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
        } = self.ask;
        let own = RegionTable::known().ok_or(libc::ENOENT)?;
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
        socket.send(&Answer { offset }.encode(), &file)
    }
}

/// Whether the kernel lets other processes of the user at the memory of this one. If it does not, they get nothing.
fn is_readable_by_others() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) == 1 }
}
