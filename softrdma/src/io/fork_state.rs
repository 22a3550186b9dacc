// SPDX-License-Identifier: BSD-3-Clause

//! What the layers up to the connection manager have to know of forks: whose the sockets of this process are, and
//! which objects it has inherited. `fork` says how that is decided, and does it.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::{Errno, Result};

/// What every call fails with in a child that cannot use anything.
const GONE: Errno = libc::ENODEV;

/// The sockets are this process's.
pub(crate) const SETTLED: u8 = 0;
/// They were offered to children.
pub(crate) const OFFERED: u8 = 1;
/// A child that has not taken what it was offered, if anything.
pub(crate) const HEIR: u8 = 2;
/// A child that cannot use anything.
pub(crate) const REFUSED: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(SETTLED);
/// How many forks there were.
static FORKS: AtomicU32 = AtomicU32::new(0);
/// What was made before this many belongs to another process.
static LOST: AtomicU32 = AtomicU32::new(0);
/// What was made before this many was made by another process.
static INHERITED: AtomicU32 = AtomicU32::new(0);
/// Threads that wait for an event.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// The I/O thread is to touch nothing, since a thread forks.
static QUIET: AtomicBool = AtomicBool::new(false);

/// What `fork` does, which knows all objects.
#[derive(Debug)]
pub(crate) struct Handlers {
    /// Before the process has its first socket.
    pub(crate) watch: fn(),
    /// The parent goes on.
    pub(crate) take_back: fn(),
    /// The child goes on, if nobody else does.
    pub(crate) take_over: fn(),
    /// On the I/O thread: until a fork is over and who goes on is decided.
    pub(crate) wait_on_thread: fn(),
}

static HANDLERS: OnceLock<Handlers> = OnceLock::new();

/// When the library is loaded.
pub(crate) fn install(handlers: Handlers) {
    let _ = HANDLERS.set(handlers);
}

fn call(which: fn(&Handlers) -> fn()) {
    if let Some(handlers) = HANDLERS.get() {
        which(handlers)();
    }
}

pub(super) fn watch() {
    call(|handlers| handlers.watch);
}

#[cold]
pub(super) fn wait_on_thread() {
    call(|handlers| handlers.wait_on_thread);
}

fn take_back() {
    call(|handlers| handlers.take_back);
}

fn take_over() {
    call(|handlers| handlers.take_over);
}

/// Whether the I/O thread has to wait.
#[inline]
pub(crate) fn concerns_thread() -> bool {
    QUIET.load(Ordering::Relaxed) || STATE.load(Ordering::Relaxed) == OFFERED
}

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

    /// Whether this process has its sockets, as far as that is decided.
    pub(crate) fn is_served_here(self) -> bool {
        is_settled() && self.0 >= LOST.load(Ordering::Relaxed)
    }

    /// Whether the process that made it is another one.
    pub(crate) fn is_inherited(self) -> bool {
        self.0 < INHERITED.load(Ordering::Relaxed)
    }
}

/// What one thread at a time has. A child finds it free, whichever thread of its parent had it.
#[derive(Debug, Default)]
pub(crate) struct Turn(AtomicU32);

impl Turn {
    /// 0 stands for nobody.
    fn of_this_process() -> u32 {
        FORKS.load(Ordering::Relaxed).wrapping_add(1)
    }

    /// Whether it is the caller's now.
    pub(crate) fn take(&self) -> bool {
        let (now, own) = (self.0.load(Ordering::Relaxed), Self::of_this_process());
        let order = (Ordering::Acquire, Ordering::Relaxed);
        // Acquire: what the thread that had it before has done is done.
        now != own && self.0.compare_exchange(now, own, order.0, order.1).is_ok()
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::of_this_process()
    }

    pub(crate) fn give_back(&self) {
        self.0.store(0, Ordering::Release);
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

// --- For `fork` --------------------------------------------------------------------------------------

pub(crate) fn state() -> u8 {
    STATE.load(Ordering::Acquire)
}

pub(crate) fn set_state(state: u8) {
    STATE.store(state, Ordering::Release);
}

pub(crate) fn has_forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// All that was made before the last fork belongs to another process.
pub(crate) fn all_is_lost() {
    LOST.store(FORKS.load(Ordering::Relaxed), Ordering::Release);
}

/// All that was made before the last fork was made by another process.
pub(crate) fn all_is_inherited() {
    INHERITED.store(FORKS.load(Ordering::Relaxed), Ordering::Release);
}

pub(crate) fn any_waits() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

/// A child has none of its parent's threads.
pub(crate) fn none_waits() {
    WAITING.store(0, Ordering::Relaxed);
}

pub(crate) fn quiet_thread(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}
