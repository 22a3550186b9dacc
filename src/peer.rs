// SPDX-License-Identifier: BSD-3-Clause

//! A peer: a device, with the protection domain of all objects that are made on it.

use crate::error::{Arguments, Code, Error, Paging, Result};
use crate::log::log;
use crate::mr_usage::Usage;
use crate::report::Releases;
use crate::sys::CallError;
use crate::verbs::{Access, Context, DeviceCaps, Mr, Pd, PdRef};

/// A peer: an RDMA device with a protection domain
pub struct Peer {
    pd: Pd,
    caps: DeviceCaps,
}

/// What the objects on a peer use: its protection domain and the capabilities of its device. The C caller must
/// delete them before the peer; otherwise deleting the peer fails with EBUSY.
#[derive(Clone, Copy)]
pub(crate) struct PeerDevice {
    pub(crate) pd: PdRef,
    pub(crate) caps: DeviceCaps,
}

impl Peer {
    pub(crate) fn new(context: Context) -> Result<Self> {
        let caps = context.query_caps()?;
        let missing = |what: &str, instead: &str| {
            log!(
                Info,
                c"rpma_peer_new",
                "native {what} is not supported: using {instead} instead"
            );
        };
        if !caps.native_atomic_write {
            missing("atomic write", "a fenced RDMA write of 8 bytes");
        }
        if !caps.native_flush {
            missing("flush", "an RDMA read of 8 bytes");
        }
        let pd = context.alloc_pd().map_err(|failed| {
            let code = match failed.errno {
                libc::ENOMEM => Code::NoMem,
                0 => Code::Unknown,
                _ => Code::Provider,
            };
            Error::from_call(code, failed)
        })?;
        Ok(Self { pd, caps })
    }

    pub(crate) fn delete(self: Box<Self>, releases: &mut Releases) {
        let peer = *self;
        releases.add(peer.pd.destroy());
    }

    pub(crate) fn device(&self) -> PeerDevice {
        PeerDevice {
            pd: self.pd.as_ref(),
            caps: self.caps,
        }
    }
}

impl PeerDevice {
    /// Registers memory. If it cannot be pinned (EOPNOTSUPP), as files of a DAX file system, and the device
    /// supports on-demand paging, it is registered for that.
    #[inline(always)]
    pub(crate) fn reg_mr(
        self,
        start: *mut std::ffi::c_void,
        size: usize,
        usage: Usage,
    ) -> Result<Mr> {
        let access = self.access(usage);
        match self.pd.reg_mr(start, size, access) {
            Ok(mr) => Ok(mr),
            Err(failed) => self.retry_reg_mr(failed, start as usize, size, access),
        }
    }

    #[cold]
    #[inline(never)]
    fn retry_reg_mr(
        self,
        failed: CallError,
        addr: usize,
        length: usize,
        access: Access,
    ) -> Result<Mr> {
        let described = |failed: CallError, paging: Paging| {
            Error::with(
                failed,
                Arguments::Region {
                    addr,
                    length,
                    access: access.bits(),
                    paging,
                },
            )
        };
        if failed.errno != libc::EOPNOTSUPP {
            return Err(described(failed, Paging::Pinned));
        }
        if !self.caps.on_demand_paging {
            return Err(described(failed, Paging::Unsupported));
        }
        let start = addr as *mut std::ffi::c_void;
        self.pd
            .reg_mr(start, length, access | Access::ON_DEMAND)
            .map_err(|failed| described(failed, Paging::OnDemand))
    }

    /// The access flags that a usage needs.
    #[inline(always)]
    fn access(self, usage: Usage) -> Access {
        let mut access = Access::NONE;
        if usage.has(Usage::READ_DST | Usage::WRITE_SRC | Usage::WRITE_DST | Usage::RECV) {
            access |= Access::LOCAL_WRITE;
        }
        if usage.has(Usage::WRITE_DST) {
            access |= Access::REMOTE_WRITE;
        }
        // The emulated flush is a read. The remote side uses it if its own device has no native flush, whatever
        // this device supports.
        if usage.has(Usage::READ_SRC | Usage::FLUSH_VISIBILITY | Usage::FLUSH_PERSISTENT) {
            access |= Access::REMOTE_READ;
        }
        if usage.has(Usage::READ_DST) && self.pd.is_iwarp() {
            access |= Access::REMOTE_WRITE;
        }
        if self.caps.native_flush {
            if usage.has(Usage::FLUSH_VISIBILITY) {
                access |= Access::FLUSH_GLOBAL;
            }
            if usage.has(Usage::FLUSH_PERSISTENT) {
                access |= Access::FLUSH_PERSISTENT;
            }
        }
        access
    }
}
