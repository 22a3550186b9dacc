// SPDX-License-Identifier: BSD-3-Clause

//! Local and remote memory regions, and the descriptor that describes a local region to the remote side.

use std::ffi::{c_int, c_void};

use crate::error::{Code, Error, Failure, Result};
use crate::log::log;
use crate::mr_usage::Usage;
use crate::peer::PeerDevice;
use crate::report::Releases;
use crate::verbs::{Mr, Remote, Sge};

/// Memory of this process, registered with the device
pub struct MrLocal {
    mr: Mr,
    usage: Usage,
}

impl MrLocal {
    #[inline]
    pub(crate) fn reg(
        device: PeerDevice,
        start: *mut c_void,
        size: usize,
        usage: Usage,
    ) -> Result<Self> {
        let mr = device.reg_mr(start, size, usage)?;
        Ok(Self { mr, usage })
    }

    #[inline]
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

    /// The `length` bytes at `offset` of the region. The device checks the bounds.
    #[inline(always)]
    pub(crate) fn sge(&self, offset: usize, length: u32) -> Sge {
        self.mr.sge(offset, length)
    }

    pub(crate) fn advise(
        &self,
        offset: usize,
        len: usize,
        advice: c_int,
        flags: u32,
    ) -> Result<()> {
        let range = self.sge(offset, length(len)?);
        let Some(pd) = self.mr.pd() else {
            return Err(Error::invalid("the region has no protection domain"));
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

/// The length of an operation in the 32 bits of a work request.
pub(crate) fn length(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| Error::new(Failure::TooLong(len)))
}

/// The bytes of a message: `len` bytes of a region, or `None` for an empty message.
pub(crate) fn message(mr: Option<&MrLocal>, offset: usize, len: usize) -> Result<Option<Sge>> {
    match mr {
        Some(mr) => Ok(Some(mr.sge(offset, length(len)?))),
        None if offset == 0 && len == 0 => Ok(None),
        None => Err(Error::invalid(
            "an offset or length without a memory region",
        )),
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
            descriptor.usage.bits()
        );
        Ok(Self { descriptor })
    }

    pub(crate) fn size(&self) -> u64 {
        self.descriptor.size
    }

    pub(crate) fn flush_bits(&self) -> c_int {
        self.descriptor.usage.flush_bits()
    }

    #[inline(always)]
    pub(crate) fn has_usage(&self, usage: Usage) -> bool {
        self.descriptor.usage.has(usage)
    }

    /// The remote address at `offset` of the region. The remote device checks the bounds.
    #[inline(always)]
    pub(crate) fn at(&self, offset: usize) -> Remote {
        Remote {
            addr: self.descriptor.addr.wrapping_add(offset as u64),
            rkey: self.descriptor.rkey,
        }
    }
}

/// The description of a memory region for the remote side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    addr: u64,
    size: u64,
    rkey: u32,
    usage: Usage,
}

impl Descriptor {
    /// On the wire, in little-endian order: 8 bytes of address, 8 of size, 4 of rkey, 1 of usage.
    pub(crate) const SIZE: usize = 21;

    pub(crate) fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.addr.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.size.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.rkey.to_le_bytes());
        bytes[20] = self.usage.bits();
        bytes
    }

    /// Reads a descriptor from the network. Only its length and its usage can be checked here; the remote device
    /// checks the rest with every operation.
    fn decode(bytes: &[u8]) -> Result<Self> {
        let Some((descriptor, _)) = bytes.split_first_chunk::<{ Self::SIZE }>() else {
            return Err(Error::new(Failure::ShortDescriptor {
                size: bytes.len(),
                smallest: Self::SIZE,
            }));
        };
        let number = |from: usize, to: usize| {
            descriptor[from..to]
                .iter()
                .rev()
                .fold(0, |number: u64, &byte| number << 8 | u64::from(byte))
        };
        let Some(usage) = Usage::from_descriptor(descriptor[20]) else {
            return Err(Error::invalid("the descriptor has no usage set"));
        };
        Ok(Self {
            addr: number(0, 8),
            size: number(8, 16),
            // It has 4 bytes, so the cast loses nothing.
            rkey: number(16, 20) as u32,
            usage,
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
        usage: Usage::SOME,
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
}
