// SPDX-License-Identifier: BSD-3-Clause

//! Memory regions, and the check of every access to one.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::generation::{self, Generation};
use crate::Result;
use crate::instrument;
use crate::objects::numbers::Shuffle;
use crate::objects::pd::Pd;
use crate::objects::shared::Shared;
use crate::objects::strict;
use crate::os::held::Locks;
use crate::os::memory::Span;
use crate::os::own_memory::{self, Fate};
use crate::os::region_table::RegionTable;
use crate::os::{guard, populate, warning};
use crate::types::region::{GenerationRef, Range, Terms, Violation, access};

/// Terms that a region can have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    terms: Terms,
}

impl Terms {
    pub(crate) fn check(self) -> Result<Checked> {
        let Terms { length, access, .. } = self;
        if length == 0 || self.iova.checked_add(length).is_none() {
            return Err(libc::EINVAL);
        }
        if access & !access::KNOWN != 0 {
            return Err(libc::EINVAL);
        }
        if access & (access::REMOTE_WRITE | access::REMOTE_ATOMIC) != 0
            && access & access::LOCAL_WRITE == 0
        {
            return Err(libc::EINVAL);
        }
        let caps = instrument::caps();
        let unknown = (access & access::ON_DEMAND != 0 && !caps.odp)
            || (access & access::FLUSHES != 0 && !caps.flush);
        if unknown {
            return Err(libc::EINVAL);
        }
        guard::prepare();
        let writable = access & access::WRITES != 0;
        populate::check(self.addr, length, writable)?;
        Ok(Checked { terms: self })
    }
}

#[derive(Debug)]
pub(crate) struct Mr {
    /// What the program's own requests name it by. It is even, and never 0.
    pub(crate) lkey: u32,
    /// The running number in the trace, which names regions by their keys as well.
    pub(crate) trace_number: AtomicU64,
    /// None once it is deregistered. Whoever moves bytes holds it for reading, so that deregistration
    /// returns when nobody does.
    registration: RwLock<Option<Registration>>,
    /// It is being deregistered, or changed: nobody begins to read or write the memory.
    changes: AtomicBool,
    /// It was said that some of the memory is gone.
    reported: AtomicBool,
    /// Another mapping is in the place of some of the memory: nothing of it is taken for the region any more.
    replaced: AtomicBool,
    /// What peers see of it.
    shared: Shared,
}

#[derive(Debug)]
struct Registration {
    pd: Arc<Pd>,
    terms: Terms,
    generation: Generation,
}

impl Registration {
    fn new(pd: &Arc<Pd>, checked: Checked) -> Self {
        pd.users.add();
        Self {
            pd: Arc::clone(pd),
            terms: checked.terms,
            generation: Generation::new(),
        }
    }
}

/// The regions of the process by their keys.
///
/// The lowest bit of a key says whose requests name the region by it: 0 those of this process, 1 those of a
/// peer. The other bits are random. Of them, as many as it takes are the number of the region's slot, so that
/// finding a region takes no search: a key that would share its slot with another one is not used.
struct Table {
    /// A power of two, at least twice as many as there are regions.
    slots: Vec<Option<Arc<Mr>>>,
    regions: usize,
    keys: Shuffle,
    /// Where peers see the regions.
    shared: Option<&'static RegionTable>,
}

/// Before a fork.
pub(crate) fn hold(locks: &mut Locks) -> bool {
    let table = TABLE.try_write_until(locks.deadline());
    table.is_some_and(|table| locks.keep(table))
        && locks.hold_static(&generation::FREE_PLACES)
        && strict::hold(locks)
}

static TABLE: RwLock<Table> = RwLock::new(Table {
    slots: Vec::new(),
    regions: 0,
    keys: Shuffle::new(31),
    shared: None,
});

/// From now on peers can see the regions in this table.
pub(crate) fn share(with: &'static RegionTable) {
    let is_known = |table: &Table| table.shared.is_some_and(|known| ptr::eq(known, with));
    if is_known(&TABLE.read()) {
        return;
    }
    let mut table = TABLE.write();
    if !is_known(&table) {
        table.shared = Some(with);
        for mr in table.slots.iter().flatten() {
            mr.share(with);
        }
    }
}

/// The bit of a key that peers name a region by.
pub(super) const REMOTE: u32 = 1;

impl Table {
    fn slot_of(&self, key: u32) -> usize {
        (key >> 1) as usize & self.slots.len().wrapping_sub(1)
    }

    fn make_room(&mut self) -> Result<()> {
        const FEWEST: usize = 64;
        const MOST: usize = 1 << 24;
        if self.regions >= MOST {
            return Err(libc::ENOMEM);
        }
        if 2 * (self.regions + 1) <= self.slots.len() {
            return Ok(());
        }
        let count = FEWEST.max(2 * self.slots.len());
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).map_err(|_| libc::ENOMEM)?;
        slots.resize_with(count, || None);
        // What differed in fewer bits differs in more.
        for mr in std::mem::replace(&mut self.slots, slots)
            .into_iter()
            .flatten()
        {
            let slot = self.slot_of(mr.lkey);
            self.slots[slot] = Some(mr);
        }
        Ok(())
    }

    /// A key whose slot is free. Every other one is, at least.
    fn next_key(&mut self) -> Result<u32> {
        loop {
            let key = self.keys.next()? << 1;
            if key != 0 && self.slots[self.slot_of(key)].is_none() {
                return Ok(key);
            }
        }
    }
}

impl Mr {
    pub(crate) fn register(pd: &Arc<Pd>, terms: Checked) -> Result<Arc<Self>> {
        let mut table = TABLE.write();
        table.make_room()?;
        let lkey = table.next_key()?;
        let mr = Arc::new(Self {
            lkey,
            trace_number: AtomicU64::new(0),
            registration: RwLock::new(Some(Registration::new(pd, terms))),
            changes: AtomicBool::new(false),
            reported: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            shared: Shared::default(),
        });
        if let Some(with) = table.shared {
            mr.share(with);
        }
        let slot = table.slot_of(lkey);
        table.slots[slot] = Some(Arc::clone(&mr));
        table.regions += 1;
        Ok(mr)
    }

    /// What a peer's requests name it by.
    pub(crate) fn rkey(&self) -> u32 {
        self.lkey | REMOTE
    }

    /// Deregisters. When it returns, nobody reads or writes the memory any more. Fails with `EBUSY` while somebody
    /// does: a copy from a peer whose memory does not resolve may never end.
    pub(crate) fn deregister(&self) -> Result<()> {
        let mut registration = self.registration_for_change()?;
        // With it goes its generation: a process that copies from it takes nothing for valid any more.
        if let Some(registration) = registration.take() {
            registration.pd.users.remove();
        }
        if instrument::strict::is_on() {
            strict::deregistered(self.lkey);
        }
        drop(registration);
        let mut table = TABLE.write();
        self.shared.remove();
        let slot = table.slot_of(self.lkey);
        let entry = table.slots.get_mut(slot);
        if entry
            .and_then(|entry| entry.take_if(|mr| mr.lkey == self.lkey))
            .is_some()
        {
            table.regions -= 1;
        }
        Ok(())
    }

    /// Changes where it is, how it may be used, or its domain. What was about to be copied from it is looked up
    /// anew. Fails as deregistering does.
    pub(crate) fn change(&self, terms: Checked, pd: Option<Arc<Pd>>) -> Result<()> {
        let mut registration = self.registration_for_change()?;
        self.reported.store(false, Ordering::Relaxed);
        self.replaced.store(false, Ordering::Relaxed);
        if let Some(registration) = registration.as_mut() {
            let before = Arc::clone(&registration.pd);
            *registration = Registration::new(pd.as_ref().unwrap_or(&before), terms);
            before.users.remove();
        }
        drop(registration);
        self.changes.store(false, Ordering::SeqCst);
        let table = TABLE.write();
        self.shared.remove();
        if let Some(with) = table.shared {
            self.share(with);
        }
        Ok(())
    }

    /// Lets peers see the region, if it permits them anything. The table of all regions has to be locked.
    fn share(&self, with: &'static RegionTable) {
        // Not one that is about to change, whose lock may be held for long: in a child, for ever.
        if self.changes.load(Ordering::SeqCst) {
            return;
        }
        let registration = self.registration.read();
        if let Some(Registration { pd, terms, .. }) = registration.as_ref() {
            self.shared.enter(with, self.rkey(), *terms, pd.number);
        }
    }

    /// Waits until nobody reads or writes the memory, and keeps everybody from beginning to.
    fn registration_for_change(&self) -> Result<RwLockWriteGuard<'_, Option<Registration>>> {
        const AT_MOST: Duration = Duration::from_secs(2);
        const BETWEEN: Duration = Duration::from_micros(20);
        self.changes.store(true, Ordering::SeqCst);
        self.shared.withdraw();
        let begun = Instant::now();
        // Not by a wait for the lock: everybody else would wait for that one.
        loop {
            if let Some(registration) = self.registration.try_write() {
                // Peers may have been shown it meanwhile; now nobody does that.
                self.shared.withdraw();
                if !self.shared.is_leased() {
                    return Ok(registration);
                }
            }
            if begun.elapsed() > AT_MOST {
                self.changes.store(false, Ordering::SeqCst);
                if !self.replaced.load(Ordering::Relaxed) {
                    self.shared.publish_again();
                }
                return Err(libc::EBUSY);
            }
            std::thread::sleep(BETWEEN);
        }
    }

    pub(crate) fn terms(&self) -> Option<Terms> {
        let registration = self.registration.read();
        registration.as_ref().map(|registration| registration.terms)
    }

    /// The number of its protection domain.
    pub(super) fn domain(&self) -> Option<u32> {
        let registration = self.registration.read();
        registration
            .as_ref()
            .map(|registration| registration.pd.number)
    }

    /// The region that this process names by this key.
    pub(crate) fn find(lkey: u32) -> Option<Arc<Self>> {
        let table = TABLE.read();
        let mr = table.slots.get(table.slot_of(lkey))?.as_ref()?;
        (mr.lkey == lkey).then(|| Arc::clone(mr))
    }

    /// The region that a peer names by this key.
    fn find_for_peer(rkey: u32) -> Option<Arc<Self>> {
        (rkey & REMOTE != 0).then(|| Self::find(rkey & !REMOTE))?
    }
}

/// A region that was found to permit an access.
#[derive(Clone)]
pub(crate) struct Grant {
    mr: Arc<Mr>,
    /// The number of the queue pair's domain, which the region has to be in.
    domain: u32,
    /// The address in the program of what the request names by `range.addr`.
    range: Range,
    needs: u32,
}

/// A region that cannot be deregistered for the moment.
pub(crate) struct Held<'a> {
    _registration: RwLockReadGuard<'a, Option<Registration>>,
    addr: usize,
    length: usize,
    generation: GenerationRef,
    mr: &'a Mr,
}

/// Whether the region that a peer names by this key permits it an access by a queue pair of `pd`, to whatever
/// part of it.
pub(crate) fn permits(rkey: u32, pd: &Pd, needs: u32) -> bool {
    Mr::find_for_peer(rkey).is_some_and(|mr| {
        let registration = mr.registration.read();
        registration.as_ref().is_some_and(|registration| {
            registration.pd.number == pd.number && registration.terms.access & needs == needs
        })
    })
}

impl Range {
    /// Where in the region it begins, if it is in there.
    pub(crate) fn offset_in(&self, mr: &Mr) -> Option<u64> {
        let terms = mr.terms()?;
        let offset = self.addr.checked_sub(terms.iova)?;
        (offset.checked_add(u64::from(self.length))? <= terms.length).then_some(offset)
    }

    /// Checks an access by a queue pair of `pd` to what this process names.
    pub(crate) fn grant(self, pd: &Pd, needs: u32) -> Result<Grant, Violation> {
        self.grant_of(self.key, pd, needs)?.checked()
    }

    /// As `grant`, and holds the region while `access` runs.
    pub(crate) fn with_held<T>(
        self,
        pd: &Pd,
        needs: u32,
        access: impl FnOnce(&Held<'_>) -> T,
    ) -> Result<T, Violation> {
        let grant = self.grant_of(self.key, pd, needs)?;
        let held = grant.hold()?;
        Ok(access(&held))
    }

    /// Checks an access by a queue pair of `pd` to what its peer names.
    pub(crate) fn grant_to_peer(self, pd: &Pd, needs: u32) -> Result<Grant, Violation> {
        if self.key & REMOTE == 0 {
            return Err(Violation);
        }
        self.grant_of(self.key & !REMOTE, pd, needs)?.checked()
    }

    /// Not checked yet.
    fn grant_of(self, lkey: u32, pd: &Pd, needs: u32) -> Result<Grant, Violation> {
        Ok(Grant {
            mr: Mr::find(lkey).ok_or(Violation)?,
            domain: pd.number,
            range: self,
            needs,
        })
    }
}

impl Grant {
    fn checked(self) -> Result<Self, Violation> {
        self.hold().map(|_| ())?;
        Ok(self)
    }

    /// What the request names.
    pub(super) fn range(&self) -> Range {
        self.range
    }

    /// Keeps the region registered while bytes move. It may be gone by now.
    pub(crate) fn hold(&self) -> Result<Held<'_>, Violation> {
        if self.mr.changes.load(Ordering::SeqCst) {
            return Err(Violation);
        }
        let registration = self.mr.registration.read();
        let Registration {
            pd,
            terms,
            generation,
        } = registration.as_ref().ok_or(Violation)?;
        if pd.number != self.domain || self.mr.replaced.load(Ordering::Relaxed) {
            return Err(Violation);
        }
        let addr = terms.locate(self.range, self.needs).ok_or(Violation)? as usize;
        let generation = generation.reference();
        Ok(Held {
            _registration: registration,
            addr,
            length: self.range.length as usize,
            generation,
            mr: &self.mr,
        })
    }
}

impl Held<'_> {
    /// The part of the range that begins at `offset`.
    pub(crate) fn span(&self, offset: usize) -> Span<'_> {
        let offset = offset.min(self.length);
        Span::of_program(self, self.addr + offset, self.length - offset)
    }

    /// What a process that copies from the region looks at afterwards.
    pub(crate) fn generation(&self) -> GenerationRef {
        self.generation
    }

    /// Copies from `from`, as much as both have.
    pub(crate) fn write(&self, from: &[u8]) -> Result<usize, Violation> {
        self.span(0).write(from).map_err(|_| self.is_gone())
    }

    /// Appends all of it to `to`, or nothing.
    pub(crate) fn append_to(&self, to: &mut Vec<u8>) -> Result<(), Violation> {
        self.span(0).append_to(to).map_err(|_| self.is_gone())
    }

    /// Stores eight bytes at once, if this is a range of eight aligned bytes.
    pub(crate) fn store_atomically(&self, bytes: [u8; 8]) -> Result<(), Violation> {
        match self.span(0).store_atomically(bytes) {
            Ok(()) => Ok(()),
            Err(libc::EFAULT) => Err(self.is_gone()),
            Err(_) => Err(Violation),
        }
    }

    /// Some of the memory could not be reached, which a device would have pinned. The program hears of it once.
    pub(crate) fn is_gone(&self) -> Violation {
        if !self.mr.reported.swap(true, Ordering::Relaxed) {
            let key = self.mr.lkey;
            let (addr, length) = (self.addr, self.length);
            let what = own_memory::what_became_of(addr, length);
            if what == Fate::Replaced {
                self.mr.replaced.store(true, Ordering::Relaxed);
                self.mr.shared.withdraw();
            }
            let text = format!(
                "{length} bytes at {addr:#x} cannot be accessed: this memory {what}, and is still \
                 registered (lkey {key:#x})"
            );
            if instrument::strict::is_on() {
                instrument::strict::finding(&format_args!(
                    "{text}; a device goes on with the pages that it had then, which the program cannot see any more"
                ));
            } else {
                warning::warn(&text);
            }
        }
        Violation
    }
}
