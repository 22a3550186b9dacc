// SPDX-License-Identifier: BSD-3-Clause

//! Memory regions, one's own and those of the remote side, and the descriptor that tells the
//! remote side of one's own.

use std::ffi::{c_int, c_void};

use crate::error::{Code, Error, OpError, OpResult, Releases, Result, What};
use crate::log::log;
use crate::peer::Domain;
use crate::verbs::{self, Remote, Sge};

/// What a memory region is for: the bits of `RPMA_MR_USAGE_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage(u8);

impl Usage {
    pub(crate) const READ_SRC: Self = Self(1 << 0);
    pub(crate) const READ_DST: Self = Self(1 << 1);
    pub(crate) const WRITE_SRC: Self = Self(1 << 2);
    pub(crate) const WRITE_DST: Self = Self(1 << 3);
    pub(crate) const FLUSH_VISIBILITY: Self = Self(1 << 4);
    pub(crate) const FLUSH_PERSISTENT: Self = Self(1 << 5);
    pub(crate) const RECV: Self = Self(1 << 7);

    /// From the bits of C: at least one, and no unknown one.
    pub(crate) fn from_bits(bits: c_int) -> OpResult<Self> {
        match u8::try_from(bits) {
            Ok(0) => Err(OpError::invalid("no usage is set")),
            Ok(bits) => Ok(Self(bits)),
            Err(_) => Err(OpError::invalid("unknown usage bits")),
        }
    }

    pub(crate) fn has(self, bit: Self) -> bool {
        self.0 & bit.0 != 0
    }

    /// The flush bits among these.
    fn flush_bits(self) -> c_int {
        c_int::from(self.0 & (Self::FLUSH_VISIBILITY.0 | Self::FLUSH_PERSISTENT.0))
    }
}

/// Memory of this process, registered with the device
pub struct MrLocal {
    mr: verbs::Mr,
    usage: Usage,
}

impl MrLocal {
    pub(crate) fn reg(
        domain: Domain,
        start: *mut c_void,
        size: usize,
        usage: Usage,
    ) -> Result<Self> {
        let mr = domain.reg_mr(start, size, usage)?;
        Ok(Self { mr, usage })
    }

    pub(crate) fn dereg(self, releases: &mut Releases) {
        releases.add(self.mr.destroy());
    }

    pub(crate) fn addr(&self) -> *mut c_void {
        self.mr.addr()
    }

    pub(crate) fn size(&self) -> usize {
        self.mr.length()
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor {
            addr: self.addr() as u64,
            size: self.size() as u64,
            rkey: self.mr.rkey(),
            usage: self.usage,
        }
    }

    /// `len` bytes at `offset` of the region, whose bounds the device checks.
    #[inline]
    pub(crate) fn sge(&self, offset: usize, len: usize) -> OpResult<Sge> {
        match u32::try_from(len) {
            Ok(length) => Ok(self.mr.sge(offset, length)),
            // A work request counts its bytes in 32 bits.
            Err(_) => Err(OpError::new(What::TooLong(len))),
        }
    }

    pub(crate) fn advise(
        &self,
        offset: usize,
        len: usize,
        advice: c_int,
        flags: u32,
    ) -> Result<()> {
        let range = self.sge(offset, len)?;
        let Some(pd) = self.mr.pd() else {
            return Err(Error::inval("the region has no protection domain"));
        };
        pd.advise_mr(advice, flags, range).map_err(|failed| {
            // ENOTSUP is the same number as EOPNOTSUPP on Linux.
            let code = match failed.errno {
                libc::EOPNOTSUPP => Code::NoSupp,
                libc::EFAULT | libc::EINVAL => Code::Inval,
                _ => Code::Provider,
            };
            Error::from_call(code, failed)
        })
    }
}

/// Memory of the remote side
pub struct MrRemote {
    descriptor: Descriptor,
}

impl MrRemote {
    pub(crate) fn from_descriptor(bytes: &[u8]) -> Result<Self> {
        let descriptor = Descriptor::decode(bytes)?;
        log!(
            Debug,
            c"rpma_mr_remote_from_descriptor",
            "new remote memory region: raddr={:#x}, size={}, rkey={:#x}, usage={:#x}",
            descriptor.addr,
            descriptor.size,
            descriptor.rkey,
            descriptor.usage.0
        );
        Ok(Self { descriptor })
    }

    pub(crate) fn size(&self) -> u64 {
        self.descriptor.size
    }

    pub(crate) fn flush_bits(&self) -> c_int {
        self.descriptor.usage.flush_bits()
    }

    pub(crate) fn has_usage(&self, usage: Usage) -> bool {
        self.descriptor.usage.has(usage)
    }

    /// The place at `offset` of the region, whose bounds the remote device checks.
    #[inline]
    pub(crate) fn at(&self, offset: usize) -> Remote {
        Remote {
            addr: self.descriptor.addr.wrapping_add(offset as u64),
            rkey: self.descriptor.rkey,
        }
    }
}

/// What the remote side is told of a memory region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    addr: u64,
    size: u64,
    rkey: u32,
    usage: Usage,
}

impl Descriptor {
    /// On the wire, little-endian: 8 bytes of address, 8 of size, 4 of rkey, 1 of usage.
    pub(crate) const SIZE: usize = 21;

    pub(crate) fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.addr.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.size.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.rkey.to_le_bytes());
        bytes[20] = self.usage.0;
        bytes
    }

    /// Reads a descriptor. It came from the network: only its size and usage can be checked here,
    /// the remote device checks the rest with every operation.
    fn decode(bytes: &[u8]) -> Result<Self> {
        let Some((descriptor, _)) = bytes.split_first_chunk::<{ Self::SIZE }>() else {
            return Err(Error::new(
                Code::Inval,
                format_args!(
                    "incorrect size of the descriptor: {} bytes (at least {} expected)",
                    bytes.len(),
                    Self::SIZE
                ),
            ));
        };
        let number = |from: usize, to: usize| {
            descriptor[from..to]
                .iter()
                .rev()
                .fold(0, |number: u64, &byte| number << 8 | u64::from(byte))
        };
        let usage = descriptor[20];
        if usage == 0 {
            return Err(Error::new(
                Code::Inval,
                format_args!("the descriptor has no usage set"),
            ));
        }
        Ok(Self {
            addr: number(0, 8),
            size: number(8, 16),
            // Four bytes: nothing is cut.
            rkey: number(16, 20) as u32,
            usage: Usage(usage),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTOR: Descriptor = Descriptor {
        addr: 0x0123_4567_89ab_cdef,
        size: 0x0fed_cba9_8765_4321,
        rkey: 0xcafe_babe,
        usage: Usage(0x95),
    };

    const BYTES: [u8; 21] = [
        0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb, 0xed,
        0x0f, 0xbe, 0xba, 0xfe, 0xca, 0x95,
    ];

    #[test]
    fn descriptor_is_little_endian() {
        assert_eq!(DESCRIPTOR.encode(), BYTES);
    }

    #[test]
    fn descriptor_survives_the_wire_and_trailing_bytes() {
        let mut longer = [0xff; 30];
        longer[..21].copy_from_slice(&BYTES);
        for bytes in [&BYTES[..], &longer[..]] {
            assert!(matches!(Descriptor::decode(bytes), Ok(d) if d == DESCRIPTOR));
        }
    }

    #[test]
    fn short_descriptors_and_empty_usage_are_refused() {
        for len in 0..21 {
            assert!(Descriptor::decode(&BYTES[..len]).is_err());
        }
        let mut unused = BYTES;
        unused[20] = 0;
        assert!(Descriptor::decode(&unused).is_err());
    }

    #[test]
    fn usage_takes_known_bits_only() {
        assert!(Usage::from_bits(0).is_err());
        assert!(Usage::from_bits(0x100).is_err());
        assert!(Usage::from_bits(-1).is_err());
        assert!(matches!(Usage::from_bits(0xff), Ok(Usage(0xff))));
    }
}
