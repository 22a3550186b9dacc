// SPDX-License-Identifier: BSD-3-Clause

//! Whether the owner of the memory is told of a large write at once, so that it copies chunks, too.
//!
//! With a free processor both may copy in less time than one. Without it, the owner's thread takes the time of the initiator;
//! and when it wakes late, the initiator has copied nearly all. Then the initiator alone is faster. Neither process can
//! tell which it is, so writes are timed, and now and then some are executed in the other mode. A few of these may have
//! been lucky: if the next ones take longer, this mode is given up soon, and tried again more and more rarely.

use std::time::Instant;

/// So many writes are executed in the other mode to see how long they take.
const TRIAL: u32 = 4;
/// Then so many in the mode that is faster, as far as is known, and up to so many when trials have been in vain.
const STEADY: u32 = 128;
const LONGEST: u32 = 2048;
/// A measurement counts for one of so many.
const WEIGHT: u64 = 4;

/// The large writes of a connection.
#[derive(Default)]
pub(super) struct OwnerHelp {
    /// How long a chunk takes, in nanoseconds: when the initiator is alone, and when the owner is told (`mode`). 0 if it
    /// is not known.
    takes: [u64; 2],
    /// Whether the owner is told, of so many writes more.
    tells: bool,
    left: u32,
    phase: Phase,
    /// So many writes there are until the next trial.
    pause: u32,
    /// When the write under way was begun. None also for the first one of a mode: it wakes the owner, for example.
    begun: Option<Instant>,
    /// The next write is the first one.
    is_first: bool,
}

/// Where `takes` has the mode in which the owner is told, or is not.
fn mode(tells: bool) -> usize {
    usize::from(tells)
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// To find out how long it takes.
    #[default]
    Trial,
    /// It was faster in a trial.
    Probation,
    Steady,
}

impl OwnerHelp {
    /// A write begins. Whether the owner is told at once.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        if self.left == 0 {
            self.choose();
        }
        self.left -= 1;
        self.begun = (!std::mem::take(&mut self.is_first)).then_some(now);
        self.tells
    }

    fn choose(&mut self) {
        if self.takes.contains(&0) {
            self.pause = STEADY;
            self.try_out(self.takes[mode(true)] == 0);
            return;
        }
        let is_better = self.takes[mode(self.tells)] < self.takes[mode(!self.tells)];
        match self.phase {
            Phase::Steady => self.try_out(!self.tells),
            _ if !is_better => self.go_back(),
            Phase::Trial => (self.phase, self.left) = (Phase::Probation, STEADY),
            Phase::Probation => {
                self.pause = STEADY;
                self.try_out(!self.tells);
            }
        }
    }

    fn try_out(&mut self, tells: bool) {
        (self.tells, self.is_first) = (tells, true);
        self.takes[mode(tells)] = 0;
        (self.phase, self.left) = (Phase::Trial, TRIAL);
    }

    /// The other mode is faster after all.
    fn go_back(&mut self) {
        (self.tells, self.is_first) = (!self.tells, true);
        (self.phase, self.left) = (Phase::Steady, self.pause);
        self.pause = (2 * self.pause).min(LONGEST);
    }

    /// The write that was begun last is complete.
    pub(super) fn end(&mut self, now: Instant, chunks: u32) {
        let Some(begun) = self.begun.take() else {
            return;
        };
        let nanos = now.saturating_duration_since(begun).as_nanos() / u128::from(chunks.max(1));
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX / 8).max(1);
        let other = self.takes[mode(!self.tells)];
        let own = &mut self.takes[mode(self.tells)];
        *own = match *own {
            0 => nanos,
            // Some may have been interrupted.
            before if self.phase == Phase::Trial => before.min(nanos),
            // The same: one does not count for more than twice as much.
            before => (before * (WEIGHT - 1) + nanos.min(2 * before)) / WEIGHT,
        };
        if self.phase == Phase::Probation && *own > other + other / WEIGHT {
            self.go_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Of how many of so many writes the owner is told, when a chunk takes so long. The first one of a mode takes longer.
    fn told(help: &mut OwnerHelp, writes: u32, alone: u64, helped: u64) -> u32 {
        let begun = Instant::now();
        let (mut told, mut before) = (0, None);
        for _ in 0..writes {
            let is_told = help.begin(begun);
            told += u32::from(is_told);
            let is_first = before.replace(is_told) != Some(is_told);
            let nanos = if is_told { helped } else { alone } + 50_000 * u64::from(is_first);
            help.end(begun + Duration::from_nanos(8 * nanos), 8);
        }
        told
    }

    #[test]
    fn the_owner_is_told_when_that_is_faster() {
        const MANY: u32 = 4 * LONGEST;
        let mut help = OwnerHelp::default();
        assert_eq!(told(&mut help, TRIAL, 9000, 20000), TRIAL);
        assert_eq!(told(&mut help, TRIAL, 9000, 20000), 0);
        assert!(told(&mut help, MANY, 9000, 20000) < MANY / 100);
        // A processor is free. It takes one trial to find that out.
        told(&mut help, LONGEST + TRIAL, 9000, 5000);
        assert!(told(&mut help, MANY, 9000, 5000) > MANY * 9 / 10);
        // Other programs need the processor.
        told(&mut help, LONGEST + TRIAL, 9000, 25000);
        assert!(told(&mut help, MANY, 9000, 25000) < MANY / 100);
    }

    #[test]
    fn a_mode_that_is_faster_now_and_then_is_not_taken() {
        const MANY: u32 = 4 * LONGEST;
        let mut help = OwnerHelp::default();
        let begun = Instant::now();
        let mut told = 0;
        for number in 0..MANY {
            let is_told = help.begin(begun);
            told += u32::from(is_told);
            let nanos = match (is_told, number % 3) {
                (false, _) => 9000,
                (true, 0) => 5000,
                (true, _) => 15000,
            };
            help.end(begun + Duration::from_nanos(8 * nanos), 8);
        }
        assert!(told < MANY / 30, "{told}");
    }

    #[test]
    fn a_write_that_takes_long_once_does_not_count_for_much() {
        let mut help = OwnerHelp::default();
        told(&mut help, STEADY, 9000, 5000);
        let now = Instant::now();
        assert!(help.begin(now));
        help.end(now + Duration::from_secs(5), 8);
        assert!(help.takes[mode(true)] < help.takes[mode(false)]);
    }

    #[test]
    fn only_what_was_begun_is_timed() {
        let mut help = OwnerHelp::default();
        help.end(Instant::now(), 8);
        assert_eq!(help.takes, [0, 0]);
    }
}
