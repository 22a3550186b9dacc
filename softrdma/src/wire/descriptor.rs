// SPDX-License-Identifier: BSD-3-Clause

//! The payload that stands for bytes that the other side copies itself.

use super::bytes::u64_at;
use crate::types::region::GenerationRef;

pub(crate) const DESCRIPTOR: usize = 40;

/// Where bytes are that the other side copies itself, and what it must find afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) addr: u64,
    /// The region's.
    pub(crate) region: GenerationRef,
    /// That of the queue pair whose request it is, or of the region once more.
    pub(crate) owner: GenerationRef,
}

impl Descriptor {
    pub(crate) fn encode(self) -> [u8; DESCRIPTOR] {
        let Self {
            addr,
            region,
            owner,
        } = self;
        let mut out = [0; DESCRIPTOR];
        let words = [addr, region.addr, region.value, owner.addr, owner.value];
        for (place, word) in out.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(from: &[u8; DESCRIPTOR]) -> Self {
        let generation = |at| GenerationRef {
            addr: u64_at(from, at),
            value: u64_at(from, at + 8),
        };
        Self {
            addr: u64_at(from, 0),
            region: generation(8),
            owner: generation(24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_survive_the_round_trip() {
        let generation = |addr, value| GenerationRef { addr, value };
        let descriptor = Descriptor {
            addr: 1,
            region: generation(2, 3),
            owner: generation(4, u64::MAX),
        };
        assert_eq!(Descriptor::decode(&descriptor.encode()), descriptor);
    }
}
