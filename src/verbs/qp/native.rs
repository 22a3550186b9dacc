// SPDX-License-Identifier: BSD-3-Clause

//! Native atomic write and native flush: operations of the extended interface of a queue pair, as far
//! as the installed headers have them. A queue pair has them if it was made for them.

#[cfg(any(has_native_atomic_write, has_native_flush))]
use std::ptr::NonNull;

#[cfg(has_native_atomic_write)]
use super::FENCE;
#[cfg(any(has_native_atomic_write, has_native_flush))]
use super::SIGNALED;
use super::{FlushKind, Qp, Remote};
use crate::verbs::{Result, check_errno};
use rdma_sys as sys;

/// The `send_ops_flags` of a queue pair that is to have native operations; 0 when it is not.
pub(in crate::verbs) fn native_ops(atomic_write: bool, flush: bool) -> u64 {
    let mut ops = 0;
    #[cfg(has_native_atomic_write)]
    if atomic_write {
        ops |= u64::from(sys::ibv_qp_create_send_ops_flags::IBV_QP_EX_WITH_ATOMIC_WRITE.0);
    }
    #[cfg(has_native_flush)]
    if flush {
        ops |= u64::from(sys::ibv_qp_create_send_ops_flags::IBV_QP_EX_WITH_FLUSH.0);
    }
    // Unused where the headers have neither.
    let _ = (atomic_write, flush);
    if ops != 0 {
        use sys::ibv_qp_create_send_ops_flags as with;
        ops |= u64::from(
            with::IBV_QP_EX_WITH_RDMA_READ.0
                | with::IBV_QP_EX_WITH_RDMA_WRITE.0
                | with::IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM.0
                | with::IBV_QP_EX_WITH_SEND.0
                | with::IBV_QP_EX_WITH_SEND_WITH_IMM.0,
        );
    }
    ops
}

impl Qp {
    /// `ibv_wr_atomic_write`, on a queue pair that has it
    #[cfg(has_native_atomic_write)]
    #[inline(always)]
    pub(crate) fn native_atomic_write(
        &self,
        to: Remote,
        bytes: &[u8; 8],
        signaled: bool,
        wr_id: u64,
    ) -> Result<()> {
        // Fenced: a flush before it may be an emulated one, which is a read.
        self.post_native("ibv_wr_atomic_write", signaled, FENCE, wr_id, |qp| {
            // SAFETY: the queue pair was made with this operation, so the provider has it; the
            // bytes are copied in the call.
            unsafe {
                (*qp.as_ptr()).wr_atomic_write.map(|atomic_write| {
                    atomic_write(qp.as_ptr(), to.rkey, to.addr, bytes.as_ptr().cast());
                })
            }
        })
    }

    #[cfg(not(has_native_atomic_write))]
    pub(crate) fn native_atomic_write(
        &self,
        _: Remote,
        _: &[u8; 8],
        _: bool,
        _: u64,
    ) -> Result<()> {
        check_errno("ibv_wr_atomic_write", libc::EOPNOTSUPP)
    }

    /// `ibv_wr_flush` of a range, on a queue pair that has it
    #[cfg(has_native_flush)]
    #[inline(always)]
    pub(crate) fn native_flush(
        &self,
        at: Remote,
        length: u32,
        kind: FlushKind,
        signaled: bool,
        wr_id: u64,
    ) -> Result<()> {
        let placement = match kind {
            FlushKind::Persistent => sys::IBV_FLUSH_PERSISTENT,
            FlushKind::Visibility => sys::IBV_FLUSH_GLOBAL,
        };
        let level = sys::IBV_FLUSH_RANGE;
        self.post_native("ibv_wr_flush", signaled, 0, wr_id, |qp| {
            // SAFETY: the queue pair was made with this operation, so the provider has it.
            unsafe {
                (*qp.as_ptr()).wr_flush.map(|flush| {
                    flush(
                        qp.as_ptr(),
                        at.rkey,
                        at.addr,
                        length as usize,
                        placement as u8,
                        level as u8,
                    );
                })
            }
        })
    }

    #[cfg(not(has_native_flush))]
    pub(crate) fn native_flush(
        &self,
        _: Remote,
        _: u32,
        _: FlushKind,
        _: bool,
        _: u64,
    ) -> Result<()> {
        check_errno("ibv_wr_flush", libc::EOPNOTSUPP)
    }

    /// Posts one request through the extended interface: start, the request that `build` adds,
    /// complete.
    #[cfg(any(has_native_atomic_write, has_native_flush))]
    #[inline(always)]
    fn post_native(
        &self,
        call: &'static str,
        signaled: bool,
        flags: u32,
        wr_id: u64,
        build: impl FnOnce(NonNull<sys::ibv_qp_ex>) -> Option<()>,
    ) -> Result<()> {
        // SAFETY: the queue pair exists.
        let qp = unsafe { sys::ibv_qp_to_qp_ex(self.qp.as_ptr()) };
        let Some(qp) = NonNull::new(qp) else {
            return check_errno(call, libc::EOPNOTSUPP);
        };
        // SAFETY: the provider set these functions when it made the queue pair; between start and
        // complete, it holds the queue pair's lock, so the fields are this thread's.
        let returned = unsafe {
            let raw = qp.as_ptr();
            match ((*raw).wr_start, (*raw).wr_complete, (*raw).wr_abort) {
                (Some(start), Some(complete), Some(abort)) => {
                    start(raw);
                    (*raw).wr_id = wr_id;
                    (*raw).wr_flags = flags | if signaled { SIGNALED } else { 0 };
                    if build(qp).is_some() {
                        complete(raw)
                    } else {
                        abort(raw);
                        libc::EOPNOTSUPP
                    }
                }
                _ => libc::EOPNOTSUPP,
            }
        };
        check_errno(call, returned)
    }
}
