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
    set: Option<SetInUse>,
    /// A pair had no place for one more set: it may have one later.
    some_are_outside: bool,
    /// Sets that nobody begins to wait with any more. Each is closed when the last one of its threads has come back: they
    /// know it by its number, which must not be that of another file meanwhile.
    retired: Vec<SetInUse>,
    /// How many sets there were.
    serial: u64,
}

/// The sets go before the places that they have.
#[derive(Debug)]
struct SetInUse {
    set: WaitSet,
    made: Made,
    serial: u64,
    /// Threads that wait with it, or are about to.
    waiters: usize,
    /// What it still has of pairs once it is retired.
    places: Vec<Place>,
}

/// What a thread waits with. It may be cancelled: then this is not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entered {
    set: RawFd,
    serial: u64,
}

#[derive(Debug)]
struct Heard {
    number: u32,
    pair: Weak<Pair>,
    connections: usize,
    /// While it is in the set.
    place: Option<Place>,
}

/// One of the wait sets that a pair has at most.
#[derive(Debug)]
struct Place(Weak<Pair>);

impl Place {
    fn of(pair: &Arc<Pair>) -> Option<Self> {
        pair.is_heard_by_one_more()
            .then(|| Self(Arc::downgrade(pair)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pair) = self.0.upgrade() {
            pair.is_heard_by_one_less();
        }
    }
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
            place: None,
        };
        if let Some(current) = &inner.set {
            if !is_of_this_process(current.made) || !heard.enter(&current.set) {
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
        let is_in_set = heard.place.is_some();
        if let Some(current) = inner.set.as_ref().filter(|_| is_in_set) {
            if is_of_this_process(current.made) {
                current.set.remove(pair.socket().raw());
                if current.waiters > 0 {
                    // A doorbell for another channel may have woken one of them, which finds nothing any more.
                    watch_behind(Token(number.into()));
                }
            }
        }
        inner.pairs.retain(|heard| heard.number != number);
    }

    /// The set in which this thread waits until `leave`. None if there is nothing to listen to.
    fn enter(&self, readiness: RawFd) -> Option<Entered> {
        let mut inner = self.inner.lock();
        inner.forget_sets_of_parent();
        if inner.pairs.is_empty() {
            return None;
        }
        if inner.set.is_none() {
            inner.serial += 1;
            inner.set = Some(SetInUse {
                set: WaitSet::new(readiness).ok()?,
                made: Made::now(),
                serial: inner.serial,
                waiters: 0,
                places: Vec::new(),
            });
            inner.some_are_outside = true;
        }
        let Inner {
            pairs,
            set,
            some_are_outside,
            ..
        } = &mut *inner;
        let current = set.as_mut()?;
        if *some_are_outside {
            *some_are_outside = false;
            for heard in pairs.iter_mut().filter(|heard| heard.place.is_none()) {
                *some_are_outside |= !heard.enter(&current.set);
            }
        }
        current.waiters += 1;
        Some(Entered {
            set: current.set.raw(),
            serial: current.serial,
        })
    }

    fn leave(&self, entered: Entered) {
        let mut inner = self.inner.lock();
        let Inner { set, retired, .. } = &mut *inner;
        let mut sets = set.iter_mut().chain(retired.iter_mut());
        // After a fork it may be forgotten.
        if let Some(left) = sets.find(|other| other.serial == entered.serial) {
            left.waiters = left.waiters.saturating_sub(1);
            retired.retain(|set| set.waiters > 0);
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
        let Some(entered) = self.enter(readiness) else {
            return Ok(None);
        };
        let waited = wait_set::wait(entered.set, CHECK_MS, blocked, &|| {
            self.leave(entered);
            self.leave_to_io_thread();
        });
        self.leave(entered);
        match waited {
            Ok(found) => {
                if found.is_foreign || found.has_timed_out {
                    self.look_after_set();
                }
                Ok(Some(Woken {
                    waiting: self,
                    entered,
                    found,
                }))
            }
            Err(libc::EINTR) => Err(libc::EINTR),
            Err(_) => {
                self.inner.lock().retire(entered);
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
        if inner
            .set
            .as_ref()
            .is_some_and(|current| !current.set.is_there())
        {
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

    /// Nobody begins to wait with this set any more. If nobody does already, there is another one by now, which is as it
    /// should be.
    fn retire(&mut self, entered: Entered) {
        if self.set.as_ref().map(|current| current.serial) == Some(entered.serial) {
            self.retire_set();
        }
    }

    fn retire_set(&mut self) {
        let Some(mut current) = self.set.take() else {
            return;
        };
        // Doorbells pass it until it is closed.
        let places = self.pairs.iter_mut().filter_map(|heard| heard.place.take());
        current.places.extend(places);
        if current.waiters > 0 {
            self.retired.push(current);
        }
    }

    /// After a fork: the sets and the threads are those of another process.
    fn forget_sets_of_parent(&mut self) {
        let mut sets = self.set.iter().chain(&self.retired);
        if sets.all(|set| set.made.is_own() && !set.made.is_inherited()) {
            return;
        }
        self.pairs.iter_mut().for_each(|heard| heard.place = None);
        for forgotten in self.set.take().into_iter().chain(self.retired.drain(..)) {
            forgotten.set.abandon();
        }
    }
}

impl Heard {
    /// Without a place in the set, the I/O thread takes the doorbells. Whether there is a place, or nothing comes any
    /// more.
    fn enter(&mut self, set: &WaitSet) -> bool {
        let Some(pair) = self.pair.upgrade().filter(|pair| !pair.has_ended()) else {
            return true;
        };
        let Some(place) = Place::of(&pair) else {
            return false;
        };
        match set.add(pair.socket().raw(), self.number) {
            // The latter if it could not be taken out after a fork.
            Ok(()) | Err(libc::EEXIST) => {}
            Err(_) => return false,
        }
        self.place = Some(place);
        watch_behind(Token(self.number.into()));
        true
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
    entered: Entered,
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
                Left::Ended => self.waiting.inner.lock().retire(self.entered),
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
        inner.pairs.iter().any(|heard| heard.place.is_some())
    }

    #[test]
    fn a_doorbell_passes_few_sets_however_many_channels_there_are() -> Result<()> {
        let (pair, _peer) = pair()?;
        let readiness = Readiness::new()?;
        let channels: Vec<_> = (0..20).map(|_| Waiting::new()).collect();
        let wait = |channel: &Waiting| {
            let entered = channel.enter(readiness.fd());
            assert!(entered.map(|entered| channel.leave(entered)).is_some());
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
        assert_ne!(first.set, second.set);
        let retired = || waiting.inner.lock().retired.len();
        assert_eq!(retired(), 1);
        // It is not the one in which the first one has found something.
        waiting.inner.lock().retire(first);
        waiting.leave(first);
        assert_eq!(retired(), 0);
        assert!(waiting.inner.lock().set.is_some());
        waiting.inner.lock().retire(second);
        assert!(waiting.inner.lock().set.is_none());
        waiting.leave(second);
        assert_eq!(retired(), 0);
        Ok(())
    }

    #[test]
    fn sets_do_not_pile_up_though_a_thread_waits_at_any_time() -> Result<()> {
        let (pair, _peer) = pair()?;
        let readiness = Readiness::new()?;
        let waiting = Waiting::new();
        assert!(waiting.listen_to(&pair));
        let enter = || waiting.enter(readiness.fd()).ok_or(libc::ENOENT);
        let mut first = enter()?;
        for _ in 0..20 {
            // It has found that a peer is gone.
            let second = enter()?;
            waiting.leave(second);
            waiting.inner.lock().retire(second);
            // The first one comes back after the second one has begun to wait again.
            let again = enter()?;
            waiting.leave(first);
            first = again;
            assert_eq!(waiting.inner.lock().retired.len(), 0);
        }
        // A set has its places as long as it is open.
        let others: Vec<_> = (0..3).map(|_| Waiting::new()).collect();
        for other in &others {
            assert!(other.listen_to(&pair) && other.enter(readiness.fd()).is_some());
        }
        waiting.inner.lock().retire(first);
        let second = enter()?;
        assert!(!is_in_set(&waiting));
        waiting.leave(first);
        let third = enter()?;
        assert_eq!(second, third);
        assert!(is_in_set(&waiting));
        Ok(())
    }

    #[test]
    fn a_socket_that_is_still_in_the_set_has_a_place() -> Result<()> {
        let (pair, _peer) = pair()?;
        let readiness = Readiness::new()?;
        let waiting = Waiting::new();
        assert!(waiting.listen_to(&pair));
        assert!(waiting.enter(readiness.fd()).is_some() && is_in_set(&waiting));
        // It was not taken out when its last connection ended, since a child might have had it.
        waiting.inner.lock().pairs.clear();
        assert!(waiting.listen_to(&pair));
        assert!(is_in_set(&waiting));
        assert!(!waiting.inner.lock().some_are_outside);
        Ok(())
    }
}
