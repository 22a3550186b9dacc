// SPDX-License-Identifier: BSD-3-Clause

//! Threads of the program that wait for an event of a channel, and take themselves the doorbells that may bring it: so
//! a message wakes one thread, and not the I/O thread first.
//!
//! The I/O thread watches the same sockets, and wakes when nobody waits (`os/wait_set.rs`). What such a thread does is
//! what the I/O thread would do, except that it waits for nothing else: what may take long is left to the I/O thread.

use std::os::fd::RawFd;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Token;
use super::fork_state::Made;
use super::served::{serve_socket, watch_behind};
use crate::Result;
use crate::os::pair::{Pair, ServedBy};
use crate::os::wait_set::{self, Blocked, Found, WaitSet};

/// What the threads that wait for one channel listen to.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// It goes before the descriptor of the channel.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// The sockets of connections that have completion queues of this channel.
    pairs: Vec<(u32, Weak<Pair>)>,
    /// Made when a thread waits first.
    set: Option<(WaitSet, Made)>,
}

/// The program may have closed any of the descriptors: after so long that is found out.
const CHECK_MS: i32 = 2000;

impl Waiting {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::default(),
        }
    }

    /// Before a fork.
    pub(crate) fn lock_itself(&self) -> &Mutex<Inner> {
        &self.inner
    }

    /// What comes from this process is of interest from now on.
    pub(crate) fn listen_to(&self, pair: &Arc<Pair>) {
        let Some(number) = pair.number() else { return };
        let mut inner = self.inner.lock();
        if inner.pairs.iter().any(|(other, _)| *other == number) {
            return;
        }
        inner
            .pairs
            .retain(|(_, pair)| pair.upgrade().is_some_and(|pair| !pair.has_ended()));
        inner.pairs.push((number, Arc::downgrade(pair)));
        if let Some((set, _)) = &inner.set {
            listen(set, number, pair);
        }
    }

    /// The number of the set. None if there is nothing to listen to.
    fn set(&self, readiness: RawFd) -> Option<RawFd> {
        let mut inner = self.inner.lock();
        let Inner { pairs, set } = &mut *inner;
        if pairs.is_empty() {
            return None;
        }
        let is_own = |made: Made| made.is_own() && !made.is_inherited();
        if let Some((lost, _)) = set.take_if(|(_, made)| !is_own(*made)) {
            lost.abandon();
        }
        if set.is_none() {
            let new = WaitSet::new(readiness).ok()?;
            for (number, pair) in pairs {
                if let Some(pair) = pair.upgrade() {
                    listen(&new, *number, &pair);
                }
            }
            *set = Some((new, Made::now()));
        }
        set.as_ref().map(|(set, _)| set.raw())
    }

    /// Waits, until something has come that `Woken::serve` is to look at. None if there is nothing to listen to, or no
    /// descriptor: the caller waits in another way. Fails with `EINTR` when a signal handler has run. No other runs
    /// until `blocked` goes, which is there after the first time.
    pub(crate) fn wait(
        &self,
        readiness: RawFd,
        blocked: &mut Option<Blocked>,
    ) -> Result<Option<Woken<'_>>> {
        let Some(set) = self.set(readiness) else {
            return Ok(None);
        };
        match wait_set::wait(set, CHECK_MS, blocked, &|| self.leave_to_io_thread()) {
            Ok(found) => {
                if found.is_foreign || found.has_timed_out {
                    self.look_after_set();
                }
                Ok(Some(Woken {
                    waiting: self,
                    found,
                }))
            }
            Err(libc::EINTR) => Err(libc::EINTR),
            Err(_) => {
                self.inner.lock().set = None;
                Ok(None)
            }
        }
    }

    /// The thread that was woken does not look at what woke it.
    fn leave_to_io_thread(&self) {
        let numbers: Vec<_> = {
            let inner = self.inner.lock();
            inner.pairs.iter().map(|(number, _)| *number).collect()
        };
        for number in numbers {
            watch_behind(Token(number.into()));
        }
    }

    /// The program may have closed it.
    fn look_after_set(&self) {
        self.inner.lock().set.take_if(|(set, _)| !set.is_there());
    }
}

fn listen(set: &WaitSet, number: u32, pair: &Pair) {
    // Without that, the I/O thread takes the doorbells.
    if set.add(pair.socket().raw(), number).is_ok() {
        watch_behind(Token(number.into()));
    }
}

/// What has come.
pub(crate) struct Woken<'a> {
    waiting: &'a Waiting,
    found: Found,
}

impl Woken<'_> {
    /// Does what the I/O thread would do. Whether there was anything but the channel itself.
    pub(crate) fn serve(&self) -> bool {
        let mut something = false;
        for number in self.found.sockets() {
            something = true;
            if !serve_socket(Token(number.into()), ServedBy::Program) {
                // It has ended, and may stay in the set if another process has it too.
                self.waiting.inner.lock().set = None;
            }
        }
        something || !self.found.is_readable
    }
}
