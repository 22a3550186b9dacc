// SPDX-License-Identifier: BSD-3-Clause

//! Constants, enums and structs of `<librpma.h>`.
//!
//! The functions take an enum of C as an integer: C may pass any value, and a Rust enum may only hold the
//! values that it declares. The names below stand for that integer, and `cbindgen.toml` renames them to the
//! enum in the header. The enums further down are declared for the header.

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

/// Not used by any release; kept for programs that use the name.
pub const RPMA_W_WAIT_FOR_COMPLETION: c_int = 1;

/// An unexpected failure; the log has the details
pub const RPMA_E_UNKNOWN: c_int = -100000;
/// The device, the remote side or the memory region does not support the operation
pub const RPMA_E_NOSUPP: c_int = -100001;
/// A call of libibverbs or librdmacm failed; errno and the log have the reason
pub const RPMA_E_PROVIDER: c_int = -100002;
/// Out of memory
pub const RPMA_E_NOMEM: c_int = -100003;
/// Invalid argument
pub const RPMA_E_INVAL: c_int = -100004;
/// There is no completion; an expected outcome, not logged
pub const RPMA_E_NO_COMPLETION: c_int = -100005;
/// There is no event; an expected outcome, not logged
pub const RPMA_E_NO_EVENT: c_int = -100006;
/// A temporary failure; no function returns this code
pub const RPMA_E_AGAIN: c_int = -100007;
/// The completion channel is shared: use rpma_conn_wait
pub const RPMA_E_SHARED_CHANNEL: c_int = -100008;
/// The completion channel is not shared: use rpma_cq_wait
pub const RPMA_E_NOT_SHARED_CHNL: c_int = -100009;

/// The default timeout, in milliseconds, for resolving an address and for resolving its route
/// (rpma_conn_cfg_set_timeout)
pub const RPMA_DEFAULT_TIMEOUT_MS: c_int = 1000;

/// The remote side may read the memory: the source of its rpma_read
pub const RPMA_MR_USAGE_READ_SRC: c_int = 1 << 0;
/// The destination of an rpma_read of this side; on iWARP, the remote side may also write the memory
pub const RPMA_MR_USAGE_READ_DST: c_int = 1 << 1;
/// The source of an rpma_write, rpma_write_with_imm or rpma_write_atomic of this side
pub const RPMA_MR_USAGE_WRITE_SRC: c_int = 1 << 2;
/// The remote side may write the memory: the destination of its rpma_write, rpma_write_with_imm,
/// rpma_atomic_write or rpma_write_atomic
pub const RPMA_MR_USAGE_WRITE_DST: c_int = 1 << 3;
/// The remote side may flush the memory with RPMA_FLUSH_TYPE_VISIBILITY; it may also read the memory,
/// as an emulated flush does
pub const RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY: c_int = 1 << 4;
/// The remote side may flush the memory with RPMA_FLUSH_TYPE_PERSISTENT; it may also read the memory,
/// as an emulated flush does
pub const RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT: c_int = 1 << 5;
/// The buffer of an rpma_send or rpma_send_with_imm of this side
pub const RPMA_MR_USAGE_SEND: c_int = 1 << 6;
/// The buffer of a receive of this side: rpma_recv, rpma_conn_req_recv or rpma_srq_recv
pub const RPMA_MR_USAGE_RECV: c_int = 1 << 7;

/// The operation has a completion only if it fails
pub const RPMA_F_COMPLETION_ON_ERROR: c_int = 1 << 0;
/// The operation has a completion whether it succeeds or fails
pub const RPMA_F_COMPLETION_ALWAYS: c_int = 1 << 1 | RPMA_F_COMPLETION_ON_ERROR;

/// The alignment of the offset of an atomic write, in bytes, and the number of bytes it writes
pub const RPMA_ATOMIC_WRITE_ALIGNMENT: c_int = 8;

/// How rpma_utils_get_ibv_context finds a device
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_util_ibv_context_type {
    /// the address is an address of this machine: the device that has it
    RPMA_UTIL_IBV_CONTEXT_LOCAL = 0,
    /// the address is an address of another machine: the device through which it is reached
    RPMA_UTIL_IBV_CONTEXT_REMOTE = 1,
}

/// An event of a connection (rpma_conn_next_event)
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_conn_event {
    /// no event; rpma_conn_next_event never returns it
    RPMA_CONN_UNDEFINED = -1,
    /// the connection is established
    RPMA_CONN_ESTABLISHED = 0,
    /// one side has disconnected, or the remote process has ended
    RPMA_CONN_CLOSED = 1,
    /// the connection was not established because of an error, or the device was removed
    RPMA_CONN_LOST = 2,
    /// the remote side rejected the connection request, or does not listen on the port
    RPMA_CONN_REJECTED = 3,
    /// the remote side does not answer
    RPMA_CONN_UNREACHABLE = 4,
}

/// What a flush guarantees (rpma_flush)
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_flush_type {
    /// the data is persistent: it survives a power failure of the remote machine
    RPMA_FLUSH_TYPE_PERSISTENT = 0,
    /// the data is visible to the remote processors
    RPMA_FLUSH_TYPE_VISIBILITY = 1,
}

/// The severity of a message of the log, and the value of a threshold
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_log_level {
    /// as a threshold: no message passes; no message has this level
    RPMA_LOG_DISABLED = -1,
    /// the library cannot continue; no message of this library has this level
    RPMA_LOG_LEVEL_FATAL = 0,
    /// a function failed
    RPMA_LOG_LEVEL_ERROR = 1,
    /// something unexpected that the function could handle
    RPMA_LOG_LEVEL_WARNING = 2,
    /// a normal but significant step, such as an established connection
    RPMA_LOG_LEVEL_NOTICE = 3,
    /// additional information, such as a missing native operation
    RPMA_LOG_LEVEL_INFO = 4,
    /// details that help to debug a program
    RPMA_LOG_LEVEL_DEBUG = 5,
}

/// The thresholds of the log (rpma_log_set_threshold)
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_log_threshold {
    /// decides which messages are logged
    RPMA_LOG_THRESHOLD = 0,
    /// decides which of these the default log function also writes to stderr
    RPMA_LOG_THRESHOLD_AUX = 1,
    /// the number of thresholds; not a threshold itself
    RPMA_LOG_THRESHOLD_MAX = 2,
}

/// The operation of a completion (struct rpma_completion, releases 0.9 to 0.11)
#[allow(non_camel_case_types)]
#[repr(C)]
pub enum rpma_op {
    /// rpma_read or rpma_flush
    RPMA_OP_READ = 0,
    /// rpma_write, rpma_write_with_imm, rpma_write_atomic or rpma_atomic_write
    RPMA_OP_WRITE = 1,
    /// no release returns it
    RPMA_OP_FLUSH = 2,
    /// rpma_send or rpma_send_with_imm
    RPMA_OP_SEND = 3,
    /// rpma_recv, rpma_conn_req_recv or rpma_srq_recv
    RPMA_OP_RECV = 4,
    /// a receive that an rpma_write_with_imm of the remote side has used up
    RPMA_OP_RECV_RDMA_WITH_IMM = 5,
}

/// Private data: bytes that are sent with a connection request or its acceptance, not encrypted
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct rpma_conn_private_data {
    /// the bytes, or NULL
    pub ptr: *mut c_void,
    /// the number of bytes, 0 to 255
    pub len: u8,
}

/// A completion in the form of releases 0.9 to 0.11 (rpma_conn_completion_get,
/// rpma_cq_get_completion)
///
/// In release 0.9.0, this struct had no flags and no imm. Therefore imm is written only for a
/// completion with immediate data, which release 0.9.0 could not send.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct rpma_completion {
    /// the op_context of the operation
    pub op_context: *mut c_void,
    /// the kind of operation
    pub op: OpNumber,
    /// the number of bytes transferred
    pub byte_len: u32,
    /// IBV_WC_SUCCESS if the operation succeeded; otherwise only op_context is valid, too
    pub op_status: WcStatus,
    /// a combination of enum ibv_wc_flags
    pub flags: std::ffi::c_uint,
    /// the immediate data in host byte order, if flags has IBV_WC_WITH_IMM
    pub imm: u32,
}

// The values in the header are the values that the library uses.
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
    // A program of release 0.9.0 has memory for the first 24 bytes only.
    assert!(std::mem::offset_of!(rpma_completion, flags) == 20);
    assert!(std::mem::offset_of!(rpma_completion, imm) == 24);
};
