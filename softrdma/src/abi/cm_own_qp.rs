// SPDX-License-Identifier: BSD-3-Clause

//! For programs that make queue pairs without the connection manager and move them along themselves.

use std::ffi::c_int;

use rdma_sys as sys;

use super::cm::IdHandle;
use super::flags::qp_attr;
use super::{call, handle, minus_one, object};
use crate::instrument::names;
use crate::wire::Params;
use crate::{Result, cm::id::Id};

/// What the program has to set for a state. Only the state and the peer's number have a meaning here;
/// the rest is what a program may want to look at.
fn fill(id: &Id, attr: &mut sys::ibv_qp_attr) -> Result<c_int> {
    use sys::ibv_qp_state as abi;
    const PORT_NUMBER: u8 = 1;
    let params = match attr.qp_state {
        abi::IBV_QPS_INIT if id.has_device() => Params::default(),
        abi::IBV_QPS_RTR | abi::IBV_QPS_RTS => id.tell_peer_params()?,
        _ => return Err(libc::EINVAL),
    };
    Ok(match attr.qp_state {
        abi::IBV_QPS_INIT => {
            attr.qp_access_flags = id.access();
            attr.pkey_index = 0;
            attr.port_num = PORT_NUMBER;
            qp_attr::STATE | qp_attr::ACCESS_FLAGS | qp_attr::PKEY_INDEX | qp_attr::PORT
        }
        abi::IBV_QPS_RTR => {
            attr.ah_attr = super::qp_modify::ah_attr(&id.path().address);
            attr.path_mtu = sys::ibv_mtu::IBV_MTU_4096;
            attr.dest_qp_num = params.qp_num;
            attr.rq_psn = 0;
            attr.max_dest_rd_atomic = params.initiator_depth;
            attr.min_rnr_timer = 0;
            qp_attr::STATE
                | qp_attr::AV
                | qp_attr::PATH_MTU
                | qp_attr::DEST_QPN
                | qp_attr::RQ_PSN
                | qp_attr::MAX_DEST_RD_ATOMIC
                | qp_attr::MIN_RNR_TIMER
        }
        _ => {
            attr.sq_psn = 0;
            attr.timeout = id.path().ack_timeout;
            attr.retry_cnt = params.retry_count;
            attr.rnr_retry = params.rnr_retry_count;
            attr.max_rd_atomic = params.responder_resources;
            qp_attr::STATE
                | qp_attr::SQ_PSN
                | qp_attr::TIMEOUT
                | qp_attr::RETRY_CNT
                | qp_attr::RNR_RETRY
                | qp_attr::MAX_QP_RD_ATOMIC
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
