// SPDX-License-Identifier: BSD-3-Clause

//! How often a client asks when nobody listens.
//!
//! On a device a request takes its time, and many programs tell their client to come just before they
//! listen. TCP answers at once. So a refusal counts only when nobody has listened for a while.

use std::time::{Duration, Instant};

/// A client that is refused after this time gives up.
const PERIOD: Duration = Duration::from_millis(250);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

#[derive(Debug)]
pub(super) struct Refusals {
    first: Option<Instant>,
    pause: Duration,
}

impl Refusals {
    pub(super) fn none() -> Self {
        Self {
            first: None,
            pause: FIRST_PAUSE,
        }
    }

    /// One more, at this time: how long to wait before the next attempt, if there is to be one.
    pub(super) fn pause(&mut self, now: Instant) -> Option<Duration> {
        let first = *self.first.get_or_insert(now);
        if now.saturating_duration_since(first) >= PERIOD {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempt_is_made_after_the_whole_period() {
        let mut refusals = Refusals::none();
        let first = Instant::now();
        let mut now = first;
        let mut pauses = Vec::new();
        while let Some(pause) = refusals.pause(now) {
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert!(now - first >= PERIOD && now - first < PERIOD + LONGEST_PAUSE);
        assert_eq!(pauses[..6], [1, 2, 4, 8, 16, 16]);
    }

    #[test]
    fn a_late_thread_makes_one_more_attempt() {
        let mut refusals = Refusals::none();
        let first = Instant::now();
        assert!(refusals.pause(first).is_some());
        // The thread was not scheduled for long: this is the refusal of an attempt that it made then.
        assert_eq!(refusals.pause(first + 10 * PERIOD), None);
    }
}
