// SPDX-License-Identifier: BSD-3-Clause

//! Writes, reads and atomic writes in regions of the peer that this process has mapped: copies, without a system call.
//!
//! The peer is asked for the file of a region (`os/mapper.rs`) when the connection has executed some requests by the
//! kernel. They go on so until the answer has come, and for regions that cannot be mapped.

use std::sync::{Arc, Weak};

use crate::instrument::strict;
use crate::os::lease::Lease;
use crate::os::local::Local;
use crate::os::mapped::{Mapped, Mapping};
use crate::os::memory::Span;
use crate::os::reach::Reach;
use crate::types::work::{Data, Operation, Request};

use super::Qp;

/// The peer is asked when requests have cost so much: that many bytes, of which each request counts for `REQUEST`
/// in addition. A mapping costs both sides as much as many small requests.
const WORTH_IT: u64 = 64 * 1024;
const REQUEST: u64 = 4096;

/// What a connection knows of mappings.
#[derive(Default)]
pub(super) struct Mappings {
    /// The last region that a request has named.
    last: Option<Last>,
    /// What requests have cost since the peer was asked in vain.
    cost: u64,
}

struct Last {
    entry: u32,
    generation: u64,
    mapped: Known,
}

enum Known {
    /// It goes when the owner deregisters the region.
    Mapped(Weak<Mapped>),
    Refused,
}

impl Mappings {
    /// The mapping of a region of the peer, if there is one.
    pub(super) fn find(
        &mut self,
        local: &Local,
        reach: &Reach,
        entry: u32,
        lease: &Lease<'_>,
    ) -> Option<Arc<Mapped>> {
        let generation = lease.generation();
        let is_last = |last: &&Last| (last.entry, last.generation) == (entry, generation);
        let mapped = match self.last.as_ref().filter(is_last) {
            Some(last) => &last.mapped,
            None => {
                let mapped = match local.mapping(entry, lease) {
                    Mapping::Mapped(mapped) => Known::Mapped(mapped),
                    Mapping::Refused => Known::Refused,
                    Mapping::Asked => return None,
                    Mapping::Unknown => {
                        self.ask(local, reach, entry, lease);
                        return None;
                    }
                };
                let last = Last {
                    entry,
                    generation,
                    mapped,
                };
                &self.last.insert(last).mapped
            }
        };
        match mapped {
            Known::Mapped(mapped) => mapped.upgrade(),
            Known::Refused => None,
        }
    }

    fn ask(&mut self, local: &Local, reach: &Reach, entry: u32, lease: &Lease<'_>) {
        let is_needed = self.cost >= WORTH_IT && !reach.is_own_process() && !strict::is_on();
        if is_needed && !local.ask_for_mapping(reach.table(), entry, lease) {
            self.cost = 0;
        }
    }

    /// A request of this length was executed by the kernel.
    pub(super) fn count(&mut self, length: u32) {
        self.cost = self.cost.saturating_add(u64::from(length) + REQUEST);
    }
}

impl Qp {
    /// Executes a request in a region that is mapped, from this offset on. None if that cannot be done.
    pub(super) fn access_mapped(
        &self,
        request: &Request,
        mapped: &Mapped,
        offset: u64,
    ) -> Option<()> {
        match request.operation {
            Operation::Write { .. } => match &request.data {
                Data::Inline(bytes) => mapped.write(offset, Span::from_slice(bytes)).ok(),
                Data::Memory(_) => {
                    self.each_span(request, offset, |at, span| mapped.write(at, span))
                }
            },
            Operation::Read { .. } => {
                self.each_span(request, offset, |at, span| mapped.read(at, span))
            }
            Operation::AtomicWrite { to } if to.addr % 8 == 0 => match &request.data {
                Data::Inline(bytes) => mapped.store(offset, (**bytes).try_into().ok()?).ok(),
                Data::Memory(_) => None,
            },
            _ => None,
        }
    }
}
