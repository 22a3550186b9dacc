// SPDX-License-Identifier: BSD-3-Clause

//! Requests that take as long as on a link of a certain latency and bandwidth (`--delay`, `--bandwidth`).
//!
//! The process has one such link to all of its peers, as if it had one port. When a request is posted, the time of its
//! arrival and of its completion is known: its bytes go out after those that were posted before it, or come back after
//! those of the reads before it, and each way takes the latency. A request is not sent before it would have arrived,
//! and does not complete before its answer would be here. Queue pairs that have to wait are in one list, by time;
//! polls look at it, and the I/O thread waits no longer than until the first entry. Responses to requests of the peer
//! are not delayed: the link of the peer does that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::instrument::pace::{self, Link, nanoseconds};

/// A point in time, in nanoseconds since the first call of `now` in this process.
pub(crate) type Time = u64;

/// No queue pair waits.
const NEVER: Time = Time::MAX;

/// When a request arrives at the peer, and when it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) arrives: Time,
    pub(crate) completes: Time,
}

/// A queue pair that waits for a point in time.
pub(crate) trait Paced: Send + Sync {
    /// The time has come. Returns false if nothing was done, because another thread has this locked and `may_wait` is
    /// not set.
    fn go_on(&self, may_wait: bool) -> bool;
}

/// When each direction of the link is free again.
struct Wire {
    out: AtomicU64,
    back: AtomicU64,
}

static WIRE: Wire = Wire {
    out: AtomicU64::new(0),
    back: AtomicU64::new(0),
};

pub(super) type Waiting = BTreeMap<(Time, u64), Weak<dyn Paced>>;

static WAITING: Mutex<Waiting> = Mutex::new(BTreeMap::new());
/// The time of the first in the list.
static FIRST: AtomicU64 = AtomicU64::new(NEVER);

pub(crate) fn now() -> Time {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    nanoseconds(BEGIN.get_or_init(Instant::now).elapsed())
}

impl Wire {
    /// A request is posted now: `out` bytes go to the peer, and `back` bytes come from it.
    fn plan(&self, link: Link, now: Time, out: u32, back: u32) -> Times {
        let delay = nanoseconds(link.delay);
        let arrives = occupy(&self.out, now, link.time_for(out)).saturating_add(delay);
        let answered = occupy(&self.back, arrives, link.time_for(back));
        Times {
            arrives,
            completes: answered.saturating_add(delay),
        }
    }
}

/// Occupies one direction for `takes`, from `from` on or when it is free. Returns the end of that time.
fn occupy(direction: &AtomicU64, from: Time, takes: u64) -> Time {
    if takes == 0 {
        // A request without bytes in this direction does not wait.
        return from;
    }
    let end = |free: Time| free.max(from).saturating_add(takes);
    let before =
        direction.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| Some(end(free)));
    end(before.unwrap_or_default())
}

/// When a request that is posted now arrives and completes.
pub(crate) fn plan(out: u32, back: u32) -> Times {
    WIRE.plan(pace::link(), now(), out, back)
}

/// Has `who` go on at this time. Returns whether that is before all others: then the I/O thread has to be woken, since
/// it waits for a later time.
pub(crate) fn wait_until(time: Time, who: Weak<dyn Paced>) -> bool {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut waiting = WAITING.lock();
    waiting.insert((time, number), who);
    time < FIRST.fetch_min(time, Ordering::AcqRel)
}

/// How many polls have looked at the list since the I/O thread looked at it last.
static POLLS: AtomicU64 = AtomicU64::new(0);

/// Until then the program counts as one that polls.
static POLLED_UNTIL: AtomicU64 = AtomicU64::new(0);

/// How long the I/O thread waits until it runs the first entry. It comes later while the program polls, which runs the
/// entry itself: both at once would only wait for each other's locks.
pub(super) fn left() -> Option<Duration> {
    /// A program that waits for events polls less often than this in between.
    const MANY: u64 = 16;
    const MILLISECOND: Time = 1_000_000;
    const GRACE: Time = 100_000;
    let first = FIRST.load(Ordering::Acquire);
    if first == NEVER {
        return None;
    }
    let now = now();
    if POLLS.swap(0, Ordering::Relaxed) > MANY {
        POLLED_UNTIL.store(now + MILLISECOND, Ordering::Relaxed);
    }
    let is_polled = now < POLLED_UNTIL.load(Ordering::Relaxed);
    let due = if is_polled {
        first.saturating_add(GRACE)
    } else {
        first
    };
    Some(Duration::from_nanos(due.saturating_sub(now)))
}

/// Runs the entries whose time has come; returns whether there were any. A program that polls does not wait for locks.
pub(crate) fn run_due(may_wait: bool) -> bool {
    if !may_wait {
        POLLS.fetch_add(1, Ordering::Relaxed);
    }
    let mut any = false;
    while let Some((key, who)) = take_first_due() {
        let Some(paced) = who.upgrade() else { continue };
        if !paced.go_on(may_wait) {
            put_back(key, who);
            break;
        }
        any = true;
    }
    any
}

fn take_first_due() -> Option<((Time, u64), Weak<dyn Paced>)> {
    if FIRST.load(Ordering::Acquire) > now() {
        return None;
    }
    let mut waiting = WAITING.lock();
    let first = waiting.first_entry().filter(|first| first.key().0 <= now());
    let taken = first.map(|first| first.remove_entry());
    note_first(&waiting);
    taken
}

fn put_back(key: (Time, u64), who: Weak<dyn Paced>) {
    let mut waiting = WAITING.lock();
    waiting.insert(key, who);
    note_first(&waiting);
}

fn note_first(waiting: &MutexGuard<'_, Waiting>) {
    let first = waiting.first_key_value();
    FIRST.store(first.map_or(NEVER, |(key, _)| key.0), Ordering::Release);
}

/// The locked list.
pub(super) type Held = MutexGuard<'static, Waiting>;

/// Before a fork.
pub(super) fn hold(until: Instant) -> Option<Held> {
    WAITING.try_lock_until(until)
}

/// In a child: those of its parent, until it is known whether they are this process's.
pub(super) fn take_out(held: &mut Held) -> Waiting {
    FIRST.store(NEVER, Ordering::Release);
    std::mem::take(&mut **held)
}

/// The parent's entries are this process's.
pub(super) fn put_all_back(taken: Waiting) {
    let mut waiting = WAITING.lock();
    waiting.extend(taken);
    note_first(&waiting);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Wire {
        Wire {
            out: AtomicU64::new(0),
            back: AtomicU64::new(0),
        }
    }

    fn link(delay_ns: u64, bandwidth: &str) -> Link {
        Link {
            delay: Duration::from_nanos(delay_ns),
            bandwidth: bandwidth.parse().ok(),
        }
    }

    fn times(arrives: Time, completes: Time) -> Times {
        Times { arrives, completes }
    }

    #[test]
    fn each_way_takes_the_latency() {
        let wire = new();
        let link = link(5_000, "");
        assert_eq!(wire.plan(link, 100, 1 << 20, 0), times(5_100, 10_100));
        assert_eq!(wire.plan(link, 100, 0, 1 << 20), times(5_100, 10_100));
    }

    #[test]
    fn bytes_go_one_after_the_other_in_each_direction() {
        let wire = new();
        // A byte in a nanosecond.
        let link = link(10, "8Gbit");
        assert_eq!(wire.plan(link, 100, 1000, 0), times(1110, 1120));
        // It has to wait for the one before it.
        assert_eq!(wire.plan(link, 200, 1000, 0), times(2110, 2120));
        // A read has no bytes on the way out.
        assert_eq!(wire.plan(link, 200, 0, 500), times(210, 720));
        assert_eq!(wire.plan(link, 200, 0, 500), times(210, 1220));
        // The link was idle meanwhile.
        assert_eq!(wire.plan(link, 5000, 1000, 0), times(6010, 6020));
    }
}
