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
use super::served::{Left, serve_socket, watch_behind};
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
    /// The processes that connections of this channel's completion queues lead to.
    pairs: Vec<Heard>,
    /// Made when a thread waits first.
    set: Option<(WaitSet, Made)>,
    /// A pair had no place for one more set: it may have one later.
    some_are_outside: bool,
    /// Threads that wait with a set, or are about to. They know it by its number.
    waiters: usize,
    /// Sets that nobody begins to wait with any more. Their numbers are not used again before all of these threads have
    /// come back.
    retired: Vec<(WaitSet, Made)>,
}

#[derive(Debug)]
struct Heard {
    number: u32,
    pair: Weak<Pair>,
    connections: usize,
    is_in_set: bool,
}

/// The program may have closed any of the descriptors: after so long that is found out.
const CHECK_MS: i32 = 2000;
/// How many messages of one socket a thread takes before it looks whether its event has come.
const MOST_MESSAGES: usize = 16;

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

    /// What comes from this process is of interest from now on, for one more connection. Whether that is to be undone by
    /// `stop_listening_to`.
    pub(crate) fn listen_to(&self, pair: &Arc<Pair>) -> bool {
        let Some(number) = pair.number() else {
            return false;
        };
        let mut inner = self.inner.lock();
        if let Some(heard) = inner.heard(number) {
            heard.connections += 1;
            return true;
        }
        let mut heard = Heard {
            number,
            pair: Arc::downgrade(pair),
            connections: 1,
            is_in_set: false,
        };
        if let Some((set, made)) = &inner.set {
            if is_of_this_process(*made) && !heard.enter(set) {
                inner.some_are_outside = true;
            }
        }
        inner.pairs.push(heard);
        true
    }

    /// One of these connections has ended.
    pub(crate) fn stop_listening_to(&self, pair: &Pair) {
        let Some(number) = pair.number() else { return };
        let mut inner = self.inner.lock();
        let Some(heard) = inner.heard(number) else {
            return;
        };
        heard.connections -= 1;
        if heard.connections > 0 {
            return;
        }
        let is_in_set = heard.is_in_set;
        inner.pairs.retain(|heard| heard.number != number);
        if is_in_set {
            pair.is_heard_by_one_less();
            if let Some((set, made)) = &inner.set {
                if is_of_this_process(*made) {
                    set.remove(pair.socket().raw());
                }
            }
        }
    }

    /// The number of the set, in which this thread waits until `leave`. None if there is nothing to listen to.
    fn enter(&self, readiness: RawFd) -> Option<RawFd> {
        let mut inner = self.inner.lock();
        inner.forget_sets_of_parent();
        if inner.pairs.is_empty() {
            return None;
        }
        if inner.set.is_none() {
            inner.set = Some((WaitSet::new(readiness).ok()?, Made::now()));
            inner.some_are_outside = true;
        }
        let Inner {
            pairs,
            set,
            some_are_outside,
            waiters,
            ..
        } = &mut *inner;
        let (set, _) = set.as_ref()?;
        if *some_are_outside {
            *some_are_outside = false;
            for heard in pairs.iter_mut().filter(|heard| !heard.is_in_set) {
                *some_are_outside |= !heard.enter(set);
            }
        }
        *waiters += 1;
        Some(set.raw())
    }

    fn leave(&self) {
        let mut inner = self.inner.lock();
        inner.waiters = inner.waiters.saturating_sub(1);
        if inner.waiters == 0 {
            inner.retired.clear();
        }
    }

    /// Waits, until something has come that `Woken::serve` is to look at. None if there is nothing to listen to, or no
    /// descriptor: the caller waits in another way. Fails with `EINTR` when a signal handler has run. No other runs
    /// until `blocked` goes, which is there after the first time.
    pub(crate) fn wait(
        &self,
        readiness: RawFd,
        blocked: &mut Option<Blocked>,
    ) -> Result<Option<Woken<'_>>> {
        let Some(set) = self.enter(readiness) else {
            return Ok(None);
        };
        let waited = wait_set::wait(set, CHECK_MS, blocked, &|| {
            self.leave();
            self.leave_to_io_thread();
        });
        self.leave();
        match waited {
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
                self.inner.lock().retire_set();
                Ok(None)
            }
        }
    }

    /// The thread that was woken does not look at what woke it.
    fn leave_to_io_thread(&self) {
        let numbers: Vec<_> = {
            let inner = self.inner.lock();
            inner.pairs.iter().map(|heard| heard.number).collect()
        };
        for number in numbers {
            watch_behind(Token(number.into()));
        }
    }

    /// The program may have closed it.
    fn look_after_set(&self) {
        let mut inner = self.inner.lock();
        if inner.set.as_ref().is_some_and(|(set, _)| !set.is_there()) {
            inner.retire_set();
        }
    }
}

/// As far as that is decided: callers have locks.
fn is_of_this_process(made: Made) -> bool {
    made.is_served_here() && !made.is_inherited()
}

impl Inner {
    fn heard(&mut self, number: u32) -> Option<&mut Heard> {
        self.pairs.iter_mut().find(|heard| heard.number == number)
    }

    /// Nobody begins to wait with the set any more.
    fn retire_set(&mut self) {
        let Some(set) = self.set.take() else { return };
        self.pairs.iter_mut().for_each(Heard::leave);
        if self.waiters > 0 {
            self.retired.push(set);
        }
    }

    /// After a fork: the sets and the threads are those of another process.
    fn forget_sets_of_parent(&mut self) {
        let mut sets = self.set.iter().chain(&self.retired);
        if sets.all(|(_, made)| made.is_own() && !made.is_inherited()) {
            return;
        }
        self.pairs.iter_mut().for_each(Heard::leave);
        for (set, _) in self.set.take().into_iter().chain(self.retired.drain(..)) {
            set.abandon();
        }
        self.waiters = 0;
    }
}

impl Heard {
    /// Without a place in the set, the I/O thread takes the doorbells. Whether there is a place, or nothing comes any
    /// more.
    fn enter(&mut self, set: &WaitSet) -> bool {
        let Some(pair) = self.pair.upgrade().filter(|pair| !pair.has_ended()) else {
            return true;
        };
        if !pair.is_heard_by_one_more() {
            return false;
        }
        self.is_in_set = set.add(pair.socket().raw(), self.number).is_ok();
        if self.is_in_set {
            watch_behind(Token(self.number.into()));
        } else {
            pair.is_heard_by_one_less();
        }
        self.is_in_set
    }

    /// The set goes.
    fn leave(&mut self) {
        if std::mem::take(&mut self.is_in_set) {
            if let Some(pair) = self.pair.upgrade() {
                pair.is_heard_by_one_less();
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.inner.get_mut().retire_set();
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
            // All of them: on kernels before 5.7 nobody is woken for those that are left.
            match serve_socket(Token(number.into()), ServedBy::Program, MOST_MESSAGES) {
                Left::Nothing => {}
                Left::Some => watch_behind(Token(number.into())),
                // It may stay in the set if another process has it too.
                Left::Ended => self.waiting.inner.lock().retire_set(),
            }
        }
        something || !self.found.is_readable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::served::serve;
    use crate::os::readiness::Readiness;

    fn pair() -> Result<(Arc<Pair>, Arc<Pair>)> {
        let (client, server) = Pair::of_this_process()?;
        serve(Arc::clone(&client), |_, _| ())?;
        Ok((client, server))
    }

    fn is_in_set(waiting: &Waiting) -> bool {
        let inner = waiting.inner.lock();
        inner.pairs.iter().any(|heard| heard.is_in_set)
    }

    #[test]
    fn a_doorbell_passes_few_sets_however_many_channels_there_are() -> Result<()> {
        let (pair, _peer) = pair()?;
        let readiness = Readiness::new()?;
        let channels: Vec<_> = (0..20).map(|_| Waiting::new()).collect();
        let wait = |channel: &Waiting| {
            assert!(channel.enter(readiness.fd()).is_some());
            channel.leave();
        };
        for channel in &channels {
            assert!(channel.listen_to(&pair));
            // A second connection.
            assert!(channel.listen_to(&pair));
            wait(channel);
        }
        let inside = || channels.iter().filter(|channel| is_in_set(channel)).count();
        assert_eq!(inside(), 4);
        let first = &channels[0];
        assert!(is_in_set(first) && !is_in_set(&channels[10]));
        // As long as it has a connection.
        first.stop_listening_to(&pair);
        wait(&channels[10]);
        assert!(is_in_set(first) && !is_in_set(&channels[10]));
        first.stop_listening_to(&pair);
        assert!(first.enter(readiness.fd()).is_none());
        wait(&channels[10]);
        assert!(is_in_set(&channels[10]));
        assert_eq!(inside(), 4);
        // A channel that goes leaves its place to another one.
        drop(channels);
        let last = Waiting::new();
        assert!(last.listen_to(&pair));
        wait(&last);
        assert!(is_in_set(&last));
        Ok(())
    }

    #[test]
    fn a_set_stays_open_for_who_is_about_to_wait_with_it() -> Result<()> {
        let (pair, _peer) = pair()?;
        let readiness = Readiness::new()?;
        let waiting = Waiting::new();
        assert!(waiting.listen_to(&pair));
        let first = waiting.enter(readiness.fd()).ok_or(libc::ENOENT)?;
        // Another thread has found that the peer is gone.
        waiting.inner.lock().retire_set();
        let second = waiting.enter(readiness.fd()).ok_or(libc::ENOENT)?;
        assert_ne!(first, second);
        waiting.leave();
        assert_eq!(waiting.inner.lock().retired.len(), 1);
        waiting.leave();
        assert_eq!(waiting.inner.lock().retired.len(), 0);
        assert!(waiting.inner.lock().set.is_some());
        Ok(())
    }
}
