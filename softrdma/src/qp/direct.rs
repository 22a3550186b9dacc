// SPDX-License-Identifier: BSD-3-Clause

//! One-sided operations that the initiator executes itself, in the memory of a process of the same user on the same
//! host. The owner of the memory takes no part: it need not run.
//!
//! Each side sends the other one its region table (`os/region_table.rs`), and writes to the shared memory of the
//! connection what its queue pair *grants* the peer: the access flags and the protection domain, or 0 when the queue
//! pair takes no part in the connection. A side that has not got its peer's table grants nothing, so that whoever has a
//! grant knows that the peer looks at its leases.
//!
//! A request is executed here when nothing before it on the queue pair is under way, so that requests take effect and
//! complete in their order. It then has no number on the connection. When a check fails (of the key, the range or a
//! flag), or the memory cannot be accessed, the request is sent to the owner, as all others are, and the owner decides.
//! Writes may be repeated as long as they are not complete, so a part of one that was made does no harm. A write with
//! immediate data is executed here, and then sent without its bytes, since it takes a receive of the owner.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::Result;
use crate::instrument::{self, inject, pace};
use crate::objects::cq::Cq;
use crate::objects::mr;
use crate::os::cancel::Hold;
use crate::os::lease::Lease;
use crate::os::local::Local;
use crate::os::memory::Span;
use crate::os::own_memory;
use crate::os::reach::{PeerMemory, Reach};
use crate::os::region_table::RegionTable;
use crate::types::completion::{Completion, Status};
use crate::types::region::{Range, access};
use crate::types::work::{Data, Operation, Request};
use crate::wire::Malformed;

use super::guard::Wish;
use super::help::OwnerHelp;
use super::link::Link;
use super::mapped::Mappings;
use super::pulling;
use super::receive::Sink;
use super::stage_requests::check_locally;
use super::{Inner, Peer, Qp, State};

/// Larger payloads are copied in chunks (`chunks.rs`).
pub(super) const LARGEST: u32 = 256 * 1024;
/// As above, for a region that this process has mapped. Nobody else copies it faster, so this limits only for how long
/// the lock of the queue pair and the leases are held: a few milliseconds.
const LARGEST_MAPPED: u32 = 16 * 1024 * 1024;
/// When one call has copied so many bytes, the rest of the requests is sent to the owner.
const BUDGET: u32 = 512 * 1024;
/// A byte that the kernel copies counts as much as so many in a mapped region.
const MAPPED: u32 = LARGEST_MAPPED / BUDGET;

/// What a connection needs for operations that the initiator executes.
#[derive(Default)]
#[repr(C)]
pub(super) struct Direct {
    /// None until the peer has sent its table.
    reach: Option<Arc<Reach>>,
    /// What this side grants the peer.
    granted: Grants,
    /// The last key that a request has named, and the entry of its region in the peer's table.
    last_key: Option<(u32, u32)>,
    mappings: Mappings,
    pub(super) owner_help: OwnerHelp,
}

impl Direct {
    pub(super) fn has_reach(&self) -> bool {
        self.reach.is_some()
    }
}

/// What a queue pair permits its peer to execute itself, as one word in shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Grants(u64);

impl Grants {
    /// The queue pair is ready. No access flag has this bit.
    const READY: u32 = 1 << 31;
    /// There is a receive for a write with immediate data. No access flag has this bit either.
    const HAS_RECEIVE: u32 = 1 << 30;

    fn new(access: u32, domain: u32) -> Self {
        Self(u64::from(domain) << 32 | u64::from(access & access::KNOWN | Self::READY))
    }

    fn with_receive(self, has_receive: bool) -> Self {
        let bit = u64::from(Self::HAS_RECEIVE);
        Self(if has_receive {
            self.0 | bit
        } else {
            self.0 & !bit
        })
    }

    /// Whether the flags of the queue pair permit this.
    fn permits(self, needs: u32) -> bool {
        let needs = needs | Self::READY;
        self.0 as u32 & needs == needs
    }

    fn domain(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The range of the peer's memory that a request names, and the access.
#[derive(Clone, Copy)]
struct Place {
    range: Range,
    wish: Wish,
    /// How many bytes the kernel copies at once.
    most: u32,
}

impl Place {
    fn of(request: &Request) -> Option<Self> {
        let length = request.length();
        let (range, wish) = match request.operation {
            Operation::Send => return None,
            Operation::Write { to } => (Range { length, ..to }, Wish::Write),
            Operation::Read { from } => (Range { length, ..from }, Wish::Read),
            Operation::AtomicWrite { to } => (Range { length: 8, ..to }, Wish::AtomicWrite),
            Operation::Flush {
                at,
                placement,
                whole_region,
            } => {
                let wish = Wish::Flush {
                    placement,
                    whole_region,
                };
                return Some(Self {
                    range: at,
                    wish,
                    most: LARGEST,
                });
            }
        };
        (1..=LARGEST_MAPPED)
            .contains(&range.length)
            .then_some(Self {
                range,
                wish,
                most: LARGEST,
            })
    }
}

/// As long as this exists, the peer sees that this side may be accessing its memory.
struct ConnectionLease<'a>(&'a Local);

impl<'a> ConnectionLease<'a> {
    fn new(local: &'a Local) -> Self {
        local.rings().begin_lease();
        Self(local)
    }
}

impl Drop for ConnectionLease<'_> {
    fn drop(&mut self) {
        self.0.rings().end_lease();
    }
}

impl Qp {
    // --- The owner of the memory -----------------------------------------------------------------

    /// Sends the peer the region table of this process, if the peer may execute requests itself.
    pub(super) fn offer_table(link: &Link) {
        let Some(local) = link.paths.local() else {
            return;
        };
        if is_off() {
            return;
        }
        // Descriptors are closed here, which is a cancellation point.
        let _uncancelled = Hold::new();
        local.send_table(|| {
            let own = RegionTable::own()?;
            mr::share(own);
            own.descriptor()
        });
    }

    /// The peer's table may have come.
    pub(super) fn take_table(&self, q: &mut Inner) {
        let Some(link) = &mut q.link else { return };
        if link.direct.reach.is_some() || is_off() {
            return;
        }
        link.direct.reach = link.paths.local().and_then(Local::reach);
        if link.direct.reach.is_some() {
            let local = link.paths.local();
            let grant_at = local.map_or(0, |local| local.rings().grant_at());
            self.grant_at.store(grant_at, Ordering::Relaxed);
            self.update_grant(q);
        }
    }

    fn grants_now(&self, q: &Inner) -> Grants {
        let (Some(link), Some(pd)) = (&q.link, &self.setup.pd) else {
            return Grants::default();
        };
        let takes_part = !q.is_down() && !q.released && !q.disconnected;
        let is_in_use = !link.awaits_use && !link.tx.broken;
        let is_seen = (link.direct.reach.as_ref()).is_some_and(|reach| reach.is_of_this_process());
        if takes_part && is_in_use && is_seen {
            // What is in a shared receive queue may be taken by another queue pair.
            let has_receive = self.setup.srq.is_none() && !q.rq.is_empty();
            Grants::new(q.attributes.access, pd.number).with_receive(has_receive)
        } else {
            Grants::default()
        }
    }

    /// Grants the peer what the queue pair permits now. When that was more before, the peer does not act on it any more
    /// afterwards.
    pub(super) fn update_grant(&self, q: &mut Inner) {
        let grants = self.grants_now(q);
        Self::grant(q, grants);
    }

    /// A receive was posted, taken or given back.
    pub(super) fn receives_changed(&self, q: &mut Inner) {
        // One more, or one less, than none.
        if q.rq.len() <= 1 {
            self.update_grant(q);
        }
    }

    /// The connection ends, whatever the state of the queue pair is.
    pub(super) fn revoke(&self, q: &mut Inner) {
        Self::grant(q, Grants::default());
    }

    fn grant(q: &mut Inner, grants: Grants) {
        let Some(link) = &mut q.link else { return };
        let before = std::mem::replace(&mut link.direct.granted, grants);
        if before == grants {
            return;
        }
        // In a child, the connection may still be its parent's.
        let reach = link.direct.reach.as_ref();
        let Some(reach) = reach.filter(|reach| reach.is_of_this_process()) else {
            return;
        };
        let Some(local) = link.paths.local() else {
            return;
        };
        local.rings().grant(grants.0);
        // The last receive is taken for a request of the peer, which executes nothing meanwhile.
        let permits_less = before.with_receive(false) != grants.with_receive(false);
        if before != Grants::default() && permits_less {
            local.rings().grant_is_seen();
            wait_for_lease(local, reach);
        }
    }

    /// A write whose bytes are in memory already, as the peer says. The queue pair and the region were checked as if
    /// the bytes had come with the frame. Accepted only from a peer that can access the memory itself.
    pub(super) fn placed(&self, q: &mut Inner, sink: Sink) -> Result<Sink, Malformed> {
        let can_place = q
            .link
            .as_ref()
            .is_some_and(|link| link.paths.receives_locally() && link.direct.reach.is_some());
        if can_place {
            Ok(sink)
        } else {
            self.give_back(q, sink);
            Err(Malformed)
        }
    }

    // --- The initiator ---------------------------------------------------------------------------

    /// Executes the requests at the head of the queue that can be executed here. Not on the I/O thread: it would have to
    /// wait for memory that the owner takes away while it is copied. `add` puts completions into the queue.
    ///
    /// Whether it has executed something, and nothing is left to be sent: the connection is as it was.
    pub(super) fn execute(&self, q: &mut Inner, add: fn(&Arc<Cq>, Completion)) -> bool {
        let mut budget = i64::from(BUDGET);
        let (mut executed, mut in_chunks) = (false, false);
        while budget > 0 {
            if let Some((request, taken)) = self.execute_next(q) {
                self.complete_request_by(&request, Status::Success, add);
                budget -= i64::from(taken);
                executed = true;
            } else if let Some(taken) = self.execute_chunk(q, add) {
                budget -= i64::from(taken);
                in_chunks = true;
            } else {
                break;
            }
        }
        let is_idle = q.link.as_ref().is_some_and(|link| link.tx.is_idle());
        executed && !in_chunks && is_idle && q.sq.is_empty() && q.responses.is_empty()
    }

    /// Whether the first request can be executed: nothing is under way.
    pub(super) fn is_turn_of_first(q: &Inner) -> bool {
        q.state == State::ReadyToSend
            && q.peer == Peer::Connected
            && q.next == q.first
            && !q.held
            && !q.stopped
    }

    /// Executes the next request if this side can, and nothing before it is under way. It is not complete yet. Returns
    /// how much of the budget that has taken, too.
    fn execute_next(&self, q: &mut Inner) -> Option<(Request, u32)> {
        if !Self::is_turn_of_first(q) {
            return None;
        }
        let (request, link) = (q.sq.front_mut()?, q.link.as_mut()?);
        link.direct.reach.as_ref()?;
        if request.is_read() && q.attributes.reads == 0 {
            return None;
        }
        if request.placed || link.tx.broken || !link.is_own() {
            return None;
        }
        let place = Place::of(request)?;
        let taken = self.access_memory(request, place, link)?;
        if request.imm.is_some() {
            // The owner takes a receive for the immediate data.
            request.placed = true;
            return None;
        }
        Some((q.sq.pop_front()?, taken))
    }

    /// Whether this side executes requests on a connection.
    pub(super) fn may_execute(link: &Link) -> bool {
        let reach = link.direct.reach.as_ref();
        let can_access = reach.is_some_and(|reach| reach.memory().is_some());
        can_access && !link.tx.broken && link.is_own()
    }

    /// Whether the peer's queue pair permits a part of a request. Its region may still not do so.
    pub(super) fn is_granted(part: &Request, link: &Link) -> bool {
        let needs = Place::of(part).and_then(|place| place.wish.needs());
        let local = link.paths.local_to_send();
        needs
            .zip(local)
            .is_some_and(|(needs, local)| Grants(local.rings().granted()).permits(needs))
    }

    /// Executes a part of a request. Returns how much of the budget that has taken.
    pub(super) fn execute_part(&self, part: &Request, link: &mut Link) -> Option<u32> {
        let place = Place {
            most: part.length(),
            ..Place::of(part)?
        };
        self.access_memory(part, place, link)
    }

    /// Reads or writes the peer's memory. Returns how much of the budget that has taken, or None if the owner has to do
    /// it. A request that takes a receive goes to the
    /// owner when there is none, since its memory must not change before there is one.
    fn access_memory(&self, request: &Request, place: Place, link: &mut Link) -> Option<u32> {
        let Place { range, wish, most } = place;
        let needs = wish.needs()?;
        let local = link.paths.local_to_send()?;
        let direct = &mut link.direct;
        let reach = direct.reach.as_ref()?;
        let memory = reach.memory()?;
        let of_queue_pair = if request.imm.is_some() {
            needs | Grants::HAS_RECEIVE
        } else {
            needs
        };
        if !Grants(local.rings().granted()).permits(of_queue_pair) {
            return None;
        }
        let _connection = ConnectionLease::new(local);
        let (entry, lease) = find_lease(reach, &mut direct.last_key, range.key)?;
        // Checked again: the owner waits for this side only from the moment it sees the lease.
        let grants = Grants(local.rings().granted());
        let region = lease.region();
        if !grants.permits(of_queue_pair) || grants.domain() != region.domain {
            return None;
        }
        let addr = match wish {
            Wish::Flush {
                whole_region: true, ..
            } => (region.terms.access & needs == needs).then_some(region.terms.addr)?,
            _ => region.terms.locate(range, needs)?,
        };
        if let Wish::Flush { .. } = wish {
            // All completed writes are in memory already. A flush fails only if the process is known to have ended (it
            // is not where the kernel does not tell, or if the program has closed the descriptor that does); if its
            // memory went, by its end or when it executed another program, then after these writes.
            return reach.is_there().then_some(range.length);
        }
        let mappings = &mut direct.mappings;
        if let Some(mapped) = mappings.find(local, reach, entry, &lease) {
            let offset = addr - region.terms.addr;
            let may = || {
                let grants = Grants(local.rings().granted());
                grants.permits(of_queue_pair) && grants.domain() == region.domain
            };
            let copied = self.access_mapped(request, &mapped, offset, may);
            if copied.is_some() {
                return Some(range.length / MAPPED);
            }
            if !may() {
                return None;
            }
        }
        if range.length > most || !memory.has(addr, range.length as usize) {
            return None;
        }
        match wish {
            Wish::Write => self.write(request, memory, addr)?,
            Wish::Read => self.read(request, memory, addr)?,
            // No system call stores eight bytes in another process as a single access.
            Wish::AtomicWrite | Wish::Flush { .. } => return None,
        }
        mappings.count(range.length);
        Some(range.length)
    }

    fn write(&self, request: &Request, memory: &PeerMemory, addr: u64) -> Option<()> {
        match &request.data {
            Data::Inline(bytes) => memory.write(addr, Span::from_slice(bytes)).ok(),
            Data::Memory(_) => self.each_span(request, addr, |at, span| memory.write(at, span)),
        }
    }

    fn read(&self, request: &Request, memory: &PeerMemory, addr: u64) -> Option<()> {
        self.each_span(request, addr, |at, span| memory.read(at, span))
    }

    /// Copies between each range of a request and the peer's memory from this address on.
    pub(super) fn each_span(
        &self,
        request: &Request,
        mut addr: u64,
        mut copy: impl FnMut(u64, Span<'_>) -> Result<()>,
    ) -> Option<()> {
        let pd = self.setup.pd.as_ref()?;
        let needs = request.operation.local_needs();
        let ranges = request.data.scatter().ranges();
        if ranges.len() > 1 {
            // All ranges are checked before the first byte is copied.
            check_locally(request, Some(pd)).ok()?;
        }
        for range in ranges.iter().filter(|range| range.length > 0) {
            range
                .with_held(pd, needs, |held| {
                    let span = held.span(0);
                    // This thread copies small ranges on every path, so only large ones are checked.
                    let waits = pulling::is_worth_it(range.length)
                        && !own_memory::is_in_memory(span.addr(), span.len());
                    if waits { None } else { copy(addr, span).ok() }
                })
                .ok()??;
            addr += u64::from(range.length);
        }
        Some(())
    }
}

/// Injected faults and the times of a slow link apply to frames, so with them all requests are sent.
fn is_off() -> bool {
    instrument::not_direct() || inject::is_armed() || pace::is_on()
}

/// A lease of the region that has this key, and the entry of the region. `last` is that of the last one.
fn find_lease(
    reach: &Reach,
    last: &mut Option<(u32, u32)>,
    key: u32,
) -> Option<(u32, Lease<'static>)> {
    let table = reach.table();
    if let Some((_, entry)) = last.filter(|(last_key, _)| *last_key == key) {
        if let Some(lease) = table.lease(entry, key) {
            return Some((entry, lease));
        }
    }
    let entry = table.find(key)?;
    let lease = table.lease(entry, key)?;
    *last = Some((key, entry));
    Some((entry, lease))
}

/// Waits until the peer does not act any more on what it was granted before. It takes no longer than a copy of the
/// largest payload, unless the peer is stopped just before it, or does not end its lease: so not for ever, and not as
/// long for each of many connections of one process.
fn wait_for_lease(local: &Local, reach: &Reach) {
    const AT_MOST: Duration = Duration::from_millis(100);
    reach.wait_while(AT_MOST, || local.rings().is_leased());
}
