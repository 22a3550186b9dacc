// SPDX-License-Identifier: BSD-3-Clause

//! The I/O thread: it waits for all sockets of the process, and for points in time.

pub(crate) mod endpoint;
pub(crate) mod fork_state;
mod forked;
pub(crate) mod pace;
pub(crate) mod relief;
pub(crate) mod served;
pub(crate) mod waiting;

use std::any::Any;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Result;
use crate::instrument;
use crate::io::endpoint::Endpoint;
use crate::io::relief::{Lead, Relief};
use crate::os::epoll::{Current, EXCLUSIVE, Epoll, Interest, Ready, WAKE};
use crate::os::held::Locks;
use crate::os::socket::Socket;
use crate::os::{fd, thread};

pub(crate) use forked::{HeldWork, Work};

/// What a socket belongs to.
pub(crate) trait Source: Send + Sync {
    fn ready(self: Arc<Self>, seen: Interest);

    /// The thread watches nothing any more: what is to be watched has to be added again, under the same token. What
    /// the program has closed ends.
    fn watch_again(self: Arc<Self>, io: &Io, token: Token);

    /// The object itself, for what has to know its type: before a fork, it is to be whole in the child.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;

    /// After a fork, before it is known which process has it: something has come in. Whether the program has been
    /// told that it has to make a call.
    fn announce(self: Arc<Self>) -> bool {
        false
    }

    /// After a fork: it is another process's.
    fn lose(self: Arc<Self>) {}
}

/// What the thread knows a socket by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(u64);

/// A socket, and what the thread knows it by if it watches it: until it is somebody else's, for the source that has had
/// it so far.
#[derive(Debug)]
pub(crate) struct Watched {
    socket: Option<Socket>,
    token: Option<Token>,
}

impl Watched {
    pub(crate) fn new(socket: Socket, token: Option<Token>) -> Self {
        Self {
            socket: Some(socket),
            token,
        }
    }

    /// The socket, which is not watched any more.
    pub(crate) fn into_socket(mut self) -> Option<Socket> {
        let socket = self.socket.take()?;
        if let (Some(token), Some(io)) = (self.token.take(), get()) {
            io.forget(socket.raw(), token);
        }
        Some(socket)
    }

    /// The socket, and the token, which another source adopts or leaves.
    pub(crate) fn into_parts(mut self) -> Option<(Socket, Option<Token>)> {
        Some((self.socket.take()?, self.token.take()))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(token), Some(io)) = (self.token, get()) {
            match &self.socket {
                Some(socket) => io.forget(socket.raw(), token),
                None => io.leave(token),
            }
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A point in time, and what tells it from others at the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer(Instant, u64);

/// A timer that is cancelled when this goes: nothing that its job holds is kept after that.
#[derive(Debug)]
pub(crate) struct Alarm(Timer);

/// When the thread wakes to look for timers that are due, at the latest. Most timers are cancelled in time: it wakes for
/// them nevertheless, so that the next ones, which come later, need not wake it to be seen.
struct Wakes {
    begun: Instant,
    /// In nanoseconds after that.
    at: AtomicU64,
}

impl Wakes {
    const NEVER: u64 = u64::MAX;

    fn new() -> Self {
        Self {
            begun: Instant::now(),
            at: AtomicU64::new(Self::NEVER),
        }
    }

    fn since_begun(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.begun);
        u64::try_from(since.as_nanos()).unwrap_or(Self::NEVER)
    }

    /// Whether the thread would come too late for what is due at this time.
    fn is_after(&self, time: Instant) -> bool {
        self.at.load(Ordering::Relaxed) > self.since_begun(time)
    }

    /// The thread is about to sleep. When it has to wake for a timer that is due then, or for one that was due.
    fn before(&self, first: Option<Instant>, now: Instant) -> Option<Instant> {
        let known = self.at.load(Ordering::Relaxed);
        let first = first.map_or(Self::NEVER, |first| self.since_begun(first));
        let next = if known > self.since_begun(now) {
            known.min(first)
        } else {
            first
        };
        self.at.store(next, Ordering::Relaxed);
        (next != Self::NEVER).then(|| self.begun + Duration::from_nanos(next))
    }
}

impl From<Timer> for Alarm {
    fn from(timer: Timer) -> Self {
        Self(timer)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(io) = get() {
            io.cancel(self.0);
        }
    }
}

pub(crate) struct Io {
    epoll: Current,
    /// Held while another set takes its place.
    renewing: Mutex<()>,
    /// Not a hash table: valgrind takes one for lost, as nothing points to where its memory begins.
    sources: Mutex<BTreeMap<Token, Arc<dyn Source>>>,
    timers: Mutex<BTreeMap<Timer, Job>>,
    /// Changed with the timers locked.
    wakes: Wakes,
    jobs: Mutex<VecDeque<Job>>,
    /// Connections whose program looks for input itself, by polling.
    polled: Mutex<VecDeque<Weak<dyn Endpoint>>>,
    /// Connections with work that no socket announces.
    busy: Mutex<VecDeque<Arc<dyn Endpoint>>>,
    relief: Relief,
    next: AtomicU64,
    /// There is a thread.
    running: AtomicBool,
}

/// How long it may take until there is a descriptor again.
const NO_ROOM: Duration = Duration::from_millis(20);
/// How often the thread looks whether a program still polls.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

thread_local! {
    /// That this thread leads, and with what it waits.
    static SERVES: Cell<Option<(Lead, &'static Epoll)>> = const { Cell::new(None) };
}

static IO: OnceLock<Io> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// The thread's side of the process; starts it when it is needed first.
pub(crate) fn start() -> Result<&'static Io> {
    if let Some(io) = IO.get().filter(|io| io.is_running()) {
        return Ok(io);
    }
    let _one_at_a_time = STARTING.lock();
    if let Some(io) = IO.get() {
        if !io.is_running() {
            // In a child, which has none of its parent's threads.
            spawn()?;
            io.running.store(true, Ordering::Release);
        }
        return Ok(io);
    }
    let io = Io::new()?;
    fork_state::watch();
    // Without a thread there is no I/O: the next call tries again.
    spawn()?;
    let io = IO.get_or_init(|| io);
    thread::at_exit(at_exit);
    Ok(io)
}

/// The thread waits for the lock of its maker, so that it finds what is stored after it was made.
fn spawn() -> Result<()> {
    thread::spawn(c"softrdma", || {
        drop(STARTING.lock());
        if let Some(io) = IO.get() {
            io.run();
        }
    })
}

/// Does something on the I/O thread. Without a thread there is nothing to do it for.
pub(crate) fn later(job: impl FnOnce() + Send + 'static) {
    if let Some(io) = IO.get() {
        io.jobs.lock().push_back(Box::new(job));
        io.wake();
    }
}

/// After a connection was lost: it may have been the program itself that has closed its descriptors, and others.
pub(crate) fn look_after_descriptors() {
    if fd::were_meddled_with() {
        if let Some(io) = IO.get() {
            io.look_after_descriptors();
        }
    }
}

/// Before a fork.
pub(crate) fn hold_start(locks: &mut Locks) -> bool {
    locks.hold_static(&STARTING)
}

pub(crate) fn get() -> Option<&'static Io> {
    IO.get()
}

/// Delayed acknowledgements are sent before the process is gone.
extern "C" fn at_exit() {
    if !fork_state::is_settled() {
        return;
    }
    if let Some(io) = IO.get() {
        let polled = io.polled.try_lock().map(|polled| polled.clone());
        for qp in polled.iter().flatten().filter_map(Weak::upgrade) {
            qp.flush_responses();
        }
    }
}

impl Io {
    fn new() -> Result<Self> {
        Ok(Self {
            epoll: Current::new(Epoll::new()?.keep()),
            renewing: Mutex::new(()),
            sources: Mutex::new(BTreeMap::new()),
            timers: Mutex::new(BTreeMap::new()),
            wakes: Wakes::new(),
            jobs: Mutex::new(VecDeque::new()),
            polled: Mutex::new(VecDeque::new()),
            busy: Mutex::new(VecDeque::new()),
            relief: Relief::new(),
            next: AtomicU64::new(WAKE + 1),
            running: AtomicBool::new(true),
        })
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn source(&self, token: Token) -> Option<Arc<dyn Source>> {
        self.sources.lock().get(&token).cloned()
    }

    pub(crate) fn token(&self) -> Token {
        Token(self.number())
    }

    /// Watches a socket for `source`, until `forget`.
    pub(crate) fn watch(
        &self,
        fd: RawFd,
        token: Token,
        interest: Interest,
        source: Arc<dyn Source>,
    ) -> Result<()> {
        self.sources.lock().insert(token, source);
        self.add(fd, token, interest).inspect_err(|_| {
            self.sources.lock().remove(&token);
        })
    }

    /// As `watch`, for a source with several sockets, which are added one by one.
    pub(crate) fn enter(&self, source: Arc<dyn Source>) -> Token {
        let token = self.token();
        self.sources.lock().insert(token, source);
        token
    }

    /// From now on a socket that is watched already belongs to this source. What it is watched for is to be changed
    /// after that (`adapt`).
    pub(crate) fn adopt(&self, token: Token, source: Arc<dyn Source>) {
        let before = self.sources.lock().insert(token, source);
        // Not under the lock, as in `leave`.
        drop(before);
    }

    /// As `change`, or as `add` if the socket is not watched any more. The kernel finds by itself whether the number is
    /// still that of the socket that is watched: no other one has this number and this file.
    pub(crate) fn adapt(&self, socket: &Socket, token: Token, interest: Interest) -> Result<()> {
        let changed = self.epoll.get().change(socket.raw(), token.0, interest);
        changed.or_else(|_| self.add(socket.checked()?, token, interest))
    }

    pub(crate) fn add(&self, fd: RawFd, token: Token, interest: Interest) -> Result<()> {
        let add = || match self.epoll.get().add(fd, token.0, interest) {
            // The thread has added it meanwhile, with all others.
            Err(libc::EEXIST) if interest & EXCLUSIVE != 0 => Ok(()),
            Err(libc::EEXIST) => self.epoll.get().change(fd, token.0, interest),
            done => done,
        };
        match add() {
            Err(libc::EBADF) => {
                self.look_after_descriptors();
                add()
            }
            done => done,
        }
    }

    /// Watches a descriptor as before, behind all sets that it has been added to meanwhile; `interest` may be another
    /// one. The last of those who come at the same time says which. Nothing is watched for a source that has left.
    pub(crate) fn watch_behind(
        &self,
        fd: RawFd,
        token: Token,
        interest: impl Fn() -> Interest,
    ) -> Result<()> {
        let sources = self.sources.lock();
        if !sources.contains_key(&token) {
            return Ok(());
        }
        let add = || {
            self.epoll.get().remove(fd);
            self.epoll.get().add(fd, token.0, interest())
        };
        match add() {
            // The thread has added it with all others, without the lock.
            Err(libc::EEXIST) => add(),
            done => done,
        }
    }

    pub(crate) fn remove(&self, fd: RawFd) {
        self.epoll.get().remove(fd);
    }

    /// All its sockets have been removed.
    pub(crate) fn leave(&self, token: Token) {
        let source = self.sources.lock().remove(&token);
        // Not under the lock: it may be the last owner of much.
        drop(source);
    }

    pub(crate) fn change(&self, fd: RawFd, token: Token, interest: Interest) {
        // It can fail only for a descriptor that is not watched.
        let _ = self.epoll.get().change(fd, token.0, interest);
    }

    pub(crate) fn forget(&self, fd: RawFd, token: Token) {
        self.remove(fd);
        self.leave(token);
    }

    pub(crate) fn after(&self, delay: Duration, job: impl FnOnce() + Send + 'static) -> Timer {
        let timer = Timer(Instant::now() + delay, self.number());
        let is_too_late = {
            let mut timers = self.timers.lock();
            timers.insert(timer, Box::new(job));
            self.wakes.is_after(timer.0)
        };
        if is_too_late {
            self.wake();
        }
        timer
    }

    pub(crate) fn cancel(&self, timer: Timer) {
        let job = self.timers.lock().remove(&timer);
        drop(job);
    }

    /// Looks after a connection whose program polls, from time to time.
    pub(crate) fn check_polled(&self, qp: Weak<dyn Endpoint>) {
        self.polled.lock().push_back(qp);
    }

    /// Comes back to a connection soon.
    pub(crate) fn busy(&self, qp: Arc<dyn Endpoint>) {
        self.busy.lock().push_back(qp);
        self.wake();
    }

    /// To be called when there is more to do: the thread looks at it before it waits, or wakes.
    pub(crate) fn wake(&self) {
        if !self.is_served_here() && self.epoll.get().wake().is_err() {
            self.look_after_descriptors();
        }
    }

    /// Whether this is the thread that leads. If another one takes over after this has been asked, it begins with a look
    /// at what there is to do: the lists are locked for that, so it finds what was put there before.
    fn is_served_here(&self) -> bool {
        let serves = SERVES.try_with(Cell::get).ok().flatten();
        serves.is_some_and(|(lead, epoll)| lead.goes_on() && self.epoll.is(epoll))
    }

    /// The program has closed descriptors of this library. If those that the thread waits with are among them, another
    /// thread goes on with others: the old one may wait for ever. Callers may have locks.
    pub(crate) fn look_after_descriptors(&self) {
        let before = self.epoll.get();
        if before.is_there() {
            return;
        }
        if self.renew().is_none() {
            return;
        }
        let spawned = thread::spawn(c"softrdma", || {
            if let Some(io) = IO.get() {
                io.watch_all_again();
                io.run();
            }
        });
        if spawned.is_err() {
            // Whoever comes next tries again.
            self.epoll.replace(before);
        }
    }

    /// Waits with new descriptors from now on. None if another thread has seen to that, or there are none.
    fn renew(&self) -> Option<&'static Epoll> {
        let _one_at_a_time = self.renewing.try_lock()?;
        if self.epoll.get().is_there() {
            return None;
        }
        let new = Epoll::new().ok()?.keep();
        self.epoll.replace(new);
        Some(new)
    }

    fn watch_all_again(&self) {
        let sources: Vec<_> = {
            let sources = self.sources.lock();
            let all = sources.iter();
            all.map(|(token, source)| (*token, Arc::clone(source)))
                .collect()
        };
        for (token, source) in sources {
            source.watch_again(self, token);
        }
    }

    /// Serves everything, until another thread has taken over.
    fn run(&'static self) {
        if instrument::pace::is_on() {
            thread::wake_in_time();
        }
        let lead = self.relief.lead();
        let mut epoll = self.epoll.get();
        SERVES.set(Some((lead, epoll)));
        let mut ready: Vec<Ready> = Vec::new();
        let mut checked = Instant::now();
        while lead.goes_on() && self.epoll.is(epoll) {
            if fork_state::concerns_thread() {
                fork_state::wait_on_thread();
            }
            let is_woken = |event: &Ready| event.token == WAKE;
            let waited = self.wait(epoll, &mut ready);
            let is_lost = waited.is_err() || ready.iter().any(is_woken) && epoll.clear().is_err();
            if is_lost {
                match self.renew() {
                    Some(new) => {
                        epoll = new;
                        SERVES.set(Some((lead, epoll)));
                        self.watch_all_again();
                    }
                    None => std::thread::sleep(NO_ROOM),
                }
                continue;
            }
            if fork_state::concerns_thread() {
                // What is ready is found again.
                continue;
            }
            for event in &ready {
                if is_woken(event) {
                    continue;
                }
                if let Some(source) = self.source(Token(event.token)) {
                    source.ready(event.seen);
                }
                // What else is ready is so for the other thread as well.
                if !lead.goes_on() {
                    return;
                }
            }
            // One by one, so that each that is left is done by who takes over. The lists are not locked while
            // their entries do more.
            each(&self.jobs, &lead, |job| job());
            each(&self.busy, &lead, |qp| qp.progress_again());
            self.run_timers(&lead);
            if instrument::pace::is_on() {
                pace::run_due(true);
            }
            if checked.elapsed() >= CHECK_INTERVAL {
                checked = Instant::now();
                each(&self.polled, &lead, |qp| {
                    if qp.upgrade().is_some_and(|qp| qp.check_polling()) {
                        self.polled.lock().push_back(qp);
                    }
                });
            }
        }
    }

    fn wait(&self, epoll: &Epoll, ready: &mut Vec<Ready>) -> Result<()> {
        let timeout = self.timeout();
        if instrument::pace::is_on() {
            if let Some(left) = pace::left() {
                // That of the others is -1 if there is none.
                let others = u64::try_from(timeout).map_or(Duration::MAX, Duration::from_millis);
                return epoll.wait_precisely(ready, left.min(others));
            }
        }
        epoll.wait(ready, timeout)
    }

    fn timeout(&self) -> i32 {
        if !self.busy.lock().is_empty() || !self.jobs.lock().is_empty() {
            return 0;
        }
        if !self.polled.lock().is_empty() {
            return CHECK_INTERVAL.as_millis() as i32;
        }
        let timers = self.timers.lock();
        let first = timers.first_key_value().map(|(first, _)| first.0);
        let now = Instant::now();
        match self.wakes.before(first, now) {
            None => -1,
            Some(at) => {
                let left = at.saturating_duration_since(now);
                // Rounded up: not to wake too early, again and again.
                i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX)
            }
        }
    }

    fn run_timers(&self, lead: &Lead) {
        while lead.goes_on() {
            let job = {
                let mut timers = self.timers.lock();
                match timers.first_entry() {
                    Some(first) if first.key().0 <= Instant::now() => first.remove(),
                    _ => return,
                }
            };
            job();
        }
    }
}

/// Does something with each entry that is in the list now, as long as this thread leads.
fn each<T>(list: &Mutex<VecDeque<T>>, lead: &Lead, mut does: impl FnMut(T)) {
    let mut left = list.lock().len();
    while left > 0 && lead.goes_on() {
        let Some(next) = list.lock().pop_front() else {
            return;
        };
        does(next);
        left -= 1;
    }
}

/// A thread of the program or of this library copies from the memory of a peer. That may take long, or for ever: on
/// the I/O thread, another one takes over then.
pub(crate) fn may_take_long<T>(copies: impl FnOnce() -> T) -> T {
    match IO.get() {
        Some(io) => io.relief.watch(|| spawn_second(io), copies),
        None => copies(),
    }
}

fn spawn_second(io: &'static Io) -> bool {
    thread::spawn(c"softrdma", move || {
        if io.relief.take_over() {
            io.run();
        }
    })
    .is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_the_thread_leaves_for_itself_is_done() {
        const LONG: Duration = Duration::from_secs(20);
        let io = start().unwrap();
        let (says, heard) = mpsc::channel();
        // Once more when it sleeps for ever, as far as these tests leave that to it.
        for _ in 0..100 {
            let says = says.clone();
            later(move || {
                assert!(io.is_served_here());
                later(move || {
                    io.after(Duration::from_millis(1), move || says.send(()).unwrap());
                });
            });
            heard.recv_timeout(LONG).unwrap();
        }
        assert!(!io.is_served_here());
    }

    #[test]
    fn the_thread_is_woken_for_a_timer_only_if_it_would_come_too_late() {
        let wakes = Wakes::new();
        let at = |seconds| wakes.begun + Duration::from_secs(seconds);
        assert!(wakes.is_after(at(100)));
        assert_eq!(wakes.before(Some(at(100)), at(0)), Some(at(100)));
        assert!(wakes.is_after(at(99)) && !wakes.is_after(at(100)));
        // That timer was cancelled: the thread wakes for it all the same.
        assert_eq!(wakes.before(None, at(1)), Some(at(100)));
        assert_eq!(wakes.before(Some(at(102)), at(2)), Some(at(100)));
        assert!(!wakes.is_after(at(102)));
        assert_eq!(wakes.before(Some(at(102)), at(100)), Some(at(102)));
        assert_eq!(wakes.before(None, at(103)), None);
        assert!(wakes.is_after(at(200)));
    }
}
