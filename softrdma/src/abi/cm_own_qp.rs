// SPDX-License-Identifier: BSD-3-Clause

//! For programs that make queue pairs without the connection manager and move them along themselves.

use std::ffi::c_int;

use rdma_sys as sys;

use super::cm::IdHandle;
use super::{call, handle, minus_one, object};
use crate::instrument::names;
use crate::wire::Params;
use crate::{Result, cm::id::Id};

mod mask {
    use std::ffi::c_int;

    pub(super) const STATE: c_int = 1;
    pub(super) const ACCESS_FLAGS: c_int = 1 << 3;
    pub(super) const PKEY_INDEX: c_int = 1 << 4;
    pub(super) const PORT: c_int = 1 << 5;
    pub(super) const AV: c_int = 1 << 7;
    pub(super) const PATH_MTU: c_int = 1 << 8;
    pub(super) const TIMEOUT: c_int = 1 << 9;
    pub(super) const RETRY_CNT: c_int = 1 << 10;
    pub(super) const RNR_RETRY: c_int = 1 << 11;
    pub(super) const RQ_PSN: c_int = 1 << 12;
    pub(super) const MAX_QP_RD_ATOMIC: c_int = 1 << 13;
    pub(super) const MIN_RNR_TIMER: c_int = 1 << 15;
    pub(super) const SQ_PSN: c_int = 1 << 16;
    pub(super) const MAX_DEST_RD_ATOMIC: c_int = 1 << 17;
    pub(super) const DEST_QPN: c_int = 1 << 20;
}

/// What the program has to set for a state. Only the state and the peer's number have a meaning here;
/// the rest is what a program may want to look at.
fn fill(id: &Id, attr: &mut sys::ibv_qp_attr) -> Result<c_int> {
    use sys::ibv_qp_state as abi;
    const LOCAL_WRITE_AND_REMOTE: u32 = 0x7;
    const PORT_NUMBER: u8 = 1;
    let params = match attr.qp_state {
        abi::IBV_QPS_INIT if id.has_device() => Params::default(),
        abi::IBV_QPS_RTR | abi::IBV_QPS_RTS => id.tell_peer_params()?,
        _ => return Err(libc::EINVAL),
    };
    Ok(match attr.qp_state {
        abi::IBV_QPS_INIT => {
            attr.qp_access_flags = LOCAL_WRITE_AND_REMOTE;
            attr.pkey_index = 0;
            attr.port_num = PORT_NUMBER;
            mask::STATE | mask::ACCESS_FLAGS | mask::PKEY_INDEX | mask::PORT
        }
        abi::IBV_QPS_RTR => {
            attr.ah_attr.is_global = 1;
            attr.ah_attr.port_num = PORT_NUMBER;
            attr.path_mtu = sys::ibv_mtu::IBV_MTU_4096;
            attr.dest_qp_num = params.qp_num;
            attr.rq_psn = 0;
            attr.max_dest_rd_atomic = params.initiator_depth;
            attr.min_rnr_timer = 0;
            mask::STATE
                | mask::AV
                | mask::PATH_MTU
                | mask::DEST_QPN
                | mask::RQ_PSN
                | mask::MAX_DEST_RD_ATOMIC
                | mask::MIN_RNR_TIMER
        }
        _ => {
            attr.sq_psn = 0;
            attr.timeout = 0;
            attr.retry_cnt = params.retry_count;
            attr.rnr_retry = params.rnr_retry_count;
            attr.max_rd_atomic = params.responder_resources;
            mask::STATE
                | mask::SQ_PSN
                | mask::TIMEOUT
                | mask::RETRY_CNT
                | mask::RNR_RETRY
                | mask::MAX_QP_RD_ATOMIC
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_init_qp_attr(
    id: *mut sys::rdma_cm_id,
    attr: *mut sys::ibv_qp_attr,
    mask: *mut c_int,
) -> c_int {
    minus_one(call(
        "rdma_init_qp_attr",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, id) };
            // SAFETY: the program's.
            if let Some(attr) = unsafe { attr.as_ref() } {
                args.one_of("qp_state", u64::from(attr.qp_state), names::QP_STATE);
            }
        },
        || {
            // SAFETY: the program's.
            let (found, attr, mask): (&IdHandle, _, _) = unsafe {
                let attr = attr.as_mut().ok_or(libc::EINVAL)?;
                (handle(id)?, attr, mask.as_mut().ok_or(libc::EINVAL)?)
            };
            *mask = fill(&found.engine, attr)?;
            Ok(())
        },
    ))
}
