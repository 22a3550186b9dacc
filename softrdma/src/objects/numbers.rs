// SPDX-License-Identifier: BSD-3-Clause

//! Numbers that programs give to their peers: keys of memory regions, numbers of queue pairs.
//!
//! A peer that was given some of them must not be able to guess another one, and a program that confuses two
//! processes, or uses a number after its object is gone, must not find something else by chance. So each
//! process goes through all numbers in an order of its own, which depends on a secret, and a number comes
//! back only when all others have been used.

// SipHash-2-4 with a key of one's own. What the standard library recommends in its place has no key.
#[allow(deprecated)]
use std::hash::SipHasher;

use std::collections::BTreeSet;
use std::hash::Hasher;

use parking_lot::Mutex;

use crate::Result;
use crate::os::held::Locks;
use crate::os::{own_process, random};
use crate::types::limits;

/// All numbers of so many bits in a random order: a Feistel network over a counter.
#[derive(Debug)]
pub(crate) struct Shuffle {
    bits: u32,
    /// Of the process of this number. A child made by fork starts an order of its own.
    secret: Option<(u32, [u64; 2])>,
    next: u32,
}

impl Shuffle {
    pub(crate) const fn new(bits: u32) -> Self {
        Self {
            bits,
            secret: None,
            next: 0,
        }
    }

    /// The next number. It may be that of an object that still exists, if the process has used all numbers, or
    /// is the child of one that has objects.
    pub(crate) fn next(&mut self) -> Result<u32> {
        let process = own_process::id();
        let secret = match self.secret {
            Some((owner, secret)) if owner == process => secret,
            _ => {
                let secret = [0, 1].map(|_| random::bytes().map(u64::from_le_bytes));
                let secret = [secret[0]?, secret[1]?];
                self.secret = Some((process, secret));
                self.next = 0;
                secret
            }
        };
        let position = self.next;
        self.next = self.next.wrapping_add(1) & self.mask();
        Ok(self.shuffled(position, secret))
    }

    fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.bits)
    }

    /// One of the numbers for each position, and no number for two.
    fn shuffled(&self, position: u32, secret: [u64; 2]) -> u32 {
        const ROUNDS: u32 = 6;
        let low_bits = self.bits / 2;
        let low_mask = (1 << low_bits) - 1;
        let (mut low, mut high) = (position & low_mask, position >> low_bits);
        for round in (0..ROUNDS).step_by(2) {
            low ^= keyed(secret, round, high) & low_mask;
            high ^= keyed(secret, round + 1, low) & (self.mask() >> low_bits);
        }
        high << low_bits | low
    }
}

fn keyed(secret: [u64; 2], round: u32, half: u32) -> u32 {
    #[allow(deprecated)]
    let mut hasher = SipHasher::new_with_keys(secret[0], secret[1]);
    hasher.write_u64(u64::from(round) << 32 | u64::from(half));
    hasher.finish() as u32
}

// --- Queue pairs -------------------------------------------------------------------------------------

#[derive(Debug)]
struct QpNumbers {
    shuffle: Shuffle,
    taken: BTreeSet<u32>,
}

static QP_NUMBERS: Mutex<QpNumbers> = Mutex::new(QpNumbers {
    shuffle: Shuffle::new(24),
    taken: BTreeSet::new(),
});

/// Before a fork.
pub(crate) fn hold(locks: &mut Locks) -> bool {
    locks.hold_static(&QP_NUMBERS)
}

/// The number of a queue pair, for as long as this exists.
#[derive(Debug)]
pub(crate) struct QpNumber(u32);

impl QpNumber {
    pub(crate) fn take() -> Result<Self> {
        /// For all queue pairs that manage a device, and for multicast.
        const RESERVED: [u32; 3] = [0, 1, 0xff_ffff];
        let mut numbers = QP_NUMBERS.lock();
        // Twice what the device has: connections without a queue pair have a number as well.
        if numbers.taken.len() >= 2 * limits::MAX_QP as usize {
            return Err(libc::ENOMEM);
        }
        loop {
            let number = numbers.shuffle.next()?;
            if !RESERVED.contains(&number) && numbers.taken.insert(number) {
                return Ok(Self(number));
            }
        }
    }

    pub(crate) fn get(&self) -> u32 {
        self.0
    }

    /// Whether a queue pair of this process has it. One of another process has the same by chance only.
    pub(crate) fn is_taken(number: u32) -> bool {
        QP_NUMBERS.lock().taken.contains(&number)
    }
}

impl Drop for QpNumber {
    fn drop(&mut self) {
        QP_NUMBERS.lock().taken.remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once_before_any_comes_again() -> Result<()> {
        for bits in [11, 12] {
            let mut shuffle = Shuffle::new(bits);
            let mut seen = BTreeSet::new();
            let first = shuffle.next()?;
            seen.insert(first);
            for _ in 1..1 << bits {
                let number = shuffle.next()?;
                assert!(number < 1 << bits);
                assert!(seen.insert(number), "{number} came twice");
            }
            assert_eq!(shuffle.next()?, first);
        }
        Ok(())
    }

    #[test]
    fn the_order_depends_on_the_secret() {
        let shuffle = Shuffle::new(31);
        let order = |secret| [0, 1, 2, 3].map(|at| shuffle.shuffled(at, [secret, 0]));
        assert_ne!(order(1), order(2));
        assert_eq!(order(1), order(1));
    }

    #[test]
    fn a_queue_pair_has_its_number_alone() -> Result<()> {
        let numbers: Vec<_> = (0..1000).map(|_| QpNumber::take()).collect::<Result<_>>()?;
        let different: BTreeSet<_> = numbers.iter().map(QpNumber::get).collect();
        assert_eq!(different.len(), numbers.len());
        assert!(
            different
                .iter()
                .all(|&number| number > 1 && number < 0xff_ffff)
        );
        Ok(())
    }
}
