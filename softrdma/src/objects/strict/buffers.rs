// SPDX-License-Identifier: BSD-3-Clause

//! The memory of posted requests: which of it belongs to several of them, and what is in it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use crate::objects::mr::{Grant, Held};
use crate::os::own_memory;
use crate::types::region::Range;

/// What a request does with its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The device reads it.
    Source,
    /// The device writes to it.
    Destination,
}

/// Where it is in the program's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) addr: u64,
    pub(super) length: u64,
}

/// A buffer of a posted request: its address, and a number that no other one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64, u64);

struct Buffer {
    length: u64,
    kind: Kind,
    /// The device may change it for another request, so a change is no evidence against the program.
    is_shared: bool,
}

/// The range that a receive names: address, length and key.
type Name = (u64, u32, u32);

pub(super) struct Buffers {
    all: BTreeMap<Ticket, Buffer>,
    receives: BTreeMap<Name, Vec<Ticket>>,
    next: u64,
    /// The length of the longest one so far.
    longest: u64,
}

impl Buffers {
    pub(super) const fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            receives: BTreeMap::new(),
            next: 0,
            longest: 0,
        }
    }

    pub(super) fn add(&mut self, place: Place, kind: Kind) -> Ticket {
        let Place { addr, length } = place;
        let end = addr.saturating_add(length);
        let from = Ticket(addr.saturating_sub(self.longest), 0);
        let mut is_shared = false;
        for (Ticket(start, _), other) in self.all.range_mut(from..Ticket(end, 0)) {
            let overlaps = start.saturating_add(other.length) > addr;
            if overlaps && (kind, other.kind) != (Kind::Source, Kind::Source) {
                other.is_shared = true;
                is_shared = true;
            }
        }
        self.next += 1;
        let ticket = Ticket(addr, self.next);
        self.longest = self.longest.max(length);
        let buffer = Buffer {
            length,
            kind,
            is_shared,
        };
        self.all.insert(ticket, buffer);
        ticket
    }

    /// Whether it was shared.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        self.all
            .remove(&ticket)
            .is_none_or(|buffer| buffer.is_shared)
    }

    /// Adds the memory of a receive. Whether it is shared.
    pub(super) fn add_receive(&mut self, place: Place, range: Range) -> bool {
        let ticket = self.add(place, Kind::Destination);
        self.receives.entry(name(range)).or_default().push(ticket);
        self.all.get(&ticket).is_none_or(|buffer| buffer.is_shared)
    }

    /// The same for one that a part of a message has come into.
    pub(super) fn add_touched(&mut self, place: Place, range: Range) {
        let ticket = self.add(place, Kind::Destination);
        self.receives.entry(name(range)).or_default().push(ticket);
        if let Some(buffer) = self.all.get_mut(&ticket) {
            buffer.is_shared = true;
        }
    }

    /// Whether it was shared; none if it is not known. Receives that name the same range share it, so that any one of
    /// them can be taken.
    pub(super) fn remove_receive(&mut self, range: Range) -> Option<bool> {
        let tickets = self.receives.get_mut(&name(range))?;
        let ticket = tickets.pop();
        if tickets.is_empty() {
            self.receives.remove(&name(range));
        }
        Some(self.remove(ticket?))
    }
}

fn name(range: Range) -> Name {
    (range.addr, range.length, range.key)
}

/// None once the region is deregistered.
pub(super) fn place(grant: &Grant) -> Option<Place> {
    let held = grant.hold().ok()?;
    let span = held.span(0);
    Some(Place {
        addr: span.addr() as u64,
        length: span.len() as u64,
    })
}

// --- What is in it -----------------------------------------------------------------------------------

/// Memory is read and written in pieces of this size.
const PIECE: usize = 4096;
/// What the memory of receives is filled with.
pub(super) const FILL: u8 = 0xdb;

pub(super) fn fill(grant: &Grant) {
    let Ok(held) = grant.hold() else { return };
    let mut done = 0;
    while done < held.span(0).len() {
        // Memory that is gone is reported when a message arrives.
        match held.span(done).write(&[FILL; PIECE]) {
            Ok(n @ 1..) => done += n,
            _ => return,
        }
    }
}

/// The first byte of filled memory that holds something else.
pub(super) fn first_not_filled(grant: &Grant) -> Option<usize> {
    let held = grant.hold().ok()?;
    // Filling it has touched all pages. If one is missing, there is another mapping in its place, and reading that would
    // bring pages in, by which the copy of the message takes it for the old one.
    if !own_memory::is_there(held.span(0).addr(), held.span(0).len()) {
        return None;
    }
    let mut found = None;
    each_piece(&held, |offset, bytes| {
        found = bytes
            .iter()
            .position(|byte| *byte != FILL)
            .map(|at| offset + at);
        found.is_none()
    });
    found
}

/// What memory holds: a hash of each piece.
pub(super) struct Content(Vec<u64>);

impl Content {
    /// None if the memory cannot be read, or if there is no memory for this.
    pub(super) fn of(grant: &Grant) -> Option<Self> {
        let held = grant.hold().ok()?;
        let length = held.span(0).len();
        let mut pieces = Vec::new();
        pieces.try_reserve_exact(length.div_ceil(PIECE)).ok()?;
        let all = each_piece(&held, |_, bytes| {
            pieces.push(hash(bytes));
            true
        });
        all.then_some(Self(pieces))
    }

    /// Where the first piece begins that holds something else by now.
    pub(super) fn first_difference(&self, grant: &Grant) -> Option<usize> {
        let held = grant.hold().ok()?;
        let mut found = None;
        each_piece(&held, |offset, bytes| {
            if self.0.get(offset / PIECE) != Some(&hash(bytes)) {
                found = Some(offset);
            }
            found.is_none()
        });
        found
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Reads all of it, as long as `go_on` says so. Whether all could be read.
fn each_piece(held: &Held<'_>, mut go_on: impl FnMut(usize, &[u8]) -> bool) -> bool {
    let length = held.span(0).len();
    let mut piece = Vec::with_capacity(PIECE);
    let mut offset = 0;
    while offset < length {
        piece.clear();
        if held
            .span(offset)
            .first(PIECE)
            .append_to(&mut piece)
            .is_err()
        {
            return false;
        }
        if !go_on(offset, &piece) {
            return true;
        }
        offset += piece.len();
    }
    true
}
