// SPDX-License-Identifier: BSD-3-Clause

//! Counts what faults depend on, and says when one is due. What happens then is done by the queue pair or the
//! connection manager (`qp/faults.rs`, `cm/faults.rs`).
//!
//! A queue pair and the connection manager ask only if there are faults at all: `is_armed`, one relaxed load.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::fault::{Async, Event, FabricFault, Kind, When};
use crate::os::random;

/// Whether there are faults. Set before there is any queue pair, and never again.
static ARMED: AtomicBool = AtomicBool::new(false);

/// Whether there are faults of the device, the connection or the peer to inject.
#[inline]
pub(crate) fn is_armed() -> bool {
    ARMED.load(Ordering::Relaxed)
}

/// The faults of this process.
pub(super) struct Faults {
    armed: Vec<Armed>,
    seed: u64,
    /// How many connections it has begun, as a client or a server.
    connections: AtomicU64,
    /// How many queue pairs it has made.
    qps: AtomicU64,
}

struct Armed {
    fault: FabricFault,
    /// What it has counted so far, if it does not count for each queue pair.
    seen: AtomicU64,
}

/// What is counted for each queue pair, so that chance does not depend on how threads take turns.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Its number in this process, from 1. 0: the program has not made it.
    number: u64,
    completions: AtomicU64,
    requests: AtomicU64,
    messages: AtomicU64,
}

/// What is to happen to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) event: Option<Event>,
    pub(crate) async_event: Option<Async>,
}

impl Faults {
    pub(super) fn new(faults: Vec<FabricFault>, seed: Option<u64>) -> Self {
        if !faults.is_empty() {
            ARMED.store(true, Ordering::Relaxed);
        }
        let seed = match seed {
            Some(seed) => seed,
            None if faults.iter().any(FabricFault::is_random) => {
                let seed = choose_seed();
                tell_seed(seed);
                seed
            }
            None => 0,
        };
        Self::of(faults, seed)
    }

    fn of(faults: Vec<FabricFault>, seed: u64) -> Self {
        Self {
            armed: faults
                .into_iter()
                .map(|fault| Armed {
                    fault,
                    seen: AtomicU64::new(0),
                })
                .collect(),
            seed,
            connections: AtomicU64::new(0),
            qps: AtomicU64::new(0),
        }
    }

    /// In a child of `fork`.
    pub(super) fn count_anew(&self) {
        self.connections.store(0, Ordering::Relaxed);
        self.qps.store(0, Ordering::Relaxed);
        for armed in &self.armed {
            armed.seen.store(0, Ordering::Relaxed);
        }
    }

    /// Counts one for the faults that `what` finds something in; returns that of the first fault that is due.
    fn due<T>(
        &self,
        qp: u64,
        count: u64,
        what: impl Fn(&FabricFault) -> Option<T>,
    ) -> Option<(FabricFault, T)> {
        let mut found = None;
        for (index, armed) in self.armed.iter().enumerate() {
            let fault = &armed.fault;
            if fault.qp.is_some_and(|wanted| wanted != qp) {
                continue;
            }
            let Some(what) = what(fault) else { continue };
            let seen = armed.seen.fetch_add(1, Ordering::Relaxed) + 1;
            let is_due = match fault.when {
                When::Nth(nth) => seen == nth,
                When::Random(some, all) => {
                    let roll = roll(self.seed, [index as u64, qp, count]);
                    roll % u64::from(all) < u64::from(some)
                }
            };
            if is_due && found.is_none() {
                found = Some((*fault, what));
            }
        }
        found
    }

    fn connection(&self) -> Planned {
        let number = count(&self.connections);
        let due = |what: fn(&FabricFault) -> bool| {
            self.due(0, number, |fault| what(fault).then_some(fault.kind))
                .map(|(fault, _)| fault)
        };
        let event = due(|fault| matches!(fault.kind, Kind::Event(_)));
        let async_event = due(|fault| matches!(fault.kind, Kind::Async(_)));
        for fault in [&event, &async_event].into_iter().flatten() {
            note(fault);
        }
        Planned {
            event: event.and_then(|fault| match fault.kind {
                Kind::Event(event) => Some(event),
                _ => None,
            }),
            async_event: async_event.and_then(|fault| match fault.kind {
                Kind::Async(event) => Some(event),
                _ => None,
            }),
        }
    }
}

/// A connection begins: what is to happen to it.
pub(crate) fn connection() -> Planned {
    super::state().fabric_faults.connection()
}

/// The counts of a new queue pair; `made` by the program.
pub(crate) fn queue_pair(made: bool) -> Counts {
    if !is_armed() || !made {
        return Counts::default();
    }
    Counts {
        number: count(&super::state().fabric_faults.qps),
        ..Counts::default()
    }
}

impl Counts {
    /// A work request is about to complete with success: the status to complete it with instead.
    pub(crate) fn completion(&self) -> Option<u8> {
        self.due(&self.completions, |fault| match fault.kind {
            Kind::Completion(status) => Some(status),
            _ => None,
        })
    }

    /// A request was carried out, of this side or of the peer: whether the peer dies now.
    pub(crate) fn request(&self) -> bool {
        let due = self.due(&self.requests, |fault| {
            matches!(fault.kind, Kind::PeerDies).then_some(())
        });
        due.is_some()
    }

    /// A message is about to be sent that needs a receive: for how long there is none.
    pub(crate) fn message(&self) -> Option<Duration> {
        self.due(&self.messages, |fault| match fault.kind {
            Kind::Rnr(pause) => Some(pause),
            _ => None,
        })
    }

    fn due<T>(&self, counter: &AtomicU64, what: impl Fn(&FabricFault) -> Option<T>) -> Option<T> {
        let faults = &super::state().fabric_faults;
        let (fault, what) = faults.due(self.number, count(counter), what)?;
        note(&fault);
        Some(what)
    }
}

/// Counts one more.
fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

/// A line of the trace says that a fault was injected.
fn note(fault: &FabricFault) {
    super::note("fault", |args| args.text("injected", &fault.to_string()));
}

/// A number that depends on the seed and these numbers only (the mixing function of SplitMix64).
fn roll(seed: u64, numbers: [u64; 3]) -> u64 {
    let mix = |state: u64, number: u64| {
        let mut z = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    numbers.into_iter().fold(mix(0, seed), mix)
}

/// A seed for a run that was given none: short enough to be typed.
pub fn choose_seed() -> u64 {
    u32::from_le_bytes(random::bytes().unwrap_or_default()).into()
}

/// Prints how to repeat the run.
pub fn tell_seed(seed: u64) {
    // A failure to write to standard error cannot be reported anywhere.
    let _ = writeln!(
        std::io::stderr(),
        "softrdma: the seed of random faults is {seed} (--seed {seed} repeats them)"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(texts: &[&str], seed: u64) -> Faults {
        let parsed: Result<Vec<_>, _> = texts.iter().map(|text| text.parse()).collect();
        Faults::of(parsed.unwrap_or_default(), seed)
    }

    fn status(fault: &FabricFault) -> Option<u8> {
        match fault.kind {
            Kind::Completion(status) => Some(status),
            _ => None,
        }
    }

    /// Which completions of a queue pair, of so many, get which status.
    fn completions(faults: &Faults, qp: u64, all: u64) -> Vec<(u64, u8)> {
        let due = |count| faults.due(qp, count, status);
        (1..=all)
            .filter_map(|count| due(count).map(|(_, status)| (count, status)))
            .collect()
    }

    #[test]
    fn the_nth_of_all_or_of_a_queue_pair() {
        let faults = faults(
            &[
                "completion:3:WR_FLUSH_ERR",
                "completion:qp=2:1:RETRY_EXC_ERR",
                "rnr:1:1s",
            ],
            0,
        );
        assert_eq!(completions(&faults, 1, 2), []);
        // The third of all, and the first of this one: there is one status for each completion.
        assert_eq!(completions(&faults, 2, 2), [(1, 5)]);
        assert_eq!(completions(&faults, 1, 5), []);
        faults.count_anew();
        assert_eq!(completions(&faults, 3, 5), [(3, 5)]);
    }

    #[test]
    fn chance_depends_on_the_seed_only() {
        let of = |seed, qp| {
            completions(
                &faults(&["completion:random:1/10:GENERAL_ERR"], seed),
                qp,
                1000,
            )
        };
        let first = of(1, 1);
        assert!((60..140).contains(&first.len()), "{}", first.len());
        assert_eq!(of(1, 1), first);
        assert_ne!(of(2, 1), first);
        assert_ne!(of(1, 2), first);
        // Threads that take turns in another way do not change it.
        let both = faults(&["completion:random:1/10:GENERAL_ERR"], 1);
        completions(&both, 2, 17);
        assert_eq!(completions(&both, 1, 1000), first);
    }

    #[test]
    fn connections_are_counted_for_both_kinds_of_events() {
        let faults = faults(
            &["event:rejected:2", "async:port-err", "async:qp-fatal:2"],
            0,
        );
        let planned = |event, async_event| Planned { event, async_event };
        assert_eq!(faults.connection(), planned(None, Some(Async::PortErr)));
        let second = planned(Some(Event::Rejected), Some(Async::QpFatal));
        assert_eq!(faults.connection(), second);
        assert_eq!(faults.connection(), Planned::default());
    }
}
