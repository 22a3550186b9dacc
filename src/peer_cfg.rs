// SPDX-License-Identifier: BSD-3-Clause

//! The peer configuration, which describes the platform of one side to the other side.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Failure, Result};
use crate::log::log;

/// The configuration of a peer: whether it allows direct write to persistent memory
pub struct PeerCfg {
    direct_write_to_pmem: AtomicBool,
}

impl PeerCfg {
    /// On the wire: one byte.
    pub(crate) const DESCRIPTOR_SIZE: usize = 1;

    pub(crate) fn new() -> Self {
        Self {
            direct_write_to_pmem: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_direct_write_to_pmem(&self, supported: bool) {
        self.direct_write_to_pmem
            .store(supported, Ordering::Relaxed);
    }

    pub(crate) fn direct_write_to_pmem(&self) -> bool {
        self.direct_write_to_pmem.load(Ordering::Relaxed)
    }

    pub(crate) fn descriptor(&self) -> [u8; Self::DESCRIPTOR_SIZE] {
        [u8::from(self.direct_write_to_pmem())]
    }

    pub(crate) fn from_descriptor(descriptor: &[u8]) -> Result<Self> {
        // Every value except 0 means yes. Bytes after the first one are ignored.
        let Some(&first) = descriptor.first() else {
            return Err(Error::new(Failure::ShortDescriptor {
                size: 0,
                smallest: Self::DESCRIPTOR_SIZE,
            }));
        };
        let cfg = Self::new();
        cfg.set_direct_write_to_pmem(first != 0);
        log!(
            Info,
            c"rpma_peer_cfg_from_descriptor",
            "direct write to PMem is {}",
            if first == 0 {
                "unsupported"
            } else {
                "supported"
            }
        );
        Ok(cfg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_is_one_byte() {
        let cfg = PeerCfg::new();
        assert_eq!(cfg.descriptor(), [0]);
        cfg.set_direct_write_to_pmem(true);
        assert_eq!(cfg.descriptor(), [1]);
    }

    #[test]
    fn any_byte_but_zero_means_yes() {
        let read = |bytes: &[u8]| PeerCfg::from_descriptor(bytes).map(|c| c.direct_write_to_pmem());
        assert!(matches!(read(&[0, 9]), Ok(false)));
        assert!(matches!(read(&[0x80]), Ok(true)));
        assert!(read(&[]).is_err());
    }
}
