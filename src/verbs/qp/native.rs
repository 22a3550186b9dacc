// SPDX-License-Identifier: BSD-3-Clause

//! Native atomic write and native flush: operations of the extended interface of a queue pair. A queue pair has
//! them if they were requested when it was created.

use std::ptr::NonNull;

use rdma_sys as sys;

use super::{FENCE, FlushKind, Notify, Posted, Qp, Remote, posted};

/// The `send_ops_flags` of a queue pair for native operations; 0 for a queue pair without them.
pub(in crate::verbs) fn native_ops(atomic_write: bool, flush: bool) -> u64 {
    let mut ops = 0;
    if atomic_write {
        ops |= u64::from(sys::ibv_qp_create_send_ops_flags::IBV_QP_EX_WITH_ATOMIC_WRITE.0);
    }
    if flush {
        ops |= u64::from(sys::ibv_qp_create_send_ops_flags::IBV_QP_EX_WITH_FLUSH.0);
    }
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

/// Whether a queue pair that was made for native atomic write, native flush or both has their functions.
///
/// An older provider has a shorter `ibv_qp_ex`, without these members. It does not know their bits of
/// `send_ops_flags` either and refuses to make the queue pair. So a member is read only if the queue pair
/// was made with its bit.
pub(in crate::verbs) fn has_functions(
    qp: NonNull<sys::ibv_qp>,
    atomic_write: bool,
    flush: bool,
) -> (bool, bool) {
    if !atomic_write && !flush {
        return (false, false);
    }
    // SAFETY: the queue pair exists.
    let extended = NonNull::new(unsafe { sys::ibv_qp_to_qp_ex(qp.as_ptr()) });
    let Some(extended) = extended.map(NonNull::as_ptr) else {
        return (false, false);
    };
    // SAFETY: the extended interface of the queue pair exists as long as it does, and the provider
    // knows the members that are read, as said above.
    unsafe {
        (
            atomic_write && (*extended).wr_atomic_write.is_some(),
            flush && (*extended).wr_flush.is_some(),
        )
    }
}

impl Qp {
    /// `ibv_wr_atomic_write`, on a queue pair that has it
    #[inline(always)]
    pub(crate) fn native_atomic_write(
        &self,
        to: Remote,
        bytes: &[u8; 8],
        notify: Notify,
    ) -> Posted {
        // Fenced: a flush before it may be an emulated one, which is a read.
        self.post_native(notify, FENCE, |qp| {
            // SAFETY: the queue pair was made with this operation, so the provider has it; the
            // bytes are copied in the call.
            unsafe {
                (*qp.as_ptr()).wr_atomic_write.map(|atomic_write| {
                    atomic_write(qp.as_ptr(), to.rkey, to.addr, bytes.as_ptr().cast());
                })
            }
        })
    }

    /// `ibv_wr_flush` of a range, on a queue pair that has it
    #[inline(always)]
    pub(crate) fn native_flush(
        &self,
        at: Remote,
        length: u32,
        kind: FlushKind,
        notify: Notify,
    ) -> Posted {
        let placement = match kind {
            FlushKind::Persistent => sys::IBV_FLUSH_PERSISTENT,
            FlushKind::Visibility => sys::IBV_FLUSH_GLOBAL,
        };
        let level = sys::IBV_FLUSH_RANGE;
        self.post_native(notify, 0, |qp| {
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

    /// Posts one request through the extended interface: start, the request that `build` adds,
    /// complete.
    #[inline(always)]
    fn post_native(
        &self,
        notify: Notify,
        flags: u32,
        build: impl FnOnce(NonNull<sys::ibv_qp_ex>) -> Option<()>,
    ) -> Posted {
        // SAFETY: the queue pair exists.
        let qp = unsafe { sys::ibv_qp_to_qp_ex(self.qp.as_ptr()) };
        let Some(qp) = NonNull::new(qp) else {
            return posted(libc::EOPNOTSUPP);
        };
        // SAFETY: the provider set these functions when it made the queue pair; between start and
        // complete, it holds the queue pair's lock, so the fields are this thread's.
        posted(unsafe {
            let raw = qp.as_ptr();
            match ((*raw).wr_start, (*raw).wr_complete, (*raw).wr_abort) {
                (Some(start), Some(complete), Some(abort)) => {
                    start(raw);
                    (*raw).wr_id = notify.wr_id;
                    (*raw).wr_flags = flags | notify.flags();
                    if build(qp).is_some() {
                        complete(raw)
                    } else {
                        abort(raw);
                        libc::EOPNOTSUPP
                    }
                }
                _ => libc::EOPNOTSUPP,
            }
        })
    }
}
