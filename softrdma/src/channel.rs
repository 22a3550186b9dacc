// SPDX-License-Identifier: BSD-3-Clause

//! Channels: a descriptor that is readable while there are events, and the events.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use parking_lot::{Condvar, Mutex};

use crate::Result;
use crate::os::readiness::{Raised, Readiness};
use crate::os::semaphore::Semaphore;

/// Events for the program: of completions, of the connection manager, or of the device.
#[derive(Debug)]
pub(crate) struct Channel<E> {
    /// One for each event.
    tokens: Semaphore,
    /// Readable while there are events.
    readiness: Readiness,
    events: Mutex<Events<E>>,
}

#[derive(Debug)]
struct Events<E> {
    queue: VecDeque<E>,
    raised: Raised,
}

impl<E> Channel<E> {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            tokens: Semaphore::new(),
            readiness: Readiness::new()?,
            events: Mutex::new(Events {
                queue: VecDeque::new(),
                raised: Raised::default(),
            }),
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.readiness.fd()
    }

    pub(crate) fn push(&self, event: E) {
        let mut events = self.events.lock();
        events.queue.push_back(event);
        // Still under the lock: who withdraws the event finds its token. And before the descriptor is readable:
        // who polls that finds it too.
        self.tokens.post();
        self.readiness.raise(&mut events.raised);
    }

    /// The next event. Waits for it, or fails with `EAGAIN`, as the program set the descriptor.
    /// `taken` sees the event before another thread can find that it is not there any more.
    pub(crate) fn take(&self, taken: impl Fn(&E)) -> Result<E> {
        loop {
            if !self.tokens.try_take() {
                if self.readiness.is_non_blocking()? {
                    return Err(libc::EAGAIN);
                }
                self.tokens.take()?;
            }
            let mut events = self.events.lock();
            // The event of this token may have been withdrawn in between.
            if let Some(event) = events.queue.pop_front() {
                self.lower_if_empty(&mut events);
                taken(&event);
                return Ok(event);
            }
        }
    }

    fn lower_if_empty(&self, events: &mut Events<E>) {
        if events.queue.is_empty() {
            self.readiness.clear(&mut events.raised);
        }
    }

    /// Whether a program that takes an event now waits for it.
    pub(crate) fn would_wait(&self) -> Result<bool> {
        Ok(self.events.lock().queue.is_empty() && !self.readiness.is_non_blocking()?)
    }

    /// Takes out the events that `which` says yes to.
    pub(crate) fn withdraw(&self, mut which: impl FnMut(&E) -> bool) -> Vec<E> {
        let mut events = self.events.lock();
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

    pub(crate) fn acknowledge(&self, n: u64) {
        let mut count = self.count.lock();
        *count = count.saturating_sub(n);
        if *count == 0 {
            self.changed.notify_all();
        }
    }

    pub(crate) fn wait_for_none(&self) {
        let mut count = self.count.lock();
        while *count > 0 {
            self.changed.wait(&mut count);
        }
    }
}
