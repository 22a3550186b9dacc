// SPDX-License-Identifier: BSD-3-Clause

//! Memory of another process that this one has mapped too: the file under it.
//!
//! What the other process sends is checked as if it was hostile. What it does to the file later, for example to
//! truncate it, is an error of the copy (`guard`). A region is accessed under a lease only (`lease`), so that the owner
//! knows when its memory is its own again; the mapping itself may last longer, and nobody uses it then.

use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::file_under::Storage;
use super::guard;
use super::memory::Span;
use super::own_memory::page_size;
use super::private_fd::{Facts, Identity, PrivateFd};
use super::region_table::RegionTable;
use super::seen_pages::{SeenPages, now};
use super::{check, errno};
use crate::Result;
use crate::types::region::{Extent, Window};

/// A range of another process's memory, until this is dropped.
#[derive(Debug)]
pub(crate) struct Mapped {
    base: NonNull<u8>,
    size: usize,
    /// Where the range begins in the mapping.
    first: usize,
    part: Part,
    /// Of a file on a disk: pages that were in memory a moment ago.
    seen: Option<SeenPages>,
    /// Of the process that has mapped it. A child does not have it.
    own: OwnTable,
    _share: Share,
}

/// A part of a file, and where the other process has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    file: Identity,
    storage: Storage,
    pub(super) is_writable: bool,
    from: u64,
    length: u64,
    offset: u64,
}

impl Part {
    /// As much of the window as there is in the file, which begins there at this offset.
    pub(super) fn of(
        file: &PrivateFd,
        window: Window,
        offset: u64,
        is_writable: bool,
    ) -> Result<(Self, Facts)> {
        let (facts, storage) = (file.regular_file()?, Storage::of(file)?);
        let length = window.to.checked_sub(window.from).ok_or(libc::EINVAL)?;
        let length = length.min(facts.size.checked_sub(offset).ok_or(libc::EINVAL)?);
        if length == 0 {
            return Err(libc::EINVAL);
        }
        let part = Self {
            file: facts.is,
            storage,
            is_writable,
            from: window.from,
            length,
            offset,
        };
        Ok((part, facts))
    }

    /// That of one region, which has to be in there.
    pub(super) fn only(&self, region: &Extent) -> Result<Self> {
        let at = region.addr.checked_sub(self.from).ok_or(libc::EINVAL)?;
        let end = at.checked_add(region.length).ok_or(libc::EINVAL)?;
        if region.length == 0 || end > self.length {
            return Err(libc::EINVAL);
        }
        Ok(Self {
            from: region.addr,
            length: region.length,
            offset: self.offset + at,
            ..*self
        })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// As if its file was on another storage.
    #[cfg(all(test, not(loom)))]
    pub(super) fn on(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }

    pub(super) fn window(&self, before: u64) -> Window {
        Window {
            from: self.from,
            to: self.from.saturating_add(self.length),
            before,
        }
    }

    /// Whether what is mapped of one does for the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.replaces(other) && other.replaces(self)
    }

    /// Whether all of the other one is the same here: as long as that one is mapped, no other file has its number.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        // Of a file that may only be read, an overlay may have another one now.
        let is_same_file = self.file == other.file
            && (self.storage != Storage::Overlay || self.is_writable && other.is_writable);
        let is_same_place =
            self.offset.wrapping_sub(self.from) == other.offset.wrapping_sub(other.from);
        let contains = self.window(0).contains(&other.window(0));
        is_same_file && is_same_place && contains && self.is_writable >= other.is_writable
    }
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
    pub(super) fn new(
        own: &'static RegionTable,
        file: &PrivateFd,
        part: Part,
        facts: &Facts,
    ) -> Result<Self> {
        let page = page_size() as u64;
        let begin = part.offset / page * page;
        let first = part.offset - begin;
        let size = usize::try_from(first + part.length).map_err(|_| libc::ENOMEM)?;
        let share = Share::take(size)?;
        let (base, is_synced) = map(file, begin, size, part.is_writable)?;
        let mut mapped = Self {
            base,
            size,
            first: first as usize,
            part,
            seen: None,
            own: OwnTable(own),
            _share: share,
        };
        // Persistent memory is there.
        if part.storage != Storage::Memory && !is_synced {
            // SAFETY: no pointers.
            let is_told = part.is_writable || unsafe { libc::geteuid() } == facts.owner;
            // Of files of others that it may only read, the kernel tells a process that all of them is in memory.
            if !is_told {
                return Err(libc::EACCES);
            }
            mapped.seen = Some(SeenPages::new());
        }
        Ok(mapped)
    }

    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    /// How much of the address space it takes.
    pub(super) fn size(&self) -> u64 {
        self.size as u64
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
}

/// A region of another process that lies in what this one has mapped of it.
pub(crate) struct MappedRegion {
    mapped: Arc<Mapped>,
    /// Where the region begins in the mapping.
    first: usize,
    length: usize,
}

impl MappedRegion {
    /// None if it does not lie in there.
    pub(crate) fn new(mapped: Arc<Mapped>, region: &Extent) -> Option<Self> {
        let part = mapped.part.only(region).ok()?;
        let first = (part.from - mapped.part.from) as usize;
        Some(Self {
            first: mapped.first + first,
            length: part.length as usize,
            mapped,
        })
    }

    /// Where a range of the region is here.
    fn at(&self, offset: u64, length: usize) -> Result<*mut u8> {
        let mapped = &*self.mapped;
        let offset = usize::try_from(offset).map_err(|_| libc::EFAULT)?;
        let end = offset.checked_add(length).ok_or(libc::EFAULT)?;
        if end > self.length || !mapped.own.0.is_of_this_process() {
            return Err(libc::EFAULT);
        }
        let at = mapped.base.as_ptr().wrapping_add(self.first + offset);
        match &mapped.seen {
            Some(seen) if !mapped.is_in_memory(seen, at, length) => Err(libc::EAGAIN),
            _ => Ok(at),
        }
    }

    fn at_to_write(&self, offset: u64, length: usize) -> Result<*mut u8> {
        let at = self.at(offset, length)?;
        if self.mapped.part.is_writable {
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
