// SPDX-License-Identifier: BSD-3-Clause

//! A peer: a device, and the protection domain of all that is made on it.

use crate::error::{Code, Error, Releases, Result};
use crate::log::log;
use crate::mr::Usage;
use crate::verbs::{self, Access, Context, DeviceCaps, Pd, PdRef};

/// A peer: an RDMA device in use
pub struct Peer {
    pd: Pd,
    caps: DeviceCaps,
}

/// What the objects of a peer need of it. The peer itself must outlive them: the C caller sees to
/// that, and is told EBUSY by the device otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Domain {
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
                "native {what} is not supported: {instead} takes its place"
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

    pub(crate) fn delete(self, releases: &mut Releases) {
        releases.add(self.pd.destroy());
    }

    pub(crate) fn domain(&self) -> Domain {
        Domain {
            pd: self.pd.as_ref(),
            caps: self.caps,
        }
    }
}

impl Domain {
    /// Registers memory. Some memory, such as files of a DAX file system, cannot be pinned
    /// (EOPNOTSUPP): where the device can, it is registered again for on-demand paging.
    pub(crate) fn reg_mr(
        self,
        start: *mut std::ffi::c_void,
        size: usize,
        usage: Usage,
    ) -> Result<verbs::Mr> {
        let access = self.access(usage);
        let describe = |error: verbs::VerbsError, on_demand: &str| {
            Error::from(error).with(format_args!(
                "addr={start:p}, length={size}, access={:#x}{on_demand}",
                access.bits()
            ))
        };
        match self.pd.reg_mr(start, size, access) {
            Ok(mr) => Ok(mr),
            Err(failed) if failed.errno == libc::EOPNOTSUPP && self.caps.on_demand_paging => self
                .pd
                .reg_mr(start, size, access | Access::ON_DEMAND)
                .map_err(|failed| describe(failed, "|IBV_ACCESS_ON_DEMAND")),
            Err(failed) if failed.errno == libc::EOPNOTSUPP => {
                Err(describe(failed, ", the peer has no on-demand paging"))
            }
            Err(failed) => Err(describe(failed, "")),
        }
    }

    /// What the device must be allowed to do for the given usage.
    fn access(self, usage: Usage) -> Access {
        let mut access = Access::NONE;
        if usage.has(Usage::READ_SRC) {
            access |= Access::REMOTE_READ;
        }
        if usage.has(Usage::READ_DST) {
            access |= Access::LOCAL_WRITE;
            if self.pd.is_iwarp() {
                access |= Access::REMOTE_WRITE;
            }
        }
        if usage.has(Usage::WRITE_SRC) {
            access |= Access::LOCAL_WRITE;
        }
        if usage.has(Usage::WRITE_DST) {
            access |= Access::REMOTE_WRITE | Access::LOCAL_WRITE;
        }
        if usage.has(Usage::RECV) {
            access |= Access::LOCAL_WRITE;
        }
        if usage.has(Usage::FLUSH_VISIBILITY) || usage.has(Usage::FLUSH_PERSISTENT) {
            // The emulated flush is a read. The remote side may need it even if this device has native
            // flush: its device, or its libibverbs, may not.
            access |= Access::REMOTE_READ;
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
