// SPDX-License-Identifier: BSD-3-Clause

//! Private memory that other processes copy from and to is moved to huge pages.
//!
//! The kernel looks up each page of another process that it copies from or to: with pages of 4 KiB, that takes longer
//! than the copy. Memory that is there, and that no other process shares, takes as much memory in huge pages. Other memory
//! stays as it is: pages that were only read, which are all the kernel's one page of zeros, and pages that are shared
//! after a fork would each get memory of their own. Such memory is tried again, until half a minute has brought nothing
//! new: a child may end, or somebody may write.
//!
//! The kernel moves memory when it is asked (`MADV_COLLAPSE`, Linux 6.1), and leaves the attributes of the mapping as they
//! are; threads that access a page meanwhile wait. It does not move what the program has excluded (`MADV_NOHUGEPAGE`,
//! `PR_SET_THP_DISABLE`), and nothing is moved where the system has no huge pages for programs.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::ptr;
use std::time::{Duration, Instant};

use super::check;
use super::maps;
use super::own_memory::page_size;
use super::pages;
use super::private_fd::PrivateFd;
use super::region_table::RegionTable;
use crate::Result;
use crate::types::region::Window;

/// Which the crate libc has not for all systems.
const MADV_COLLAPSE: i32 = 25;
const ENABLED: &CStr = c"/sys/kernel/mm/transparent_hugepage/enabled";
const SIZE: &CStr = c"/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";
/// The largest size of huge pages that is made use of. On processors with larger pages it is much larger.
const LARGEST: u64 = 4 << 20;

/// How many regions are moved at a time, or wait for it.
const MOST_REGIONS: usize = 1024;
/// After so long it is tried again to move what could not be moved.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// So much longer is the next pause when nothing could be moved again.
const FACTOR: u32 = 4;
/// What is left when a pause would be longer than this stays as it is.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// When the kernel has refused so many parts in a row, the rest has to wait: the program may have excluded all of it.
const MOST_REFUSED: u32 = 16;

/// Regions of this process that are moved, one huge page after the other.
#[derive(Default)]
pub(super) struct Collapsing(VecDeque<Region>);

struct Region {
    entry: u32,
    generation: u64,
    range: Collapse,
    /// Nothing of it is moved before this.
    due: Instant,
    /// How long it waits for what could not be moved.
    pause: Duration,
    /// Bytes that could not be moved, in the best of the complete passes.
    least_left: u64,
}

impl Collapsing {
    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().map(|region| region.due).min()
    }

    /// The regions of a window that cannot be mapped by others.
    pub(super) fn plan(&mut self, window: Window) {
        let (Some(own), Some(size)) = (RegionTable::known(), size_of_huge_pages()) else {
            return;
        };
        let mut regions = own.long_regions(window, size);
        // Each process that has asked for it is a reason to plan it.
        regions.retain(|&(entry, generation, _)| {
            let is_it =
                |planned: &Region| (planned.entry, planned.generation) == (entry, generation);
            !self.0.iter().any(is_it)
        });
        regions.truncate(MOST_REGIONS.saturating_sub(self.0.len()));
        if regions.is_empty() {
            return;
        }
        let Ok(maps) = maps::text() else { return };
        let due = Instant::now();
        for (entry, generation, extent) in regions {
            let range = Collapse::within(extent.addr, extent.length, size);
            // A file would have to be read.
            let range = range.filter(|range| maps::is_private(&maps, range.next, range.end));
            self.0.extend(range.map(|range| Region {
                entry,
                generation,
                range,
                due,
                pause: FIRST_PAUSE,
                least_left: u64::MAX,
            }));
        }
    }

    /// Moves a part of a region, if it is still registered.
    pub(super) fn step(&mut self, now: Instant) {
        let index = self.0.iter().position(|region| region.due <= now);
        let Some(mut next) = index.and_then(|index| self.0.remove(index)) else {
            return;
        };
        let is_there =
            RegionTable::known().is_some_and(|own| own.is_described(next.entry, next.generation));
        if !is_there {
            return;
        }
        if next.range.step() {
            self.0.push_front(next);
        } else if next.tries_again(now) {
            self.0.push_back(next);
        }
    }
}

impl Region {
    /// All of the range was tried. Whether some of it is to be tried again, and then that is the range.
    fn tries_again(&mut self, now: Instant) -> bool {
        let Some((from, to)) = self.range.bounds else {
            return false;
        };
        self.pause = if self.range.left < self.least_left {
            FIRST_PAUSE
        } else {
            self.pause * FACTOR
        };
        self.due = now + self.pause;
        self.least_left = self.least_left.min(self.range.left);
        // What was moved between these bounds is tried again, too.
        self.range = Collapse::of(from, to, self.range.size);
        self.pause <= LONGEST_PAUSE
    }
}

/// A range of memory, of which a part was tried.
struct Collapse {
    next: u64,
    end: u64,
    size: u64,
    /// How much of it is to be tried again, and within which bounds that is.
    left: u64,
    bounds: Option<(u64, u64)>,
    /// How many parts in a row the kernel has refused.
    refused: u32,
}

impl Collapse {
    /// The huge pages of a range.
    fn within(addr: u64, length: u64, size: u64) -> Option<Self> {
        let next = addr.checked_next_multiple_of(size)?;
        let end = addr.checked_add(length)? / size * size;
        (next < end).then(|| Self::of(next, end, size))
    }

    fn of(next: u64, end: u64, size: u64) -> Self {
        Self {
            next,
            end,
            size,
            left: 0,
            bounds: None,
            refused: 0,
        }
    }

    /// Moves the next huge page, if all of it is there. Whether there is another one.
    fn step(&mut self) -> bool {
        let to = self.next + self.size;
        match collapse(self.next, self.size as usize) {
            Ok(()) => (self.next, self.refused) = (to, 0),
            // The rest would take long, in vain.
            Err(libc::ENOMEM | libc::EMFILE | libc::ENFILE) => self.leave(self.end),
            // Some of it is not there, or not of this process alone.
            Err(libc::ENODATA) => self.leave(to),
            // A device uses it, for example, or the program has excluded it. Before Linux 6.18, also if none of it was
            // written after a fork.
            Err(_) => {
                self.refused += 1;
                let gives_up = self.refused >= MOST_REFUSED;
                self.leave(if gives_up { self.end } else { to });
            }
        }
        self.next < self.end
    }

    fn leave(&mut self, to: u64) {
        let from = self.bounds.map_or(self.next, |(from, _)| from);
        self.bounds = Some((from, to));
        self.left += to - self.next;
        self.next = to;
    }
}

fn collapse(at: u64, length: usize) -> Result<()> {
    // As this thread sees it: the main one may have ended.
    let pages = PrivateFd::open(c"/proc/thread-self/pagemap", libc::O_RDONLY)?;
    if !pages::are_exclusive(pages.raw(), at as usize, length) {
        return Err(libc::ENODATA);
    }
    let memory = ptr::without_provenance_mut(at as usize);
    // SAFETY: what is in memory does not change.
    check(unsafe { libc::madvise(memory, length, MADV_COLLAPSE) }).map(|_| ())
}

fn size_of_huge_pages() -> Option<u64> {
    let read = |path| {
        let mut text = Vec::new();
        PrivateFd::open(path, libc::O_RDONLY)
            .and_then(|file| file.read_to_end(&mut text, 4096))
            .ok()?;
        String::from_utf8(text).ok()
    };
    if read(ENABLED)?.contains("[never]") {
        return None;
    }
    // SAFETY: of no memory. It fails where the kernel does not know the advice.
    if unsafe { libc::madvise(ptr::null_mut(), 0, MADV_COLLAPSE) } != 0 {
        return None;
    }
    let size: u64 = read(SIZE)?.trim_ascii().parse().ok()?;
    let is_known = size.is_power_of_two() && size > page_size() as u64 && size <= LARGEST;
    is_known.then_some(size)
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::os::testing::Private;

    #[test]
    fn only_whole_huge_pages_of_a_range_are_moved() {
        const HUGE: u64 = 2 << 20;
        let within = |addr, length| Collapse::within(addr, length, HUGE).map(|c| (c.next, c.end));
        assert_eq!(within(HUGE, HUGE), Some((HUGE, 2 * HUGE)));
        assert_eq!(within(1, 3 * HUGE), Some((HUGE, 3 * HUGE)));
        assert_eq!(within(1, HUGE), None);
        assert_eq!(within(HUGE, HUGE - 1), None);
        assert_eq!(within(u64::MAX, 5), None);
    }

    fn moved(memory: &Private, size: u64) {
        let (at, length) = (memory.addr() as u64, 3 * size);
        assert!(maps::is_private(&maps::text().unwrap(), at, at + length));
        let mut range = Collapse::within(at, length, size).unwrap();
        let mut steps = 1;
        while range.step() {
            steps += 1;
        }
        assert!(steps <= 3);
    }

    /// How much of the mapping around an address is in huge pages.
    fn in_huge_pages(at: usize) -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/smaps").unwrap();
        let mut is_around = false;
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let name = words.next().unwrap_or_default();
            let hex = |text| usize::from_str_radix(text, 16).ok();
            let range = name.split_once('-');
            if let Some((Some(from), Some(to))) = range.map(|(from, to)| (hex(from), hex(to))) {
                is_around = from <= at && at < to;
            } else if is_around && name == "AnonHugePages:" {
                return words.next().unwrap().parse().unwrap();
            }
        }
        0
    }

    /// A region whose memory is written while it is registered, piece by piece, and whose end never is.
    #[test]
    fn what_is_not_there_is_tried_again() {
        const SIZE: u64 = 1 << 21;
        let now = Instant::now();
        let mut region = Region {
            entry: 0,
            generation: 0,
            range: Collapse::within(SIZE, 10 * SIZE, SIZE).unwrap(),
            due: now,
            pause: FIRST_PAUSE,
            least_left: u64::MAX,
        };
        let mut pass = |is_there: u64| {
            while region.range.next < region.range.end {
                let to = region.range.next + SIZE;
                if to <= SIZE * (1 + is_there) {
                    region.range.next = to;
                } else {
                    region.range.leave(to);
                }
            }
            region.tries_again(now).then(|| region.due - now)
        };
        for is_there in [0, 1, 2, 5, 9] {
            assert_eq!(pass(is_there), Some(FIRST_PAUSE));
        }
        // A child has all of it for a moment: that it ends is nothing new.
        assert_eq!(pass(0), Some(4 * FIRST_PAUSE));
        let pauses: Vec<_> = std::iter::from_fn(|| pass(9)).collect();
        assert_eq!(pauses.len(), 3);
        assert_eq!(pauses[2], 256 * FIRST_PAUSE);
        assert_eq!(pass(10), None);
    }

    #[test]
    fn private_memory_has_the_same_bytes_in_huge_pages() {
        const ATTEMPTS: usize = 20;
        let Some(size) = size_of_huge_pages() else {
            return;
        };
        let memory = Private::new(3 * size as usize).unwrap();
        // Another test may fork, and then no page is of this process alone.
        let whole = 3 * size as usize;
        memory.advise(0, whole, libc::MADV_DONTFORK).unwrap();
        memory.set(7);
        let is_done = (0..ATTEMPTS).any(|_| {
            moved(&memory, size);
            in_huge_pages(memory.addr()) > 0
        });
        let aligned = (memory.addr().next_multiple_of(size as usize)) - memory.addr();
        // The kernel may know nothing of it, or have no huge page now.
        let can = || memory.advise(aligned, size as usize, MADV_COLLAPSE) == Ok(());
        assert!(is_done || !can());
        assert!(memory.bytes().iter().all(|&byte| byte == 7));
    }

    /// In each huge page there is one that was written, and the others were read.
    #[test]
    fn pages_that_were_only_read_get_no_memory() {
        let Some(size) = size_of_huge_pages() else {
            return;
        };
        let (size, page) = (size as usize, page_size());
        let memory = Private::new(3 * size).unwrap();
        let table = std::fs::File::open("/proc/thread-self/pagemap").unwrap();
        let last = memory.addr().next_multiple_of(size) + size - page;
        let is_own = || pages::are_exclusive(table.as_raw_fd(), last, page);
        let (read, write) = (libc::MADV_POPULATE_READ, libc::MADV_POPULATE_WRITE);
        let written = last - memory.addr() + page - size;
        if memory.advise(written, page, write) != Ok(()) || is_own() {
            // An old kernel, or one that gives huge pages without being asked.
            return;
        }
        memory.advise(0, 3 * size, read).unwrap();
        moved(&memory, size as u64);
        assert!(!is_own());
    }
}
