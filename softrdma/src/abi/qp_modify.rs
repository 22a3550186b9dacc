// SPDX-License-Identifier: BSD-3-Clause

//! Moving a queue pair from state to state, with what it has to be told for it.

use std::ffi::c_int;

use rdma_sys as sys;

use super::flags::qp_attr;
use super::qp::{QpHandle, to_abi};
use super::unsupported::not_there;
use super::{call, code, handle, object, zeroed};
use crate::cm::own_qp;
use crate::instrument::names;
use crate::qp::State;
use crate::qp::attributes::{AddressVector, Attributes, room_for_reads};
use crate::types::limits::MAX_READS;
use crate::{Errno, Result};

/// The attributes that a reliable connection needs to go from one state to another, and those that may be
/// given besides; nothing if there is no such way. As in the InfiniBand specification, but that a queue pair
/// in RESET has no way to the error state: so the kernel has it.
fn way(from: State, to: State) -> Option<(c_int, c_int)> {
    const PORT_AND_KEY: c_int = qp_attr::PKEY_INDEX | qp_attr::PORT | qp_attr::ACCESS_FLAGS;
    const WHILE_CONNECTED: c_int = qp_attr::CUR_STATE
        | qp_attr::ACCESS_FLAGS
        | qp_attr::ALT_PATH
        | qp_attr::PATH_MIG_STATE
        | qp_attr::MIN_RNR_TIMER;
    const WHERE: c_int = qp_attr::AV
        | qp_attr::PATH_MTU
        | qp_attr::DEST_QPN
        | qp_attr::RQ_PSN
        | qp_attr::MAX_DEST_RD_ATOMIC
        | qp_attr::MIN_RNR_TIMER;
    const HOW: c_int = qp_attr::TIMEOUT
        | qp_attr::RETRY_CNT
        | qp_attr::RNR_RETRY
        | qp_attr::SQ_PSN
        | qp_attr::MAX_QP_RD_ATOMIC;
    match (from, to) {
        (State::Reset, State::Error) => None,
        (_, State::Reset | State::Error) => Some((0, 0)),
        (State::Reset, State::Init) => Some((PORT_AND_KEY, 0)),
        (State::Init, State::Init) => Some((0, PORT_AND_KEY)),
        (State::Init, State::ReadyToReceive) => Some((
            WHERE,
            qp_attr::ALT_PATH | qp_attr::ACCESS_FLAGS | qp_attr::PKEY_INDEX,
        )),
        (State::ReadyToReceive, State::ReadyToSend) => Some((HOW, WHILE_CONNECTED)),
        (State::ReadyToSend, State::ReadyToSend) => Some((0, WHILE_CONNECTED)),
        _ => None,
    }
}

fn check_mask(from: State, to: State, mask: c_int) -> Result<()> {
    let (needed, allowed) = way(from, to).ok_or(libc::EINVAL)?;
    if mask & needed == needed && mask & !(needed | allowed | qp_attr::STATE) == 0 {
        Ok(())
    } else {
        Err(libc::EINVAL)
    }
}

/// The values that the kernel refuses; it takes the others as they are.
fn check_values(from: State, attr: &sys::ibv_qp_attr, mask: c_int) -> Result<()> {
    const PORT: u8 = 1;
    const LONGEST_TIMEOUT: u8 = 31;
    let is_wrong = mask & qp_attr::CUR_STATE != 0 && attr.cur_qp_state != to_abi(from)
        || mask & qp_attr::PORT != 0 && attr.port_num != PORT
        || mask & qp_attr::AV != 0 && attr.ah_attr.port_num != PORT
        || mask & qp_attr::ALT_PATH != 0 && attr.alt_port_num != PORT
        || mask & qp_attr::PATH_MTU != 0 && attr.path_mtu > sys::ibv_mtu::IBV_MTU_4096
        || mask & qp_attr::MAX_QP_RD_ATOMIC != 0 && attr.max_rd_atomic > MAX_READS
        || mask & qp_attr::TIMEOUT != 0 && attr.timeout > LONGEST_TIMEOUT;
    if is_wrong { Err(libc::EINVAL) } else { Ok(()) }
}

fn take(told: &mut Attributes, attr: &sys::ibv_qp_attr, mask: c_int) {
    let has = |bit| mask & bit != 0;
    if has(qp_attr::AV) {
        told.address = address_vector(&attr.ah_attr);
    }
    if has(qp_attr::PORT) {
        told.port = attr.port_num;
    }
    if has(qp_attr::ACCESS_FLAGS) {
        told.access = attr.qp_access_flags;
    }
    if has(qp_attr::PATH_MTU) {
        told.path_mtu = attr.path_mtu;
    }
    if has(qp_attr::DEST_QPN) {
        told.peer = attr.dest_qp_num;
    }
    if has(qp_attr::RQ_PSN) {
        told.rq_psn = attr.rq_psn;
    }
    if has(qp_attr::SQ_PSN) {
        told.sq_psn = attr.sq_psn;
    }
    if has(qp_attr::MAX_DEST_RD_ATOMIC) {
        told.reads_answered = room_for_reads(attr.max_dest_rd_atomic);
    }
    if has(qp_attr::MAX_QP_RD_ATOMIC) {
        told.reads = room_for_reads(attr.max_rd_atomic);
    }
    if has(qp_attr::MIN_RNR_TIMER) {
        told.min_rnr_timer = attr.min_rnr_timer;
    }
    if has(qp_attr::TIMEOUT) {
        told.timeout = attr.timeout;
    }
    if has(qp_attr::RETRY_CNT) {
        told.retry_count = attr.retry_cnt;
    }
    if has(qp_attr::RNR_RETRY) {
        told.rnr_retry = attr.rnr_retry;
    }
}

/// The state that the program wants; the one that it is in if it wants none.
fn wanted_state(from: State, attr: &sys::ibv_qp_attr, mask: c_int) -> Result<State, Errno> {
    use sys::ibv_qp_state as abi;
    if mask & qp_attr::STATE == 0 {
        return Ok(from);
    }
    match attr.qp_state {
        abi::IBV_QPS_RESET => Ok(State::Reset),
        abi::IBV_QPS_INIT => Ok(State::Init),
        abi::IBV_QPS_RTR => Ok(State::ReadyToReceive),
        abi::IBV_QPS_RTS => Ok(State::ReadyToSend),
        abi::IBV_QPS_ERR => Ok(State::Error),
        abi::IBV_QPS_SQD
            if from == State::ReadyToSend
                && mask & !(qp_attr::STATE | qp_attr::EN_SQD_ASYNC_NOTIFY) == 0 =>
        {
            Err(not_there("draining a send queue (IBV_QPS_SQD)"))
        }
        _ => Err(libc::EINVAL),
    }
}

fn modify(found: &QpHandle, attr: &sys::ibv_qp_attr, mask: c_int) -> Result<()> {
    if mask & !qp_attr::STANDARD != 0 {
        return Err(libc::EOPNOTSUPP);
    }
    // Without the lock of the queue pair, since others are asked.
    let knows_its_peer = found.engine.has_connection()
        || (mask & qp_attr::DEST_QPN != 0 && own_qp::is_expected(attr.dest_qp_num));
    found.engine.change(|from, told| {
        let to = wanted_state(from, attr, mask)?;
        check_mask(from, to, mask)?;
        check_values(from, attr, mask)?;
        if to == State::ReadyToReceive && !knows_its_peer {
            // Who the peer is, the connection manager finds out here, not the program.
            return Err(not_there("connecting queue pairs without librdmacm"));
        }
        take(told, attr, mask);
        Ok(to)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_modify_qp(
    qp: *mut sys::ibv_qp,
    attr: *mut sys::ibv_qp_attr,
    mask: c_int,
) -> c_int {
    code(call(
        "ibv_modify_qp",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, qp) };
            args.bits("attr_mask", u64::from(mask as u32), names::QP_ATTR);
            // SAFETY: the program's.
            let attr = unsafe { attr.as_ref() };
            if let Some(attr) = attr.filter(|_| mask & qp_attr::STATE != 0) {
                args.one_of("qp_state", u64::from(attr.qp_state), names::QP_STATE);
            }
        },
        || {
            // SAFETY: a queue pair of the program.
            let found: &QpHandle = unsafe { handle(qp) }?;
            // SAFETY: the program's.
            let attr = unsafe { attr.as_ref() }.ok_or(libc::EINVAL)?;
            modify(found, attr, mask)?;
            if mask & qp_attr::STATE != 0 {
                // SAFETY: the program's struct.
                unsafe { (*qp).state = attr.qp_state };
            }
            Ok(())
        },
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_qp(
    qp: *mut sys::ibv_qp,
    attr: *mut sys::ibv_qp_attr,
    mask: c_int,
    init: *mut sys::ibv_qp_init_attr,
) -> c_int {
    code(call(
        "ibv_query_qp",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, qp) };
            args.bits("attr_mask", u64::from(mask as u32), names::QP_ATTR);
        },
        || {
            // SAFETY: a queue pair of the program.
            let found: &QpHandle = unsafe { handle(qp) }?;
            let state = to_abi(found.engine.state());
            let setup = &found.engine.setup;
            let cap = sys::ibv_qp_cap {
                max_send_wr: setup.caps.max_send_wr,
                max_recv_wr: setup.caps.max_recv_wr,
                max_send_sge: setup.caps.max_send_sge,
                max_recv_sge: setup.caps.max_recv_sge,
                max_inline_data: setup.caps.max_inline,
            };
            // SAFETY: the program's.
            let attr = unsafe { attr.as_mut() }.ok_or(libc::EINVAL)?;
            // SAFETY: plain data.
            *attr = unsafe { zeroed() };
            attr.qp_state = state;
            attr.cur_qp_state = state;
            attr.cap = cap;
            tell(attr, &found.engine.attributes());
            // SAFETY: the program's, and its struct of the queue pair.
            unsafe {
                (*qp).state = state;
                if let Some(init) = init.as_mut() {
                    *init = sys::ibv_qp_init_attr {
                        qp_context: (*qp).qp_context,
                        send_cq: (*qp).send_cq,
                        recv_cq: (*qp).recv_cq,
                        srq: (*qp).srq,
                        cap,
                        qp_type: (*qp).qp_type,
                        sq_sig_all: c_int::from(setup.signal_all),
                    };
                }
            }
            Ok(())
        },
    ))
}

fn address_vector(attr: &sys::ibv_ah_attr) -> AddressVector {
    AddressVector {
        // SAFETY: both members of the union are 16 bytes.
        dgid: unsafe { attr.grh.dgid.raw },
        flow_label: attr.grh.flow_label,
        sgid_index: attr.grh.sgid_index,
        hop_limit: attr.grh.hop_limit,
        traffic_class: attr.grh.traffic_class,
        dlid: attr.dlid,
        sl: attr.sl,
        src_path_bits: attr.src_path_bits,
        static_rate: attr.static_rate,
        is_global: attr.is_global,
        port: attr.port_num,
    }
}

pub(super) fn ah_attr(address: &AddressVector) -> sys::ibv_ah_attr {
    sys::ibv_ah_attr {
        grh: sys::ibv_global_route {
            dgid: sys::ibv_gid { raw: address.dgid },
            flow_label: address.flow_label,
            sgid_index: address.sgid_index,
            hop_limit: address.hop_limit,
            traffic_class: address.traffic_class,
        },
        dlid: address.dlid,
        sl: address.sl,
        src_path_bits: address.src_path_bits,
        static_rate: address.static_rate,
        is_global: address.is_global,
        port_num: address.port,
    }
}

fn tell(attr: &mut sys::ibv_qp_attr, told: &Attributes) {
    attr.port_num = told.port;
    attr.ah_attr = ah_attr(&told.address);
    if attr.ah_attr.port_num == 0 {
        // No path yet.
        attr.ah_attr.port_num = told.port;
    }
    attr.qp_access_flags = told.access;
    attr.path_mtu = told.path_mtu;
    attr.dest_qp_num = told.peer;
    attr.rq_psn = told.rq_psn;
    attr.sq_psn = told.sq_psn;
    attr.max_rd_atomic = told.reads;
    attr.max_dest_rd_atomic = told.reads_answered;
    attr.min_rnr_timer = told.min_rnr_timer;
    attr.timeout = told.timeout;
    attr.retry_cnt = told.retry_count;
    attr.rnr_retry = told.rnr_retry;
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 5] = [
        State::Reset,
        State::Init,
        State::ReadyToReceive,
        State::ReadyToSend,
        State::Error,
    ];

    #[test]
    fn what_is_needed_for_a_state_is_enough_for_it_and_nothing_less() {
        for from in STATES {
            for to in STATES {
                let Some((needed, allowed)) = way(from, to) else {
                    assert_eq!(check_mask(from, to, qp_attr::STATE), Err(libc::EINVAL));
                    continue;
                };
                assert_eq!(needed & allowed, 0);
                assert_eq!(check_mask(from, to, needed | qp_attr::STATE), Ok(()));
                for bit in (0..21).map(|shift| 1 << shift) {
                    let less = needed & !bit;
                    let more = needed | bit | qp_attr::STATE;
                    let is_allowed = (needed | allowed | qp_attr::STATE) & bit != 0;
                    assert_eq!(check_mask(from, to, more).is_ok(), is_allowed);
                    assert_eq!(check_mask(from, to, less).is_ok(), less == needed);
                }
            }
        }
    }

    #[test]
    fn a_queue_pair_gets_to_work_by_one_way_only() {
        let next = |from| {
            STATES
                .into_iter()
                .filter(move |&to| to != from && !matches!(to, State::Reset | State::Error))
                .filter(move |&to| way(from, to).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(next(State::Reset), [State::Init]);
        assert_eq!(next(State::Init), [State::ReadyToReceive]);
        assert_eq!(next(State::ReadyToReceive), [State::ReadyToSend]);
        assert_eq!(next(State::ReadyToSend), []);
        assert_eq!(next(State::Error), []);
    }
}
