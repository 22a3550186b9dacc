// SPDX-License-Identifier: BSD-3-Clause

//! Regions of another process that this one has mapped too: the files under them.
//!
//! What the other process sends is checked as if it was hostile. What it does to the file later, for example to
//! truncate it, is an error of the copy (`guard`). A region is accessed under a lease only (`lease`), so that the owner
//! knows when its memory is its own again; the mapping itself may last longer, and nobody uses it then.

use std::collections::BTreeMap;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::file_under::Storage;
use super::guard;
use super::lease::SharedRegion;
use super::memory::Span;
use super::own_memory::page_size;
use super::private_fd::PrivateFd;
use super::region_table::RegionTable;
use super::seen_pages::{SeenPages, now};
use super::{check, errno};
use crate::Result;
use crate::types::region::access;

/// A region of another process, until this is dropped.
#[derive(Debug)]
pub(crate) struct Mapped {
    base: NonNull<u8>,
    size: usize,
    /// Where the region begins in the mapping.
    first: usize,
    length: usize,
    is_writable: bool,
    /// Of a file on a disk: pages that were in memory a moment ago.
    seen: Option<SeenPages>,
    /// Of the process that has mapped it. A child does not have it.
    own: OwnTable,
    _share: Share,
}

struct OwnTable(&'static RegionTable);

impl std::fmt::Debug for OwnTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnTable")
    }
}

// SAFETY: it is mapped for the process, not for a thread, and accessed by guarded copies alone.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Fails unless the region can be that of this file, from this offset on.
    pub(super) fn new(
        own: &'static RegionTable,
        region: &SharedRegion,
        file: &PrivateFd,
        offset: u64,
    ) -> Result<Self> {
        let (facts, storage) = (file.regular_file()?, Storage::of(file)?);
        let length = region.terms.length;
        let end = offset.checked_add(length).ok_or(libc::EINVAL)?;
        if length == 0 || end > facts.size {
            return Err(libc::EINVAL);
        }
        let page = page_size() as u64;
        let begin = offset / page * page;
        let size = usize::try_from(end - begin).map_err(|_| libc::ENOMEM)?;
        let is_writable = region.terms.access & access::REMOTE_WRITE != 0;
        let share = Share::take(size)?;
        let (base, is_synced) = map(file, begin, size, is_writable)?;
        let mut mapped = Self {
            base,
            size,
            first: (offset - begin) as usize,
            length: length as usize,
            is_writable,
            seen: None,
            own: OwnTable(own),
            _share: share,
        };
        // Persistent memory is there.
        if storage == Storage::Disk && !is_synced {
            // SAFETY: no pointers.
            let is_told = is_writable || unsafe { libc::geteuid() } == facts.owner;
            // Of files of others that it may only read, the kernel tells a process that all of them is in memory.
            if !is_told {
                return Err(libc::EACCES);
            }
            mapped.seen = Some(SeenPages::new());
        }
        Ok(mapped)
    }

    /// Whether a range can be accessed without waiting for a disk, as far as is known.
    fn is_in_memory(&self, seen: &SeenPages, at: *mut u8, length: usize) -> bool {
        const AT_ONCE: usize = 256;
        let page = page_size();
        let (first, end) = (at.addr() / page, (at.addr() + length).div_ceil(page));
        let Some(last) = end.checked_sub(1).filter(|&last| last >= first) else {
            return true;
        };
        let now = now();
        if seen.has(first as u64, last as u64, now) {
            return true;
        }
        for part in (first..end).step_by(AT_ONCE) {
            let pages = AT_ONCE.min(end - part);
            let mut told = [0u8; AT_ONCE];
            let from = self.base.as_ptr().with_addr(part * page).cast();
            // SAFETY: within the mapping, and room for a byte for each page.
            let failed = unsafe { libc::mincore(from, pages * page, told.as_mut_ptr()) } != 0;
            if failed || told[..pages].iter().any(|byte| byte & 1 == 0) {
                return false;
            }
        }
        seen.add(first as u64, last as u64, now);
        true
    }

    /// Where a range of the region is here.
    fn at(&self, offset: u64, length: usize) -> Result<*mut u8> {
        let offset = usize::try_from(offset).map_err(|_| libc::EFAULT)?;
        let end = offset.checked_add(length).ok_or(libc::EFAULT)?;
        if end > self.length || !self.own.0.is_of_this_process() {
            return Err(libc::EFAULT);
        }
        let at = self.base.as_ptr().wrapping_add(self.first + offset);
        match &self.seen {
            Some(seen) if !self.is_in_memory(seen, at, length) => Err(libc::EAGAIN),
            _ => Ok(at),
        }
    }

    fn at_to_write(&self, offset: u64, length: usize) -> Result<*mut u8> {
        let at = self.at(offset, length)?;
        if self.is_writable {
            Ok(at)
        } else {
            Err(libc::EACCES)
        }
    }

    /// Copies all of `from` into the region. When that fails, any part of it may have been copied.
    pub(crate) fn write(&self, offset: u64, from: Span<'_>) -> Result<()> {
        let at = self.at_to_write(offset, from.len())?;
        // SAFETY: within the mapping, which nobody has references to; the other range is no part of it.
        let copied = unsafe { guard::copy(at, from.as_ptr().cast(), from.len()) };
        copied.map_err(|_| libc::EFAULT)
    }

    /// Copies as much out of the region as `into` has room for.
    pub(crate) fn read(&self, offset: u64, into: Span<'_>) -> Result<()> {
        let at = self.at(offset, into.len())?;
        // SAFETY: as above, and the range is valid for writing.
        let copied = unsafe { guard::copy(into.as_mut_ptr().cast(), at, into.len()) };
        copied.map_err(|_| libc::EFAULT)
    }

    /// Stores eight bytes at once. Fails if their place is not aligned.
    pub(crate) fn store(&self, offset: u64, bytes: [u8; 8]) -> Result<()> {
        let at = self.at_to_write(offset, bytes.len())?.cast::<u64>();
        if !at.is_aligned() {
            return Err(libc::EINVAL);
        }
        // SAFETY: aligned, and as above.
        let stored = unsafe { guard::store(at, u64::from_ne_bytes(bytes)) };
        stored.map_err(|_| libc::EFAULT)
    }
}

/// Maps a part of a file. Whether what is written to it stays there, since it is in persistent memory.
fn map(
    file: &PrivateFd,
    begin: u64,
    size: usize,
    is_writable: bool,
) -> Result<(NonNull<u8>, bool)> {
    let begin = libc::off_t::try_from(begin).map_err(|_| libc::EINVAL)?;
    let map = |flags| {
        // No access at first: a program may have asked for all that it maps to be locked in memory (`mlockall`), and
        // the pages of a sparse file would be allocated.
        let none = libc::PROT_NONE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(ptr::null_mut(), size, none, flags, file.raw(), begin) };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        NonNull::new(at.cast::<u8>()).ok_or(libc::ENOMEM)
    };
    // What is written to persistent memory is to stay there, as with the owner's mapping. Other files cannot do that.
    let (base, is_synced) = match map(libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC) {
        Err(libc::EOPNOTSUPP | libc::EINVAL) => (map(libc::MAP_SHARED)?, false),
        mapped => (mapped?, true),
    };
    let rights = if is_writable {
        libc::PROT_READ | libc::PROT_WRITE
    } else {
        libc::PROT_READ
    };
    let at = base.as_ptr().cast();
    // SAFETY: the mapping from above. It is this process's alone. The memory is the owner's, and no part of a dump.
    let done = unsafe {
        libc::munlock(at, size);
        libc::madvise(at, size, libc::MADV_DONTDUMP);
        check(libc::madvise(at, size, libc::MADV_DONTFORK))
            .and_then(|_| check(libc::mprotect(at, size, rights)))
    };
    if let Err(errno) = done {
        // SAFETY: as above.
        unsafe { libc::munmap(at, size) };
        return Err(errno);
    }
    Ok((base, is_synced))
}

/// So much of the address space is mapped at most: a file may be larger than all memory, and cost its owner nothing.
const MOST_BYTES: u64 = 1 << 44;
/// As above, of one process.
pub(super) const MOST_BYTES_OF_PEER: u64 = 1 << 42;

static BYTES: AtomicU64 = AtomicU64::new(0);

/// A part of the address space, which is given back when it is dropped.
#[derive(Debug)]
struct Share(u64);

impl Share {
    fn take(size: usize) -> Result<Self> {
        let size = size as u64;
        // Relaxed: just a sum.
        let before = BYTES.fetch_add(size, Ordering::Relaxed);
        let share = Self(size);
        if before.saturating_add(size) > MOST_BYTES.min(limit() / 8) {
            return Err(libc::EFBIG);
        }
        Ok(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// How much the process may map.
fn limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: room for the answer.
    unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    limit.rlim_cur
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // In a child something else may be there.
        if self.own.0.is_of_this_process() {
            // SAFETY: mapped by `map`, and nothing of it is used any more.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.size) };
        }
    }
}

// --- What is known of regions ------------------------------------------------------------------------

/// The regions of another process that this one has asked for.
#[derive(Default)]
pub(crate) struct Mappings(Mutex<States>);

#[derive(Default)]
struct States {
    /// By their entries in the owner's table.
    known: BTreeMap<u32, Known>,
    mapped: usize,
}

struct Known {
    /// The description of the region that this is about.
    generation: u64,
    state: State,
}

enum State {
    /// The owner has not answered.
    Asked,
    /// It cannot be mapped.
    Refused,
    Mapped(Arc<Mapped>),
}

/// What there is of a region.
#[derive(Clone, Debug)]
pub(crate) enum Mapping {
    Unknown,
    Asked,
    Refused,
    /// It goes when the owner deregisters the region.
    Mapped(Weak<Mapped>),
}

/// How many regions of one process are mapped, or may soon be.
const MOST: usize = 256;

impl Mappings {
    /// No region was asked for, or they are all gone.
    pub(super) fn are_none(&self) -> bool {
        self.0.lock().known.is_empty()
    }

    pub(crate) fn get(&self, entry: u32, generation: u64) -> Mapping {
        let states = self.0.lock();
        match states.known.get(&entry) {
            Some(known) if known.generation == generation => match &known.state {
                State::Asked => Mapping::Asked,
                State::Refused => Mapping::Refused,
                State::Mapped(mapped) => Mapping::Mapped(Arc::downgrade(mapped)),
            },
            _ => Mapping::Unknown,
        }
    }

    /// The owner is about to be asked. Whether it may be.
    pub(super) fn ask(&self, entry: u32, generation: u64) -> bool {
        let mut states = self.0.lock();
        let is_known = |known: &Known| known.generation >= generation;
        if states.known.get(&entry).is_some_and(is_known) {
            return false;
        }
        // What was there before is not registered any more.
        let before = states.take(entry);
        let may = states.mapped < MOST;
        if may {
            states.put(entry, generation, State::Asked);
        }
        drop(states);
        drop(before);
        may
    }

    /// The owner has answered; None if the region cannot be mapped.
    pub(super) fn set(&self, entry: u32, generation: u64, mapped: Option<Mapped>) {
        let mut states = self.0.lock();
        let is_asked =
            |known: &Known| known.generation == generation && matches!(known.state, State::Asked);
        if !states.known.get(&entry).is_some_and(is_asked) {
            return;
        }
        states.take(entry);
        let state = mapped.map_or(State::Refused, |mapped| State::Mapped(Arc::new(mapped)));
        states.put(entry, generation, state);
    }

    /// How much of the address space they take.
    pub(super) fn bytes(&self) -> u64 {
        let states = self.0.lock();
        let mapped = states.known.values().map(|known| match &known.state {
            State::Mapped(mapped) => mapped.size as u64,
            State::Asked | State::Refused => 0,
        });
        mapped.sum()
    }

    pub(super) fn is_asked(&self, entry: u32, generation: u64) -> bool {
        matches!(self.get(entry, generation), Mapping::Asked)
    }

    /// The region is not registered any more, or the owner could not be asked.
    pub(super) fn forget(&self, entry: u32, generation: u64) {
        let mut states = self.0.lock();
        let is_it = |known: &Known| known.generation == generation;
        let before = states
            .known
            .get(&entry)
            .is_some_and(is_it)
            .then(|| states.take(entry));
        drop(states);
        // It is unmapped now, without the lock, unless a thread is copying.
        drop(before);
    }
}

impl States {
    fn take(&mut self, entry: u32) -> Option<Known> {
        let before = self.known.remove(&entry)?;
        if !matches!(before.state, State::Refused) {
            self.mapped -= 1;
        }
        Some(before)
    }

    fn put(&mut self, entry: u32, generation: u64, state: State) {
        if !matches!(state, State::Refused) {
            self.mapped += 1;
        }
        self.known.insert(entry, Known { generation, state });
    }
}
