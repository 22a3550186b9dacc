// SPDX-License-Identifier: BSD-3-Clause

//! Whether a program that polls its completion queue finds all that comes. One that polls for its own completions
//! only, and memory for what the peer writes, does not: then the I/O thread has to be woken for each message, and the
//! polling mode (`driver.rs`) costs more than it saves.

/// The range of `Polls::found`. At its lower end the polls find no requests, at its upper end all of them.
const LEAST: i32 = -24;
const MOST: i32 = 8;
/// Added for a request that the polls were the first to read. For one that the thread was the first to read, 1 is
/// subtracted.
const FOUND: i32 = 2;
/// Subtracted when the polling mode ends because the polls had not found something and the peer had to ring its
/// doorbell.
const DOORBELL: i32 = 6;
/// As above, when a check of the thread has found it, later than that.
const CHECK: i32 = 24;
/// With more than this the polling mode may begin.
const ENOUGH: i32 = 2;

/// The polls of any program find responses, so only requests count. On a busy machine the thread is first now and then
/// although the program polls all the time: what the polls find counts more than what they miss.
pub(super) struct Polls {
    /// How good the polls are at finding requests.
    found: i32,
    /// How often the polls have read something, and how often that was at the last check.
    reads: u64,
    reads_before: u64,
}

impl Polls {
    pub(super) fn new() -> Self {
        Self {
            found: MOST,
            reads: 0,
            reads_before: 0,
        }
    }

    /// Requests, or only responses.
    pub(super) fn have_read(&mut self, requests: bool) {
        if requests {
            self.found = MOST.min(self.found + FOUND);
        }
        self.reads = self.reads.wrapping_add(1);
    }

    /// A request.
    pub(super) fn thread_has_read(&mut self) {
        self.found = LEAST.max(self.found - 1);
    }

    /// Whether the polls find most requests.
    pub(super) fn find_requests(&self) -> bool {
        self.found > ENOUGH
    }

    /// The thread checks the connection. Whether the polls have read something since the last check.
    pub(super) fn have_read_since_last_check(&mut self) -> bool {
        std::mem::replace(&mut self.reads_before, self.reads) != self.reads
    }

    /// The peer had to ring its doorbell.
    pub(super) fn doorbell_was_needed(&mut self) {
        self.found = LEAST.max(self.found - DOORBELL);
    }

    /// A check of the thread has found what the polls did not.
    pub(super) fn check_found_input(&mut self) {
        self.found = LEAST.max(self.found - CHECK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_that_find_what_comes_are_left_alone() {
        let mut polls = Polls::new();
        assert!(polls.find_requests());
        polls.have_read(true);
        assert!(polls.have_read_since_last_check());
        assert!(!polls.have_read_since_last_check());
        polls.doorbell_was_needed();
        assert!(!polls.find_requests());
        polls.have_read(true);
        assert!(polls.find_requests());
    }

    #[test]
    fn polls_that_find_responses_only_are_not() {
        let mut polls = Polls::new();
        let mut begun = 0;
        for _ in 0..1000 {
            polls.have_read(false);
            if polls.find_requests() {
                begun += 1;
                polls.check_found_input();
            } else {
                polls.thread_has_read();
            }
        }
        assert_eq!(begun, 1);
    }

    #[test]
    fn polls_may_come_second_now_and_then() {
        let mut polls = Polls::new();
        polls.check_found_input();
        polls.doorbell_was_needed();
        for _ in 0..100 {
            polls.have_read(true);
            polls.have_read(true);
            polls.thread_has_read();
        }
        assert!(polls.find_requests());
        polls.check_found_input();
        assert!(!polls.find_requests());
    }
}
