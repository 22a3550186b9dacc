// SPDX-License-Identifier: BSD-3-Clause

//! Queue pairs, and the work requests that are posted to them. Every operation passes through here.

use std::ffi::c_int;
use std::mem::{MaybeUninit, offset_of};
use std::num::NonZero;
use std::ptr::{self, NonNull};

use rdma_sys as sys;

use super::returned_errno;
use crate::sys::CallError;

mod native;

pub(super) use native::{has_functions, native_ops};

/// The maximum number of SGEs of a work request.
pub(super) const MAX_SGE: u32 = 1;
/// The maximum size of inline data of a work request: the bytes of an atomic write.
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

/// A range of a local memory region: a scatter/gather element with the layout of `struct ibv_sge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Sge {
    pub(crate) addr: u64,
    pub(crate) length: u32,
    pub(crate) lkey: u32,
}

const _: () = {
    assert!(size_of::<Sge>() == size_of::<sys::ibv_sge>());
    assert!(offset_of!(Sge, addr) == offset_of!(sys::ibv_sge, addr));
    assert!(offset_of!(Sge, length) == offset_of!(sys::ibv_sge, length));
    assert!(offset_of!(Sge, lkey) == offset_of!(sys::ibv_sge, lkey));
};

impl Sge {
    /// The list of SGEs for a work request. Verbs only reads it.
    #[inline(always)]
    pub(super) fn list(sge: Option<&Self>) -> *mut sys::ibv_sge {
        sge.map_or(ptr::null(), ptr::from_ref).cast_mut().cast()
    }
}

/// A remote address with its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) addr: u64,
    pub(crate) rkey: u32,
}

/// The immediate data of an operation, in host byte order, if it has any.
pub(crate) type Immediate = Option<u32>;

/// The operation of a send request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendOp {
    Read(Remote),
    Write(Remote, Immediate),
    Send(Immediate),
}

/// When a request completes, and the id of its completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notify {
    /// Whether a request that succeeds has a completion, too.
    pub(crate) signaled: bool,
    pub(crate) wr_id: u64,
}

/// What a flush guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushKind {
    Persistent,
    Visibility,
}

/// The result of a call that failed to post a request. It fits into a register, so that it costs nothing when the
/// call succeeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PostError(NonZero<c_int>);

pub(crate) type Posted = std::result::Result<(), PostError>;

impl PostError {
    /// The error of the failed call.
    #[cold]
    #[track_caller]
    pub(crate) fn of(self, call: &'static str) -> CallError {
        returned_errno(call, self.0.get())
    }
}

#[inline(always)]
pub(super) fn posted(returned: c_int) -> Posted {
    match NonZero::new(returned) {
        None => Ok(()),
        Some(error) => Err(PostError(error)),
    }
}

const SIGNALED: u32 = sys::ibv_send_flags::IBV_SEND_SIGNALED.0;
const FENCE: u32 = sys::ibv_send_flags::IBV_SEND_FENCE.0;
const INLINE: u32 = sys::ibv_send_flags::IBV_SEND_INLINE.0;

impl Notify {
    /// The send flags of a work request.
    #[inline(always)]
    fn flags(self) -> u32 {
        if self.signaled { SIGNALED } else { 0 }
    }
}

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

    #[inline(always)]
    pub(crate) fn has_native_atomic_write(&self) -> bool {
        self.native_atomic_write
    }

    #[inline(always)]
    pub(crate) fn has_native_flush(&self) -> bool {
        self.native_flush
    }

    /// `ibv_post_send` of one request, without an SGE for `None`
    #[inline(always)]
    pub(crate) fn post_send(&self, op: SendOp, local: Option<&Sge>, notify: Notify) -> Posted {
        self.post(op, local, notify, 0)
    }

    /// The same with a fence: it waits for the reads that were posted before it
    #[inline(always)]
    pub(crate) fn post_send_fenced(&self, op: SendOp, local: &Sge, notify: Notify) -> Posted {
        self.post(op, Some(local), notify, FENCE)
    }

    /// `ibv_post_send` of a fenced write of 8 bytes of inline data
    #[inline(always)]
    pub(crate) fn post_inline_write(&self, to: Remote, bytes: &[u8; 8], notify: Notify) -> Posted {
        let local = Sge {
            addr: bytes.as_ptr() as u64,
            length: MAX_INLINE_DATA,
            lkey: 0,
        };
        self.post(
            SendOp::Write(to, None),
            Some(&local),
            notify,
            INLINE | FENCE,
        )
    }

    #[inline(always)]
    fn post(&self, op: SendOp, local: Option<&Sge>, notify: Notify, flags: u32) -> Posted {
        use sys::ibv_wr_opcode as opcode;

        let (code, remote, immediate) = match op {
            SendOp::Read(from) => (opcode::IBV_WR_RDMA_READ, Some(from), None),
            SendOp::Write(to, None) => (opcode::IBV_WR_RDMA_WRITE, Some(to), None),
            SendOp::Write(to, with) => (opcode::IBV_WR_RDMA_WRITE_WITH_IMM, Some(to), with),
            SendOp::Send(None) => (opcode::IBV_WR_SEND, None, None),
            SendOp::Send(with) => (opcode::IBV_WR_SEND_WITH_IMM, None, with),
        };
        // Only the fields that verbs reads for this opcode are written. The rest of the 128 bytes is for other
        // opcodes.
        let mut wr = MaybeUninit::<sys::ibv_send_wr>::uninit();
        let raw = wr.as_mut_ptr();
        // SAFETY: fields of a struct of this function.
        unsafe {
            (&raw mut (*raw).wr_id).write(notify.wr_id);
            (&raw mut (*raw).next).write(ptr::null_mut());
            (&raw mut (*raw).sg_list).write(Sge::list(local));
            (&raw mut (*raw).num_sge).write(c_int::from(local.is_some()));
            (&raw mut (*raw).opcode).write(code);
            (&raw mut (*raw).send_flags).write(notify.flags() | flags);
            if let Some(immediate) = immediate {
                (&raw mut (*raw).imm_data_invalidated_rkey_union.imm_data).write(immediate.to_be());
            }
            if let Some(remote) = remote {
                (&raw mut (*raw).wr.rdma.remote_addr).write(remote.addr);
                (&raw mut (*raw).wr.rdma.rkey).write(remote.rkey);
            }
        }
        let mut bad = MaybeUninit::uninit();
        // SAFETY: the queue pair exists, and the request and its SGE are valid during the call. Inline data is
        // copied by the call; other memory belongs to the program and is registered with the device.
        posted(unsafe { sys::ibv_post_send(self.qp.as_ptr(), raw, bad.as_mut_ptr()) })
    }

    /// `ibv_post_recv` of one receive, without an SGE for `None`
    #[inline(always)]
    pub(crate) fn post_recv(&self, into: Option<&Sge>, wr_id: u64) -> Posted {
        let mut request = recv_request(into, wr_id);
        let mut bad = MaybeUninit::uninit();
        // SAFETY: the queue pair exists, and the request is valid during the call.
        posted(unsafe { sys::ibv_post_recv(self.qp.as_ptr(), &raw mut request, bad.as_mut_ptr()) })
    }
}

impl Drop for Qp {
    /// `rdma_destroy_qp`, which reports nothing
    fn drop(&mut self) {
        // SAFETY: owned; the id still exists, by the order of handles.
        unsafe { sys::rdma_destroy_qp(self.id.as_ptr()) };
    }
}

/// A request for a receive queue, which points to its SGE.
#[inline(always)]
pub(super) fn recv_request(into: Option<&Sge>, wr_id: u64) -> sys::ibv_recv_wr {
    sys::ibv_recv_wr {
        wr_id,
        next: ptr::null_mut(),
        sg_list: Sge::list(into),
        num_sge: c_int::from(into.is_some()),
    }
}
