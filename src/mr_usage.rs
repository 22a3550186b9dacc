// SPDX-License-Identifier: BSD-3-Clause

//! The usages of a memory region.

use std::ffi::c_int;
use std::ops::BitOr;

use crate::error::{Error, Result};

/// The usages of a memory region: the bits of `RPMA_MR_USAGE_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage(u8);

impl Usage {
    pub(crate) const READ_SRC: Self = Self(1 << 0);
    pub(crate) const READ_DST: Self = Self(1 << 1);
    pub(crate) const WRITE_SRC: Self = Self(1 << 2);
    pub(crate) const WRITE_DST: Self = Self(1 << 3);
    pub(crate) const FLUSH_VISIBILITY: Self = Self(1 << 4);
    pub(crate) const FLUSH_PERSISTENT: Self = Self(1 << 5);
    // It needs no access flag. Only the comparison with the header uses it, which older compilers do not see.
    #[allow(dead_code)]
    pub(crate) const SEND: Self = Self(1 << 6);
    pub(crate) const RECV: Self = Self(1 << 7);

    #[cfg(test)]
    pub(crate) const SOME: Self = Self(0x95);

    /// From the bits of C: at least one, and no unknown one.
    pub(crate) fn from_bits(bits: c_int) -> Result<Self> {
        match u8::try_from(bits) {
            Ok(0) => Err(Error::invalid("no usage is set")),
            Ok(bits) => Ok(Self(bits)),
            Err(_) => Err(Error::invalid("unknown usage bits")),
        }
    }

    /// From a descriptor. Its sender may have a later release, so unknown bits are kept.
    pub(crate) fn from_descriptor(bits: u8) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Whether any of these bits is set.
    #[inline(always)]
    pub(crate) fn has(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    /// The flush bits among these.
    pub(crate) fn flush_bits(self) -> c_int {
        c_int::from(self.0 & (Self::FLUSH_VISIBILITY.0 | Self::FLUSH_PERSISTENT.0))
    }
}

impl BitOr for Usage {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_takes_known_bits_only() {
        assert!(Usage::from_bits(0).is_err());
        assert!(Usage::from_bits(0x100).is_err());
        assert!(Usage::from_bits(-1).is_err());
        assert!(matches!(Usage::from_bits(0xff), Ok(Usage(0xff))));
    }
}
