// SPDX-License-Identifier: BSD-3-Clause

//! Memory regions as plain data: access rights, ranges, keys.

/// What a region may be used for: the bits of `enum ibv_access_flags`.
pub(crate) mod access {
    pub(crate) const LOCAL_WRITE: u32 = 1;
    pub(crate) const REMOTE_WRITE: u32 = 1 << 1;
    pub(crate) const REMOTE_READ: u32 = 1 << 2;
    pub(crate) const REMOTE_ATOMIC: u32 = 1 << 3;
    pub(crate) const MW_BIND: u32 = 1 << 4;
    pub(crate) const ZERO_BASED: u32 = 1 << 5;
    pub(crate) const ON_DEMAND: u32 = 1 << 6;
    pub(crate) const HUGETLB: u32 = 1 << 7;
    pub(crate) const FLUSH_GLOBAL: u32 = 1 << 8;
    pub(crate) const FLUSH_PERSISTENT: u32 = 1 << 9;
    pub(crate) const FLUSHES: u32 = FLUSH_GLOBAL | FLUSH_PERSISTENT;
    /// Bits 20 to 29 may be ignored by a device.
    pub(crate) const OPTIONAL: u32 = 0x3ff0_0000;
    pub(crate) const KNOWN: u32 = LOCAL_WRITE
        | REMOTE_WRITE
        | REMOTE_READ
        | REMOTE_ATOMIC
        | MW_BIND
        | ZERO_BASED
        | ON_DEMAND
        | HUGETLB
        | FLUSH_GLOBAL
        | FLUSH_PERSISTENT
        | OPTIONAL;
    /// What the device does with remote memory: it needs memory that can be written.
    pub(crate) const WRITES: u32 = LOCAL_WRITE | REMOTE_WRITE | REMOTE_ATOMIC;
}

/// Where a region is, and how it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Where the program has it.
    pub(crate) addr: u64,
    pub(crate) length: u64,
    /// The address that requests name.
    pub(crate) iova: u64,
    pub(crate) access: u32,
}

impl Terms {
    /// The address in the program of a range that a request names, if all of it is in the region and the region
    /// permits what is needed.
    pub(crate) fn locate(&self, range: Range, needs: u32) -> Option<u64> {
        let offset = range.addr.checked_sub(self.iova)?;
        let end = offset.checked_add(u64::from(range.length))?;
        if self.access & needs != needs || end > self.length {
            return None;
        }
        self.addr.checked_add(end)?;
        Some(self.addr + offset)
    }
}

/// A range that some request names, with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) addr: u64,
    pub(crate) length: u32,
    pub(crate) key: u32,
}

/// The region does not exist, is of another domain, does not have the range or does not permit this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation;

/// Where a generation is, and what is there as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GenerationRef {
    pub(crate) addr: u64,
    pub(crate) value: u64,
}

/// Where a region is, and how many the process had registered before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) addr: u64,
    pub(crate) length: u64,
    pub(crate) serial: u64,
}

/// A part of the memory of a process, as those regions have it that were registered before others: later ones may have
/// other memory at the same addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The serial numbers of its regions are less.
    pub(crate) before: u64,
}

impl Window {
    /// That of one region.
    pub(crate) fn of(region: &Extent) -> Option<Self> {
        Some(Self {
            from: region.addr,
            to: region.addr.checked_add(region.length)?,
            before: region.serial.checked_add(1)?,
        })
    }

    /// Whether all of the region is in there.
    pub(crate) fn has(&self, region: &Extent) -> bool {
        let end = region.addr.checked_add(region.length);
        region.serial < self.before
            && region.addr >= self.from
            && end.is_some_and(|end| end <= self.to)
    }

    /// Whether they share memory, whatever the regions are.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// Whether all memory of the other one is in there.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }
}
