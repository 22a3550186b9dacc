// SPDX-License-Identifier: BSD-3-Clause

//! Which pages of a process are in memory (`/proc/PID/pagemap`).

use std::fs::File;
use std::os::fd::RawFd;

use super::fd::Fd;
use super::{cancel, own_memory, sys};
use crate::Result;

pub(super) const PRESENT: u64 = 1 << 63;
pub(super) const SWAPPED: u64 = 1 << 62;

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
}

/// Whether a table says of all pages of a range what one of the bits means.
pub(super) fn are_there(table: RawFd, addr: usize, length: usize, bits: u64) -> bool {
    let page = own_memory::page_size();
    let (mut at, end) = (addr / page, addr.saturating_add(length).div_ceil(page));
    let mut entries = [0u64; 64];
    while at < end {
        let n = entries.len().min(end - at);
        let offset = (at * 8) as libc::off_t;
        // SAFETY: room for so many.
        let read = unsafe { sys::pread(table, entries.as_mut_ptr().cast(), n * 8, offset) };
        let all = usize::try_from(read) == Ok(n * 8)
            && entries[..n].iter().all(|entry| entry & bits != 0);
        if !all {
            return false;
        }
        at += n;
    }
    true
}
