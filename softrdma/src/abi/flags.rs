// SPDX-License-Identifier: BSD-3-Clause

//! The flags of the headers. What a region may be used for is in `types::region::access`; the names in traces are in
//! `instrument::names`.

/// `enum ibv_send_flags`
pub(super) mod send {
    pub(in crate::abi) const FENCE: u32 = 1;
    pub(in crate::abi) const SIGNALED: u32 = 1 << 1;
    pub(in crate::abi) const SOLICITED: u32 = 1 << 2;
    pub(in crate::abi) const INLINE: u32 = 1 << 3;
}

/// `enum ibv_wc_flags`
pub(super) mod completion {
    pub(in crate::abi) const GRH: u32 = 1;
    pub(in crate::abi) const WITH_IMM: u32 = 1 << 1;
}

/// `enum ibv_qp_init_attr_mask`
pub(super) mod qp_init {
    pub(in crate::abi) const PD: u32 = 1;
    pub(in crate::abi) const CREATE_FLAGS: u32 = 1 << 2;
    pub(in crate::abi) const MAX_TSO_HEADER: u32 = 1 << 3;
    pub(in crate::abi) const SEND_OPS_FLAGS: u32 = 1 << 6;
}

/// `enum ibv_qp_create_send_ops_flags`
pub(super) mod send_ops {
    pub(in crate::abi) const RDMA_WRITE: u64 = 1;
    pub(in crate::abi) const RDMA_WRITE_WITH_IMM: u64 = 1 << 1;
    pub(in crate::abi) const SEND: u64 = 1 << 2;
    pub(in crate::abi) const SEND_WITH_IMM: u64 = 1 << 3;
    pub(in crate::abi) const RDMA_READ: u64 = 1 << 4;
    pub(in crate::abi) const FLUSH: u64 = 1 << 11;
    pub(in crate::abi) const ATOMIC_WRITE: u64 = 1 << 12;
    pub(in crate::abi) const ALWAYS: u64 =
        RDMA_WRITE | RDMA_WRITE_WITH_IMM | SEND | SEND_WITH_IMM | RDMA_READ;
}

/// `enum ibv_srq_init_attr_mask`
pub(super) mod srq_init {
    pub(in crate::abi) const TYPE: u32 = 1;
    pub(in crate::abi) const PD: u32 = 1 << 1;
}

/// `enum ibv_device_cap_flags`, of newer headers
pub(super) mod device {
    pub(in crate::abi) const FLUSH_GLOBAL: u64 = 1 << 38;
    pub(in crate::abi) const FLUSH_PERSISTENT: u64 = 1 << 39;
    pub(in crate::abi) const ATOMIC_WRITE: u64 = 1 << 40;
}

/// `enum ibv_qp_attr_mask`
pub(super) mod qp_attr {
    use std::ffi::c_int;

    pub(in crate::abi) const STATE: c_int = 1;
    pub(in crate::abi) const CUR_STATE: c_int = 1 << 1;
    pub(in crate::abi) const EN_SQD_ASYNC_NOTIFY: c_int = 1 << 2;
    pub(in crate::abi) const ACCESS_FLAGS: c_int = 1 << 3;
    pub(in crate::abi) const PKEY_INDEX: c_int = 1 << 4;
    pub(in crate::abi) const PORT: c_int = 1 << 5;
    pub(in crate::abi) const AV: c_int = 1 << 7;
    pub(in crate::abi) const PATH_MTU: c_int = 1 << 8;
    pub(in crate::abi) const TIMEOUT: c_int = 1 << 9;
    pub(in crate::abi) const RETRY_CNT: c_int = 1 << 10;
    pub(in crate::abi) const RNR_RETRY: c_int = 1 << 11;
    pub(in crate::abi) const RQ_PSN: c_int = 1 << 12;
    pub(in crate::abi) const MAX_QP_RD_ATOMIC: c_int = 1 << 13;
    pub(in crate::abi) const ALT_PATH: c_int = 1 << 14;
    pub(in crate::abi) const MIN_RNR_TIMER: c_int = 1 << 15;
    pub(in crate::abi) const SQ_PSN: c_int = 1 << 16;
    pub(in crate::abi) const MAX_DEST_RD_ATOMIC: c_int = 1 << 17;
    pub(in crate::abi) const PATH_MIG_STATE: c_int = 1 << 18;
    pub(in crate::abi) const DEST_QPN: c_int = 1 << 20;
    /// Those that any device has to know.
    pub(in crate::abi) const STANDARD: c_int = (1 << 21) - 1;
}
