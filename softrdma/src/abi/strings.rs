// SPDX-License-Identifier: BSD-3-Clause

//! Names of values, as libibverbs and librdmacm give them, and rates.

use std::ffi::{CStr, c_char, c_int};

const NODE_TYPES: &[&CStr] = &[
    c"InfiniBand channel adapter",
    c"InfiniBand switch",
    c"InfiniBand router",
    c"iWARP NIC",
    c"usNIC",
    c"usNIC UDP",
    c"unspecified",
];

const PORT_STATES: &[&CStr] = &[
    c"no state change (NOP)",
    c"down",
    c"init",
    c"armed",
    c"active",
    c"active defer",
];

const EVENT_TYPES: &[&CStr] = &[
    c"CQ error",
    c"local work queue catastrophic error",
    c"invalid request local work queue error",
    c"local access violation work queue error",
    c"communication established",
    c"send queue drained",
    c"path migrated",
    c"path migration request error",
    c"local catastrophic error",
    c"port active",
    c"port error",
    c"LID change",
    c"P_Key change",
    c"SM change",
    c"SRQ catastrophic error",
    c"SRQ limit reached",
    c"last WQE reached",
    c"client reregistration",
    c"GID table change",
    c"WQ fatal",
];

const WC_STATUSES: &[&CStr] = &[
    c"success",
    c"local length error",
    c"local QP operation error",
    c"local EE context operation error",
    c"local protection error",
    c"Work Request Flushed Error",
    c"memory management operation error",
    c"bad response error",
    c"local access error",
    c"remote invalid request error",
    c"remote access error",
    c"remote operation error",
    c"transport retry counter exceeded",
    c"RNR retry counter exceeded",
    c"local RDD violation error",
    c"remote invalid RD request",
    c"aborted error",
    c"invalid EE context number",
    c"invalid EE context state",
    c"fatal error",
    c"response timeout error",
    c"general error",
    c"TM error",
    c"TM software rendezvous",
];

const OPCODES: &[&CStr] = &[
    c"IBV_WR_RDMA_WRITE",
    c"IBV_WR_RDMA_WRITE_WITH_IMM",
    c"IBV_WR_SEND",
    c"IBV_WR_SEND_WITH_IMM",
    c"IBV_WR_RDMA_READ",
    c"IBV_WR_ATOMIC_CMP_AND_SWP",
    c"IBV_WR_ATOMIC_FETCH_AND_ADD",
    c"IBV_WR_LOCAL_INV",
    c"IBV_WR_BIND_MW",
    c"IBV_WR_SEND_WITH_INV",
    c"IBV_WR_TSO",
    c"IBV_WR_DRIVER1",
    c"unknown",
    c"unknown",
    c"IBV_WR_FLUSH",
    c"IBV_WR_ATOMIC_WRITE",
];

const CM_EVENTS: &[&CStr] = &[
    c"RDMA_CM_EVENT_ADDR_RESOLVED",
    c"RDMA_CM_EVENT_ADDR_ERROR",
    c"RDMA_CM_EVENT_ROUTE_RESOLVED",
    c"RDMA_CM_EVENT_ROUTE_ERROR",
    c"RDMA_CM_EVENT_CONNECT_REQUEST",
    c"RDMA_CM_EVENT_CONNECT_RESPONSE",
    c"RDMA_CM_EVENT_CONNECT_ERROR",
    c"RDMA_CM_EVENT_UNREACHABLE",
    c"RDMA_CM_EVENT_REJECTED",
    c"RDMA_CM_EVENT_ESTABLISHED",
    c"RDMA_CM_EVENT_DISCONNECTED",
    c"RDMA_CM_EVENT_DEVICE_REMOVAL",
    c"RDMA_CM_EVENT_MULTICAST_JOIN",
    c"RDMA_CM_EVENT_MULTICAST_ERROR",
    c"RDMA_CM_EVENT_ADDR_CHANGE",
    c"RDMA_CM_EVENT_TIMEWAIT_EXIT",
];

/// The number of a rate, its multiple of 2.5 Gbit/s if it is one, and its Mbit/s.
const RATES: &[(c_int, c_int, c_int)] = &[
    (2, 1, 2500),
    (3, 4, 10000),
    (4, 12, 30000),
    (5, 2, 5000),
    (6, 8, 20000),
    (7, 16, 40000),
    (8, 24, 60000),
    (9, 32, 80000),
    (10, 48, 120000),
    (11, -1, 14062),
    (12, -1, 56250),
    (13, -1, 112500),
    (14, -1, 168750),
    (15, -1, 25781),
    (16, -1, 103125),
    (17, -1, 206250),
    (18, -1, 309375),
    (19, 11, 28125),
    (20, 20, 53125),
    (21, 160, 425000),
    (22, 240, 637500),
    (23, 320, 850000),
    (24, 480, 1275000),
];

fn name(names: &[&'static CStr], index: c_int, unknown: &'static CStr) -> *const c_char {
    usize::try_from(index)
        .ok()
        .and_then(|index| names.get(index))
        .map_or(unknown, |name| name)
        .as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn ibv_node_type_str(value: c_int) -> *const c_char {
    name(NODE_TYPES, value - 1, c"unknown")
}

/// For drivers, in newer releases of rdma-core.
#[unsafe(no_mangle)]
extern "C" fn ibv_wr_opcode_str(value: c_int) -> *const c_char {
    name(OPCODES, value, c"unknown")
}

#[unsafe(no_mangle)]
extern "C" fn ibv_port_state_str(value: c_int) -> *const c_char {
    name(PORT_STATES, value, c"unknown")
}

#[unsafe(no_mangle)]
extern "C" fn ibv_event_type_str(value: c_int) -> *const c_char {
    name(EVENT_TYPES, value, c"unknown")
}

#[unsafe(no_mangle)]
extern "C" fn ibv_wc_status_str(value: c_int) -> *const c_char {
    name(WC_STATUSES, value, c"unknown")
}

#[unsafe(no_mangle)]
extern "C" fn rdma_event_str(value: c_int) -> *const c_char {
    name(CM_EVENTS, value, c"UNKNOWN EVENT")
}

fn rate(which: impl Fn(&&(c_int, c_int, c_int)) -> bool) -> Option<&'static (c_int, c_int, c_int)> {
    RATES.iter().find(which)
}

#[unsafe(no_mangle)]
extern "C" fn ibv_rate_to_mult(number: c_int) -> c_int {
    rate(|rate| rate.0 == number).map_or(-1, |rate| rate.1)
}

#[unsafe(no_mangle)]
extern "C" fn mult_to_ibv_rate(mult: c_int) -> c_int {
    rate(|rate| rate.1 == mult && mult > 0).map_or(0, |rate| rate.0)
}

#[unsafe(no_mangle)]
extern "C" fn ibv_rate_to_mbps(number: c_int) -> c_int {
    rate(|rate| rate.0 == number).map_or(-1, |rate| rate.2)
}

#[unsafe(no_mangle)]
extern "C" fn mbps_to_ibv_rate(mbps: c_int) -> c_int {
    rate(|rate| rate.2 == mbps).map_or(0, |rate| rate.0)
}
