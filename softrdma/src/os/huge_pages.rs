// SPDX-License-Identifier: BSD-3-Clause

//! Private memory that other processes copy from and to is moved to huge pages.
//!
//! The kernel looks up each page of another process that it copies from or to: with pages of 4 KiB, that takes longer
//! than the copy. Memory that is there, and that no other process shares, takes as much memory in huge pages. Other memory
//! stays as it is: pages that were only read, which are all the kernel's one page of zeros, and pages that are shared
//! after a fork would each get memory of their own. The kernel moves it when it is asked (`MADV_COLLAPSE`, Linux 6.1), and leaves the attributes of the mapping as
//! they are; threads that access a page meanwhile wait. It does not move what the program has excluded
//! (`MADV_NOHUGEPAGE`, `PR_SET_THP_DISABLE`), and nothing is moved where the system has no huge pages for programs.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::ptr;

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

/// How many regions wait to be moved.
const MOST_WAITING: usize = 64;

/// Regions of this process that are moved, one huge page after the other.
#[derive(Default)]
pub(super) struct Collapsing(VecDeque<Waiting>);

struct Waiting {
    entry: u32,
    generation: u64,
    range: Collapse,
}

impl Collapsing {
    pub(super) fn has_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// The regions of a window that cannot be mapped by others.
    pub(super) fn plan(&mut self, window: Window) {
        let (Some(own), Some(size)) = (RegionTable::known(), size_of_huge_pages()) else {
            return;
        };
        let regions = own.long_regions(window, size);
        if regions.is_empty() {
            return;
        }
        let Ok(maps) = maps::text() else { return };
        for (entry, generation, extent) in regions {
            if self.0.len() >= MOST_WAITING {
                return;
            }
            let range = Collapse::within(extent.addr, extent.length, size);
            // A file would have to be read.
            let range = range.filter(|range| maps::is_private(&maps, range.next, range.end));
            self.0.extend(range.map(|range| Waiting {
                entry,
                generation,
                range,
            }));
        }
    }

    /// Moves a part of a region, if it is still registered.
    pub(super) fn step(&mut self) {
        let Some(mut next) = self.0.pop_front() else {
            return;
        };
        let is_there =
            RegionTable::known().is_some_and(|own| own.is_described(next.entry, next.generation));
        if is_there && next.range.step() {
            self.0.push_front(next);
        }
    }
}

/// A range of memory, of which a part was moved.
#[derive(Debug, PartialEq, Eq)]
struct Collapse {
    next: u64,
    end: u64,
    size: u64,
}

impl Collapse {
    /// The huge pages of a range.
    fn within(addr: u64, length: u64, size: u64) -> Option<Self> {
        let next = addr.checked_next_multiple_of(size)?;
        let end = addr.checked_add(length)? / size * size;
        (next < end).then_some(Self { next, end, size })
    }

    /// Moves the next huge page, if all of it is there. Whether there is another one.
    fn step(&mut self) -> bool {
        let at = self.next;
        self.next += self.size;
        let goes_on = match collapse(at, self.size as usize) {
            // This part is used by a device, for example, or some of it is not there, or not of this process alone.
            Ok(()) | Err(libc::EAGAIN | libc::EBUSY | libc::ENODATA) => true,
            Err(_) => false,
        };
        goes_on && self.next < self.end
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
