// SPDX-License-Identifier: BSD-3-Clause

//! Shared receive queues.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::{arg, create, delete, finish, optional, out};
use crate::cq::Cq;
use crate::mr::MrLocal;
use crate::peer::Peer;
use crate::srq::Srq;
use crate::srq_cfg::SrqCfg;

/// Makes a shared receive queue.
///
/// # Safety
///
/// The contract of C.
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
        |(peer, cfg)| Srq::new(peer.domain(), cfg.unwrap_or(&SrqCfg::new())),
    )
}

/// Deletes a shared receive queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_delete(srq_ptr: *mut *mut Srq) -> c_int {
    delete(c"rpma_srq_delete", srq_ptr, Srq::delete)
}

/// Posts a receive to a shared receive queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_recv(
    srq: *mut Srq,
    dst: *mut MrLocal,
    offset: usize,
    len: usize,
    op_context: *const c_void,
) -> c_int {
    finish(c"rpma_srq_recv", || {
        // SAFETY: the contract of C.
        let (srq, dst) = unsafe { (arg(srq, "srq")?, optional(dst)) };
        srq.recv(dst, offset, len, op_context as u64)
    })
}

/// Tells the receive completion queue of a shared receive queue.
///
/// # Safety
///
/// The contract of C.
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
