// SPDX-License-Identifier: BSD-3-Clause

//! The operations of a connection.
//!
//! Each public function handles the usual arguments itself, in few instructions. For all other arguments it calls
//! a second function, which reports what is wrong or handles the special case. The second function has the same
//! parameters, so that the call is a jump.

use std::ffi::{c_char, c_int, c_void};

use super::types::{FlushType, rpma_flush_type as kind};
use super::{Post, arg, finish, optional};
use crate::conn::Conn;
use crate::error::Error;
use crate::flush::FlushMethod;
use crate::mr::{MrLocal, MrRemote};
use crate::ops::{ATOMIC_WRITE_SIZE, checked_notify, is_aligned, notify};
use crate::verbs::FlushKind;

const PERSISTENT: c_int = kind::RPMA_FLUSH_TYPE_PERSISTENT as c_int;
const VISIBILITY: c_int = kind::RPMA_FLUSH_TYPE_VISIBILITY as c_int;

/// Posts an RDMA read from remote memory to local memory.
///
/// The operation copies len bytes from src_offset of src to dst_offset of dst. src must be
/// registered with RPMA_MR_USAGE_READ_SRC, dst with RPMA_MR_USAGE_READ_DST. src and dst may both be
/// NULL if the offsets and len are 0: a read of 0 bytes.
///
/// flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
///
/// The call only posts the operation. Until the operation has completed, dst must stay registered
/// and its bytes are undefined. If a range is outside its region or a usage is missing, the
/// operation completes with an error status and the connection breaks.
///
/// Calls: ibv_post_send
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, flags is 0, only one of src and dst is NULL, both are NULL and an
///   offset or len is not 0, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
///
/// See: rpma_mr_remote_from_descriptor, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_read(
    conn: *mut Conn,
    dst: *mut MrLocal,
    dst_offset: usize,
    src: *const MrRemote,
    src_offset: usize,
    len: usize,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    // SAFETY: the contract of C.
    match unsafe {
        (
            optional(conn),
            optional(dst),
            optional(src),
            u32::try_from(len),
        )
    } {
        (Some(conn), Some(dst), Some(src), Ok(length)) if flags != 0 => {
            READ.finish(conn.post_read(
                Some(&dst.sge(dst_offset, length)),
                src.at(src_offset),
                notify(flags, op_context as u64),
            ))
        }
        // SAFETY: the contract of C.
        _ => unsafe {
            checked_read(
                conn, dst, dst_offset, src, src_offset, len, flags, op_context,
            )
        },
    }
}

static READ: Post = Post {
    function: c"rpma_read",
    call: "ibv_post_send",
};

/// `rpma_read` with all checks.
///
/// # Safety
///
/// The contract of C.
#[cold]
#[inline(never)]
unsafe extern "C" fn checked_read(
    conn: *mut Conn,
    dst: *mut MrLocal,
    dst_offset: usize,
    src: *const MrRemote,
    src_offset: usize,
    len: usize,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    finish(READ.function, || {
        // SAFETY: the contract of C.
        let (conn, dst, src) = unsafe { (arg(conn, "conn")?, optional(dst), optional(src)) };
        let notify = checked_notify(flags, op_context as u64)?;
        conn.read((dst, dst_offset), (src, src_offset), len, notify)
    })
}

/// Posts an RDMA write from local memory to remote memory.
///
/// The operation copies len bytes from src_offset of src to dst_offset of dst. dst must be
/// registered with RPMA_MR_USAGE_WRITE_DST, src with RPMA_MR_USAGE_WRITE_SRC. src and dst may both
/// be NULL if the offsets and len are 0: a write of 0 bytes.
///
/// The remote program is not notified. The completion of the write does not mean that the data is
/// visible to the remote processors or persistent: use rpma_flush for that.
///
/// flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
///
/// The call only posts the operation. Until the operation has completed, src must stay registered
/// and its bytes must not change. If a range is outside its region or a usage is missing, the
/// operation completes with an error status and the connection breaks.
///
/// Calls: ibv_post_send
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, flags is 0, only one of src and dst is NULL, both are NULL and an
///   offset or len is not 0, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
///
/// See: rpma_flush, rpma_write_with_imm, rpma_mr_remote_from_descriptor, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_write(
    conn: *mut Conn,
    dst: *mut MrRemote,
    dst_offset: usize,
    src: *const MrLocal,
    src_offset: usize,
    len: usize,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    // SAFETY: the contract of C.
    match unsafe {
        (
            optional(conn),
            optional(dst),
            optional(src),
            u32::try_from(len),
        )
    } {
        (Some(conn), Some(dst), Some(src), Ok(length)) if flags != 0 => {
            WRITE.finish(conn.post_write(
                dst.at(dst_offset),
                Some(&src.sge(src_offset, length)),
                None,
                notify(flags, op_context as u64),
            ))
        }
        // SAFETY: the contract of C.
        _ => unsafe {
            checked_write(
                conn, dst, dst_offset, src, src_offset, len, flags, op_context,
            )
        },
    }
}

static WRITE: Post = Post {
    function: c"rpma_write",
    call: "ibv_post_send",
};

/// `rpma_write` with all checks.
///
/// # Safety
///
/// The contract of C.
#[cold]
#[inline(never)]
unsafe extern "C" fn checked_write(
    conn: *mut Conn,
    dst: *mut MrRemote,
    dst_offset: usize,
    src: *const MrLocal,
    src_offset: usize,
    len: usize,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    finish(WRITE.function, || {
        // SAFETY: the contract of C.
        let (conn, dst, src) = unsafe { (arg(conn, "conn")?, optional(dst), optional(src)) };
        let notify = checked_notify(flags, op_context as u64)?;
        conn.write((dst, dst_offset), (src, src_offset), len, None, notify)
    })
}

/// Posts an RDMA write that notifies the remote side with 32 bits of data.
///
/// The operation copies len bytes from src_offset of src to dst_offset of dst, as rpma_write does.
/// In addition, it uses up one receive of the remote side (rpma_recv or rpma_srq_recv) and
/// completes it with opcode IBV_WC_RECV_RDMA_WITH_IMM, the number of bytes written as byte_len, and
/// imm as imm_data in network byte order. imm is in host byte order. Nothing is placed in the
/// buffer of the receive. If the remote side has posted no receive, the write waits for one.
///
/// dst must be registered with RPMA_MR_USAGE_WRITE_DST, src with RPMA_MR_USAGE_WRITE_SRC. src and
/// dst may both be NULL if the offsets and len are 0: only imm is sent.
///
/// flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
///
/// The call only posts the operation. Until the operation has completed, src must stay registered
/// and its bytes must not change. If a range is outside its region or a usage is missing, the
/// operation completes with an error status and the connection breaks.
///
/// Calls: ibv_post_send
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, flags is 0, only one of src and dst is NULL, both are NULL and an
///   offset or len is not 0, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
///
/// See: rpma_write, rpma_recv, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_write_with_imm(
    conn: *mut Conn,
    dst: *mut MrRemote,
    dst_offset: usize,
    src: *const MrLocal,
    src_offset: usize,
    len: usize,
    flags: c_int,
    imm: u32,
    op_context: *const c_void,
) -> c_int {
    // SAFETY: the contract of C.
    match unsafe {
        (
            optional(conn),
            optional(dst),
            optional(src),
            u32::try_from(len),
        )
    } {
        (Some(conn), Some(dst), Some(src), Ok(length)) if flags != 0 => {
            WRITE_WITH_IMM.finish(conn.post_write(
                dst.at(dst_offset),
                Some(&src.sge(src_offset, length)),
                Some(imm),
                notify(flags, op_context as u64),
            ))
        }
        // SAFETY: the contract of C.
        _ => unsafe {
            checked_write_with_imm(
                conn, dst, dst_offset, src, src_offset, len, flags, imm, op_context,
            )
        },
    }
}

static WRITE_WITH_IMM: Post = Post {
    function: c"rpma_write_with_imm",
    call: "ibv_post_send",
};

/// `rpma_write_with_imm` with all checks.
///
/// # Safety
///
/// The contract of C.
#[cold]
#[inline(never)]
unsafe extern "C" fn checked_write_with_imm(
    conn: *mut Conn,
    dst: *mut MrRemote,
    dst_offset: usize,
    src: *const MrLocal,
    src_offset: usize,
    len: usize,
    flags: c_int,
    imm: u32,
    op_context: *const c_void,
) -> c_int {
    finish(WRITE_WITH_IMM.function, || {
        // SAFETY: the contract of C.
        let (conn, dst, src) = unsafe { (arg(conn, "conn")?, optional(dst), optional(src)) };
        let notify = checked_notify(flags, op_context as u64)?;
        conn.write((dst, dst_offset), (src, src_offset), len, Some(imm), notify)
    })
}

/// Posts an atomic write of 8 bytes to remote memory.
///
/// The operation copies the 8 bytes at src to dst_offset of dst. A reader of the remote memory sees
/// either the old or the new 8 bytes, never a mixture, if they are aligned to 8 bytes there:
/// dst_offset must be a multiple of 8 (RPMA_ATOMIC_WRITE_ALIGNMENT), and the start address of the
/// region should be one, too.
///
/// dst must be registered with RPMA_MR_USAGE_WRITE_DST. src is ordinary memory that need not be
/// registered. The call copies it.
///
/// If device and libibverbs support native atomic write, the library uses it. Otherwise it posts an
/// RDMA write with the 8 bytes inline, which is as atomic as the memory of the remote platform. The
/// operation waits for all reads and flushes that were posted before it: data flushed earlier is in
/// place before the 8 bytes are.
///
/// flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
///
/// Calls: ibv_wr_atomic_write, or ibv_post_send where atomic write is emulated
///
/// Errors:
/// - RPMA_E_INVAL: conn, dst or src is NULL, flags is 0, or dst_offset is not a multiple of 8
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
///
/// See: rpma_flush, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_atomic_write(
    conn: *mut Conn,
    dst: *mut MrRemote,
    dst_offset: usize,
    src: *const c_char,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    let bytes = src.cast::<[u8; ATOMIC_WRITE_SIZE]>();
    // SAFETY: the contract of C, for 8 bytes at src.
    match unsafe { (optional(conn), optional(dst), optional(bytes)) } {
        (Some(conn), Some(dst), Some(bytes))
            if flags != 0 && is_aligned(dst_offset) && conn.emulates_atomic_write() =>
        {
            let notify = notify(flags, op_context as u64);
            ATOMIC_WRITE.finish(conn.post_atomic_write(dst.at(dst_offset), bytes, notify))
        }
        // SAFETY: the contract of C.
        _ => unsafe { checked_atomic_write(conn, dst, dst_offset, src, flags, op_context) },
    }
}

static ATOMIC_WRITE: Post = Post {
    function: c"rpma_atomic_write",
    call: "ibv_post_send",
};

/// `rpma_atomic_write` with all checks, and natively where the queue pair can.
///
/// # Safety
///
/// The contract of C.
#[cold]
#[inline(never)]
unsafe extern "C" fn checked_atomic_write(
    conn: *mut Conn,
    dst: *mut MrRemote,
    dst_offset: usize,
    src: *const c_char,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    finish(ATOMIC_WRITE.function, || {
        // SAFETY: the contract of C, for 8 bytes at src.
        let (conn, dst, src) = unsafe {
            (
                arg(conn, "conn")?,
                arg(dst, "dst")?,
                arg(src.cast::<[u8; ATOMIC_WRITE_SIZE]>(), "src")?,
            )
        };
        let notify = checked_notify(flags, op_context as u64)?;
        conn.atomic_write(dst, dst_offset, src, notify)
    })
}

/// Posts a flush of data that was written to remote memory.
///
/// The operation flushes the len bytes at dst_offset of dst. When it has completed, all data
/// written to them earlier on this connection is visible to the remote processors
/// (RPMA_FLUSH_TYPE_VISIBILITY) or survives a power failure of the remote machine
/// (RPMA_FLUSH_TYPE_PERSISTENT). dst must be registered with RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY or
/// RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, respectively.
///
/// A flush to persistence works only if direct write to PMem is possible on the remote machine. The
/// remote side must have said so in its peer configuration, and this side must have applied that
/// configuration (rpma_conn_apply_remote_peer_cfg).
///
/// If device and libibverbs support native flush, the library uses it. Otherwise it posts an RDMA
/// read of 8 bytes at dst_offset into a buffer of the library. The read pushes all earlier writes
/// of the connection out of the remote adapter, so len has no effect. The 8 bytes must be inside
/// the region.
///
/// flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
///
/// Calls: ibv_wr_flush, or ibv_post_send where flush is emulated
///
/// Errors:
/// - RPMA_E_INVAL: conn or dst is NULL, flags is 0, type is not a value of its enum, or len is
///   above 4 GiB - 1 and the flush is native
/// - RPMA_E_NOSUPP: dst is not registered for this type of flush, or the type is
///   RPMA_FLUSH_TYPE_PERSISTENT and no peer configuration that allows direct write to PMem is
///   applied
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
///
/// See: rpma_write, rpma_conn_apply_remote_peer_cfg, rpma_mr_remote_get_flush_type, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_flush(
    conn: *mut Conn,
    dst: *mut MrRemote,
    dst_offset: usize,
    len: usize,
    r#type: FlushType,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    // SAFETY: the contract of C.
    match unsafe { (optional(conn), optional(dst), kind_of(r#type)) } {
        (Some(conn), Some(dst), Some(kind)) if flags != 0 => {
            match (conn.usage_for_flush(kind), conn.flush_method()) {
                (Some(needed), FlushMethod::ReadAfterWrite { into, .. })
                    if dst.has_usage(needed) =>
                {
                    let notify = notify(flags, op_context as u64);
                    return FLUSH.finish(conn.post_flush(dst.at(dst_offset), into, notify));
                }
                _ => {}
            }
        }
        _ => {}
    }
    // SAFETY: the contract of C.
    unsafe { checked_flush(conn, dst, dst_offset, len, r#type, flags, op_context) }
}

static FLUSH: Post = Post {
    function: c"rpma_flush",
    call: "ibv_post_send",
};

#[inline(always)]
fn kind_of(flush_type: FlushType) -> Option<FlushKind> {
    match flush_type {
        PERSISTENT => Some(FlushKind::Persistent),
        VISIBILITY => Some(FlushKind::Visibility),
        _ => None,
    }
}

/// `rpma_flush` with all checks, and natively where the queue pair can.
///
/// # Safety
///
/// The contract of C.
#[cold]
#[inline(never)]
unsafe extern "C" fn checked_flush(
    conn: *mut Conn,
    dst: *mut MrRemote,
    dst_offset: usize,
    len: usize,
    r#type: FlushType,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    finish(FLUSH.function, || {
        // SAFETY: the contract of C.
        let (conn, dst) = unsafe { (arg(conn, "conn")?, arg(dst, "dst")?) };
        let notify = checked_notify(flags, op_context as u64)?;
        let Some(kind) = kind_of(r#type) else {
            return Err(Error::invalid("unknown type of flush"));
        };
        conn.flush(dst, dst_offset, len, kind, notify)
    })
}

/// Posts a message to send.
///
/// The message is the len bytes at offset of src, which must be registered with RPMA_MR_USAGE_SEND.
/// src may be NULL if offset and len are 0: an empty message.
///
/// The message is placed in the buffer of a receive of the remote side (rpma_recv or
/// rpma_srq_recv). If the remote side has posted no receive, the message waits for one. If the
/// buffer is too small, the connection breaks.
///
/// flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
///
/// The call only posts the operation. Until the operation has completed, src must stay registered
/// and its bytes must not change.
///
/// Calls: ibv_post_send
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, flags is 0, src is NULL and offset or len is not 0, or len is
///   above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
///
/// See: rpma_recv, rpma_send_with_imm, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_send(
    conn: *mut Conn,
    src: *const MrLocal,
    offset: usize,
    len: usize,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    // SAFETY: the contract of C.
    match unsafe { (optional(conn), optional(src), u32::try_from(len)) } {
        (Some(conn), Some(src), Ok(length)) if flags != 0 => SEND.finish(conn.post_message(
            Some(&src.sge(offset, length)),
            None,
            notify(flags, op_context as u64),
        )),
        // SAFETY: the contract of C.
        _ => unsafe { checked_send(conn, src, offset, len, flags, op_context) },
    }
}

static SEND: Post = Post {
    function: c"rpma_send",
    call: "ibv_post_send",
};

/// `rpma_send` with all checks.
///
/// # Safety
///
/// The contract of C.
#[cold]
#[inline(never)]
unsafe extern "C" fn checked_send(
    conn: *mut Conn,
    src: *const MrLocal,
    offset: usize,
    len: usize,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    finish(SEND.function, || {
        // SAFETY: the contract of C.
        let (conn, src) = unsafe { (arg(conn, "conn")?, optional(src)) };
        let notify = checked_notify(flags, op_context as u64)?;
        conn.send(src, offset, len, None, notify)
    })
}

/// Posts a message to send with 32 bits of immediate data.
///
/// The message is the len bytes at offset of src, which must be registered with RPMA_MR_USAGE_SEND.
/// src may be NULL if offset and len are 0: only imm is sent.
///
/// The message is placed in the buffer of a receive of the remote side (rpma_recv or
/// rpma_srq_recv). The completion of this receive has IBV_WC_WITH_IMM in wc_flags and imm as
/// imm_data in network byte order. imm is in host byte order. If the remote side has posted no
/// receive, the message waits for one. If the buffer is too small, the connection breaks.
///
/// flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
///
/// The call only posts the operation. Until the operation has completed, src must stay registered
/// and its bytes must not change.
///
/// Calls: ibv_post_send
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, flags is 0, src is NULL and offset or len is not 0, or len is
///   above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
///
/// See: rpma_send, rpma_recv, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_send_with_imm(
    conn: *mut Conn,
    src: *const MrLocal,
    offset: usize,
    len: usize,
    flags: c_int,
    imm: u32,
    op_context: *const c_void,
) -> c_int {
    // SAFETY: the contract of C.
    match unsafe { (optional(conn), optional(src), u32::try_from(len)) } {
        (Some(conn), Some(src), Ok(length)) if flags != 0 => {
            SEND_WITH_IMM.finish(conn.post_message(
                Some(&src.sge(offset, length)),
                Some(imm),
                notify(flags, op_context as u64),
            ))
        }
        // SAFETY: the contract of C.
        _ => unsafe { checked_send_with_imm(conn, src, offset, len, flags, imm, op_context) },
    }
}

static SEND_WITH_IMM: Post = Post {
    function: c"rpma_send_with_imm",
    call: "ibv_post_send",
};

/// `rpma_send_with_imm` with all checks.
///
/// # Safety
///
/// The contract of C.
#[cold]
#[inline(never)]
unsafe extern "C" fn checked_send_with_imm(
    conn: *mut Conn,
    src: *const MrLocal,
    offset: usize,
    len: usize,
    flags: c_int,
    imm: u32,
    op_context: *const c_void,
) -> c_int {
    finish(SEND_WITH_IMM.function, || {
        // SAFETY: the contract of C.
        let (conn, src) = unsafe { (arg(conn, "conn")?, optional(src)) };
        let notify = checked_notify(flags, op_context as u64)?;
        conn.send(src, offset, len, Some(imm), notify)
    })
}

/// Posts a receive: a buffer for one message of the remote side.
///
/// The message is placed in the len bytes at offset of dst, which must be registered with
/// RPMA_MR_USAGE_RECV. dst may be NULL if offset and len are 0: a receive without a buffer, for an
/// empty message or an rpma_write_with_imm.
///
/// Every receive has a completion (struct ibv_wc). Its byte_len is the size of the message, and its
/// wr_id is op_context.
///
/// The call only posts the receive. Until the receive has completed, dst must stay registered and
/// the program must not use its bytes. Do not rely on the order in which receives are used. A
/// connection with a shared receive queue takes its receives from there: use rpma_srq_recv.
///
/// Calls: ibv_post_recv
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, dst is NULL and offset or len is not 0, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the RQ is full, with EINVAL if the connection
///   uses a shared receive queue
///
/// See: rpma_send, rpma_conn_req_recv, rpma_srq_recv, rpma_conn_get_rcq, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_recv(
    conn: *mut Conn,
    dst: *mut MrLocal,
    offset: usize,
    len: usize,
    op_context: *const c_void,
) -> c_int {
    // SAFETY: the contract of C.
    match unsafe { (optional(conn), optional(dst), u32::try_from(len)) } {
        (Some(conn), Some(dst), Ok(length)) => {
            RECV.finish(conn.post_recv(Some(&dst.sge(offset, length)), op_context as u64))
        }
        // SAFETY: the contract of C.
        _ => unsafe { checked_recv(conn, dst, offset, len, op_context) },
    }
}

static RECV: Post = Post {
    function: c"rpma_recv",
    call: "ibv_post_recv",
};

/// `rpma_recv` with all checks.
///
/// # Safety
///
/// The contract of C.
#[cold]
#[inline(never)]
unsafe extern "C" fn checked_recv(
    conn: *mut Conn,
    dst: *mut MrLocal,
    offset: usize,
    len: usize,
    op_context: *const c_void,
) -> c_int {
    finish(RECV.function, || {
        // SAFETY: the contract of C.
        let (conn, dst) = unsafe { (arg(conn, "conn")?, optional(dst)) };
        conn.recv(dst, offset, len, op_context as u64)
    })
}

/// Posts an atomic write of 8 registered bytes to remote memory (releases 0.9 to 0.13).
///
/// Later releases of the original C library do not have this function. New programs use
/// rpma_atomic_write, which takes the 8 bytes from ordinary memory and uses the native operation of
/// the device if there is one.
///
/// The operation copies the 8 bytes at src_offset of src to dst_offset of dst, with a fenced RDMA
/// write. It is as atomic as the memory of the remote platform. dst_offset must be a multiple of 8
/// (RPMA_ATOMIC_WRITE_ALIGNMENT), and the start address of the remote region should be one, too.
/// dst must be registered with RPMA_MR_USAGE_WRITE_DST, src with RPMA_MR_USAGE_WRITE_SRC.
///
/// flags is one of RPMA_F_COMPLETION_*. The completion (struct ibv_wc) has op_context as wr_id.
///
/// The call only posts the operation. Until the operation has completed, src must stay registered
/// and its bytes must not change.
///
/// Calls: ibv_post_send
///
/// Errors:
/// - RPMA_E_INVAL: conn, dst or src is NULL, flags is 0, or dst_offset is not a multiple of 8
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the SQ is full
///
/// See: rpma_atomic_write, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_write_atomic(
    conn: *mut Conn,
    dst: *mut MrRemote,
    dst_offset: usize,
    src: *const MrLocal,
    src_offset: usize,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    finish(c"rpma_write_atomic", || {
        // SAFETY: the contract of C.
        let (conn, dst, src) = unsafe { (arg(conn, "conn")?, arg(dst, "dst")?, arg(src, "src")?) };
        let notify = checked_notify(flags, op_context as u64)?;
        conn.write_atomic(dst, dst_offset, src, src_offset, notify)
    })
}
