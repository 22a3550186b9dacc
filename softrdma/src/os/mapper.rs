// SPDX-License-Identifier: BSD-3-Clause

//! How the file under a region comes to a process that maps it: a thread of each process exchanges descriptors.
//!
//! An initiator that uses a region of another process makes two connected sockets. It sends one to the owner, with the
//! question which file is mapped under the region, and goes on meanwhile. The owner opens the file anew (`file_under`)
//! and sends it through that socket, or closes the socket if it cannot tell. The answer is about all memory around the
//! region that is mapped from the same file, and about all regions that are registered there: a *window*. Afterwards the
//! sockets stay as long as one of these regions is registered: the owner closes its one then, and the initiator unmaps
//! the window. When either process ends, the other one sees that in the same way.
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

use super::discard::Foreign;
use super::fd::Fd;
use super::fork_mark::ForkMark;
use super::mapping_work::Work;
use super::mappings::{Mappings, WindowNumber};
use super::private_table::separate;
use super::region_table::RegionTable;
use super::{cancel, check, child, guard, owned, passing, thread};
use crate::Result;
use crate::types::region::{Extent, Terms};
use crate::wire::{Ask, REFUSAL_OF_ALL};

/// How many jobs wait for the thread.
const MOST_JOBS: usize = 64;
/// What a message to the thread is: a job, which comes with a socket, or no more than a message.
const JOB: u8 = 1;
pub(super) const WAKES: u8 = 0;

/// What the thread is to do with a socket.
pub(super) enum Job {
    /// Map the window when the answer comes.
    Await(Awaited),
    Answer(Question),
}

/// A region that this process has asked for.
pub(super) struct Awaited {
    pub(super) mappings: Weak<Mappings>,
    pub(super) own: &'static RegionTable,
    pub(super) entry: u32,
    pub(super) generation: u64,
    pub(super) region: Extent,
    pub(super) terms: Terms,
    /// When it is mapped.
    pub(super) window: Option<WindowNumber>,
}

/// A region that another process has asked for.
pub(super) struct Question {
    pub(super) ask: Ask,
    /// The pair of processes by which it has come.
    pub(super) pair: usize,
    /// A thread that has the program's descriptors.
    pub(super) thread: i32,
}

pub(super) struct Mapper {
    mark: ForkMark,
    /// By which jobs are sent, each with its socket.
    socket: Fd,
    /// The thread's end, as long as other threads have it too.
    end: Mutex<Option<Fd>>,
    /// The thread has its own, or has ended.
    is_separate: AtomicBool,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    given: VecDeque<Job>,
    /// There is no thread.
    are_refused: bool,
}

static MAPPER: AtomicPtr<Mapper> = AtomicPtr::new(ptr::null_mut());
static MAKING: Mutex<()> = Mutex::new(());

/// The socket for an answer, before it is sent.
pub(super) struct Questioner {
    pub(super) mappings: Weak<Mappings>,
    pub(super) own: &'static RegionTable,
    pub(super) region: Extent,
    pub(super) terms: Terms,
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
    // Here, since the other thread's descriptors mean nothing to this one.
    guard::prepare();
    let ends = sockets()?;
    let awaited = Awaited {
        mappings: questioner.mappings,
        own: questioner.own,
        entry: ask.entry,
        generation: ask.generation,
        region: questioner.region,
        terms: questioner.terms,
        window: None,
    };
    Mapper::get()?.give(Job::Await(awaited), ends.here.as_raw_fd())?;
    // If it is not sent, the thread sees the end of the socket.
    send(ends.there.as_raw_fd())
}

/// Another process asks for the file under a region of this one: the answer goes through this socket. It is closed if
/// there is none for now. `pair` tells the pair by which the question has come from others, and `thread` is one that has
/// the program's descriptors.
pub(crate) fn answer(ask: Ask, socket: Foreign, pair: usize, thread: i32) {
    let question = Question { ask, pair, thread };
    let given =
        Mapper::get().and_then(|mapper| mapper.give(Job::Answer(question), socket.as_raw_fd()));
    if given.is_ok() {
        socket.close_socket();
    }
}

/// As above, when no region of this process is to be mapped.
pub(crate) fn refuse(socket: &Foreign) {
    // Otherwise it asks again.
    let _ = passing::send(socket.as_raw_fd(), &REFUSAL_OF_ALL.encode(), None);
}

/// The table of this process has `unused_windows`: who has mapped one is told. Nobody waits for that.
pub(crate) fn regions_are_gone() {
    if let Some(mapper) = Mapper::known() {
        mapper.wake();
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
        if jobs.are_refused || jobs.given.len() >= MOST_JOBS {
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

    fn wake(&self) {
        if let Ok(socket) = self.socket.checked() {
            // If there is no room, then the thread is about to wake.
            let _ = passing::send(socket, &[WAKES], None);
        }
    }

    // --- The thread (`mapping_work`) -------------------------------------------------------------

    /// The job that the next socket belongs to.
    pub(super) fn next_job(&self) -> Option<Job> {
        self.jobs.lock().given.pop_front()
    }

    fn run(&'static self, end: RawFd) {
        match separate(end) {
            Ok(end) => {
                self.is_separate.store(true, Ordering::Release);
                if let Ok(mut work) = Work::new(self, end) {
                    while work.step().is_ok() {}
                    work.end();
                }
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
                awaited.forget();
            }
        }
        // With its sockets on their way, which the peers see closed when nobody has this end any more.
        self.is_separate.store(true, Ordering::Release);
        self.let_go_of_end();
    }
}
