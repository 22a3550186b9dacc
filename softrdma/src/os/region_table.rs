// SPDX-License-Identifier: BSD-3-Clause

//! The regions of a process as other processes see them, and the leases that the process has of theirs.
//!
//! Both are in one memory file (`table_layout.rs`), which only its owner can write: it is sealed against every other
//! writable mapping. Whoever is sent its descriptor maps it for reading. So two processes that are connected exchange
//! one descriptor in each direction, however many connections and regions they have.
//!
//! A region for which no entry is free is not in the table: the owner executes the requests that name it.

use std::mem::offset_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize};

use parking_lot::Mutex;

use super::fd::Fd;
use super::fork_mark::ForkMark;
use super::lease::SharedRegion;
use super::lease::{self, Claim, Entry, Lease, LeaseName, LeaseSlot, Offer, TableNumber};
use super::process::Process;
use super::sync::Ordering;
use super::table_layout::{
    ENTRIES_AT, ENTRY_SIZE, FIRST_LEVEL, Header, LEASE_SLOTS, LEVELS, MAGIC, Mapping, SEALS, SIZE,
    bucket, entries_below,
};
use super::watches::{WatchName, Watches};
use super::write_marks::{MARKS, WriteMarks, are_marks};
use super::{cancel, check, child, memfd, owned, random};
use crate::Result;
use crate::types::region::{Extent, Window};

/// How many tables of one process are looked at.
const MOST_OF_PROCESS: usize = 4;

// --- The owner ---------------------------------------------------------------------------------------

/// The table of this process.
pub(crate) struct RegionTable {
    fd: Fd,
    /// A child does not have it.
    pub(super) mapping: Mapping,
    mark: ForkMark,
    number: TableNumber,
    /// Random. Who knows it can read this process's memory.
    proof: Box<u64>,
    /// A child does not have them.
    _marks: Option<WriteMarks>,
    /// Held while an entry is taken or freed, or a level allocated.
    changes: Mutex<Changes>,
    /// Those whose processes may have leases of entries of this table.
    peers: Mutex<Vec<Arc<PeerTable>>>,
}

static OWN: AtomicPtr<RegionTable> = AtomicPtr::new(ptr::null_mut());

#[derive(Default)]
struct Changes {
    /// How many regions were put into the table.
    registered: u64,
    watches: Watches,
}

/// An entry of the table of this process. To be given back with `remove`.
#[derive(Debug)]
pub(crate) struct EntryNumber(u32);

impl RegionTable {
    /// That of this process, made with the first call. A child of `fork` makes its own; the parent's regions are
    /// not in there. Fails when there can be none.
    pub(crate) fn own() -> Result<&'static Self> {
        let known = OWN.load(Ordering::Acquire);
        // SAFETY: null, or never freed.
        match unsafe { known.as_ref() } {
            Some(own) if own.is_of_this_process() => Ok(own),
            _ => Self::make_own(known),
        }
    }

    /// As `own`, if it was made. It may be that of a parent, with which nothing can be done.
    pub(crate) fn known() -> Option<&'static Self> {
        // SAFETY: null, or never freed.
        unsafe { OWN.load(Ordering::Acquire).as_ref() }
    }

    #[cold]
    fn make_own(before: *mut Self) -> Result<&'static Self> {
        let _uncancelled = cancel::Hold::new();
        let new = Box::into_raw(Box::new(Self::new()?));
        // AcqRel: whoever finds it finds it made.
        match OWN.compare_exchange(before, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: never freed from now on.
            Ok(_) => Ok(unsafe { &*new }),
            // Another thread was first.
            Err(other) => {
                // SAFETY: `new` is known to nobody else; the other one is never freed.
                unsafe {
                    drop(Box::from_raw(new));
                    Ok(&*other)
                }
            }
        }
    }

    pub(super) fn new() -> Result<Self> {
        let fd = memfd::create(SIZE)?;
        memfd::set_size(&fd, SIZE)?;
        memfd::allocate(fd.as_raw_fd(), 0, ENTRIES_AT)?;
        let mapping = Mapping::of(&fd, libc::PROT_READ | libc::PROT_WRITE)?;
        // Without it, a child would write into its parent's table.
        let at = mapping.0.as_ptr().cast();
        // SAFETY: the mapping from above.
        check(unsafe { libc::madvise(at, SIZE, libc::MADV_DONTFORK) })?;
        // From now on nobody can map it for writing.
        memfd::seal(&fd, SEALS | libc::F_SEAL_SEAL)?;
        let number = TableNumber::from_bits(u64::from_le_bytes(random::bytes()?));
        let header = &mapping.head().header;
        // Relaxed: nobody knows the file yet.
        header.number.store(number.to_bits(), Ordering::Relaxed);
        let address = ptr::from_ref(header).expose_provenance() as u64;
        header.address.store(address, Ordering::Relaxed);
        let proof = Box::new(u64::from_le_bytes(random::bytes()?));
        let address = ptr::from_ref(&*proof).expose_provenance() as u64;
        header.proof.store(address, Ordering::Relaxed);
        let marks = WriteMarks::new().ok();
        if let Some(marks) = &marks {
            for (place, at) in header.write_marks.iter().zip(marks.addresses()) {
                place.store(at, Ordering::Relaxed);
            }
        }
        header.magic.store(MAGIC, Ordering::Relaxed);
        let fd = Fd::new(fd);
        child::opened(fd.raw());
        Ok(Self {
            fd,
            mapping,
            mark: ForkMark::new()?,
            number,
            proof,
            _marks: marks,
            changes: Mutex::default(),
            peers: Mutex::new(Vec::new()),
        })
    }

    /// Whether this process has made it. Its parent's table is not mapped in a child.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.mark.is_this_process()
    }

    /// A descriptor to send to a peer, for its `peer`.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd> {
        // SAFETY: no pointers.
        owned(unsafe { libc::fcntl(self.fd.checked()?, libc::F_DUPFD_CLOEXEC, 0) })
    }

    // --- Regions ---------------------------------------------------------------------------------

    /// Puts a region into the table. None when there is no room for it.
    pub(crate) fn insert(&self, region: &SharedRegion) -> Option<EntryNumber> {
        if !self.is_of_this_process() || region.key == 0 {
            return None;
        }
        let mut changes = self.changes.lock();
        let levels = self.mapping.levels();
        // `find` looks into the largest one first.
        for level in (0..levels).rev().chain(levels..LEVELS) {
            if level >= levels && self.add_level(level).is_err() {
                return None;
            }
            let first = bucket(region.key, level);
            for number in [first, first + 1] {
                let entry = self.mapping.entry(number)?;
                if entry.key() == 0 {
                    entry.publish(region, changes.registered);
                    changes.registered += 1;
                    return Some(EntryNumber(number));
                }
            }
        }
        None
    }

    fn add_level(&self, level: u32) -> Result<()> {
        let at = ENTRIES_AT + entries_below(level) * ENTRY_SIZE;
        let length = (FIRST_LEVEL << level) * ENTRY_SIZE;
        let _uncancelled = cancel::Hold::new();
        memfd::allocate(self.fd.checked()?, at, length)?;
        // Release: whoever sees the level may touch its pages.
        let levels = &self.mapping.head().header.levels;
        levels.store(u64::from(level) + 1, Ordering::Release);
        Ok(())
    }

    fn entry(&self, number: &EntryNumber) -> Option<&Entry> {
        if self.is_of_this_process() {
            self.mapping.entry(number.0)
        } else {
            None
        }
    }

    /// Whether this is the word that only those know who can read this process's memory.
    pub(super) fn is_proof(&self, word: u64) -> bool {
        self.is_of_this_process() && *self.proof == word
    }

    /// The region that this entry describes with this generation, if this is the number of the table.
    pub(super) fn described(
        &self,
        table: u64,
        entry: u32,
        generation: u64,
    ) -> Option<SharedRegion> {
        let is_it = self.is_of_this_process() && self.number.to_bits() == table;
        let has_pages = (entry as usize) < entries_below(self.mapping.levels());
        if !is_it || !has_pages {
            return None;
        }
        self.mapping.entry(entry)?.described(generation)
    }

    /// The regions of a window that are at least so long, with their entries and the generations of these.
    pub(super) fn long_regions(&self, window: Window, length: u64) -> Vec<(u32, u64, Extent)> {
        if !self.is_of_this_process() {
            return Vec::new();
        }
        (0..entries_below(self.mapping.levels()) as u32)
            .filter_map(|number| {
                let (extent, generation) = self.mapping.entry(number)?.place()?;
                (extent.length >= length && window.has(&extent))
                    .then_some((number, generation, extent))
            })
            .collect()
    }

    /// Whether an entry describes a region with this generation.
    pub(super) fn is_described(&self, entry: u32, generation: u64) -> bool {
        self.described(self.number.to_bits(), entry, generation)
            .is_some()
    }

    /// Nobody gets a lease of the region from now on. Then `is_leased` tells when nobody has one any more.
    pub(crate) fn withdraw(&self, number: &EntryNumber) {
        if let Some(entry) = self.entry(number) {
            entry.withdraw();
        }
    }

    /// Describes the region anew: it was withdrawn, and is to stay, with the memory that it has.
    pub(crate) fn publish(&self, number: &EntryNumber, region: &SharedRegion) {
        let Some(entry) = self.entry(number) else {
            return;
        };
        if let Some(Extent { serial, .. }) = entry.extent() {
            entry.publish(region, serial);
        }
    }

    /// Frees the entry. The region must have been withdrawn and not be leased any more. Whether that makes a difference
    /// to `unused_windows`.
    pub(crate) fn remove(&self, number: EntryNumber) -> bool {
        let Some(entry) = self.entry(&number) else {
            return false;
        };
        let mut changes = self.changes.lock();
        let extent = entry.extent();
        entry.withdraw();
        entry.free();
        let number = number.0 as usize;
        extent.is_some_and(|extent| changes.watches.removed(number, &extent))
    }

    // --- Windows that others have mapped -------------------------------------------------------------

    /// How many regions were put into the table until now. The serial number of each is less.
    pub(super) fn registered(&self) -> u64 {
        self.changes.lock().registered
    }

    /// From now on `unused_windows` tells when there is no region any more that lies in this window. Returns the name
    /// that the window has there, or None if there is none now.
    pub(super) fn watch(&self, window: Window) -> Option<WatchName> {
        // So many entries are looked at while the lock is held.
        const PART: usize = 4096;
        if !self.is_of_this_process() {
            return None;
        }
        let name = self.changes.lock().watches.begin(window);
        let mut next = 0;
        loop {
            let mut changes = self.changes.lock();
            let all = entries_below(self.mapping.levels());
            let end = all.min(next + PART);
            let entries = (next..end).filter_map(|number| self.mapping.entry(number as u32));
            let regions = entries
                .filter_map(Entry::extent)
                .filter(|region| window.has(region));
            changes.watches.count(name, regions.count(), end);
            if end == all {
                return changes.watches.end_count(name).then_some(name);
            }
            next = end;
        }
    }

    pub(super) fn unwatch(&self, name: WatchName) {
        if self.is_of_this_process() {
            self.changes.lock().watches.end(name);
        }
    }

    /// The windows that have had no region since the last call. They are not watched any more.
    pub(super) fn unused_windows(&self) -> Vec<WatchName> {
        if self.is_of_this_process() {
            self.changes.lock().watches.take_unused()
        } else {
            Vec::new()
        }
    }

    // --- Leases of others ------------------------------------------------------------------------

    /// The table of a process that is connected with this one, which has sent its descriptor.
    ///
    /// From now on that process is taken for one that may have leases of regions of this process. So a peer must take
    /// no lease before it knows that this was called.
    pub(crate) fn peer(
        &'static self,
        process: &Arc<Process>,
        fd: &OwnedFd,
    ) -> Result<Arc<PeerTable>> {
        let new = PeerTable::new(self, process, fd)?;
        let mut peers = self.peers.lock();
        // One without a connection may still copy. One that has ended does not.
        peers.retain(|known| known.process.is_there());
        let same = |known: &&Arc<PeerTable>| {
            known.number == new.number && Arc::ptr_eq(&known.process, process)
        };
        if let Some(known) = peers.iter().find(same) {
            return Ok(Arc::clone(known));
        }
        // It has made another one after a fork, perhaps. What it sends without end is not kept.
        let of_process = peers
            .iter()
            .filter(|known| Arc::ptr_eq(&known.process, process));
        if of_process.count() >= MOST_OF_PROCESS {
            return Err(libc::ENOSPC);
        }
        peers.try_reserve(1).map_err(|_| libc::ENOMEM)?;
        let new = Arc::new(new);
        peers.push(Arc::clone(&new));
        Ok(new)
    }

    /// Lets go of the tables of processes that have ended, and of those that no connection uses, unless their processes
    /// have a lease. What those were granted is revoked, so they get no other one. Whether others are not in use.
    pub(crate) fn forget_unused() -> bool {
        let own = Self::known().filter(|own| own.is_of_this_process());
        own.is_some_and(Self::forget_unused_peers)
    }

    pub(super) fn forget_unused_peers(&self) -> bool {
        let _uncancelled = cancel::Hold::new();
        let mut peers = self.peers.lock();
        peers.retain(|known| {
            let is_in_use = Arc::strong_count(known) > 1;
            known.process.is_there() && (is_in_use || known.has_lease_of(self.number))
        });
        peers.iter().any(|known| Arc::strong_count(known) == 1)
    }

    fn is_any_slot(&self, mut names: impl FnMut(&LeaseSlot) -> bool) -> bool {
        if !self.is_of_this_process() {
            return false;
        }
        let peers = self.peers.lock();
        peers.iter().any(|peer| {
            // A process that was killed leaves its leases as they were, and copies no more.
            peer.mapping.lease_slots().any(&mut names) && peer.process.is_there()
        })
    }

    /// Whether a process has a lease of the region, which was withdrawn. The caller asks again, until a time limit.
    pub(crate) fn is_leased(&self, number: &EntryNumber) -> bool {
        let name = LeaseName::new(self.number, number.0);
        self.is_any_slot(|slot| slot.names(name))
    }

    /// Nobody gets a lease of any region from now on, until `open`. Then `has_leases` tells when nobody has one any
    /// more.
    pub(crate) fn close(&self) {
        if self.is_of_this_process() {
            lease::close(&self.mapping.head().header.closed);
        }
    }

    pub(crate) fn open(&self) {
        if self.is_of_this_process() {
            lease::open(&self.mapping.head().header.closed);
        }
    }

    /// Whether a process has a lease of any region of the table, which was closed.
    pub(crate) fn has_leases(&self) -> bool {
        self.is_any_slot(|slot| slot.names_table(self.number))
    }

    // --- Leases of this process ------------------------------------------------------------------

    /// A lease slot that no other thread uses, with this name.
    fn claim(&self, name: LeaseName) -> Option<Claim<'_>> {
        if !self.is_of_this_process() {
            return None;
        }
        let slots = &self.mapping.head().lease_slots;
        let (before, from) = slots.split_at(first_slot());
        from.iter()
            .chain(before)
            .find_map(|slot| slot.0.claim(name))
    }
}

impl Drop for RegionTable {
    fn drop(&mut self) {
        child::closing(self.fd.raw());
    }
}

/// Where a thread begins to look for a lease slot, so that the slot is mostly in the cache of its processor.
fn first_slot() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // Relaxed: just a number.
        static FIRST: usize = THREADS.fetch_add(1, Ordering::Relaxed) % LEASE_SLOTS;
    }
    FIRST.try_with(|first| *first).unwrap_or(0)
}

// --- The initiator -----------------------------------------------------------------------------------

/// The table of another process.
pub(crate) struct PeerTable {
    /// The table of this process, whose lease slots the other process looks at. A child has other ones.
    own: &'static RegionTable,
    pub(super) process: Arc<Process>,
    mapping: Mapping,
    number: TableNumber,
}

impl std::fmt::Debug for PeerTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerTable").finish_non_exhaustive()
    }
}

impl PeerTable {
    /// Fails for what has not been made by `RegionTable`: its owner could make it smaller, and whoever touches what is
    /// behind the end of a file is killed.
    fn new(own: &'static RegionTable, process: &Arc<Process>, fd: &OwnedFd) -> Result<Self> {
        memfd::check_sent(fd, SIZE, SEALS)?;
        let mapping = Mapping::of(fd, libc::PROT_READ)?;
        let header = &mapping.head().header;
        // Relaxed: they were written before the descriptor was sent.
        if header.magic.load(Ordering::Relaxed) != MAGIC {
            return Err(libc::EINVAL);
        }
        let number = TableNumber::from_bits(header.number.load(Ordering::Relaxed));
        Ok(Self {
            own,
            process: Arc::clone(process),
            mapping,
            number,
        })
    }

    /// Whether memory is that of the process that has made the table: `read` reads eight bytes of it. A process that
    /// executes another program has other memory.
    pub(super) fn is_made_in(&self, read: impl FnOnce(u64) -> Option<u64>) -> bool {
        // Relaxed: it was written before the descriptor was sent.
        let header = self.mapping.head().header.address.load(Ordering::Relaxed);
        let number = header.checked_add(offset_of!(Header, number) as u64);
        number.and_then(read) == Some(self.number.to_bits())
    }

    /// Where its process has the word for `is_proof`.
    pub(super) fn proof_at(&self) -> u64 {
        // Relaxed: as above. The owner may say what it likes: it is its own memory that it gets.
        self.mapping.head().header.proof.load(Ordering::Relaxed)
    }

    /// Where its process has its marks, if it has any.
    pub(super) fn write_marks(&self) -> Option<[u64; MARKS]> {
        let marks = &self.mapping.head().header.write_marks;
        // Relaxed: as above.
        let marks = [0, 1].map(|index| marks[index].load(Ordering::Relaxed));
        are_marks(marks).then_some(marks)
    }

    /// The number of the table.
    pub(super) fn number(&self) -> u64 {
        self.number.to_bits()
    }

    /// The table of this process.
    pub(super) fn own(&self) -> &'static RegionTable {
        self.own
    }

    /// Whether its process has a lease of any region of the table with this number.
    fn has_lease_of(&self, number: TableNumber) -> bool {
        let mut slots = self.mapping.lease_slots();
        slots.any(|slot| slot.names_table(number))
    }

    /// Whether this process, and not a parent of it, has got the table.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.own.is_of_this_process()
    }

    /// The entry of the region with this key, for `lease`. It may be kept for the next request with this key.
    pub(crate) fn find(&self, key: u32) -> Option<u32> {
        // So many levels are read before the first key is compared: the processor waits for all of them at once.
        const AT_ONCE: u32 = 3;
        if key == 0 {
            return None;
        }
        let levels = self.mapping.levels();
        let below = levels.saturating_sub(AT_ONCE);
        let key_of = |number| self.mapping.entry(number).map_or(0, Entry::key);
        let read = |level| {
            let first = bucket(key, level);
            [(first, key_of(first)), (first + 1, key_of(first + 1))]
        };
        let mut largest = [[(0, 0); 2]; AT_ONCE as usize];
        for (bucket, level) in largest.iter_mut().zip((below..levels).rev()) {
            *bucket = read(level);
        }
        // Most are in the largest level that there was when they were inserted.
        let of_others = (0..below).rev().flat_map(read);
        let all = largest.into_iter().flatten().chain(of_others);
        let mut found = all.filter(|&(_, is)| is == key);
        found.next().map(|(number, _)| number)
    }

    /// A lease of the region with this key, if it is in this entry, is registered and may be used now. None otherwise,
    /// and while all lease slots of this process are in use: then the owner has to execute the request.
    pub(crate) fn lease(&self, entry: u32, key: u32) -> Option<Lease<'static>> {
        if key == 0 || !self.has_pages(entry) {
            return None;
        }
        let offer = Offer {
            entry: self.mapping.entry(entry)?,
            name: LeaseName::new(self.number, entry),
            closed: &self.mapping.head().header.closed,
        };
        offer.lease(key, |name| self.own.claim(name))
    }

    /// Whether the region that an entry had with this generation is still there.
    pub(super) fn describes(&self, entry: u32, generation: u64) -> bool {
        let entry = Some(entry).filter(|&entry| self.has_pages(entry));
        let entry = entry.and_then(|entry| self.mapping.entry(entry));
        entry.is_some_and(|entry| entry.is_still(generation))
    }

    fn has_pages(&self, entry: u32) -> bool {
        (entry as usize) < entries_below(self.mapping.levels())
    }
}
