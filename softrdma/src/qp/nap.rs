// SPDX-License-Identifier: BSD-3-Clause

//! Whether a program that polls its completion queue finds all that comes. One that polls for its own completions
//! only, and memory for what the peer writes, does not: then the I/O thread has to be woken for each message.

/// How often polls must have been the first to read, at most, before the thread leaves them alone with a connection.
const MOST_NEEDED: u32 = 4;
/// A nap of so many checks shows that the polls find all that comes.
const LONG: u32 = 16;

pub(super) struct Nap {
    /// How much more often the polls were the first to read what came than the thread was. No more than `needed`.
    found: u32,
    needed: u32,
    /// How often the polls have read something, and how often that was at the last check.
    reads: u64,
    reads_before: u64,
    checks: u32,
}

impl Nap {
    pub(super) fn new() -> Self {
        Self {
            found: 0,
            needed: 0,
            reads: 0,
            reads_before: 0,
            checks: 0,
        }
    }

    pub(super) fn polls_have_read(&mut self) {
        self.found = self.needed.min(self.found + 1);
        self.reads = self.reads.wrapping_add(1);
    }

    pub(super) fn thread_has_read(&mut self) {
        self.found = self.found.saturating_sub(1);
    }

    /// Whether the polls will do. The thread has just looked, and was the first to read something or not: that says
    /// little by itself, since another message may have come by the time at which it wakes.
    pub(super) fn may_begin(&self, thread_was_first: bool) -> bool {
        self.needed == 0 || (!thread_was_first && self.found >= self.needed)
    }

    /// The thread looks after the connection. Whether the polls have read something since it did so last.
    pub(super) fn goes_on(&mut self) -> bool {
        if std::mem::replace(&mut self.reads_before, self.reads) == self.reads {
            return false;
        }
        self.checks += 1;
        if self.checks == LONG {
            self.checks = 0;
            self.needed /= 2;
        }
        true
    }

    /// The thread has found what the polls did not.
    pub(super) fn was_in_vain(&mut self) {
        self.found = 0;
        self.checks = 0;
        self.needed = (self.needed * 2).clamp(1, MOST_NEEDED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_that_find_what_comes_are_left_alone() {
        let mut nap = Nap::new();
        assert!(nap.may_begin(true));
        nap.polls_have_read();
        assert!(nap.goes_on());
        assert!(!nap.goes_on());
        nap.was_in_vain();
        assert!(!nap.may_begin(false));
        nap.polls_have_read();
        assert!(nap.may_begin(false) && !nap.may_begin(true));
        nap.thread_has_read();
        assert!(!nap.may_begin(false));
    }

    #[test]
    fn polls_that_find_every_other_message_are_not() {
        let mut nap = Nap::new();
        let mut begun = 0;
        for _ in 0..1000 {
            // An acknowledgement, and a write.
            nap.polls_have_read();
            if nap.may_begin(false) {
                begun += 1;
                nap.was_in_vain();
            } else {
                nap.thread_has_read();
            }
        }
        assert_eq!(begun, 2);
    }

    #[test]
    fn it_takes_longer_each_time_until_it_lasts() {
        let mut nap = Nap::new();
        let begin = |nap: &mut Nap| {
            let mut reads = 0;
            while !nap.may_begin(false) {
                nap.polls_have_read();
                reads += 1;
            }
            reads
        };
        for reads in [0, 1, 2, 4, 4] {
            assert_eq!(begin(&mut nap), reads);
            nap.was_in_vain();
        }
        begin(&mut nap);
        for _ in 0..LONG {
            nap.polls_have_read();
            assert!(nap.goes_on());
        }
        nap.was_in_vain();
        assert_eq!(begin(&mut nap), 4);
    }
}
