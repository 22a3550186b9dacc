// SPDX-License-Identifier: BSD-3-Clause

//! Completions, as completion queues hold them.

/// The statuses of `enum ibv_wc_status` that occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Success = 0,
    LocalLength = 1,
    LocalProtection = 4,
    Flushed = 5,
    RemoteInvalidRequest = 9,
    RemoteAccess = 10,
    RemoteOperation = 11,
    RetryExceeded = 12,
    ReceiverNotReady = 13,
}

/// The opcodes of `enum ibv_wc_opcode` that occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Send = 0,
    RdmaWrite = 1,
    RdmaRead = 2,
    Flush = 8,
    AtomicWrite = 9,
    Receive = 128,
    ReceiveRdmaWithImm = 129,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) wr_id: u64,
    pub(crate) status: Status,
    pub(crate) opcode: Opcode,
    pub(crate) byte_len: u32,
    pub(crate) imm: Option<u32>,
    pub(crate) qp_num: u32,
    /// It is one of a receive queue.
    pub(crate) received: bool,
    pub(crate) solicited: bool,
}

impl Completion {
    pub(crate) fn failed(wr_id: u64, qp_num: u32, status: Status) -> Self {
        Self {
            wr_id,
            status,
            opcode: Opcode::Send,
            byte_len: 0,
            imm: None,
            qp_num,
            received: false,
            solicited: false,
        }
    }
}
