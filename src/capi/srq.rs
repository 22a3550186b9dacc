// SPDX-License-Identifier: BSD-3-Clause

//! Shared receive queues.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::{Post, arg, create, delete, finish, optional, out};
use crate::cq::Cq;
use crate::mr::MrLocal;
use crate::peer::Peer;
use crate::srq::Srq;
use crate::srq_cfg::SrqCfg;

/// Creates a shared receive queue, and its receive CQ unless the configuration has 0 for its size.
///
/// cfg may be NULL: the default settings, those of rpma_srq_cfg_new. It is not needed afterwards.
/// The receive CQ has a completion channel of its own. The caller deletes the queue with
/// rpma_srq_delete.
///
/// Errors:
/// - RPMA_E_INVAL: peer or srq_ptr is NULL
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: creating the queue (ibv_create_srq), the completion channel or the receive CQ
///   failed, or asking for the CQ's events
///
/// See: rpma_conn_cfg_set_srq, rpma_srq_recv, rpma_srq_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_new(
    peer: *mut Peer,
    cfg: *mut SrqCfg,
    srq_ptr: *mut *mut Srq,
) -> c_int {
    create(
        c"rpma_srq_new",
        srq_ptr,
        // SAFETY: the contract of C.
        || unsafe { Ok((arg(peer, "peer")?, optional(cfg))) },
        |(peer, cfg)| Srq::new(peer.device(), cfg.unwrap_or(&SrqCfg::new())),
    )
}

/// Deletes a shared receive queue with its receive CQ, and sets *srq_ptr to NULL.
///
/// Nothing happens when *srq_ptr is NULL already. Connections and requests that use the queue must
/// be deleted first. Receives that are still posted never complete. The receive CQ and its file
/// descriptor are not valid any more.
///
/// Errors:
/// - RPMA_E_INVAL: srq_ptr is NULL
/// - RPMA_E_PROVIDER: destroying the queue, the receive CQ or its channel failed, with EBUSY when a
///   connection still uses it; the object is gone nevertheless
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_delete(srq_ptr: *mut *mut Srq) -> c_int {
    delete(c"rpma_srq_delete", srq_ptr, Srq::delete)
}

/// Posts a receive to a shared receive queue.
///
/// Some message to one of the connections that share the queue will be placed in the len bytes from
/// offset of dst; the completion's qp_num tells which connection (rpma_conn_get_qp_num). dst NULL
/// with offset and len 0 posts a receive without a buffer, for an empty message or an
/// rpma_write_with_imm. op_context comes back as wr_id of the completion (struct ibv_wc).
///
/// The call only posts the receive (ibv_post_srq_recv): until it has completed, dst must stay
/// registered, and its bytes belong to the device. Do not rely on the order in which receives are
/// used.
///
/// Errors:
/// - RPMA_E_INVAL: srq is NULL, dst is NULL with an offset or a length, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the queue is full
///
/// See: rpma_recv, rpma_srq_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_recv(
    srq: *mut Srq,
    dst: *mut MrLocal,
    offset: usize,
    len: usize,
    op_context: *const c_void,
) -> c_int {
    // SAFETY: the contract of C.
    match unsafe { (optional(srq), optional(dst), u32::try_from(len)) } {
        (Some(srq), Some(dst), Ok(length)) => {
            SRQ_RECV.finish(srq.post_recv(Some(&dst.sge(offset, length)), op_context as u64))
        }
        // SAFETY: the contract of C.
        _ => unsafe { checked_srq_recv(srq, dst, offset, len, op_context) },
    }
}

static SRQ_RECV: Post = Post {
    function: c"rpma_srq_recv",
    call: "ibv_post_srq_recv",
};

/// `rpma_srq_recv` with all checks.
///
/// # Safety
///
/// The contract of C.
#[cold]
#[inline(never)]
unsafe extern "C" fn checked_srq_recv(
    srq: *mut Srq,
    dst: *mut MrLocal,
    offset: usize,
    len: usize,
    op_context: *const c_void,
) -> c_int {
    finish(SRQ_RECV.function, || {
        // SAFETY: the contract of C.
        let (srq, dst) = unsafe { (arg(srq, "srq")?, optional(dst)) };
        srq.recv(dst, offset, len, op_context as u64)
    })
}

/// Tells the receive CQ of a shared receive queue, or NULL when it has none.
///
/// The CQ belongs to the shared receive queue and is valid until that is deleted.
///
/// Errors:
/// - RPMA_E_INVAL: srq or rcq_ptr is NULL
///
/// See: rpma_cq_wait, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_get_rcq(srq: *const Srq, rcq_ptr: *mut *mut Cq) -> c_int {
    finish(c"rpma_srq_get_rcq", || {
        // SAFETY: the contract of C.
        let (srq, rcq) = unsafe { (arg(srq, "srq")?, out(rcq_ptr, "rcq_ptr")?) };
        rcq.set(
            srq.rcq()
                .map_or(ptr::null_mut(), |rcq| ptr::from_ref(rcq).cast_mut()),
        );
        Ok(())
    })
}
