// SPDX-License-Identifier: BSD-3-Clause

//! Queue pairs, and the work requests that are posted to them: the path that every operation takes.

use std::ffi::c_int;
use std::mem;
use std::ptr::{self, NonNull};

use rdma_sys as sys;

use super::{Result, check_errno};

mod native;

pub(super) use native::{has_functions, native_ops};

/// SGEs of a work request, at most.
pub(super) const MAX_SGE: u32 = 1;
/// Bytes that a work request carries itself, at most: those of an atomic write.
pub(super) const MAX_INLINE_DATA: u32 = 8;

/// The queue pair of a CM id.
pub(crate) struct Qp {
    id: NonNull<sys::rdma_cm_id>,
    qp: NonNull<sys::ibv_qp>,
    native_atomic_write: bool,
    native_flush: bool,
}

// SAFETY: verbs calls may be made on a queue pair from any thread.
unsafe impl Send for Qp {}
// SAFETY: as above.
unsafe impl Sync for Qp {}

/// Some bytes of a local memory region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sge {
    pub(crate) addr: u64,
    pub(crate) length: u32,
    pub(crate) lkey: u32,
}

impl Sge {
    #[inline(always)]
    pub(super) fn to_raw(self) -> sys::ibv_sge {
        sys::ibv_sge {
            addr: self.addr,
            length: self.length,
            lkey: self.lkey,
        }
    }
}

/// Where in the remote memory an operation takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) addr: u64,
    pub(crate) rkey: u32,
}

/// Four bytes that travel with an operation, in host byte order; `None` when there are none.
pub(crate) type Immediate = Option<u32>;

/// What a send request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendOp {
    Read(Remote),
    Write(Remote, Immediate),
    Send(Immediate),
}

/// A request for the send queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) op: SendOp,
    /// The local memory; without an SGE for `None`.
    pub(crate) local: Option<Sge>,
    /// Whether a completion is wanted on success too.
    pub(crate) signaled: bool,
    /// Whether the request waits for the reads posted before it.
    pub(crate) fence: bool,
    pub(crate) wr_id: u64,
}

/// What a flush makes sure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushKind {
    Persistent,
    Visibility,
}

const SIGNALED: u32 = sys::ibv_send_flags::IBV_SEND_SIGNALED.0;
const FENCE: u32 = sys::ibv_send_flags::IBV_SEND_FENCE.0;
const INLINE: u32 = sys::ibv_send_flags::IBV_SEND_INLINE.0;

impl Qp {
    pub(super) fn from_raw(
        id: NonNull<sys::rdma_cm_id>,
        qp: NonNull<sys::ibv_qp>,
        native_atomic_write: bool,
        native_flush: bool,
    ) -> Self {
        Self {
            id,
            qp,
            native_atomic_write,
            native_flush,
        }
    }

    pub(crate) fn number(&self) -> u32 {
        // SAFETY: the queue pair exists as long as `self`, and keeps its number.
        unsafe { (*self.qp.as_ptr()).qp_num }
    }

    pub(crate) fn has_native_atomic_write(&self) -> bool {
        self.native_atomic_write
    }

    pub(crate) fn has_native_flush(&self) -> bool {
        self.native_flush
    }

    /// `ibv_post_send` of one request
    #[inline(always)]
    pub(crate) fn post_send(&self, request: &Request) -> Result<()> {
        let mut sge = request.local.map(Sge::to_raw);
        let mut flags = 0;
        if request.signaled {
            flags |= SIGNALED;
        }
        if request.fence {
            flags |= FENCE;
        }
        self.post_raw(request.op, sge.as_mut(), flags, request.wr_id)
    }

    /// `ibv_post_send` of a fenced write of 8 bytes that the request carries itself
    #[inline(always)]
    pub(crate) fn post_inline_write(
        &self,
        to: Remote,
        bytes: &[u8; 8],
        signaled: bool,
        wr_id: u64,
    ) -> Result<()> {
        let mut sge = sys::ibv_sge {
            addr: bytes.as_ptr() as u64,
            length: MAX_INLINE_DATA,
            lkey: 0,
        };
        let mut flags = INLINE | FENCE;
        if signaled {
            flags |= SIGNALED;
        }
        self.post_raw(SendOp::Write(to, None), Some(&mut sge), flags, wr_id)
    }

    #[inline(always)]
    fn post_raw(
        &self,
        op: SendOp,
        sge: Option<&mut sys::ibv_sge>,
        flags: u32,
        wr_id: u64,
    ) -> Result<()> {
        use sys::ibv_wr_opcode as opcode;

        // SAFETY: the struct is plain data, for which zeros are valid.
        let mut wr: sys::ibv_send_wr = unsafe { mem::zeroed() };
        wr.wr_id = wr_id;
        wr.send_flags = flags;
        if let Some(sge) = sge {
            wr.sg_list = ptr::from_mut(sge);
            wr.num_sge = 1;
        }
        let (code, with_immediate, remote, immediate) = match op {
            SendOp::Read(from) => (opcode::IBV_WR_RDMA_READ, 0, from, None),
            SendOp::Write(to, immediate) => (
                opcode::IBV_WR_RDMA_WRITE,
                opcode::IBV_WR_RDMA_WRITE_WITH_IMM,
                to,
                immediate,
            ),
            SendOp::Send(immediate) => (
                opcode::IBV_WR_SEND,
                opcode::IBV_WR_SEND_WITH_IMM,
                Remote::default(),
                immediate,
            ),
        };
        wr.opcode = code;
        if let Some(immediate) = immediate {
            wr.opcode = with_immediate;
            wr.imm_data_invalidated_rkey_union.imm_data = immediate.to_be();
        }
        wr.wr.rdma = sys::rdma_t {
            remote_addr: remote.addr,
            rkey: remote.rkey,
        };
        let mut bad = ptr::null_mut();
        // SAFETY: a queue pair points to its context, and that to the provider's functions.
        let post = unsafe { (*(*self.qp.as_ptr()).context).ops.post_send };
        let returned = match post {
            // SAFETY: the provider's function, with a queue pair of that provider, and a request
            // and SGE that live through the call. Inline data is copied in the call; other memory
            // is the program's, registered with the device.
            Some(post) => unsafe { post(self.qp.as_ptr(), &raw mut wr, &raw mut bad) },
            None => libc::EOPNOTSUPP,
        };
        check_errno("ibv_post_send", returned)
    }

    /// `ibv_post_recv` of one receive, without an SGE for `None`
    #[inline(always)]
    pub(crate) fn post_recv(&self, into: Option<Sge>, wr_id: u64) -> Result<()> {
        let mut request = RecvRequest::new(into, wr_id);
        let mut bad = ptr::null_mut();
        // SAFETY: a queue pair points to its context, and that to the provider's functions.
        let post = unsafe { (*(*self.qp.as_ptr()).context).ops.post_recv };
        let returned = match post {
            // SAFETY: the provider's function, with a queue pair of that provider and a request
            // that lives through the call.
            Some(post) => unsafe { post(self.qp.as_ptr(), request.as_raw(), &raw mut bad) },
            None => libc::EOPNOTSUPP,
        };
        check_errno("ibv_post_recv", returned)
    }
}

impl Drop for Qp {
    /// `rdma_destroy_qp`, which reports nothing
    fn drop(&mut self) {
        // SAFETY: owned; the id still exists, by the order of handles.
        unsafe { sys::rdma_destroy_qp(self.id.as_ptr()) };
    }
}

/// A request for a receive queue, with the SGE that it points to.
pub(super) struct RecvRequest {
    wr: sys::ibv_recv_wr,
    sge: sys::ibv_sge,
}

impl RecvRequest {
    #[inline(always)]
    pub(super) fn new(into: Option<Sge>, wr_id: u64) -> Self {
        Self {
            wr: sys::ibv_recv_wr {
                wr_id,
                next: ptr::null_mut(),
                sg_list: ptr::null_mut(),
                num_sge: c_int::from(into.is_some()),
            },
            sge: into.map_or(
                sys::ibv_sge {
                    addr: 0,
                    length: 0,
                    lkey: 0,
                },
                Sge::to_raw,
            ),
        }
    }

    /// The request, which points into `self` and is valid while `self` stays where it is.
    #[inline(always)]
    pub(super) fn as_raw(&mut self) -> *mut sys::ibv_recv_wr {
        if self.wr.num_sge > 0 {
            self.wr.sg_list = &raw mut self.sge;
        }
        &raw mut self.wr
    }
}
