// SPDX-License-Identifier: BSD-3-Clause

//! What becomes of a process's objects when it forks.
//!
//! Both processes have copies of all objects, but a connection or a listener can be served by one process only.
//! Which one that is turns out after the fork: a daemon's parent exits, a server's child executes another program,
//! or does something that has nothing to do with RDMA. So at a fork the sockets are *offered* (`os/handover.rs`):
//! - The parent takes them back with its next call, when all its children have ended or executed another
//!   program, or when something comes in and nobody has cared for a while. Until then its I/O thread touches none.
//! - A child takes all of them with its first call on an object that it has inherited and that may need them.
//!   From then on it serves them with a thread of its own. For the parent, and for any other child, these
//!   connections have ended then.
//!
//! A child that comes too late, or to which nothing could be offered, finds that they have ended. Everything else
//! (contexts, protection domains, regions, queues) is memory, of which each process has its copy.
//!
//! The handlers below quiet the I/O thread, and hold the locks of the process and of the objects that have
//! sockets, so that the child's copies are whole. When that is not possible within a time, a child cannot use
//! anything.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{self, Arc, Condvar, PoisonError};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::cm::event::EventChannel;
use crate::cm::handshake::Handshake;
use crate::cm::id::Id;
use crate::cm::{door, own_qp, silent};
use crate::io::{self, HeldWork, Io, Work};
use crate::objects::{mr, numbers};
use crate::os::cancel::Hold;
use crate::os::handover::{DeadEnd, End, Handover, Lifeline, wait_for};
use crate::os::held::{Guard as _, Locks};
use crate::os::{child, process};
use crate::qp::Qp;
use crate::{Errno, Result};

/// What every call fails with in a child that cannot use anything.
const GONE: Errno = libc::ENODEV;

/// The sockets are this process's.
const SETTLED: u8 = 0;
/// They were offered to children.
const OFFERED: u8 = 1;
/// A child that has not taken what it was offered, if anything.
const HEIR: u8 = 2;
/// A child that cannot use anything.
const REFUSED: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(SETTLED);
/// How many forks there were.
static FORKS: AtomicU32 = AtomicU32::new(0);
/// What was made before this many belongs to another process.
static LOST: AtomicU32 = AtomicU32::new(0);
/// What was made before this many was made by another process.
static INHERITED: AtomicU32 = AtomicU32::new(0);
/// Threads that wait for an event.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// How long a fork waits for the I/O thread and for locks.
const QUIET: Duration = Duration::from_secs(1);
/// How long an offer stands when something comes in on a connection.
const WHEN_NEEDED: Duration = Duration::from_secs(1);
/// How long it stands when clients come of which both programs have been told.
const WHEN_TOLD: Duration = Duration::from_secs(5);
/// How long it stands otherwise.
const AT_MOST: Duration = Duration::from_secs(10);

/// When an object was made: after how many forks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made(u32);

impl Made {
    pub(crate) fn now() -> Self {
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Its program uses the object: if it was inherited, this process is the one that goes on.
    #[inline]
    pub(crate) fn touch(self) {
        if STATE.load(Ordering::Relaxed) != SETTLED {
            self.decide();
        }
    }

    #[cold]
    fn decide(self) {
        match STATE.load(Ordering::Acquire) {
            OFFERED => take_back(),
            HEIR if self.0 < FORKS.load(Ordering::Relaxed) => take_over(),
            _ => {}
        }
    }

    /// As `touch`. Whether this process has its sockets.
    #[inline]
    pub(crate) fn is_own(self) -> bool {
        self.touch();
        self.0 >= LOST.load(Ordering::Relaxed)
    }

    /// Whether the process that made it is another one.
    pub(crate) fn is_inherited(self) -> bool {
        self.0 < INHERITED.load(Ordering::Relaxed)
    }
}

/// A call of the program.
#[inline]
pub(crate) fn check() -> Result<()> {
    if STATE.load(Ordering::Relaxed) == SETTLED {
        Ok(())
    } else {
        check_state()
    }
}

#[cold]
fn check_state() -> Result<()> {
    match STATE.load(Ordering::Acquire) {
        OFFERED => take_back(),
        REFUSED => return Err(GONE),
        _ => {}
    }
    Ok(())
}

pub(crate) fn is_settled() -> bool {
    STATE.load(Ordering::Relaxed) == SETTLED
}

/// Whether a thread waits. It ends in the middle of that when it is cancelled.
struct Waiter(Cell<bool>);

impl Waiter {
    fn set(&self, waits: bool) {
        if self.0.replace(waits) == waits {
            return;
        }
        if waits {
            WAITING.fetch_add(1, Ordering::Relaxed);
        } else {
            WAITING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.set(false);
    }
}

thread_local! {
    static WAITER: Waiter = const { Waiter(Cell::new(false)) };
}

/// The thread waits for an event from now on, or has stopped to. A process in which one does goes on.
pub(crate) fn waits(waits: bool) {
    let _ = WAITER.try_with(|waiter| waiter.set(waits));
}

#[derive(Debug)]
struct Fork {
    handover: Option<Handover>,
    /// What stands for a socket of another process.
    dead: Option<DeadEnd>,
    /// A parent's, of children that may take what was offered.
    lifelines: Vec<End>,
    /// A child's, as long as it may.
    tie: Option<End>,
    since: Option<Instant>,
    /// What a child has inherited.
    work: Option<Work>,
    /// Listening sockets, and the channels that watch them for it.
    listeners: Vec<(RawFd, Arc<EventChannel>)>,
}

static FORK: Mutex<Fork> = Mutex::new(Fork {
    handover: None,
    dead: None,
    lifelines: Vec::new(),
    tie: None,
    since: None,
    work: None,
    listeners: Vec::new(),
});

/// One thread forks at a time.
static FORKING: Mutex<()> = Mutex::new(());

// --- Deciding ----------------------------------------------------------------------------------------

/// The parent goes on.
fn take_back() {
    let _uncancelled = Hold::new();
    let mut fork = FORK.lock();
    if STATE.load(Ordering::Acquire) == OFFERED {
        take_back_locked(&mut fork);
    }
}

fn take_back_locked(fork: &mut Fork) {
    let mut lost = false;
    if let Some(handover) = fork.handover.take() {
        if handover.take() {
            handover.discard();
        } else {
            lost = true;
            if let Some(dead) = &fork.dead {
                dead.put_at(handover.numbers());
            }
            LOST.store(FORKS.load(Ordering::Relaxed), Ordering::Release);
        }
    }
    fork.dead = None;
    fork.lifelines.clear();
    STATE.store(SETTLED, Ordering::Release);
    if let Some(io) = io::get() {
        io.wake();
    }
    if lost {
        io::later(Io::lose_all);
    }
}

/// The child goes on, if nobody else does.
fn take_over() {
    let _uncancelled = Hold::new();
    let listeners = {
        let mut fork = FORK.lock();
        if STATE.load(Ordering::Acquire) != HEIR {
            return;
        }
        let forks = FORKS.load(Ordering::Relaxed);
        let handover = fork.handover.take();
        let mine = handover.as_ref().is_some_and(Handover::take);
        let listeners = std::mem::take(&mut fork.listeners);
        if let (true, Some(handover)) = (mine, &handover) {
            handover.receive();
            INHERITED.store(forks, Ordering::Release);
        } else {
            LOST.store(forks, Ordering::Release);
        }
        if let (Some(io), Some(work)) = (io::get(), fork.work.take()) {
            io.put_back(work, mine);
        }
        fork.dead = None;
        STATE.store(SETTLED, Ordering::Release);
        // The parent finds out.
        fork.tie = None;
        if mine {
            door::forget();
            io::later(Io::serve_all);
        } else {
            io::later(Io::lose_all);
        }
        if mine { listeners } else { Vec::new() }
    };
    for (listener, channel) in listeners {
        channel.stop_watching(listener);
    }
    // Without a thread there is no I/O: whoever needs one tries again.
    let _ = io::start();
}

// --- The I/O thread ----------------------------------------------------------------------------------

#[derive(Debug)]
struct Parking {
    asked: bool,
    parked: bool,
}

/// Not one of those that know which threads wait: the child has none of them.
static PARKING: sync::Mutex<Parking> = sync::Mutex::new(Parking {
    asked: false,
    parked: false,
});
static CHANGED: Condvar = Condvar::new();
/// The same as in `PARKING`, for a look in passing.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether the I/O thread has to do what follows.
#[inline]
pub(crate) fn concerns_thread() -> bool {
    ASKED.load(Ordering::Relaxed) || STATE.load(Ordering::Relaxed) == OFFERED
}

/// On the I/O thread, which touches nothing meanwhile: waits until a fork is over and who goes on is decided.
#[cold]
pub(crate) fn wait_on_thread(io: &Io) {
    let mut needed_until = None;
    while concerns_thread() {
        park();
        wait_for_decision(io, &mut needed_until);
    }
}

fn locked<T>(mutex: &sync::Mutex<T>) -> sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn park() {
    let mut parking = locked(&PARKING);
    while parking.asked {
        parking.parked = true;
        CHANGED.notify_all();
        parking = CHANGED
            .wait(parking)
            .unwrap_or_else(PoisonError::into_inner);
    }
    parking.parked = false;
}

fn wait_for_decision(io: &Io, needed_until: &mut Option<Instant>) {
    const PAUSE: Duration = Duration::from_millis(100);
    // Whoever has it decides, or forks.
    let Some(mut fork) = FORK.try_lock() else {
        std::thread::yield_now();
        return;
    };
    if STATE.load(Ordering::Acquire) != OFFERED {
        return;
    }
    let now = Instant::now();
    let at_most = fork.since.map(|since| since + AT_MOST);
    let until = needed_until.iter().copied().chain(at_most).min();
    if fork.lifelines.is_empty() || until.is_none_or(|until| until <= now) {
        return take_back_locked(&mut fork);
    }
    let mut fds = vec![io.epoll().wake_raw()];
    fds.extend(fork.lifelines.iter().map(End::raw));
    let watches_sockets = needed_until.is_none();
    if watches_sockets {
        fds.push(io.epoll().raw());
    }
    drop(fork);
    let left = until.map_or(PAUSE, |until| until - now);
    let ready = wait_for(&fds, left.as_millis() as i32 + 1);
    let was_woken = ready.first() == Some(&true);
    let _ = io.epoll().clear();
    // What wakes the thread is watched along with the sockets.
    if watches_sockets && !was_woken && ready.last() == Some(&true) {
        let most = if io.announce() {
            WHEN_TOLD
        } else {
            WHEN_NEEDED
        };
        *needed_until = Some(Instant::now() + most);
    }
    let Some(mut fork) = FORK.try_lock() else {
        return;
    };
    if STATE.load(Ordering::Acquire) == OFFERED {
        // Those that have hung up.
        let ended: Vec<RawFd> = fds
            .iter()
            .zip(&ready)
            .skip(1)
            .filter_map(|(&fd, &ready)| ready.then_some(fd))
            .collect();
        fork.lifelines
            .retain(|lifeline| !ended.contains(&lifeline.raw()));
    }
}

/// Whether the thread touches nothing from now on.
fn quiet(io: &Io, until: Instant) -> bool {
    let mut parking = locked(&PARKING);
    parking.asked = true;
    ASKED.store(true, Ordering::Relaxed);
    io.wake();
    while !parking.parked {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        parking = CHANGED
            .wait_timeout(parking, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    true
}

fn let_go_on() {
    let mut parking = locked(&PARKING);
    parking.asked = false;
    ASKED.store(false, Ordering::Relaxed);
    CHANGED.notify_all();
}

// --- Forking -----------------------------------------------------------------------------------------

/// What is reached from the sockets of the process.
#[derive(Default)]
pub(crate) struct Reach {
    pub(crate) qps: Vec<Arc<Qp>>,
    pub(crate) ids: Vec<Arc<Id>>,
    pub(crate) handshakes: Vec<Arc<Handshake>>,
    listeners: Vec<(RawFd, Arc<EventChannel>)>,
}

impl Reach {
    /// Whether all of it is held now, in the order of locks.
    fn hold(&mut self, locks: &mut Locks) -> bool {
        let ids = &mut self.ids;
        let listeners = &mut self.listeners;
        let mut channels = Vec::new();
        self.qps.iter().all(|qp| qp.hold_lists(locks))
            && self.qps.iter().all(|qp| qp.hold(locks, ids))
            && ids
                .iter()
                .all(|id| id.hold(locks, listeners, &mut channels))
            && self
                .handshakes
                .iter()
                .all(|handshake| handshake.hold(locks))
            && self.qps.iter().all(|qp| qp.hold_srq(locks))
            && self.qps.iter().all(|qp| qp.hold_cqs(locks))
            && self.qps.iter().all(|qp| qp.hold_channels(locks))
            && channels.iter().all(|channel| channel.hold(locks))
    }
}

/// From before a fork until after it.
struct Before {
    /// Of objects and of the process.
    locks: Locks,
    work: Option<HeldWork>,
    /// None if it could not be had.
    fork: Option<MutexGuard<'static, Fork>>,
    state: u8,
    parked: bool,
    /// Everything is whole: a child may use it.
    whole: bool,
    sockets: Vec<RawFd>,
    listeners: Vec<(RawFd, Arc<EventChannel>)>,
    offer: Option<Handover>,
    lifeline: Option<Lifeline>,
    forking: MutexGuard<'static, ()>,
    _uncancelled: Hold,
}

thread_local! {
    static BEFORE: RefCell<Option<Before>> = const { RefCell::new(None) };
}

fn before() -> Option<Before> {
    BEFORE.try_with(|before| before.take()).ok().flatten()
}

pub(crate) fn watch() {
    child::watch_forks(prepare, in_parent, in_child);
}

extern "C" fn prepare() {
    let Some(io) = io::get() else { return };
    if STATE.load(Ordering::Acquire) == REFUSED {
        // There is nothing left to close, and its numbers are the program's.
        return;
    }
    let uncancelled = Hold::new();
    child::forks();
    let mut before = Before {
        forking: FORKING.lock(),
        _uncancelled: uncancelled,
        locks: Locks::until(Instant::now() + QUIET),
        work: None,
        fork: None,
        state: SETTLED,
        parked: io.is_running(),
        whole: true,
        sockets: Vec::new(),
        listeners: Vec::new(),
        offer: None,
        lifeline: None,
    };
    if before.parked {
        before.whole = quiet(io, before.locks.deadline());
    }
    before.whole = before.whole && hold_all(io, &mut before);
    before.state = STATE.load(Ordering::Acquire);
    before.sockets = child::sockets();
    if before.whole && !before.sockets.is_empty() {
        before.make_offer();
    }
    // Without it there is no `in_parent` for this thread either.
    let _ = BEFORE.try_with(|place| place.replace(Some(before)));
}

fn hold_all(io: &'static Io, before: &mut Before) -> bool {
    let locks = &mut before.locks;
    let mut reach = Reach::default();
    for source in io.sources() {
        source.reach(&mut reach);
    }
    if !reach.hold(locks) {
        return false;
    }
    before.listeners = reach.listeners;
    // After those of objects, since a thread that has one of these may decide who goes on.
    before.fork = FORK.try_lock_until(locks.deadline());
    // Those of the process last: whoever holds them takes none of an object.
    if before.fork.is_none() || !io::hold_start(locks) || !own_qp::hold(locks) {
        return false;
    }
    if !silent::hold(locks) || !door::hold(locks) || !mr::hold(locks) {
        return false;
    }
    if !numbers::hold(locks) || !process::hold(locks) {
        return false;
    }
    before.work = io.hold(locks);
    before.work.is_some()
}

impl Before {
    /// In a child: as that of each lock.
    fn forget_waiters(&self) {
        self.locks.forget_waiters();
        self.forking.forget_waiters();
        if let Some(fork) = &self.fork {
            fork.forget_waiters();
        }
        if let Some(work) = &self.work {
            work.forget_waiters();
        }
    }

    fn make_offer(&mut self) {
        let Some(fork) = &mut self.fork else { return };
        if fork.dead.is_none() {
            fork.dead = DeadEnd::new().ok();
        }
        self.whole = fork.dead.is_some();
        let offers = match self.state {
            SETTLED => self.whole && WAITING.load(Ordering::Relaxed) == 0,
            OFFERED => true,
            _ => false,
        };
        if offers {
            self.lifeline = Lifeline::new().ok();
        }
        if self.lifeline.is_some() && self.state == SETTLED {
            self.offer = Handover::of(&self.sockets).ok();
        }
    }
}

extern "C" fn in_parent() {
    let Some(mut before) = before() else { return };
    if let Some(fork) = &mut before.fork {
        if before.state != HEIR {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(offer) = before.offer.take() {
            fork.handover = Some(offer);
            fork.since = Some(Instant::now());
            STATE.store(OFFERED, Ordering::Release);
        }
        if STATE.load(Ordering::Relaxed) == OFFERED {
            let lifeline = before.lifeline.take();
            fork.lifelines.extend(lifeline.map(Lifeline::watched));
        } else {
            fork.dead = None;
        }
    }
    if before.parked {
        let_go_on();
    }
}

extern "C" fn in_child() {
    let (Some(mut before), Some(io)) = (before(), io::get()) else {
        return;
    };
    FORKS.fetch_add(1, Ordering::Relaxed);
    if let Ok(mut parking) = PARKING.try_lock() {
        parking.asked = false;
        parking.parked = false;
    }
    ASKED.store(false, Ordering::Relaxed);
    WAITING.store(0, Ordering::Relaxed);
    child::close_private();
    let offer = before.offer.take();
    let lifeline = before.lifeline.take();
    let begun = before.whole && io.begin_anew().is_ok();
    before.forget_waiters();
    let (true, Some(fork), Some(work)) = (begun, &mut before.fork, &mut before.work) else {
        return refuse();
    };
    let own = work.take_out();
    let mut channels = Vec::new();
    if before.sockets.is_empty() && before.state != HEIR {
        // It may be the last owner of something that needs the locks.
        drop(before);
        drop(own);
        return;
    }
    if let Some(offer) = offer {
        fork.handover = Some(offer);
    }
    if before.state != HEIR {
        fork.lifelines.clear();
        fork.tie = lifeline.map(Lifeline::held);
        if fork.tie.is_none() {
            // Nothing was offered, or the parent would not know of it.
            fork.handover = None;
        }
        // What a child that is an heir has made itself is its own; what it was offered is still to be had.
        fork.work = Some(own);
        if fork.handover.is_some() {
            fork.listeners = std::mem::take(&mut before.listeners);
            for (listener, channel) in &fork.listeners {
                channel.watch_too(*listener);
                channels.push(Arc::clone(channel));
            }
        }
    }
    if let Some(dead) = &fork.dead {
        dead.put_at(&before.sockets);
    }
    STATE.store(HEIR, Ordering::Release);
    // Without their locks.
    drop(before);
    for channel in channels {
        channel.announce_to_event_loop();
    }
}

fn refuse() {
    child::close_sockets();
    STATE.store(REFUSED, Ordering::Release);
}
