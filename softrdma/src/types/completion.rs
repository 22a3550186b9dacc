// SPDX-License-Identifier: BSD-3-Clause

//! Completions, as completion queues hold them.

/// The statuses of `enum ibv_wc_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Success = 0,
    LocalLength = 1,
    LocalQpOperation = 2,
    LocalEecOperation = 3,
    LocalProtection = 4,
    Flushed = 5,
    MemoryWindowBind = 6,
    BadResponse = 7,
    LocalAccess = 8,
    RemoteInvalidRequest = 9,
    RemoteAccess = 10,
    RemoteOperation = 11,
    RetryExceeded = 12,
    ReceiverNotReady = 13,
    LocalRddViolation = 14,
    RemoteInvalidRdRequest = 15,
    RemoteAborted = 16,
    InvalidEecNumber = 17,
    InvalidEecState = 18,
    Fatal = 19,
    ResponseTimeout = 20,
    General = 21,
}

impl Status {
    /// All of them: each one at its number.
    const ALL: [Self; 22] = [
        Self::Success,
        Self::LocalLength,
        Self::LocalQpOperation,
        Self::LocalEecOperation,
        Self::LocalProtection,
        Self::Flushed,
        Self::MemoryWindowBind,
        Self::BadResponse,
        Self::LocalAccess,
        Self::RemoteInvalidRequest,
        Self::RemoteAccess,
        Self::RemoteOperation,
        Self::RetryExceeded,
        Self::ReceiverNotReady,
        Self::LocalRddViolation,
        Self::RemoteInvalidRdRequest,
        Self::RemoteAborted,
        Self::InvalidEecNumber,
        Self::InvalidEecState,
        Self::Fatal,
        Self::ResponseTimeout,
        Self::General,
    ];

    /// The one that a test has asked for. Most of them never occur otherwise.
    pub(crate) fn of_number(number: u8) -> Self {
        let found = Self::ALL.get(usize::from(number));
        found.copied().unwrap_or(Self::General)
    }
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

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn each_status_has_its_number() {
        for number in 0..22 {
            assert_eq!(Status::of_number(number) as u8, number);
        }
    }
}
