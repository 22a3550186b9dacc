// SPDX-License-Identifier: BSD-3-Clause

//! Writes, reads and atomic writes in regions of the peer that this process has mapped: copies, without a system call.
//!
//! The peer is asked for the file of a region (`os/mapper.rs`) when the connection has executed some requests by the
//! kernel. They go on so until the answer has come, and for regions that cannot be mapped.

use std::sync::{Arc, Weak};

use crate::Result;
use crate::instrument::strict;
use crate::os::lease::Lease;
use crate::os::local::Local;
use crate::os::mapped::MappedRegion;
use crate::os::mappings::{Answered, Mapping};
use crate::os::memory::Span;
use crate::os::reach::Reach;
use crate::types::work::{Data, Operation, Request};

use super::Qp;

/// The peer is asked when requests have cost so much: that many bytes, of which each request counts for `REQUEST`
/// in addition. A mapping costs both sides as much as many small requests.
const WORTH_IT: u32 = 64 * 1024;
const REQUEST: u32 = 4096;

/// How many windows a connection has at hand.
const AT_HAND: usize = 8;
/// So many requests do not look for a mapping after one that has found none.
const SKIPS: u16 = 4;
/// The cost doubles each time that the peer has not answered, up to so many times.
const MOST_DOUBLED: u8 = 10;

/// What a connection knows of mappings.
#[derive(Default)]
pub(super) struct Mappings {
    /// What was answered for the last regions that requests have named.
    known: [Option<Arc<Answered>>; AT_HAND],
    /// What requests have cost since the peer was asked last.
    cost: u32,
    /// So many requests look for nothing.
    skips: u16,
    /// How often it was asked since it has answered.
    asked: u8,
    /// The place of the next answer.
    next: u8,
}

impl Mappings {
    /// Where a region of the peer is mapped, if it is.
    pub(super) fn find(
        &mut self,
        local: &Local,
        reach: &Reach,
        entry: u32,
        lease: &Lease<'_>,
    ) -> Option<MappedRegion> {
        let region = lease.extent();
        let terms = &lease.region().terms;
        let is_it = |answer: &&mut Option<Arc<Answered>>| {
            let answer = answer.as_ref();
            answer.is_some_and(|answer| answer.is_for(&region, terms))
        };
        let known = self.known.iter_mut().find(is_it);
        if let Some(place) = known {
            let mapped = place.as_ref().and_then(|answer| answer.mapped())?;
            if let Some(mapped) = mapped.upgrade() {
                return MappedRegion::new(mapped, &region);
            }
            // It may be mapped again.
            *place = None;
            return None;
        }
        if self.skips > 0 {
            self.skips -= 1;
            return None;
        }
        self.look(local, reach, entry, lease)
    }

    #[cold]
    fn look(
        &mut self,
        local: &Local,
        reach: &Reach,
        entry: u32,
        lease: &Lease<'_>,
    ) -> Option<MappedRegion> {
        self.skips = SKIPS;
        if reach.is_own_process() || strict::is_on() {
            self.skips = u16::MAX;
            return None;
        }
        let answer = match local.mapping(entry, lease) {
            Mapping::Known(answer) => answer,
            Mapping::Asked => return None,
            Mapping::Unknown => {
                self.ask(local, reach, entry, lease);
                return None;
            }
        };
        let found = answer.mapped().and_then(Weak::upgrade);
        let place = usize::from(self.next) % AT_HAND;
        self.known[place] = Some(answer);
        self.next = self.next.wrapping_add(1);
        (self.asked, self.skips) = (0, 0);
        MappedRegion::new(found?, &lease.extent())
    }

    /// A peer that gives no answer, for lack of memory, for example, is asked again, and more and more rarely.
    fn ask(&mut self, local: &Local, reach: &Reach, entry: u32, lease: &Lease<'_>) {
        if self.cost >= WORTH_IT << self.asked {
            local.ask_for_mapping(reach, entry, lease);
            self.cost = 0;
            self.asked = (self.asked + 1).min(MOST_DOUBLED);
        }
    }

    /// A request of this length was executed by the kernel.
    pub(super) fn count(&mut self, length: u32) {
        self.cost = self.cost.saturating_add(length).saturating_add(REQUEST);
    }
}

impl Qp {
    /// Executes a request in a region that is mapped, from this offset on, as long as `may` says so. None if that
    /// cannot be done.
    pub(super) fn access_mapped(
        &self,
        request: &Request,
        mapped: &MappedRegion,
        offset: u64,
        may: impl Fn() -> bool,
    ) -> Option<()> {
        match request.operation {
            Operation::Write { .. } => match &request.data {
                Data::Inline(bytes) => mapped.write(offset, Span::from_slice(bytes)).ok(),
                Data::Memory(_) => self.each_span(request, offset, |at, span| {
                    in_parts(at, span, &may, |at, part| mapped.write(at, part))
                }),
            },
            Operation::Read { .. } => self.each_span(request, offset, |at, span| {
                in_parts(at, span, &may, |at, part| mapped.read(at, part))
            }),
            Operation::AtomicWrite { to } if to.addr % 8 == 0 => match &request.data {
                Data::Inline(bytes) => mapped.store(offset, (**bytes).try_into().ok()?).ok(),
                Data::Memory(_) => None,
            },
            _ => None,
        }
    }
}

/// The owner waits for one part at most when it permits the access no more.
const PART: usize = 256 * 1024;

fn in_parts<'a>(
    at: u64,
    span: Span<'a>,
    may: impl Fn() -> bool,
    copy: impl Fn(u64, Span<'a>) -> Result<()>,
) -> Result<()> {
    if span.len() <= PART {
        return copy(at, span);
    }
    for done in (0..span.len()).step_by(PART) {
        if !may() {
            return Err(libc::EACCES);
        }
        copy(at + done as u64, span.after(done).first(PART))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_large_copy_ends_when_it_is_not_permitted_any_more() {
        let mut bytes = vec![0; 3 * PART + 5];
        for may in 0..6usize {
            let (left, copied) = (Cell::new(may), Cell::new(0));
            let goes_on = || left.replace(left.get().saturating_sub(1)) > 0;
            let done = in_parts(7, Span::from_mut(&mut bytes), goes_on, |at, part| {
                assert_eq!(at, 7 + copied.get() as u64);
                copied.set(copied.get() + part.len());
                Ok(())
            });
            assert_eq!(done.is_ok(), may >= 4);
            assert_eq!(copied.get(), (may * PART).min(3 * PART + 5));
        }
    }

    #[test]
    fn a_small_copy_is_not_cut() {
        let mut bytes = vec![0; PART];
        let copied = in_parts(0, Span::from_mut(&mut bytes), || false, |_, _| Ok(()));
        assert!(copied.is_ok());
    }
}
