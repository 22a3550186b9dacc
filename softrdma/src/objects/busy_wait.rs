// SPDX-License-Identifier: BSD-3-Clause

//! A thread that waits for an event polls its connections for a moment before it sleeps.
//!
//! A peer that answers at once sees that this side polls, and rings no doorbell: waking a thread on an idle processor
//! takes longer than all the rest of a message, on a virtual machine up to 75 µs. The thread polls only where it may run
//! on more than one processor, so that the peer can run meanwhile, and only as long as that is worth it: waits in which
//! nothing came while it polled have the next ones sleep at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::io::fork_state::{self, Turn};
use crate::objects::attached::Polled;
use crate::os::thread;

/// For so long a thread polls: a little longer than a peer takes that has to be woken first.
const LONGEST: Duration = Duration::from_micros(80);
/// Between two looks of a thread that keeps its processor there is less than this.
const GAP: Duration = Duration::from_micros(20);
/// A channel with more connections than this is not polled.
pub(super) const MOST: usize = 8;

/// What a thread has found out by polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The event came, from a connection that it polls.
    Found,
    /// It came in another way, or not in time.
    InVain,
    /// Another thread took the processor meanwhile: it may be that of the peer.
    Preempted,
}

#[derive(Debug, Default)]
pub(super) struct BusyWait {
    /// One thread of the channel polls at a time.
    turn: Turn,
    policy: Policy,
}

/// Whether polling is worth it. Threads that change it at the same time make it a little less exact.
#[derive(Debug, Default)]
struct Policy {
    /// How often polling was in vain, and not made up for.
    failures: AtomicU32,
    /// How many waits are to sleep at once.
    skips: AtomicU32,
    /// How many waits there are until the processors are counted again.
    until_count: AtomicU32,
    has_processors: AtomicU32,
}

/// So often polling may be in vain before a wait sleeps at once.
const FREE: u32 = 2;
/// At most 2 to the power of this many waits sleep at once before the next one polls.
const LONGEST_SKIP: u32 = 8;
/// What polling that was in vain because of another thread counts.
const PREEMPTED: u32 = 3;
/// A wait that takes no longer than this might have been short enough, if both sides had polled.
const SHORT: Duration = Duration::from_micros(250);
/// So many waits does a short one count that has slept at once.
const SHORT_COUNTS: u32 = 8;
/// The processors are counted once in so many waits.
const COUNT_EVERY: u32 = 64;

impl Policy {
    /// Whether a thread that begins to wait is to poll.
    fn polls(&self) -> bool {
        self.skips.load(Ordering::Relaxed) == 0 && self.has_processors()
    }

    fn has_processors(&self) -> bool {
        match self.until_count.load(Ordering::Relaxed) {
            0 => {
                self.until_count.store(COUNT_EVERY, Ordering::Relaxed);
                let has = thread::processors() > 1;
                self.has_processors.store(has.into(), Ordering::Relaxed);
                has
            }
            left => {
                self.until_count.store(left - 1, Ordering::Relaxed);
                self.has_processors.load(Ordering::Relaxed) != 0
            }
        }
    }

    fn polled(&self, outcome: Outcome) {
        let before = self.failures.load(Ordering::Relaxed);
        let failures = match outcome {
            Outcome::Found => before / 2,
            Outcome::InVain => before + 1,
            Outcome::Preempted => before + PREEMPTED,
        };
        let failures = failures.min(FREE + LONGEST_SKIP);
        self.failures.store(failures, Ordering::Relaxed);
        if outcome != Outcome::Found && failures > FREE {
            let skips = 1 << (failures - FREE);
            self.skips.store(skips, Ordering::Relaxed);
        }
    }

    /// A thread has slept at once, and got its event after so long.
    fn slept(&self, took: Duration) {
        let counts = if took < SHORT { SHORT_COUNTS } else { 1 };
        let before = self.skips.load(Ordering::Relaxed);
        self.skips
            .store(before.saturating_sub(counts), Ordering::Relaxed);
    }
}

impl BusyWait {
    /// Whether a thread that begins to wait is to poll. If so, it is its turn until `end`.
    pub(super) fn begin(&self) -> bool {
        self.policy.polls() && fork_state::is_settled() && self.turn.take()
    }

    /// Polls these connections until `is_there` says that the event has come. Whether it has.
    pub(super) fn poll(&self, connections: &[Polled], is_there: &dyn Fn() -> bool) -> bool {
        let begun = Instant::now();
        let mut last = begun;
        let (is_found, outcome) = loop {
            let mut has_come = false;
            for (qp, hint) in connections.iter().flatten() {
                if hint.has_input() {
                    has_come = true;
                    qp.progress_in_busy_wait();
                }
            }
            if is_there() {
                let outcome = if has_come {
                    Outcome::Found
                } else {
                    Outcome::InVain
                };
                break (true, outcome);
            }
            let now = Instant::now();
            if has_come {
                last = now;
            } else if now - last > GAP {
                break (false, Outcome::Preempted);
            }
            last = last.max(now);
            if now - begun > LONGEST || fork_state::concerns_thread() {
                break (false, Outcome::InVain);
            }
            std::hint::spin_loop();
        };
        self.policy.polled(outcome);
        is_found
    }

    /// As if it had polled in vain: waits for connections over TCP need not look for others each time.
    pub(super) fn has_nothing_to_poll(&self) {
        self.policy.polled(Outcome::InVain);
    }

    pub(super) fn end(&self) {
        self.turn.give_back();
    }

    /// A thread has slept at once, and got its event after so long.
    pub(super) fn slept(&self, took: Duration) {
        self.policy.slept(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let policy = Policy::default();
        policy.until_count.store(u32::MAX, Ordering::Relaxed);
        policy.has_processors.store(1, Ordering::Relaxed);
        policy
    }

    /// How many of so many waits poll.
    fn polls(policy: &Policy, waits: u32, outcome: Outcome, took: Duration) -> u32 {
        let mut polls = 0;
        for _ in 0..waits {
            if policy.polls() {
                polls += 1;
                policy.polled(outcome);
            } else {
                policy.slept(took);
            }
        }
        polls
    }

    #[test]
    fn waits_that_are_long_do_not_poll() {
        let long = polls(&policy(), 10_000, Outcome::InVain, Duration::from_secs(1));
        assert!(long < 50, "{long}");
        // Nor do those on a busy machine, however short they are.
        let short = polls(&policy(), 10_000, Outcome::Preempted, SHORT / 2);
        assert!(short < 350, "{short}");
    }

    #[test]
    fn waits_that_are_short_poll() {
        let policy = policy();
        assert_eq!(polls(&policy, 1000, Outcome::Found, SHORT), 1000);
        // A pause makes no difference.
        assert_eq!(polls(&policy, 1, Outcome::InVain, SHORT), 1);
        assert_eq!(polls(&policy, 1000, Outcome::Found, SHORT), 1000);
        // Nor does a time of long waits, soon after.
        polls(&policy, 1000, Outcome::InVain, Duration::from_secs(1));
        let polled = polls(&policy, 1000, Outcome::Found, SHORT / 2);
        assert!(polled > 960, "{polled}");
    }

    #[test]
    fn a_thread_with_one_processor_does_not_poll() {
        let policy = policy();
        policy.has_processors.store(0, Ordering::Relaxed);
        assert_eq!(polls(&policy, 1000, Outcome::Found, SHORT), 0);
    }
}
