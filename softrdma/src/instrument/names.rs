// SPDX-License-Identifier: BSD-3-Clause

//! The names of the flags and values that lines of the trace show.

use std::fmt;

/// `enum ibv_access_flags`
pub const ACCESS: &[(u64, &str)] = &[
    (1, "LOCAL_WRITE"),
    (1 << 1, "REMOTE_WRITE"),
    (1 << 2, "REMOTE_READ"),
    (1 << 3, "REMOTE_ATOMIC"),
    (1 << 4, "MW_BIND"),
    (1 << 5, "ZERO_BASED"),
    (1 << 6, "ON_DEMAND"),
    (1 << 7, "HUGETLB"),
    (1 << 8, "FLUSH_GLOBAL"),
    (1 << 9, "FLUSH_PERSISTENT"),
    (1 << 20, "RELAXED_ORDERING"),
];

/// `enum ibv_send_flags`
pub const SEND_FLAGS: &[(u64, &str)] = &[
    (1, "FENCE"),
    (1 << 1, "SIGNALED"),
    (1 << 2, "SOLICITED"),
    (1 << 3, "INLINE"),
    (1 << 4, "IP_CSUM"),
];

/// `enum ibv_wr_opcode`
pub const WR_OPCODE: &[(u64, &str)] = &[
    (0, "RDMA_WRITE"),
    (1, "RDMA_WRITE_WITH_IMM"),
    (2, "SEND"),
    (3, "SEND_WITH_IMM"),
    (4, "RDMA_READ"),
    (5, "ATOMIC_CMP_AND_SWP"),
    (6, "ATOMIC_FETCH_AND_ADD"),
    (7, "LOCAL_INV"),
    (8, "BIND_MW"),
    (9, "SEND_WITH_INV"),
    (10, "TSO"),
    (14, "FLUSH"),
    (15, "ATOMIC_WRITE"),
];

/// `enum ibv_placement_type`
pub const FLUSH_PLACEMENT: &[(u64, &str)] = &[(1, "GLOBAL"), (1 << 1, "PERSISTENT")];

/// `enum ibv_selectivity_level`
pub const FLUSH_SELECTIVITY: &[(u64, &str)] = &[(0, "RANGE"), (1, "MR")];

/// `enum ibv_wc_opcode`
pub const WC_OPCODE: &[(u64, &str)] = &[
    (0, "SEND"),
    (1, "RDMA_WRITE"),
    (2, "RDMA_READ"),
    (3, "COMP_SWAP"),
    (4, "FETCH_ADD"),
    (5, "BIND_MW"),
    (6, "LOCAL_INV"),
    (7, "TSO"),
    (8, "FLUSH"),
    (9, "ATOMIC_WRITE"),
    (128, "RECV"),
    (129, "RECV_RDMA_WITH_IMM"),
];

/// `enum ibv_wc_status`
pub const WC_STATUS: &[(u64, &str)] = &[
    (0, "SUCCESS"),
    (1, "LOC_LEN_ERR"),
    (2, "LOC_QP_OP_ERR"),
    (3, "LOC_EEC_OP_ERR"),
    (4, "LOC_PROT_ERR"),
    (5, "WR_FLUSH_ERR"),
    (6, "MW_BIND_ERR"),
    (7, "BAD_RESP_ERR"),
    (8, "LOC_ACCESS_ERR"),
    (9, "REM_INV_REQ_ERR"),
    (10, "REM_ACCESS_ERR"),
    (11, "REM_OP_ERR"),
    (12, "RETRY_EXC_ERR"),
    (13, "RNR_RETRY_EXC_ERR"),
    (14, "LOC_RDD_VIOL_ERR"),
    (15, "REM_INV_RD_REQ_ERR"),
    (16, "REM_ABORT_ERR"),
    (17, "INV_EECN_ERR"),
    (18, "INV_EEC_STATE_ERR"),
    (19, "FATAL_ERR"),
    (20, "RESP_TIMEOUT_ERR"),
    (21, "GENERAL_ERR"),
];

/// `enum ibv_qp_state`
pub const QP_STATE: &[(u64, &str)] = &[
    (0, "RESET"),
    (1, "INIT"),
    (2, "RTR"),
    (3, "RTS"),
    (4, "SQD"),
    (5, "SQE"),
    (6, "ERR"),
];

/// `enum ibv_qp_type`
pub const QP_TYPE: &[(u64, &str)] = &[(2, "RC"), (3, "UC"), (4, "UD")];

/// `enum ibv_qp_attr_mask`
pub const QP_ATTR: &[(u64, &str)] = &[
    (1, "STATE"),
    (1 << 1, "CUR_STATE"),
    (1 << 2, "EN_SQD_ASYNC_NOTIFY"),
    (1 << 3, "ACCESS_FLAGS"),
    (1 << 4, "PKEY_INDEX"),
    (1 << 5, "PORT"),
    (1 << 6, "QKEY"),
    (1 << 7, "AV"),
    (1 << 8, "PATH_MTU"),
    (1 << 9, "TIMEOUT"),
    (1 << 10, "RETRY_CNT"),
    (1 << 11, "RNR_RETRY"),
    (1 << 12, "RQ_PSN"),
    (1 << 13, "MAX_QP_RD_ATOMIC"),
    (1 << 14, "ALT_PATH"),
    (1 << 15, "MIN_RNR_TIMER"),
    (1 << 16, "SQ_PSN"),
    (1 << 17, "MAX_DEST_RD_ATOMIC"),
    (1 << 18, "PATH_MIG_STATE"),
    (1 << 19, "CAP"),
    (1 << 20, "DEST_QPN"),
    (1 << 25, "RATE_LIMIT"),
];

/// `enum rdma_cm_event_type`
pub const CM_EVENT: &[(u64, &str)] = &[
    (0, "ADDR_RESOLVED"),
    (1, "ADDR_ERROR"),
    (2, "ROUTE_RESOLVED"),
    (3, "ROUTE_ERROR"),
    (4, "CONNECT_REQUEST"),
    (5, "CONNECT_RESPONSE"),
    (6, "CONNECT_ERROR"),
    (7, "UNREACHABLE"),
    (8, "REJECTED"),
    (9, "ESTABLISHED"),
    (10, "DISCONNECTED"),
    (11, "DEVICE_REMOVAL"),
    (12, "MULTICAST_JOIN"),
    (13, "MULTICAST_ERROR"),
    (14, "ADDR_CHANGE"),
    (15, "TIMEWAIT_EXIT"),
];

/// `enum rdma_port_space`
pub const PORT_SPACE: &[(u64, &str)] = &[
    (0x0002, "IPOIB"),
    (0x0106, "TCP"),
    (0x0111, "UDP"),
    (0x013f, "IB"),
];

/// Flags by name, joined by `|`; unknown flags as a number.
pub(super) struct Bits<'a>(pub(super) u64, pub(super) &'a [(u64, &'a str)]);

impl fmt::Display for Bits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut between = "";
        for (bit, name) in self.1 {
            if self.0 & bit != 0 {
                write!(f, "{between}{name}")?;
                between = "|";
                rest &= !bit;
            }
        }
        match (rest, self.0) {
            (0, 0) => f.write_str("0"),
            (0, _) => Ok(()),
            _ => write!(f, "{between}{rest:#x}"),
        }
    }
}

/// A value by name; an unknown value as a number.
pub(super) struct OneOf<'a>(pub(super) u64, pub(super) &'a [(u64, &'a str)]);

impl fmt::Display for OneOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1.iter().find(|(value, _)| *value == self.0) {
            Some((_, name)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}
