// SPDX-License-Identifier: BSD-3-Clause

//! What is where in the memory file with the region table of a process, and its mapping.
//!
//! | bytes of the file | |
//! | --- | --- |
//! | 0..64 | header |
//! | 64..4096 | 63 lease slots, a cache line each: as many threads copy at a time |
//! | 4096.. | 64 entries of 64 bytes: level 0 |
//! | 8192.. | 128 entries: level 1, and so on: each level is twice as large as the one before |
//!
//! An entry stays where it is. In each level there are two entries for a key, a *bucket*; a region goes to the highest
//! level that has pages and where one of them is free, so that most are found by one look. The pages of a level are
//! allocated when there is no room in those below, so that the file costs 8 KiB while there are few regions.

use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use super::errno;
use super::lease::{Entry, LeaseSlot};
use super::sync::{AtomicU64, Ordering};
use super::write_marks::MARKS;
use crate::Result;

pub(super) const LEASE_SLOTS: usize = 63;
pub(super) const LEVELS: u32 = 12;
pub(super) const FIRST_LEVEL: usize = 64;
pub(super) const ENTRIES_AT: usize = 4096;
pub(super) const ENTRY_SIZE: usize = 64;
pub(super) const SIZE: usize = ENTRIES_AT + entries_below(LEVELS) * ENTRY_SIZE;
/// The seals of the file: peers rely on its size, and the owner relies on being the only writer.
pub(super) const SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE;
/// The form of the table. The other side may be another build.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"regions4");

/// How many entries there are in the levels below this one.
pub(super) const fn entries_below(level: u32) -> usize {
    (FIRST_LEVEL << level) - FIRST_LEVEL
}

/// The number of the first entry of a key in this level. The other one follows it.
pub(super) fn bucket(key: u32, level: u32) -> u32 {
    // The lowest bit is the same in all keys for peers. The others are random.
    let buckets = (FIRST_LEVEL << level) as u32 / 2;
    entries_below(level) as u32 + 2 * ((key >> 1) % buckets)
}

#[repr(C, align(64))]
pub(super) struct Header {
    pub(super) magic: AtomicU64,
    pub(super) number: AtomicU64,
    /// Not 0: nobody may use the regions.
    pub(super) closed: AtomicU64,
    /// How many levels have pages.
    pub(super) levels: AtomicU64,
    /// Where the owner has this header.
    pub(super) address: AtomicU64,
    /// Where the owner has a random word that is not in this file.
    pub(super) proof: AtomicU64,
    /// Where the owner has the pages that others write to before they write to its memory. Zeros if it has none.
    pub(super) write_marks: [AtomicU64; MARKS],
}

#[repr(C, align(64))]
pub(super) struct Line<T>(pub(super) T);

#[repr(C)]
pub(super) struct Head {
    pub(super) header: Header,
    pub(super) lease_slots: [Line<LeaseSlot>; LEASE_SLOTS],
}

// The types of the model checker are larger. It uses no memory files.
const _: () = assert!(
    cfg!(all(loom, test))
        || size_of::<Head>() == ENTRIES_AT
            && offset_of!(Head, lease_slots) == 64
            && size_of::<Entry>() == ENTRY_SIZE
            && SIZE == 16 << 20
);

/// A table that is mapped, until this is dropped.
pub(super) struct Mapping(pub(super) NonNull<u8>);

// SAFETY: it is mapped for the process, not for a thread, and all that is in there is atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn of(fd: &OwnedFd, rights: i32) -> Result<Self> {
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe {
            let flags = libc::MAP_SHARED;
            libc::mmap(ptr::null_mut(), SIZE, rights, flags, fd.as_raw_fd(), 0)
        };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        NonNull::new(at.cast()).map(Self).ok_or(libc::ENOMEM)
    }

    pub(super) fn head(&self) -> &Head {
        // SAFETY: within the mapping and aligned to a page; atomics, which the owner may change meanwhile. In a
        // mapping for reading, `RegionTable` and `PeerTable` only load.
        unsafe { self.0.cast().as_ref() }
    }

    pub(super) fn entry(&self, number: u32) -> Option<&Entry> {
        if number as usize >= entries_below(LEVELS) {
            return None;
        }
        // SAFETY: within the mapping and aligned, since all that is before it are multiples of its size; otherwise
        // as above.
        Some(unsafe {
            let entries = self.0.add(ENTRIES_AT).cast::<Entry>();
            entries.add(number as usize).as_ref()
        })
    }

    /// The number of levels that have pages.
    pub(super) fn levels(&self) -> u32 {
        // Acquire: the pages of these levels are there. The owner may be hostile.
        let levels = self.head().header.levels.load(Ordering::Acquire);
        levels.min(u64::from(LEVELS)) as u32
    }

    pub(super) fn lease_slots(&self) -> impl Iterator<Item = &LeaseSlot> {
        self.head().lease_slots.iter().map(|Line(slot)| slot)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, and nothing of it is used any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), SIZE) };
    }
}
