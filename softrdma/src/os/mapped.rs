// SPDX-License-Identifier: BSD-3-Clause

//! Regions of another process that this one has mapped too: the files under them.
//!
//! What the other process sends is checked as if it was hostile. What it does to the file later, for example to
//! truncate it, is an error of the copy (`guard`). A region is accessed under a lease only (`lease`), so that the owner
//! knows when its memory is its own again; the mapping itself may last longer, and nobody uses it then.

use std::collections::BTreeMap;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::errno;
use super::file_under::is_local;
use super::guard;
use super::lease::SharedRegion;
use super::memory::Span;
use super::own_memory::page_size;
use super::private_fd::PrivateFd;
use super::region_table::RegionTable;
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
    /// Of the process that has mapped it. A child does not have it.
    own: OwnTable,
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
        let (_, file_size) = file.regular_file()?;
        let length = region.terms.length;
        let end = offset.checked_add(length).ok_or(libc::EINVAL)?;
        if length == 0 || end > file_size || !is_local(file)? {
            return Err(libc::EINVAL);
        }
        let page = page_size() as u64;
        let begin = offset / page * page;
        let size = usize::try_from(end - begin).map_err(|_| libc::ENOMEM)?;
        let is_writable = region.terms.access & access::REMOTE_WRITE != 0;
        guard::prepare();
        Ok(Self {
            base: map(file, begin, size, is_writable)?,
            size,
            first: (offset - begin) as usize,
            length: length as usize,
            is_writable,
            own: OwnTable(own),
        })
    }

    /// Where a range of the region is here.
    fn at(&self, offset: u64, length: usize) -> Result<*mut u8> {
        let offset = usize::try_from(offset).map_err(|_| libc::EFAULT)?;
        let end = offset.checked_add(length).ok_or(libc::EFAULT)?;
        if end > self.length || !self.own.0.is_of_this_process() {
            return Err(libc::EFAULT);
        }
        Ok(self.base.as_ptr().wrapping_add(self.first + offset))
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

fn map(file: &PrivateFd, begin: u64, size: usize, is_writable: bool) -> Result<NonNull<u8>> {
    let begin = libc::off_t::try_from(begin).map_err(|_| libc::EINVAL)?;
    let rights = if is_writable {
        libc::PROT_READ | libc::PROT_WRITE
    } else {
        libc::PROT_READ
    };
    let map = |flags| {
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(ptr::null_mut(), size, rights, flags, file.raw(), begin) };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        NonNull::new(at.cast::<u8>()).ok_or(libc::ENOMEM)
    };
    // What is written to persistent memory is to stay there, as with the owner's mapping. Other files cannot do that.
    let base = match map(libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC) {
        Err(libc::EOPNOTSUPP | libc::EINVAL) => map(libc::MAP_SHARED)?,
        mapped => mapped?,
    };
    // SAFETY: the mapping from above. It is this process's alone.
    unsafe {
        if libc::madvise(base.as_ptr().cast(), size, libc::MADV_DONTFORK) != 0 {
            let failed = errno();
            libc::munmap(base.as_ptr().cast(), size);
            return Err(failed);
        }
    }
    Ok(base)
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
