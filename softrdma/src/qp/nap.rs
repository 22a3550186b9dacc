// SPDX-License-Identifier: BSD-3-Clause

//! Whether a program that polls its completion queue finds all that comes. One that polls for its own completions
//! only, and memory for what the peer writes, does not: then the I/O thread has to be woken for each message.

/// The range of `Nap::found`. At its lower end the polls find no requests, at its upper end all of them.
const LEAST: i32 = -24;
const MOST: i32 = 8;
/// Added for a request that the polls were the first to read. For one that the thread was the first to read, 1 is
/// subtracted.
const FOUND: i32 = 2;
/// Subtracted when a nap ends because the polls had not found something and the peer had to ring.
const RUNG: i32 = 6;
/// As above, when the thread has found it, later than that.
const IN_VAIN: i32 = 24;
/// With more than this a nap may begin: the connection is left to the polls.
const ENOUGH: i32 = 2;

/// The polls of any program find responses, so only requests count. On a busy machine the thread is first now and then
/// although the program polls all the time: what the polls find counts more than what they miss.
pub(super) struct Nap {
    /// How good the polls are at finding requests.
    found: i32,
    /// How often the polls have read something, and how often that was at the last check.
    reads: u64,
    reads_before: u64,
}

impl Nap {
    pub(super) fn new() -> Self {
        Self {
            found: MOST,
            reads: 0,
            reads_before: 0,
        }
    }

    /// Requests, or only responses.
    pub(super) fn polls_have_read(&mut self, requests: bool) {
        if requests {
            self.found = MOST.min(self.found + FOUND);
        }
        self.reads = self.reads.wrapping_add(1);
    }

    /// A request.
    pub(super) fn thread_has_read(&mut self) {
        self.found = LEAST.max(self.found - 1);
    }

    /// Whether the polls will do.
    pub(super) fn may_begin(&self) -> bool {
        self.found > ENOUGH
    }

    /// The thread looks after the connection. Whether the polls have read something since it did so last.
    pub(super) fn goes_on(&mut self) -> bool {
        std::mem::replace(&mut self.reads_before, self.reads) != self.reads
    }

    /// The peer had to ring.
    pub(super) fn was_ended(&mut self) {
        self.found = LEAST.max(self.found - RUNG);
    }

    /// The thread has found what the polls did not.
    pub(super) fn was_in_vain(&mut self) {
        self.found = LEAST.max(self.found - IN_VAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_that_find_what_comes_are_left_alone() {
        let mut nap = Nap::new();
        assert!(nap.may_begin());
        nap.polls_have_read(true);
        assert!(nap.goes_on());
        assert!(!nap.goes_on());
        nap.was_ended();
        assert!(!nap.may_begin());
        nap.polls_have_read(true);
        assert!(nap.may_begin());
    }

    #[test]
    fn polls_that_find_responses_only_are_not() {
        let mut nap = Nap::new();
        let mut begun = 0;
        for _ in 0..1000 {
            nap.polls_have_read(false);
            if nap.may_begin() {
                begun += 1;
                nap.was_in_vain();
            } else {
                nap.thread_has_read();
            }
        }
        assert_eq!(begun, 1);
    }

    #[test]
    fn polls_may_come_second_now_and_then() {
        let mut nap = Nap::new();
        nap.was_in_vain();
        nap.was_ended();
        for _ in 0..100 {
            nap.polls_have_read(true);
            nap.polls_have_read(true);
            nap.thread_has_read();
        }
        assert!(nap.may_begin());
        nap.was_in_vain();
        assert!(!nap.may_begin());
    }
}
