// SPDX-License-Identifier: BSD-3-Clause

//! Which pages of another process were in memory a moment ago, so that the kernel is not asked for each access.

use std::sync::atomic::{AtomicU64, Ordering};

use super::clock;

/// A page has its place in one of so many sets.
const SETS: usize = 1024;
/// How many pages a set has room for.
const IN_SET: usize = 2;
/// The most pages that are remembered of one range: they are spread over the sets, so few of them share one.
const MOST_OF_RANGE: u64 = 256;
/// The bits of a remembered page that are its number; the others are the time.
const NUMBER_BITS: u32 = 45;
/// For so long, in milliseconds, a page that was seen in memory is taken to be there still.
pub(super) const MOMENT: u32 = 5;

/// Pages that were in memory: the number of each, and when it was seen there. Any thread may forget what another one
/// has remembered: then the kernel is asked again.
#[derive(Debug)]
pub(super) struct SeenPages(Box<[[AtomicU64; IN_SET]; SETS]>);

/// The time in milliseconds, as exact as the kernel's clock tick.
pub(super) fn now() -> u32 {
    let time = clock::coarse();
    // Only differences of a few milliseconds matter.
    (time.as_secs() as u32)
        .wrapping_mul(1000)
        .wrapping_add(time.subsec_millis())
}

impl SeenPages {
    pub(super) fn new() -> Self {
        Self(Box::new(
            [const { [const { AtomicU64::new(0) }; IN_SET] }; SETS],
        ))
    }

    /// Regions often begin at a multiple of a large power of two, and the same pages of them are used in turn. So the
    /// lowest bits of the number alone must not decide: here neighbours are far from each other, and so are those.
    fn set(&self, number: u64) -> &[AtomicU64; IN_SET] {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let spread = number.wrapping_mul(GOLDEN) >> (u64::BITS - SETS.ilog2());
        &self.0[spread as usize]
    }

    /// Whether all pages from the first to the last one were seen a moment before `now`.
    pub(super) fn has(&self, first: u64, last: u64, now: u32) -> bool {
        last - first < MOST_OF_RANGE && (first..=last).all(|number| self.was_seen(number, now))
    }

    fn was_seen(&self, number: u64, now: u32) -> bool {
        // Relaxed: no other access depends on it.
        let mut places = self
            .set(number)
            .iter()
            .map(|place| place.load(Ordering::Relaxed));
        places.any(|seen| seen != 0 && number_of(seen) == number && age(seen, now) <= MOMENT)
    }

    /// The pages from the first to the last one are in memory.
    pub(super) fn add(&self, first: u64, last: u64, now: u32) {
        if last >> NUMBER_BITS != 0 {
            return;
        }
        for number in first..=last.min(first.saturating_add(MOST_OF_RANGE)) {
            let set = self.set(number);
            // Relaxed: as above.
            let load = |place: &AtomicU64| place.load(Ordering::Relaxed);
            let same = set.iter().find(|place| number_of(load(place)) == number);
            let oldest = || {
                set.iter().max_by_key(|place| match load(place) {
                    0 => u32::MAX,
                    seen => age(seen, now),
                })
            };
            if let Some(place) = same.or_else(oldest) {
                place.store(number | u64::from(now) << NUMBER_BITS, Ordering::Relaxed);
            }
        }
    }
}

fn number_of(seen: u64) -> u64 {
    seen & ((1 << NUMBER_BITS) - 1)
}

/// Only the lower bits of the time are stored.
fn age(seen: u64, now: u32) -> u32 {
    now.wrapping_sub((seen >> NUMBER_BITS) as u32) & ((1 << (u64::BITS - NUMBER_BITS)) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2^36 pages of 4 KiB: more than processes have.
    const PAGES: u64 = 1 << 36;

    #[test]
    fn a_page_is_seen_for_a_moment() {
        let seen = SeenPages::new();
        let now = u32::MAX - 2;
        assert!(!seen.has(7, 7, now));
        seen.add(7, 7, now);
        assert!(seen.has(7, 7, now.wrapping_add(MOMENT)));
        assert!(!seen.has(7, 7, now.wrapping_add(MOMENT + 1)));
        assert!(!seen.has(7, 8, now));
        // The first page of the process, and pages that there are none of.
        assert!(!seen.has(0, 0, 0));
        seen.add(1 << NUMBER_BITS, 1 << NUMBER_BITS, now);
        assert!(!seen.has(1 << NUMBER_BITS, 1 << NUMBER_BITS, now));
        assert!(!seen.has(0, 0, now));
    }

    #[test]
    fn the_pages_of_a_range_do_not_push_each_other_out() {
        for first in (0..PAGES).step_by((PAGES / 1000) as usize + 7) {
            let seen = SeenPages::new();
            seen.add(first, first + 64, 1000);
            assert!(seen.has(first, first + 64, 1000));
        }
    }

    /// The memory of a program, and the table of its regions, are mapped beside each other; two regions of a program
    /// are, too.
    #[test]
    fn ranges_that_are_a_power_of_two_apart_do_not_push_each_other_out() {
        let base = 0x7_f000_0000;
        for apart in (0..32).map(|bits| 1 << bits) {
            let seen = SeenPages::new();
            seen.add(base, base, 1000);
            seen.add(base + apart, base + apart, 1001);
            assert!(seen.has(base, base, 1001), "{apart} pages apart");
            assert!(seen.has(base + apart, base + apart, 1001));
        }
    }
}
