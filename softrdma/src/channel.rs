// SPDX-License-Identifier: BSD-3-Clause

//! Channels: a descriptor that is readable while there are events, and the events.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use parking_lot::{Condvar, Mutex};

use crate::Result;
use crate::os::event_fd::EventFd;

/// Events for the program: of completions, of the connection manager, or of the device.
#[derive(Debug)]
pub(crate) struct Channel<E> {
    tokens: EventFd,
    events: Mutex<VecDeque<E>>,
}

impl<E> Channel<E> {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            tokens: EventFd::semaphore()?,
            events: Mutex::new(VecDeque::new()),
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.tokens.raw()
    }

    pub(crate) fn push(&self, event: E) {
        let mut events = self.events.lock();
        events.push_back(event);
        // Still under the lock: who withdraws the event finds its token.
        self.tokens.post();
    }

    /// The next event. Waits for it, or fails with `EAGAIN`, as the program set the descriptor.
    /// `taken` sees the event before another thread can find that it is not there any more.
    pub(crate) fn take(&self, taken: impl Fn(&E)) -> Result<E> {
        loop {
            self.tokens.take()?;
            let mut events = self.events.lock();
            // The event of this token may have been withdrawn in between.
            if let Some(event) = events.pop_front() {
                taken(&event);
                return Ok(event);
            }
        }
    }

    /// Takes out the events that `which` says yes to.
    pub(crate) fn withdraw(&self, mut which: impl FnMut(&E) -> bool) -> Vec<E> {
        let mut events = self.events.lock();
        let all = std::mem::take(&mut *events);
        let mut out = Vec::new();
        for event in all {
            if which(&event) {
                self.tokens.try_take();
                out.push(event);
            } else {
                events.push_back(event);
            }
        }
        out
    }

    pub(crate) fn count(&self, which: impl FnMut(&&E) -> bool) -> usize {
        self.events.lock().iter().filter(which).count()
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
