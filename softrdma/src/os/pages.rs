// SPDX-License-Identifier: BSD-3-Clause

//! Which pages of a process are in memory (`/proc/PID/pagemap`).

use std::fs::File;
use std::os::fd::RawFd;

use super::fd::Fd;
use super::{cancel, own_memory, sys};
use crate::Result;

pub(super) const PRESENT: u64 = 1 << 63;
pub(super) const SWAPPED: u64 = 1 << 62;
/// A write to the page waits for the program's handler (`userfaultfd`). Known since Linux 5.14.
const WRITE_PROTECTED: u64 = 1 << 57;
/// Of no other process and not the kernel's page of zeros.
const EXCLUSIVE: u64 = 1 << 56;

/// The table of another process. A child may keep it: it is of no process that it has to do with.
#[derive(Debug)]
pub(super) struct Pages(Fd);

impl Pages {
    pub(super) fn of(pid: i32) -> Result<Self> {
        let _uncancelled = cancel::Hold::new();
        let file = File::open(format!("/proc/{pid}/pagemap"))
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
        Ok(Self(Fd::new(file.into())))
    }

    pub(super) fn has(&self, addr: usize, length: usize) -> bool {
        are_there(self.0.raw(), addr, length, PRESENT)
    }

    /// Whether all pages of a range are there, and none is protected by a `userfaultfd`.
    pub(super) fn may_be_written(&self, addr: usize, length: usize) -> bool {
        all(self.0.raw(), addr, length, |entry| {
            entry & (PRESENT | WRITE_PROTECTED) == PRESENT
        })
    }

    /// Which of the pages of this group are in memory. The lowest bit is that of the first one.
    pub(super) fn of_group(&self, group: u64) -> Option<u64> {
        let mut entries = [0u64; GROUP as usize];
        read(self.0.raw(), group.checked_mul(GROUP)?, &mut entries)?;
        let bits = entries
            .iter()
            .zip(0..)
            .map(|(entry, bit)| (entry & PRESENT) >> 63 << bit);
        Some(bits.fold(0, |all, bit| all | bit))
    }
}

/// The table is read in groups of so many pages, which takes little longer than to read it of one page.
pub(super) const GROUP: u64 = 64;

/// Of a range, so many entries are read at a time, at most.
const AT_ONCE: usize = 512;

/// Whether a table says of all pages of a range what one of the bits means.
pub(super) fn are_there(table: RawFd, addr: usize, length: usize, bits: u64) -> bool {
    all(table, addr, length, |entry| entry & bits != 0)
}

/// Whether all pages of a range are in memory, each a page of this process alone.
pub(super) fn are_exclusive(table: RawFd, addr: usize, length: usize) -> bool {
    const BOTH: u64 = PRESENT | EXCLUSIVE;
    all(table, addr, length, |entry| entry & BOTH == BOTH)
}

fn all(table: RawFd, addr: usize, length: usize, is: impl Fn(u64) -> bool) -> bool {
    let page = own_memory::page_size();
    let (mut at, end) = (addr / page, addr.saturating_add(length).div_ceil(page));
    let mut entries = [0u64; AT_ONCE];
    while at < end {
        let n = entries.len().min(end - at);
        let some = &mut entries[..n];
        if read(table, at as u64, some).is_none() || !some.iter().all(|&entry| is(entry)) {
            return false;
        }
        at += n;
    }
    true
}

/// The entries of as many pages, from this one on. None if they cannot be read.
fn read(table: RawFd, first: u64, entries: &mut [u64]) -> Option<()> {
    let size = size_of_val(entries);
    let offset = libc::off_t::try_from(first.checked_mul(8)?).ok()?;
    // SAFETY: room for so many bytes.
    let read = unsafe { sys::pread(table, entries.as_mut_ptr().cast(), size, offset) };
    (usize::try_from(read) == Ok(size)).then_some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::os::testing::Mapped;

    #[test]
    fn a_group_has_the_pages_that_were_touched() {
        let page = own_memory::page_size() as u64;
        let memory = Mapped::new(3 * GROUP * page).unwrap();
        let group = memory.addr().div_ceil(GROUP * page);
        let pages = Pages::of(std::process::id() as i32).unwrap();
        assert_eq!(pages.of_group(group), Some(0));
        for number in [0, 5, GROUP - 1] {
            let at = (group * GROUP + number) * page;
            let at = std::ptr::with_exposed_provenance_mut::<u8>(at as usize);
            // SAFETY: within the mapping.
            unsafe { at.write_volatile(1) };
        }
        let touched = 1 | 1 << 5 | 1 << (GROUP - 1);
        assert_eq!(pages.of_group(group), Some(touched));
        // Beyond all memory of a process.
        assert_eq!(pages.of_group(u64::MAX), None);
    }
}
