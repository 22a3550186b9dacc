// SPDX-License-Identifier: BSD-3-Clause

//! A region as peers see it: its entry in the table that they read (`os/region_table.rs`).

use parking_lot::Mutex;

use crate::os::lease::SharedRegion;
use crate::os::mapper;
use crate::os::region_table::{EntryNumber, RegionTable};
use crate::types::region::{Terms, access};

/// What peers need a key for. To other regions they have no access.
const REMOTE: u32 = access::REMOTE_READ | access::REMOTE_WRITE | access::FLUSHES;

struct Place {
    /// A child has another one.
    table: &'static RegionTable,
    entry: EntryNumber,
    region: SharedRegion,
}

/// Where a region is in the table, if it is.
#[derive(Default)]
pub(super) struct Shared(Mutex<Option<Place>>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Enters the region, if peers may do anything with it and there is room for it.
    pub(super) fn enter(&self, table: &'static RegionTable, key: u32, terms: Terms, domain: u32) {
        if terms.access & REMOTE == 0 {
            return;
        }
        let region = SharedRegion { key, terms, domain };
        *self.0.lock() = table.insert(&region).map(|entry| Place {
            table,
            entry,
            region,
        });
    }

    /// No peer begins to use it from now on.
    pub(super) fn withdraw(&self) {
        if let Some(place) = &*self.0.lock() {
            place.table.withdraw(&place.entry);
        }
    }

    /// After `withdraw`: whether a peer still uses it.
    pub(super) fn is_leased(&self) -> bool {
        let place = self.0.lock();
        place
            .as_ref()
            .is_some_and(|place| place.table.is_leased(&place.entry))
    }

    /// After `withdraw`: it stays as it was.
    pub(super) fn publish_again(&self) {
        if let Some(place) = &*self.0.lock() {
            place.table.publish(&place.entry, &place.region);
        }
    }

    /// After `withdraw`, when no peer uses it any more.
    pub(super) fn remove(&self) {
        if let Some(place) = self.0.lock().take() {
            if place.table.remove(place.entry) {
                mapper::regions_are_gone();
            }
        }
    }
}
