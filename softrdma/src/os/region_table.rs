// SPDX-License-Identifier: BSD-3-Clause

//! The regions of a process as other processes see them, and the leases that the process has of theirs.
//!
//! Both are in one memory file, which only its owner can write: it is sealed against every other writable mapping.
//! Whoever is sent its descriptor maps it for reading. So two processes that are connected exchange one descriptor in
//! each direction, however many connections and regions they have.
//!
//! | bytes of the file | |
//! | --- | --- |
//! | 0..64 | header |
//! | 64..4096 | 63 lease slots, a cache line each: as many threads copy at a time |
//! | 4096.. | 64 entries of 64 bytes: level 0 |
//! | 8192.. | 128 entries: level 1, and so on: each level is twice as large as the one before |
//!
//! An entry stays where it is. In each level there are two entries for a key, a *bucket*; a region goes to the lowest
//! level where one of them is free. The pages of a level are allocated when it is used first, so that the file costs 8
//! KiB while there are few regions. A region for which no entry is free is not in the table: the owner executes the
//! requests that name it.

use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize};

use parking_lot::Mutex;

use super::fd::Fd;
use super::lease::SharedRegion;
use super::lease::{self, Claim, Entry, Lease, LeaseName, LeaseSlot, Offer, TableNumber};
use super::process::Process;
use super::sync::{AtomicU64, Ordering};
use super::{cancel, check, child, errno, memfd, owned, random};
use crate::Result;

const LEASE_SLOTS: usize = 63;
const LEVELS: u32 = 12;
const FIRST_LEVEL: usize = 64;
const ENTRIES_AT: usize = 4096;
/// How many tables of one process are looked at.
const MOST_OF_PROCESS: usize = 4;
const ENTRY_SIZE: usize = 64;
const SIZE: usize = ENTRIES_AT + entries_below(LEVELS) * ENTRY_SIZE;
/// The seals of the file: peers rely on its size, and the owner relies on being the only writer.
const SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE;
/// The form of the table. The other side may be another build.
const MAGIC: u64 = u64::from_le_bytes(*b"regions1");

/// How many entries there are in the levels below this one.
const fn entries_below(level: u32) -> usize {
    (FIRST_LEVEL << level) - FIRST_LEVEL
}

/// The number of the first entry of a key in this level. The other one follows it.
fn bucket(key: u32, level: u32) -> u32 {
    // The lowest bit is the same in all keys for peers. The others are random.
    let buckets = (FIRST_LEVEL << level) as u32 / 2;
    entries_below(level) as u32 + 2 * ((key >> 1) % buckets)
}

#[repr(C, align(64))]
struct Header {
    magic: AtomicU64,
    number: AtomicU64,
    /// Not 0: nobody may use the regions.
    closed: AtomicU64,
    /// How many levels have pages.
    levels: AtomicU64,
    /// Where the owner has this header.
    address: AtomicU64,
}

#[repr(C, align(64))]
struct Line<T>(T);

#[repr(C)]
struct Head {
    header: Header,
    lease_slots: [Line<LeaseSlot>; LEASE_SLOTS],
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
struct Mapping(NonNull<u8>);

// SAFETY: it is mapped for the process, not for a thread, and all that is in there is atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn of(fd: &OwnedFd, rights: i32) -> Result<Self> {
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

    fn head(&self) -> &Head {
        // SAFETY: within the mapping and aligned to a page; atomics, which the owner may change meanwhile. In a
        // mapping for reading, `RegionTable` and `PeerTable` only load.
        unsafe { self.0.cast().as_ref() }
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
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
    fn levels(&self) -> u32 {
        // Acquire: the pages of these levels are there. The owner may be hostile.
        let levels = self.head().header.levels.load(Ordering::Acquire);
        levels.min(u64::from(LEVELS)) as u32
    }

    fn lease_slots(&self) -> impl Iterator<Item = &LeaseSlot> {
        self.head().lease_slots.iter().map(|Line(slot)| slot)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of`, and nothing of it is used any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), SIZE) };
    }
}

/// Memory that a child of `fork` finds empty, however it was made.
struct ForkMark(NonNull<u8>);

// SAFETY: a byte that is written before there are other threads.
unsafe impl Send for ForkMark {}
// SAFETY: as above.
unsafe impl Sync for ForkMark {}

impl ForkMark {
    const SIZE: usize = 1;

    fn new() -> Result<Self> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe { libc::mmap(ptr::null_mut(), Self::SIZE, rights, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        let mark = Self(NonNull::new(at.cast()).ok_or(libc::ENOMEM)?);
        // SAFETY: the mapping from above.
        unsafe {
            check(libc::madvise(at, Self::SIZE, libc::MADV_WIPEONFORK))?;
            mark.0.write(1);
        }
        Ok(mark)
    }

    fn is_this_process(&self) -> bool {
        // SAFETY: it is mapped, and nobody writes it any more. The compiler must not remember it over a fork.
        unsafe { self.0.read_volatile() != 0 }
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and not used any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), Self::SIZE) };
    }
}

// --- The owner ---------------------------------------------------------------------------------------

/// The table of this process.
pub(crate) struct RegionTable {
    fd: Fd,
    /// A child does not have it.
    mapping: Mapping,
    mark: ForkMark,
    number: TableNumber,
    /// Held while an entry is taken or freed, or a level allocated.
    changes: Mutex<()>,
    /// Those whose processes may have leases of entries of this table.
    peers: Mutex<Vec<Arc<PeerTable>>>,
}

static OWN: AtomicPtr<RegionTable> = AtomicPtr::new(ptr::null_mut());

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

    fn new() -> Result<Self> {
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
        header.magic.store(MAGIC, Ordering::Relaxed);
        let fd = Fd::new(fd);
        child::opened(fd.raw());
        Ok(Self {
            fd,
            mapping,
            mark: ForkMark::new()?,
            number,
            changes: Mutex::new(()),
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
        let _changes = self.changes.lock();
        for level in 0..LEVELS {
            if level == self.mapping.levels() && self.add_level(level).is_err() {
                return None;
            }
            let first = bucket(region.key, level);
            for number in [first, first + 1] {
                let entry = self.mapping.entry(number)?;
                if entry.key() == 0 {
                    entry.publish(region);
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

    /// Nobody gets a lease of the region from now on. Then `is_leased` tells when nobody has one any more.
    pub(crate) fn withdraw(&self, number: &EntryNumber) {
        if let Some(entry) = self.entry(number) {
            entry.withdraw();
        }
    }

    /// Describes the region anew: it was withdrawn, and is to stay, or has changed.
    pub(crate) fn publish(&self, number: &EntryNumber, region: &SharedRegion) {
        if let Some(entry) = self.entry(number) {
            entry.publish(region);
        }
    }

    /// Frees the entry. The region must have been withdrawn and not be leased any more.
    pub(crate) fn remove(&self, number: EntryNumber) {
        let _changes = self.changes.lock();
        if let Some(entry) = self.entry(&number) {
            entry.withdraw();
            entry.free();
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

    /// Lets go of the tables of processes that have ended. Whether others are not in use.
    pub(crate) fn forget_ended() -> bool {
        let Some(own) = Self::known().filter(|own| own.is_of_this_process()) else {
            return false;
        };
        let _uncancelled = cancel::Hold::new();
        let mut peers = own.peers.lock();
        peers.retain(|known| known.process.is_there());
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
    process: Arc<Process>,
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

    /// Whether this process, and not a parent of it, has got the table.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.own.is_of_this_process()
    }

    /// The entry of the region with this key, for `lease`. It may be kept for the next request with this key.
    pub(crate) fn find(&self, key: u32) -> Option<u32> {
        // The largest level has most of the regions.
        (0..self.mapping.levels()).rev().find_map(|level| {
            let first = bucket(key, level);
            let is_there = |&number: &u32| {
                let entry = self.mapping.entry(number);
                entry.is_some_and(|entry| key != 0 && entry.key() == key)
            };
            [first, first + 1]
                .iter()
                .find(|number| is_there(number))
                .copied()
        })
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

    fn has_pages(&self, entry: u32) -> bool {
        (entry as usize) < entries_below(self.mapping.levels())
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::os::socket::Socket;
    use crate::types::region::{Terms, access};

    /// A table of its own for each test, as if the test were a process.
    fn table() -> &'static RegionTable {
        // LeakSanitizer reports what nothing refers to.
        static TABLES: std::sync::Mutex<Vec<&RegionTable>> = std::sync::Mutex::new(Vec::new());
        let table = Box::leak(Box::new(RegionTable::new().unwrap()));
        TABLES.lock().unwrap().push(table);
        table
    }

    fn this_process() -> Arc<Process> {
        let (_one, other) = Socket::pair().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        Process::at_the_other_end(other.raw(), own).unwrap()
    }

    /// How the owner of the first one is seen by an initiator, whose table is the second one.
    fn seen_by(owner: &'static RegionTable, initiator: &'static RegionTable) -> Arc<PeerTable> {
        let process = this_process();
        owner
            .peer(&process, &initiator.descriptor().unwrap())
            .unwrap();
        initiator
            .peer(&process, &owner.descriptor().unwrap())
            .unwrap()
    }

    fn region(key: u32) -> SharedRegion {
        SharedRegion {
            key,
            terms: Terms {
                addr: 0x10_0000 + u64::from(key),
                length: 4096 + u64::from(key),
                iova: 0x20_0000 + u64::from(key),
                access: access::REMOTE_WRITE,
            },
            domain: key ^ 5,
        }
    }

    /// Keys in an order that has nothing to do with the buckets. All are different and odd.
    fn keys(count: u32) -> impl Iterator<Item = u32> {
        (0..count).map(|n| n.wrapping_mul(0x9e37_79b1) << 1 | 1)
    }

    fn pages_of(table: &RegionTable) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let file = File::from(table.descriptor().unwrap());
        file.metadata().unwrap().blocks() * 512 / 4096
    }

    #[test]
    fn a_region_is_found_by_its_key_until_it_is_removed() {
        let (owner, initiator) = (table(), table());
        let peer = seen_by(owner, initiator);
        assert_eq!(peer.find(7), None);
        assert!(peer.lease(0, 7).is_none());
        let number = owner.insert(&region(7)).unwrap();
        let entry = peer.find(7).unwrap();
        assert_eq!(peer.find(9), None);
        assert_eq!(peer.find(0), None);
        let lease = peer.lease(entry, 7).unwrap();
        assert_eq!(*lease.region(), region(7));
        drop(lease);
        assert!(peer.lease(entry, 9).is_none());
        owner.remove(number);
        assert_eq!(peer.find(7), None);
        assert!(peer.lease(entry, 7).is_none());
    }

    #[test]
    fn a_lease_is_seen_until_it_ends() {
        let (owner, initiator) = (table(), table());
        let peer = seen_by(owner, initiator);
        let number = owner.insert(&region(7)).unwrap();
        let other = owner.insert(&region(9)).unwrap();
        let entry = peer.find(7).unwrap();
        let lease = peer.lease(entry, 7).unwrap();
        owner.withdraw(&number);
        assert!(owner.is_leased(&number));
        assert!(!owner.is_leased(&other));
        assert!(!initiator.is_leased(&number));
        assert!(peer.lease(entry, 7).is_none());
        drop(lease);
        assert!(!owner.is_leased(&number));
        // It could not be deregistered, or has changed.
        let changed = SharedRegion {
            domain: 1,
            ..region(7)
        };
        owner.publish(&number, &changed);
        assert_eq!(*peer.lease(entry, 7).unwrap().region(), changed);
    }

    #[test]
    fn a_lease_stays_seen_when_the_region_stays() {
        let (owner, initiator) = (table(), table());
        let peer = seen_by(owner, initiator);
        let number = owner.insert(&region(7)).unwrap();
        let entry = peer.find(7).unwrap();
        let lease = peer.lease(entry, 7).unwrap();
        owner.withdraw(&number);
        owner.publish(&number, &region(7));
        owner.withdraw(&number);
        assert!(owner.is_leased(&number));
        drop(lease);
        assert!(!owner.is_leased(&number));
    }

    #[test]
    fn another_region_in_the_same_entry_is_not_taken_for_the_first() {
        let (owner, initiator) = (table(), table());
        let peer = seen_by(owner, initiator);
        let number = owner.insert(&region(7)).unwrap();
        let entry = peer.find(7).unwrap();
        owner.remove(number);
        // The same bucket of level 0.
        let other = 7 + ((FIRST_LEVEL as u32) << 4);
        owner.insert(&region(other)).unwrap();
        assert_eq!(peer.find(other), Some(entry));
        assert!(peer.lease(entry, 7).is_none());
        assert_eq!(*peer.lease(entry, other).unwrap().region(), region(other));
    }

    #[test]
    fn nobody_gets_a_lease_from_a_closed_table() {
        let (owner, initiator) = (table(), table());
        let peer = seen_by(owner, initiator);
        owner.insert(&region(7)).unwrap();
        let entry = peer.find(7).unwrap();
        let lease = peer.lease(entry, 7).unwrap();
        owner.close();
        assert!(peer.lease(entry, 7).is_none());
        assert!(owner.has_leases());
        assert!(!initiator.has_leases());
        drop(lease);
        assert!(!owner.has_leases());
        owner.open();
        assert!(peer.lease(entry, 7).is_some());
    }

    #[test]
    fn as_many_threads_as_there_are_lease_slots_copy_at_a_time() {
        let (owner, initiator) = (table(), table());
        let peer = seen_by(owner, initiator);
        let number = owner.insert(&region(7)).unwrap();
        let entry = peer.find(7).unwrap();
        let mut leases: Vec<_> = (0..LEASE_SLOTS)
            .map(|_| peer.lease(entry, 7).unwrap())
            .collect();
        assert!(peer.lease(entry, 7).is_none());
        leases.pop();
        assert!(peer.lease(entry, 7).is_some());
        owner.withdraw(&number);
        while leases.pop().is_some() {
            assert_eq!(owner.is_leased(&number), !leases.is_empty());
        }
    }

    #[test]
    fn a_process_that_has_ended_has_no_leases() {
        let (owner, initiator) = (table(), table());
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        // Where the kernel does not tell of the end, there is nothing to test.
        let Ok(process) = Process::of_child(child.id()) else {
            child.kill().unwrap();
            child.wait().unwrap();
            return;
        };
        owner
            .peer(&process, &initiator.descriptor().unwrap())
            .unwrap();
        let peer = initiator
            .peer(&this_process(), &owner.descriptor().unwrap())
            .unwrap();
        let number = owner.insert(&region(7)).unwrap();
        let lease = peer.lease(peer.find(7).unwrap(), 7).unwrap();
        owner.withdraw(&number);
        assert!(owner.is_leased(&number));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!owner.is_leased(&number));
        drop(lease);
    }

    #[test]
    fn a_hundred_thousand_regions_are_found() {
        const MANY: u32 = 100_000;
        let (owner, initiator) = (table(), table());
        let peer = seen_by(owner, initiator);
        let mut numbers = Vec::new();
        for key in keys(MANY) {
            numbers.push(owner.insert(&region(key)).unwrap());
        }
        for key in keys(MANY) {
            let lease = peer.lease(peer.find(key).unwrap(), key).unwrap();
            assert_eq!(*lease.region(), region(key));
        }
        assert_eq!(peer.find(2 * MANY), None);
        for number in numbers {
            owner.remove(number);
        }
        assert!(keys(MANY).all(|key| peer.find(key).is_none()));
        // There is room again.
        assert!(keys(MANY).all(|key| owner.insert(&region(key)).is_some()));
    }

    #[test]
    fn it_takes_memory_for_the_regions_that_it_has() {
        let owner = table();
        assert_eq!(pages_of(owner), 1);
        owner.insert(&region(7)).unwrap();
        assert_eq!(pages_of(owner), 2);
        for key in keys(1000) {
            owner.insert(&region(key)).unwrap();
        }
        let pages = pages_of(owner);
        assert!(pages <= 128, "{pages} pages");
    }

    #[test]
    fn regions_that_find_no_room_are_not_in_it() {
        let owner = table();
        // All of one bucket in each level.
        let step = (FIRST_LEVEL as u32) << LEVELS;
        let inserted = (0..100).filter(|n| owner.insert(&region(1 + n * step)).is_some());
        assert_eq!(inserted.count(), 2 * LEVELS as usize);
        assert!(owner.insert(&region(3)).is_some());
        assert!(owner.insert(&region(0)).is_none());
    }

    #[test]
    fn each_process_is_known_once() {
        let (owner, initiator) = (table(), table());
        let first = seen_by(owner, initiator);
        let second = seen_by(owner, initiator);
        // Where the kernel does not tell which process it is, each stands for itself.
        assert_eq!(
            Arc::ptr_eq(&first, &second),
            Arc::ptr_eq(&first.process, &second.process)
        );
    }

    #[test]
    fn nobody_else_can_write_it_or_change_its_size() {
        let fd = table().descriptor().unwrap();
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        assert_eq!(Mapping::of(&fd, rights).err(), Some(libc::EPERM));
        let file = File::from(fd);
        let errno = |done: io::Result<()>| done.err().and_then(|e| e.raw_os_error());
        assert_eq!(errno(file.write_all_at(b"x", 0)), Some(libc::EPERM));
        assert_eq!(errno(file.set_len(0)), Some(libc::EPERM));
        assert_eq!(errno(file.set_len(2 * SIZE as u64)), Some(libc::EPERM));
    }

    #[test]
    fn what_is_not_a_table_is_refused() {
        let own = table();
        let refused = |fd: &OwnedFd| own.peer(&this_process(), fd).err();
        let made = |size: usize, seals: i32, magic: u64| {
            let fd = memfd::create(SIZE).unwrap();
            memfd::set_size(&fd, size).unwrap();
            let file = File::from(fd);
            file.write_all_at(&magic.to_ne_bytes(), 0).unwrap();
            let fd = OwnedFd::from(file);
            memfd::seal(&fd, seals).unwrap();
            fd
        };
        assert_eq!(refused(&made(SIZE, SEALS, MAGIC)), None);
        assert_eq!(refused(&made(SIZE, SEALS, 0)), Some(libc::EINVAL));
        for size in [8, SIZE - 1, SIZE + 1] {
            let fd = made(size, SEALS, MAGIC);
            assert_eq!(refused(&fd), Some(libc::EINVAL));
        }
        for seal in [
            libc::F_SEAL_SHRINK,
            libc::F_SEAL_GROW,
            libc::F_SEAL_FUTURE_WRITE,
        ] {
            let fd = made(SIZE, SEALS & !seal, MAGIC);
            assert_eq!(refused(&fd), Some(libc::EINVAL));
        }
        for path in ["/proc/self/exe", "/dev/zero", "/"] {
            let file = File::open(path).unwrap();
            assert!(refused(&file.into()).is_some(), "{path}");
        }
    }

    #[test]
    fn nothing_that_the_owner_writes_leads_out_of_the_table() {
        let (owner, initiator) = (table(), table());
        let peer = seen_by(owner, initiator);
        owner.insert(&region(7)).unwrap();
        let levels = &owner.mapping.head().header.levels;
        for nonsense in [u64::from(LEVELS) + 1, u64::MAX, 1 << 40] {
            levels.store(nonsense, Ordering::Relaxed);
            assert!(peer.find(7).is_some());
            assert_eq!(peer.find(9), None);
            assert!(peer.lease(u32::MAX, 7).is_none());
            assert!(peer.lease(entries_below(LEVELS) as u32, 7).is_none());
        }
    }

    #[test]
    fn a_child_has_a_table_of_its_own() {
        let own = RegionTable::own().unwrap();
        let peer = seen_by(own, own);
        let number = own.insert(&region(7)).unwrap();
        let entry = peer.find(7).unwrap();
        // Everything that the child does is done without locks that threads of its parent may hold, or memory
        // allocation but for the one of `own`.
        let in_child = || {
            // The parent's is not there: whoever touched it would be killed.
            own.withdraw(&number);
            own.close();
            let leased = peer.lease(entry, 7).is_some() || own.is_leased(&number);
            let other = RegionTable::own();
            let is_other = other.is_ok_and(|other| !ptr::eq(other, own));
            !leased && own.insert(&region(9)).is_none() && is_other
        };
        // SAFETY: the child ends by `_exit`.
        let status = unsafe {
            match libc::fork() {
                0 => libc::_exit(i32::from(!in_child())),
                child => {
                    let mut status = -1;
                    assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                    status
                }
            }
        };
        assert_eq!(status, 0);
        assert!(peer.lease(entry, 7).is_some());
        assert_eq!(peer.find(9), None);
    }
}
