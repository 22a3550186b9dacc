// SPDX-License-Identifier: BSD-3-Clause

//! How another process accesses a region of this one without a request to it: entries and leases.
//!
//! The *owner* of regions describes each in an *entry*, which others can read. An *initiator* that is about to copy
//! from or to a region says so in a *lease slot*, which the owner can read, looks at the entry once more, copies if
//! it has not changed, and clears the lease slot:
//!
//! ```text
//! initiator                          owner
//! read the entry
//! lease slot = name of the entry     generation = even (withdrawn)
//! fence(SeqCst)                      fence(SeqCst)
//! generation still the same?         does a lease slot name the entry?
//!   copy                               wait
//! lease slot = 0 (Release)           (Acquire) the memory is the program's again
//! ```
//!
//! Each side stores, and then looks at what the other one stores. The two fences are in some order: either the
//! initiator sees that the entry was withdrawn, or the owner sees the lease. So when the owner has found no lease,
//! nobody copies, and nobody will.
//!
//! Neither side trusts the other one. An initiator that writes nonsense into its lease slots delays the owner until
//! its time limit. An owner that writes nonsense into its entries has its own memory overwritten.

use super::sync::{AtomicU64, Ordering, fence};
use crate::types::region::{Extent, Terms};

/// A region as other processes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedRegion {
    /// The key that peers name it by. Not 0.
    pub(crate) key: u32,
    pub(crate) terms: Terms,
    /// The number of its protection domain.
    pub(crate) domain: u32,
}

impl SharedRegion {
    pub(super) fn extent(&self, serial: u64) -> Extent {
        Extent {
            addr: self.terms.addr,
            length: self.terms.length,
            serial,
        }
    }
}

/// Describes a region. Zeros are right for an entry that is free.
///
/// Only the owner writes it, one thread at a time. The other side may be another build.
#[repr(C, align(64))]
pub(super) struct Entry {
    /// Odd while the entry describes a region, even while it is free, withdrawn or being written. It only grows, so
    /// no two regions that are one after the other in the same entry have the same generation.
    generation: AtomicU64,
    /// Key and access.
    key: AtomicU64,
    addr: AtomicU64,
    iova: AtomicU64,
    length: AtomicU64,
    /// The number of the protection domain.
    domain: AtomicU64,
    /// How many regions the owner had registered before this one.
    serial: AtomicU64,
    reserved: AtomicU64,
}

/// What an entry says.
struct Description {
    region: SharedRegion,
    generation: u64,
    serial: u64,
}

/// Two numbers in one word.
fn pack(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn unpack(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

impl Entry {
    #[cfg(all(loom, test))]
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            generation: zero(),
            key: zero(),
            addr: zero(),
            iova: zero(),
            length: zero(),
            domain: zero(),
            serial: zero(),
            reserved: zero(),
        }
    }

    /// The key of the region that is, or was last, in the entry. 0 for a free one.
    pub(super) fn key(&self) -> u32 {
        // Relaxed: whoever finds the key reads the entry afterwards, or is the owner.
        unpack(self.key.load(Ordering::Relaxed)).0
    }

    // --- The owner -------------------------------------------------------------------------------

    /// Describes a region from now on. The entry must be free or withdrawn.
    pub(super) fn publish(&self, region: &SharedRegion, serial: u64) {
        let SharedRegion { key, terms, .. } = *region;
        for (place, value) in [
            (&self.key, pack(key, terms.access)),
            (&self.addr, terms.addr),
            (&self.iova, terms.iova),
            (&self.length, terms.length),
            (&self.domain, u64::from(region.domain)),
            (&self.serial, serial),
        ] {
            // Relaxed: between the fence in `withdraw` and the store below. With the fence in `Offer::lease`, a reader
            // that sees one of these sees what was stored before that fence too: that the generation has changed.
            place.store(value, Ordering::Relaxed);
        }
        // Relaxed: only this side writes it.
        let even = self.generation.load(Ordering::Relaxed);
        // Release: a reader that sees this generation sees all of its region, and the program's memory as it was
        // when the region was registered.
        self.generation
            .store(even.wrapping_add(1), Ordering::Release);
    }

    /// Nobody gets a lease of the region any more. Lease slots that are read afterwards show who has one.
    pub(super) fn withdraw(&self) {
        // Relaxed: only this side writes it.
        let generation = self.generation.load(Ordering::Relaxed);
        let even = generation.wrapping_add(generation & 1);
        // Relaxed: ordered by the fence.
        self.generation.store(even, Ordering::Relaxed);
        // Before the loads of lease slots; see the top of this file. And before the stores of `publish`.
        fence(Ordering::SeqCst);
    }

    /// Where the region in the entry is, withdrawn or not. None for a free entry.
    pub(super) fn extent(&self) -> Option<Extent> {
        // Relaxed: only this side writes it, and not at the same time.
        let load = |place: &AtomicU64| place.load(Ordering::Relaxed);
        (self.key() != 0).then(|| Extent {
            addr: load(&self.addr),
            length: load(&self.length),
            serial: load(&self.serial),
        })
    }

    /// There is no region in the entry. It must have been withdrawn, and no lease may name it.
    pub(super) fn free(&self) {
        // Relaxed: the generation is even, so no reader believes the key.
        self.key.store(0, Ordering::Relaxed);
    }

    // --- The initiator ---------------------------------------------------------------------------

    /// What it says of a region, if there is one now. If it still has this generation after an acquire fence, then all
    /// of it is of one region.
    fn read(&self) -> Option<Description> {
        // Acquire: what `publish` has stored before this generation is there.
        let generation = self.generation.load(Ordering::Acquire);
        if generation & 1 == 0 {
            return None;
        }
        // Relaxed: between the load above and the fence of the caller.
        let load = |place: &AtomicU64| place.load(Ordering::Relaxed);
        let (key, access) = unpack(load(&self.key));
        let region = SharedRegion {
            key,
            terms: Terms {
                addr: load(&self.addr),
                length: load(&self.length),
                iova: load(&self.iova),
                access,
            },
            domain: load(&self.domain) as u32,
        };
        Some(Description {
            region,
            generation,
            serial: load(&self.serial),
        })
    }

    /// The region that is described with this generation, as the owner sees it.
    pub(super) fn described(&self, generation: u64) -> Option<SharedRegion> {
        let read = self.read()?;
        // Between the loads of `read` and the one below.
        fence(Ordering::Acquire);
        (read.generation == generation && self.is_still(generation)).then_some(read.region)
    }

    /// Where the region is that is described now, and the generation of its description, as the owner sees it.
    pub(super) fn place(&self) -> Option<(Extent, u64)> {
        let read = self.read()?;
        // As above.
        fence(Ordering::Acquire);
        let extent = read.region.extent(read.serial);
        self.is_still(read.generation)
            .then_some((extent, read.generation))
    }

    pub(super) fn is_still(&self, generation: u64) -> bool {
        // Acquire: the copy does not begin before this.
        self.generation.load(Ordering::Acquire) == generation
    }
}

/// The number of a table: random, and not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableNumber(u64);

impl TableNumber {
    pub(super) fn from_bits(bits: u64) -> Self {
        Self((bits >> LeaseName::ENTRY_BITS).max(1))
    }

    /// What `from_bits` makes the same number of.
    pub(super) fn to_bits(self) -> u64 {
        self.0 << LeaseName::ENTRY_BITS
    }
}

/// What a lease slot holds: which entry of whose table. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseName(u64);

impl LeaseName {
    /// The lowest bits of a name are the number of the entry.
    const ENTRY_BITS: u32 = 20;

    pub(super) fn new(table: TableNumber, entry: u32) -> Self {
        Self(table.to_bits() | u64::from(entry) & ((1 << Self::ENTRY_BITS) - 1))
    }
}

/// Where an initiator writes what it has a lease of. Zero is right for none.
///
/// Only the initiator writes it, and the owner of the regions reads it.
#[repr(transparent)]
pub(super) struct LeaseSlot(AtomicU64);

impl LeaseSlot {
    #[cfg(all(loom, test))]
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Writes the name into the slot, if no other thread uses it.
    pub(super) fn claim(&self, name: LeaseName) -> Option<Claim<'_>> {
        // Relaxed: `Offer::lease` has a fence behind it. An owner that reads this name with Acquire also sees the
        // copies of leases that were in the slot before: a read-modify-write goes on with what their Release began.
        self.0
            .compare_exchange(0, name.0, Ordering::Relaxed, Ordering::Relaxed)
            .ok()
            .map(|_| Claim(self))
    }

    /// Whether there is a lease of this entry. To be asked when the entry has been withdrawn.
    pub(super) fn names(&self, name: LeaseName) -> bool {
        // Acquire: if there was a lease, what its holder has copied is there.
        self.0.load(Ordering::Acquire) == name.0
    }

    /// Whether there is a lease of any entry of this table. To be asked when the table has been closed.
    pub(super) fn names_table(&self, table: TableNumber) -> bool {
        // Acquire: as above.
        self.0.load(Ordering::Acquire) >> LeaseName::ENTRY_BITS == table.0
    }
}

/// A lease slot that a thread uses.
pub(super) struct Claim<'a>(&'a LeaseSlot);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // Release: the copies come before it.
        self.0.0.store(0, Ordering::Release);
    }
}

/// An entry of another process.
pub(super) struct Offer<'a> {
    pub(super) entry: &'a Entry,
    pub(super) name: LeaseName,
    /// Not 0 when the table is closed.
    pub(super) closed: &'a AtomicU64,
}

impl Offer<'_> {
    /// A lease of the region with this key, if it is in the entry. `claim` finds a lease slot that is free.
    pub(super) fn lease<'s>(
        &self,
        key: u32,
        claim: impl FnOnce(LeaseName) -> Option<Claim<'s>>,
    ) -> Option<Lease<'s>> {
        let Description {
            region,
            generation,
            serial,
        } = self.entry.read()?;
        if region.key != key {
            return None;
        }
        let claim = claim(self.name)?;
        // Between the store of the name and the loads below; see the top of this file. And behind the loads of `read`.
        fence(Ordering::SeqCst);
        // Acquire: the copy does not begin before this.
        let open = self.closed.load(Ordering::Acquire) == 0;
        (open && self.entry.is_still(generation)).then_some(Lease {
            region,
            generation,
            serial,
            _claim: claim,
        })
    }
}

/// Nobody gets a lease of any entry of a table any more. Lease slots that are read afterwards show who has one.
pub(super) fn close(closed: &AtomicU64) {
    // Relaxed: ordered by the fence.
    closed.store(1, Ordering::Relaxed);
    // Before the loads of lease slots, as in `Entry::withdraw`.
    fence(Ordering::SeqCst);
}

pub(super) fn open(closed: &AtomicU64) {
    // Release: whoever gets a lease sees what was done while the table was closed.
    closed.store(0, Ordering::Release);
}

/// As long as this exists, the region stays registered, and its memory may be copied from and to.
///
/// The region is what the owner says: to be checked like everything that a peer says.
#[must_use]
pub(crate) struct Lease<'a> {
    region: SharedRegion,
    generation: u64,
    serial: u64,
    _claim: Claim<'a>,
}

impl Lease<'_> {
    pub(crate) fn region(&self) -> &SharedRegion {
        &self.region
    }

    /// The region is the same one as of another lease of this entry with the same generation.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn extent(&self) -> Extent {
        self.region.extent(self.serial)
    }
}

#[cfg(all(loom, test))]
mod model {
    use loom::cell::UnsafeCell;
    use loom::model::Builder;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// Enough for each of the orders that matter: each thread is held up between any two of its steps.
    const PREEMPTIONS: usize = 2;

    const INITIATORS: usize = 2;
    const TABLE: u64 = 0x1234_5678_9abc_def0;

    /// An owner with one entry, its initiators, and memory for two regions. The model checker reports two accesses to
    /// the same memory of which neither is before the other one.
    struct World {
        entry: Entry,
        closed: AtomicU64,
        slots: [LeaseSlot; INITIATORS],
        memory: [UnsafeCell<u32>; 2],
    }

    /// The region that lies in this part of the memory.
    fn region(part: u64) -> SharedRegion {
        SharedRegion {
            key: 11 + part as u32,
            terms: Terms {
                addr: part,
                length: 100 + part,
                iova: 200 + part,
                access: 3 + part as u32,
            },
            domain: 4 + part as u32,
        }
    }

    fn serial(part: u64) -> u64 {
        300 + part
    }

    impl World {
        fn new() -> Arc<Self> {
            let world = Self {
                entry: Entry::new(),
                closed: AtomicU64::new(0),
                slots: [LeaseSlot::new(), LeaseSlot::new()],
                memory: [UnsafeCell::new(0), UnsafeCell::new(0)],
            };
            world.entry.publish(&region(0), serial(0));
            Arc::new(world)
        }

        fn table() -> TableNumber {
            TableNumber::from_bits(TABLE)
        }

        fn name() -> LeaseName {
            LeaseName::new(Self::table(), 9)
        }

        /// Someone writes to a region, as an initiator with a lease does, or the program when it has the memory to
        /// itself.
        fn write(&self, part: u64) {
            // SAFETY: what the model is to show.
            self.memory[part as usize].with_mut(|memory| unsafe { *memory += 1 });
        }

        /// An initiator copies from a region, as others may at the same time.
        fn read(&self, part: u64) {
            // SAFETY: what the model is to show.
            self.memory[part as usize].with(|memory| unsafe { assert_eq!(*memory, 0) });
        }

        /// One initiator copies to a region, if it gets a lease. Whether it did.
        fn copy(&self, part: u64, slot: usize) -> bool {
            self.copy_by(part, slot, Self::write)
        }

        fn copy_by(&self, part: u64, slot: usize, copy: impl Fn(&Self, u64)) -> bool {
            let offer = Offer {
                entry: &self.entry,
                name: Self::name(),
                closed: &self.closed,
            };
            let wanted = region(part);
            match offer.lease(wanted.key, |name| self.slots[slot].claim(name)) {
                Some(lease) => {
                    assert_eq!(*lease.region(), wanted);
                    assert_eq!(lease.extent().serial, serial(part));
                    copy(self, part);
                    true
                }
                None => false,
            }
        }

        /// What deregistration does.
        fn deregister(&self) {
            self.entry.withdraw();
            while self.slots.iter().any(|slot| slot.names(Self::name())) {
                thread::yield_now();
            }
        }
    }

    fn check(model: impl Fn() + Send + Sync + 'static) {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(PREEMPTIONS);
        builder.check(model);
    }

    fn spawn(world: &Arc<World>, part: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
        let world = Arc::clone(world);
        thread::spawn(move || part(&world))
    }

    fn join(thread: thread::JoinHandle<()>) {
        assert!(thread.join().is_ok());
    }

    /// When the region has been deregistered, its memory is the program's.
    #[test]
    fn nobody_copies_after_deregistration_has_returned() {
        check(|| {
            let world = World::new();
            let initiator = spawn(&world, |world| {
                world.copy(0, 0);
            });
            world.deregister();
            world.write(0);
            join(initiator);
            assert!(!world.copy(0, 0));
        });
    }

    /// The entry is used for another region afterwards, and that one goes too.
    #[test]
    fn another_region_in_the_entry_is_not_taken_for_the_one_before() {
        check(|| {
            let world = World::new();
            let initiator = spawn(&world, |world| {
                world.copy(0, 0);
                world.copy(1, 0);
            });
            world.deregister();
            world.write(0);
            world.entry.free();
            world.entry.publish(&region(1), serial(1));
            world.deregister();
            world.write(1);
            join(initiator);
        });
    }

    /// Nobody sees some fields of one region and some of another.
    #[test]
    fn a_region_is_whole_in_each_lease() {
        check(|| {
            let world = World::new();
            let initiator = spawn(&world, |world| {
                world.copy(1, 0);
                world.copy(0, 0);
            });
            world.deregister();
            world.entry.publish(&region(1), serial(1));
            join(initiator);
        });
    }

    #[test]
    fn all_initiators_are_waited_for() {
        check(|| {
            let world = World::new();
            let initiators = [0, 1].map(|slot| {
                spawn(&world, move |world| {
                    world.copy_by(0, slot, World::read);
                })
            });
            world.deregister();
            world.write(0);
            initiators.into_iter().for_each(join);
        });
    }

    /// Two threads of an initiator never have the same slot, and the owner that has seen the lease of one sees what
    /// the other one copied before.
    #[test]
    fn a_slot_is_used_by_one_thread_at_a_time() {
        check(|| {
            let world = World::new();
            let threads = [(), ()].map(|()| {
                spawn(&world, |world| {
                    // A data race if both were let in.
                    world.copy(0, 0);
                })
            });
            world.deregister();
            world.write(0);
            threads.into_iter().for_each(join);
        });
    }

    #[test]
    fn nobody_copies_after_the_table_was_closed() {
        check(|| {
            let world = World::new();
            let initiator = spawn(&world, |world| {
                world.copy(0, 0);
            });
            close(&world.closed);
            while world
                .slots
                .iter()
                .any(|slot| slot.names_table(World::table()))
            {
                thread::yield_now();
            }
            world.write(0);
            open(&world.closed);
            join(initiator);
            assert!(world.copy(0, 0));
        });
    }
}
