// SPDX-License-Identifier: BSD-3-Clause

//! Channels: a descriptor that is readable while there are events, and the events.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::Display;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::Result;
use crate::instrument::strict;
use crate::io::fork_state::{self, Made};
use crate::io::waiting::{self, Waiting};
use crate::os::cancel;
use crate::os::checker;
use crate::os::child;
use crate::os::held::Locks;
use crate::os::pair::Pair;
use crate::os::readiness::{Raised, Readiness};
use crate::os::semaphore::Semaphore;
use crate::os::signals::{self, Pending};
use crate::os::wait_set::Blocked;

thread_local! {
    /// The address of the channel that this thread waits for, while it does what the I/O thread would do.
    static SERVED: Cell<usize> = const { Cell::new(0) };
}

/// Events for the program: of completions, of the connection manager, or of the device.
#[derive(Debug)]
pub(crate) struct Channel<E> {
    /// One for each event.
    tokens: Semaphore,
    /// It has the descriptor in its set.
    waiting: Waiting,
    /// Readable while there are events.
    readiness: Readiness,
    events: Mutex<Events<E>>,
    made: Made,
    /// It has a descriptor of its own.
    parted: AtomicBool,
    lost_listener: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Events<E> {
    queue: VecDeque<E>,
    raised: Raised,
    /// The first event did not make the descriptor readable: the thread that has added it takes it at once.
    is_quiet: bool,
}

/// A thread that is about to sleep until there is an event.
pub(crate) struct BeforeSleep<'a> {
    tokens: &'a Semaphore,
    blocked: &'a mut Option<Blocked>,
}

impl BeforeSleep<'_> {
    /// No signal handler runs from now on, until the thread sleeps or has its event.
    pub(crate) fn block_signals(&mut self) {
        self.blocked.get_or_insert_with(Blocked::begin);
    }

    /// Whether there is an event, which is this thread's then.
    pub(crate) fn try_take(&self) -> bool {
        self.tokens.try_take()
    }
}

impl<E> Channel<E> {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            tokens: Semaphore::new(),
            waiting: Waiting::new(),
            readiness: Readiness::new()?,
            events: Mutex::new(Events {
                queue: VecDeque::new(),
                raised: Raised::default(),
                is_quiet: false,
            }),
            made: Made::now(),
            parted: AtomicBool::new(false),
            lost_listener: AtomicBool::new(false),
        })
    }

    /// Before a fork.
    pub(crate) fn hold(self: &Arc<Self>, locks: &mut Locks) -> bool
    where
        E: 'static,
    {
        locks.hold(self, Self::lock_itself)
    }

    /// For holding it.
    pub(crate) fn lock_itself(&self) -> &Mutex<Events<E>> {
        &self.events
    }

    /// As above, of what its threads listen to.
    pub(crate) fn lock_waiting(&self) -> &Mutex<waiting::Inner> {
        self.waiting.lock_itself()
    }

    /// Another process has this channel's sockets, and so its descriptor: this one is another one from now on.
    fn part(&self, events: &mut Events<E>) {
        if self.made.is_own() || self.parted.swap(true, Ordering::Relaxed) {
            return;
        }
        // Without a descriptor for it, both go on with the same.
        if self.readiness.renew(&mut events.raised).is_ok() && !events.queue.is_empty() {
            self.readiness.raise(&mut events.raised);
        }
    }

    /// The program waits for what listeners and connections bring.
    pub(crate) fn touch(&self) {
        self.made.touch();
    }

    /// A child may have to make a call for this listening socket of its parent.
    pub(crate) fn watch_too(&self, listener: RawFd) {
        // Without that, a child has to make a call before it waits.
        let _ = self.readiness.watch_too(listener);
    }

    /// The child has made the call, and has the socket.
    pub(crate) fn stop_watching(&self, listener: RawFd) {
        let mut events = self.events.lock();
        self.readiness.stop_watching(listener);
        self.readiness.clear_all(&mut events.raised);
        if !events.queue.is_empty() {
            self.readiness.raise(&mut events.raised);
        }
    }

    /// After a fork: a program that waits for this and other descriptors with epoll, as it did before, has to make a
    /// call. It can only be told if that call does not wait.
    pub(crate) fn announce_to_event_loop(&self) {
        if self.readiness.is_non_blocking() == Ok(true) {
            self.announce();
        }
    }

    /// Readable for nothing: another process has said so, or `announce`.
    fn lower_if_shared(&self) {
        if child::has_forked() {
            let mut events = self.events.lock();
            if events.queue.is_empty() {
                self.readiness.clear_all(&mut events.raised);
            }
        }
    }

    /// There will be something, for a program that makes a call.
    pub(crate) fn announce(&self) {
        let mut events = self.events.lock();
        self.readiness.raise(&mut events.raised);
    }

    /// Nothing comes any more for what a listener of another process would get.
    pub(crate) fn lose_listener(&self) {
        let mut events = self.events.lock();
        self.part(&mut events);
        self.lost_listener.store(true, Ordering::Relaxed);
        // For a thread that waits.
        self.readiness.raise(&mut events.raised);
        self.tokens.post();
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.readiness.fd()
    }

    pub(crate) fn push(&self, event: E) {
        let mut events = self.events.lock();
        self.part(&mut events);
        events.queue.push_back(event);
        checker::hands_over(self);
        // Still under the lock: who withdraws the event finds its token. And before the descriptor is readable:
        // who polls that finds it too.
        self.tokens.post();
        if events.queue.len() == 1 && self.is_served_here() {
            events.is_quiet = true;
        } else {
            self.readiness.raise(&mut events.raised);
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether this thread waits for this channel, and will take an event at once.
    fn is_served_here(&self) -> bool {
        SERVED.get() == self.address()
    }

    /// The thread that has added an event does not take it.
    fn tell_of_quiet_event(&self) {
        let mut events = self.events.lock();
        if std::mem::take(&mut events.is_quiet) && !events.queue.is_empty() {
            self.readiness.raise(&mut events.raised);
        }
    }

    /// A connection to this process has events for the channel.
    pub(crate) fn listen_to(&self, pair: &Arc<Pair>) -> bool {
        self.waiting.listen_to(pair)
    }

    /// It has ended, if that was true.
    pub(crate) fn stop_listening_to(&self, pair: &Pair) {
        self.waiting.stop_listening_to(pair);
    }

    /// Takes the token of an event, and waits for it.
    fn wait_for_token(&self, polls: &impl Fn(BeforeSleep<'_>) -> bool) -> Result<()> {
        // What is readable without an event comes from another process, after a fork.
        const MOST_IN_VAIN: u32 = 100;
        let mut in_vain = 0;
        // From the first wait on: otherwise one that came between two waits would not be noticed.
        let mut blocked = None;
        SERVED.set(self.address());
        let is_there = polls(BeforeSleep {
            tokens: &self.tokens,
            blocked: &mut blocked,
        });
        SERVED.set(0);
        if is_there {
            self.handle_signals(blocked, true);
            return Ok(());
        }
        while in_vain < MOST_IN_VAIN {
            let mut is_interrupted = false;
            match self.waiting.wait(self.readiness.fd(), &mut blocked) {
                Ok(Some(heard)) => {
                    SERVED.set(self.address());
                    in_vain = if heard.serve() { 0 } else { in_vain + 1 };
                    SERVED.set(0);
                }
                Ok(None) => break,
                Err(_) => is_interrupted = signals::any_interrupts(),
            }
            if self.tokens.try_take() {
                self.handle_signals(blocked, true);
                return Ok(());
            }
            let pending = blocked
                .as_ref()
                .map_or_else(Pending::default, Blocked::pending);
            if pending.any {
                self.handle_signals(blocked.take(), false);
            }
            if is_interrupted || pending.interrupts {
                self.handle_signals(blocked, false);
                return Err(libc::EINTR);
            }
        }
        self.handle_signals(blocked, false);
        self.tokens.take()
    }

    /// The thread handles its signals again. A handler may leave this library, and with it a token.
    fn handle_signals(&self, blocked: Option<Blocked>, has_token: bool) {
        if let Some(blocked) = blocked {
            blocked.end(&|| {
                if has_token {
                    self.tokens.post();
                }
                self.tell_of_quiet_event();
            });
        }
    }

    /// The next event. Waits for it, or fails with `EAGAIN`, as the program set the descriptor.
    /// `taken` sees the event before another thread can find that it is not there any more.
    pub(crate) fn take(&self, taken: impl Fn(&E)) -> Result<E> {
        self.take_after(&|_| false, taken)
    }

    /// As above. A thread that is about to sleep does this first, and sleeps unless it has got a token.
    pub(crate) fn take_after(
        &self,
        polls: &impl Fn(BeforeSleep<'_>) -> bool,
        taken: impl Fn(&E),
    ) -> Result<E> {
        // As a read of a device is, whether there is something or not.
        cancel::point();
        loop {
            if !self.tokens.try_take() {
                if self.readiness.is_non_blocking()? {
                    self.lower_if_shared();
                    return Err(libc::EAGAIN);
                }
                fork_state::waits(true);
                let taken = self.wait_for_token(polls);
                fork_state::waits(false);
                taken?;
            }
            let mut events = self.events.lock();
            // The event of this token may have been withdrawn in between.
            if let Some(event) = events.queue.pop_front() {
                self.lower_if_empty(&mut events);
                checker::takes_over(self);
                taken(&event);
                return Ok(event);
            }
            if self.lost_listener.load(Ordering::Relaxed) {
                // For the next one.
                self.tokens.post();
                return Err(libc::ENODEV);
            }
        }
    }

    fn lower_if_empty(&self, events: &mut Events<E>) {
        let is_quiet = std::mem::take(&mut events.is_quiet);
        if events.queue.is_empty() {
            self.readiness.clear(&mut events.raised);
        } else if is_quiet {
            self.readiness.raise(&mut events.raised);
        }
    }

    /// Whether a program that takes an event now waits for it.
    pub(crate) fn would_wait(&self) -> Result<bool> {
        Ok(self.events.lock().queue.is_empty() && !self.readiness.is_non_blocking()?)
    }

    /// Takes out the events that `which` says yes to.
    pub(crate) fn withdraw(&self, mut which: impl FnMut(&E) -> bool) -> Vec<E> {
        let mut events = self.events.lock();
        self.part(&mut events);
        let all = std::mem::take(&mut events.queue);
        let mut out = Vec::new();
        for event in all {
            if which(&event) {
                self.tokens.try_take();
                out.push(event);
            } else {
                events.queue.push_back(event);
            }
        }
        self.lower_if_empty(&mut events);
        out
    }

    pub(crate) fn count(&self, which: impl FnMut(&&E) -> bool) -> usize {
        self.events.lock().queue.iter().filter(which).count()
    }
}

/// Another thread may be about to acknowledge an event.
const LATE: Duration = Duration::from_secs(1);

/// Events that the program has taken and not acknowledged. Their object waits for it when it goes.
#[derive(Debug, Default)]
pub(crate) struct Unacknowledged {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Unacknowledged {
    pub(crate) fn add(&self) {
        *self.count.lock() += 1;
    }

    /// How many of the `n` the program has not taken.
    pub(crate) fn acknowledge(&self, n: u64) -> u64 {
        let mut count = self.count.lock();
        let surplus = n.saturating_sub(*count);
        *count = count.saturating_sub(n);
        if *count == 0 {
            self.changed.notify_all();
        }
        surplus
    }

    /// `whose` is for the line that strict mode prints when this takes long.
    pub(crate) fn wait_for_none(&self, whose: impl Display) {
        let mut count = self.count.lock();
        if *count > 0 && strict::is_on() {
            let late = Instant::now() + LATE;
            while *count > 0 && !self.changed.wait_until(&mut count, late).timed_out() {}
            if *count > 0 {
                strict::finding(&format_args!(
                    "{whose}: the call that destroys it waits for {count} of its events that are not acknowledged, by now for \
                     {} s; on a device it waits as well",
                    LATE.as_secs()
                ));
            }
        }
        while *count > 0 {
            self.changed.wait(&mut count);
        }
    }
}
