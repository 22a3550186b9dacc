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

/// Creates a shared receive queue (SRQ).
///
/// Several connections take their receives from one SRQ, so a server with many clients needs
/// buffers for the messages that really arrive, not for each client. Unless the configuration sets
/// its size to 0, the SRQ has its own receive CQ, with its own completion channel, which takes the
/// completions of the receives of all these connections.
///
/// cfg may be NULL for the default settings of rpma_srq_cfg_new. It is not needed after the call.
/// The caller owns *srq_ptr and deletes it with rpma_srq_delete, before it deletes the peer.
///
/// Calls: ibv_create_srq, ibv_create_comp_channel, ibv_create_cq, ibv_req_notify_cq
///
/// Errors:
/// - RPMA_E_INVAL: peer or srq_ptr is NULL
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: creating the SRQ, the completion channel or the receive CQ failed, or
///   requesting its events
///
/// See: rpma_conn_cfg_set_srq, rpma_srq_recv, rpma_srq_get_rcq, rpma_srq_delete
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

/// Deletes a shared receive queue (SRQ) and its receive CQ.
///
/// The function sets *srq_ptr to NULL. If *srq_ptr is NULL already, it does nothing. Requests and
/// connections that use the SRQ must be deleted first. Receives that are still posted never
/// complete. The receive CQ and its file descriptor are no longer valid.
///
/// Calls: ibv_destroy_cq, ibv_destroy_comp_channel, ibv_destroy_srq
///
/// Errors:
/// - RPMA_E_INVAL: srq_ptr is NULL
/// - RPMA_E_PROVIDER: destroying the SRQ, the receive CQ or its channel failed, with EBUSY if a
///   connection still uses it; the object is deleted nevertheless
///
/// See: rpma_srq_new
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_delete(srq_ptr: *mut *mut Srq) -> c_int {
    delete(c"rpma_srq_delete", srq_ptr, Srq::delete)
}

/// Posts a receive to a shared receive queue (SRQ).
///
/// The receive takes one message to any of the connections that use the SRQ. The message is placed
/// in the len bytes at offset of dst, which must be registered with RPMA_MR_USAGE_RECV. In the
/// completion (struct ibv_wc), byte_len is the size of the message, qp_num identifies the
/// connection (rpma_conn_get_qp_num), and wr_id is op_context.
///
/// dst may be NULL if offset and len are 0: a receive without a buffer, for an empty message or an
/// rpma_write_with_imm.
///
/// The call only posts the receive. Until the receive has completed, dst must stay registered and
/// the program must not use its bytes. Do not rely on the order in which receives are used.
///
/// Calls: ibv_post_srq_recv
///
/// Errors:
/// - RPMA_E_INVAL: srq is NULL, dst is NULL and offset or len is not 0, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SRQ is full
///
/// See: rpma_recv, rpma_srq_get_rcq, rpma_conn_get_qp_num
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

/// Gets the receive CQ of a shared receive queue (SRQ).
///
/// *rcq_ptr is the receive completion queue of the SRQ, or NULL if it has none. It belongs to the
/// SRQ and is valid until the SRQ is deleted.
///
/// Errors:
/// - RPMA_E_INVAL: srq or rcq_ptr is NULL
///
/// See: rpma_srq_cfg_set_rcq_size, rpma_cq_wait, rpma_cq_get_wc
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
