// SPDX-License-Identifier: BSD-3-Clause

//! Constants, enums and structs of `<librpma.h>`.
//!
//! An enum that comes from C is an integer here: C may pass any value, and a Rust enum must not
//! have one that it does not know. The names below stand for that integer; the header has the
//! enum itself (`cbindgen.toml` renames them). The enums further down exist for the header alone.

use std::ffi::{c_int, c_void};

#[rustfmt::skip]
pub(super) use {
    std::ffi::c_int as UtilIbvContextType,
    std::ffi::c_int as ConnEventNumber,
    std::ffi::c_int as FlushType,
    std::ffi::c_int as LogThreshold,
    std::ffi::c_int as LogLevel,
    std::ffi::c_int as OpNumber,
    std::ffi::c_uint as WcStatus,
};

use crate::completion::Op;
use crate::conn::ConnEvent;
use crate::error::Code;
use crate::log::Level;
use crate::mr_usage::Usage;

/// Not used by any release; kept for the programs that name it.
pub const RPMA_W_WAIT_FOR_COMPLETION: c_int = 1;

/// Something that should not happen: the log says what
pub const RPMA_E_UNKNOWN: c_int = -100000;
/// The device, the remote side or the memory region does not support it
pub const RPMA_E_NOSUPP: c_int = -100001;
/// A verbs or connection manager call failed: errno and the log say why
pub const RPMA_E_PROVIDER: c_int = -100002;
/// Out of memory
pub const RPMA_E_NOMEM: c_int = -100003;
/// Invalid argument
pub const RPMA_E_INVAL: c_int = -100004;
/// No completion is there: an ordinary outcome, not logged
pub const RPMA_E_NO_COMPLETION: c_int = -100005;
/// No event is there: an ordinary outcome, not logged
pub const RPMA_E_NO_EVENT: c_int = -100006;
/// Temporary error; no function returns it
pub const RPMA_E_AGAIN: c_int = -100007;
/// The completion channel is shared: rpma_conn_wait waits on it
pub const RPMA_E_SHARED_CHANNEL: c_int = -100008;
/// The completion channel is not shared: rpma_cq_wait waits on it
pub const RPMA_E_NOT_SHARED_CHNL: c_int = -100009;

/// How long each step of finding the other side may take, in milliseconds, unless configured
/// otherwise (rpma_conn_cfg_set_timeout)
pub const RPMA_DEFAULT_TIMEOUT_MS: c_int = 1000;

/// The memory is read by the remote side (rpma_read)
pub const RPMA_MR_USAGE_READ_SRC: c_int = 1 << 0;
/// The memory takes what is read from the remote side (rpma_read)
pub const RPMA_MR_USAGE_READ_DST: c_int = 1 << 1;
/// The memory is written to the remote side (rpma_write and its kin)
pub const RPMA_MR_USAGE_WRITE_SRC: c_int = 1 << 2;
/// The memory is written by the remote side (rpma_write and its kin, rpma_atomic_write)
pub const RPMA_MR_USAGE_WRITE_DST: c_int = 1 << 3;
/// The remote side may flush the memory to visibility; where that is emulated, also read it
pub const RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY: c_int = 1 << 4;
/// The remote side may flush the memory to persistence; where that is emulated, also read it
pub const RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT: c_int = 1 << 5;
/// The memory holds messages to send (rpma_send)
pub const RPMA_MR_USAGE_SEND: c_int = 1 << 6;
/// The memory takes received messages (rpma_recv)
pub const RPMA_MR_USAGE_RECV: c_int = 1 << 7;

/// For the flags of an operation: a completion if it fails
pub const RPMA_F_COMPLETION_ON_ERROR: c_int = 1 << 0;
/// For the flags of an operation: a completion however it ends
pub const RPMA_F_COMPLETION_ALWAYS: c_int = 1 << 1 | RPMA_F_COMPLETION_ON_ERROR;

/// What the offset of an atomic write must be a multiple of, and how many bytes it writes
pub const RPMA_ATOMIC_WRITE_ALIGNMENT: c_int = 8;

/// How rpma_utils_get_ibv_context looks for a device
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_util_ibv_context_type {
    /// the device that has the address, which is one of this machine
    RPMA_UTIL_IBV_CONTEXT_LOCAL = 0,
    /// the device through which the address, which is one of another machine, is reached
    RPMA_UTIL_IBV_CONTEXT_REMOTE = 1,
}

/// What happened to a connection (rpma_conn_next_event)
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_conn_event {
    /// no event; never told by rpma_conn_next_event
    RPMA_CONN_UNDEFINED = -1,
    /// the connection is established
    RPMA_CONN_ESTABLISHED = 0,
    /// the connection was closed by either side, or the other side's process is gone
    RPMA_CONN_CLOSED = 1,
    /// the connection could not be made for an error, or its device is gone
    RPMA_CONN_LOST = 2,
    /// the other side rejected the connection, or does not listen
    RPMA_CONN_REJECTED = 3,
    /// the other side does not answer
    RPMA_CONN_UNREACHABLE = 4,
}

/// What a flush makes sure of
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_flush_type {
    /// the data survives a power failure of the remote side
    RPMA_FLUSH_TYPE_PERSISTENT = 0,
    /// the data is visible to the remote processors
    RPMA_FLUSH_TYPE_VISIBILITY = 1,
}

/// How serious a message of the log is
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_log_level {
    /// as a threshold: nothing is logged
    RPMA_LOG_DISABLED = -1,
    /// the library cannot go on; no message has this level
    RPMA_LOG_LEVEL_FATAL = 0,
    /// a function failed
    RPMA_LOG_LEVEL_ERROR = 1,
    /// something is not as it should be
    RPMA_LOG_LEVEL_WARNING = 2,
    /// a step of the ordinary course of things
    RPMA_LOG_LEVEL_NOTICE = 3,
    /// something worth knowing
    RPMA_LOG_LEVEL_INFO = 4,
    /// details for debugging
    RPMA_LOG_LEVEL_DEBUG = 5,
}

/// The thresholds of the log (rpma_log_set_threshold)
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_log_threshold {
    /// which messages are logged at all
    RPMA_LOG_THRESHOLD = 0,
    /// which of these the default log function writes to stderr as well
    RPMA_LOG_THRESHOLD_AUX = 1,
    /// the number of thresholds, not one of them
    RPMA_LOG_THRESHOLD_MAX = 2,
}

/// The kind of operation of a completion, as releases 0.9 to 0.11 told it
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_op {
    /// rpma_read, or a flush that is emulated by a read
    RPMA_OP_READ = 0,
    /// rpma_write, rpma_write_with_imm, rpma_write_atomic, or an rpma_atomic_write that is emulated
    RPMA_OP_WRITE = 1,
    /// not reported by any release
    RPMA_OP_FLUSH = 2,
    /// rpma_send, rpma_send_with_imm
    RPMA_OP_SEND = 3,
    /// rpma_recv, rpma_conn_req_recv, rpma_srq_recv
    RPMA_OP_RECV = 4,
    /// a receive that an rpma_write_with_imm of the other side has used up
    RPMA_OP_RECV_RDMA_WITH_IMM = 5,
}

/// Private data: bytes that travel with a connection request or its acceptance, unencrypted
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct rpma_conn_private_data {
    /// the bytes, or NULL
    pub ptr: *mut c_void,
    /// how many there are, 0 to 255
    pub len: u8,
}

/// A completion, as releases 0.9 to 0.11 told it (rpma_conn_completion_get,
/// rpma_cq_get_completion)
///
/// A program built for release 0.9.0 has this struct without flags and imm. So imm is written only
/// for a completion that carries an immediate, which release 0.9.0 could not ask for.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct rpma_completion {
    /// the op_context that the operation was given
    pub op_context: *mut c_void,
    /// what kind of operation it was
    pub op: OpNumber,
    /// how many bytes were moved
    pub byte_len: u32,
    /// IBV_WC_SUCCESS if it succeeded; otherwise, only op_context is valid besides
    pub op_status: WcStatus,
    /// flags of enum ibv_wc_flags
    pub flags: std::ffi::c_uint,
    /// the immediate, in host byte order, if IBV_WC_WITH_IMM is set in flags
    pub imm: u32,
}

// The numbers of the header are those that the library works with.
const _: () = {
    assert!(RPMA_E_UNKNOWN == Code::Unknown.value());
    assert!(RPMA_E_NOSUPP == Code::NoSupp.value());
    assert!(RPMA_E_PROVIDER == Code::Provider.value());
    assert!(RPMA_E_NOMEM == Code::NoMem.value());
    assert!(RPMA_E_INVAL == Code::Inval.value());
    assert!(RPMA_E_NO_COMPLETION == Code::NoCompletion.value());
    assert!(RPMA_E_NO_EVENT == Code::NoEvent.value());
    assert!(RPMA_E_AGAIN == crate::error::AGAIN);
    assert!(RPMA_E_SHARED_CHANNEL == Code::SharedChannel.value());
    assert!(RPMA_E_NOT_SHARED_CHNL == Code::NotSharedChannel.value());
    assert!(RPMA_DEFAULT_TIMEOUT_MS == crate::utils::DEFAULT_TIMEOUT_MS);
    assert!(RPMA_ATOMIC_WRITE_ALIGNMENT as usize == crate::ops::ATOMIC_WRITE_SIZE);
    assert!(rpma_conn_event::RPMA_CONN_UNDEFINED as i32 == ConnEvent::Undefined as i32);
    assert!(rpma_conn_event::RPMA_CONN_ESTABLISHED as i32 == ConnEvent::Established as i32);
    assert!(rpma_conn_event::RPMA_CONN_CLOSED as i32 == ConnEvent::Closed as i32);
    assert!(rpma_conn_event::RPMA_CONN_LOST as i32 == ConnEvent::Lost as i32);
    assert!(rpma_conn_event::RPMA_CONN_REJECTED as i32 == ConnEvent::Rejected as i32);
    assert!(rpma_conn_event::RPMA_CONN_UNREACHABLE as i32 == ConnEvent::Unreachable as i32);
    assert!(rpma_op::RPMA_OP_READ as i32 == Op::Read as i32);
    assert!(rpma_op::RPMA_OP_WRITE as i32 == Op::Write as i32);
    assert!(rpma_op::RPMA_OP_SEND as i32 == Op::Send as i32);
    assert!(rpma_op::RPMA_OP_RECV as i32 == Op::Recv as i32);
    assert!(rpma_op::RPMA_OP_RECV_RDMA_WITH_IMM as i32 == Op::RecvRdmaWithImm as i32);
    assert!(rpma_log_level::RPMA_LOG_DISABLED as i32 == crate::log::DISABLED);
    assert!(rpma_log_level::RPMA_LOG_LEVEL_ERROR as i32 == Level::Error as i32);
    assert!(rpma_log_level::RPMA_LOG_LEVEL_WARNING as i32 == Level::Warning as i32);
    assert!(rpma_log_level::RPMA_LOG_LEVEL_NOTICE as i32 == Level::Notice as i32);
    assert!(rpma_log_level::RPMA_LOG_LEVEL_INFO as i32 == Level::Info as i32);
    assert!(rpma_log_level::RPMA_LOG_LEVEL_DEBUG as i32 == Level::Debug as i32);
    assert!(rpma_log_threshold::RPMA_LOG_THRESHOLD as usize == crate::log::MAIN);
    assert!(rpma_log_threshold::RPMA_LOG_THRESHOLD_AUX as usize == crate::log::AUXILIARY);
    assert!(rpma_log_threshold::RPMA_LOG_THRESHOLD_MAX as usize == crate::log::THRESHOLD_COUNT);
    assert!(RPMA_MR_USAGE_READ_SRC == Usage::READ_SRC.bits() as c_int);
    assert!(RPMA_MR_USAGE_READ_DST == Usage::READ_DST.bits() as c_int);
    assert!(RPMA_MR_USAGE_WRITE_SRC == Usage::WRITE_SRC.bits() as c_int);
    assert!(RPMA_MR_USAGE_WRITE_DST == Usage::WRITE_DST.bits() as c_int);
    assert!(RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY == Usage::FLUSH_VISIBILITY.bits() as c_int);
    assert!(RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT == Usage::FLUSH_PERSISTENT.bits() as c_int);
    assert!(RPMA_MR_USAGE_SEND == Usage::SEND.bits() as c_int);
    assert!(RPMA_MR_USAGE_RECV == Usage::RECV.bits() as c_int);
    assert!(
        RPMA_F_COMPLETION_ALWAYS & !RPMA_F_COMPLETION_ON_ERROR == crate::ops::COMPLETION_ON_SUCCESS
    );
    // A program of release 0.9.0 owns the first 24 bytes only.
    assert!(std::mem::offset_of!(rpma_completion, flags) == 20);
    assert!(std::mem::offset_of!(rpma_completion, imm) == 24);
};
