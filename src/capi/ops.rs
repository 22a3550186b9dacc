// SPDX-License-Identifier: BSD-3-Clause

//! The operations of a connection.
//!
//! Each public function handles the usual arguments itself, in as few instructions as it takes, and passes any
//! other on to a function with the same arguments (a jump, since they are where they have to be), which says
//! what is wrong with them or does what they ask for.

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

/// Starts to read from remote memory into local memory.
///
/// len bytes from src_offset of src go to dst_offset of dst. Both regions NULL with offsets and len
/// 0 starts a read of nothing. src must be registered with RPMA_MR_USAGE_READ_SRC, dst with
/// RPMA_MR_USAGE_READ_DST.
///
/// flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
/// RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
///
/// The call only posts the operation (ibv_post_send): until it has completed, dst must stay
/// registered, and its bytes are undefined. A range outside a region or a missing usage is told by
/// the completion's status, and breaks the connection.
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, flags is 0, one region is NULL and the other is not, both are NULL
///   with an offset or a length, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
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

/// Starts to write local memory to remote memory.
///
/// len bytes from src_offset of src go to dst_offset of dst. Both regions NULL with offsets and len
/// 0 starts a write of nothing. dst must be registered with RPMA_MR_USAGE_WRITE_DST, src with
/// RPMA_MR_USAGE_WRITE_SRC. The remote side notices nothing. That the write has completed does not
/// mean that the data is visible there or persistent: rpma_flush makes sure of that.
///
/// flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
/// RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
///
/// The call only posts the operation (ibv_post_send): until it has completed, src must stay
/// registered and its bytes unchanged. A range outside a region or a missing usage is told by the
/// completion's status, and breaks the connection.
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, flags is 0, one region is NULL and the other is not, both are NULL
///   with an offset or a length, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
///
/// See: rpma_flush, rpma_mr_remote_from_descriptor, rpma_cq_get_wc
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

/// Starts to write local memory to remote memory, and notifies the remote side.
///
/// As rpma_write; besides, the write uses up a receive of the remote side (rpma_recv, or
/// rpma_srq_recv there), whose completion has the opcode IBV_WC_RECV_RDMA_WITH_IMM, the number of
/// bytes written, and imm as imm_data in network byte order. imm is given in host byte order.
/// Nothing is placed in the buffer of that receive. As long as there is no receive, the write
/// waits.
///
/// flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
/// RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
///
/// The call only posts the operation (ibv_post_send): until it has completed, src must stay
/// registered and its bytes unchanged. A range outside a region or a missing usage is told by the
/// completion's status, and breaks the connection.
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, flags is 0, one region is NULL and the other is not, both are NULL
///   with an offset or a length, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
///
/// See: rpma_write, rpma_cq_get_wc
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

/// Starts to write 8 bytes to remote memory in one piece.
///
/// Whoever reads the 8 bytes at dst_offset of dst sees the old ones or the new ones, never some of
/// each, provided that they are aligned to 8 bytes in the remote memory: dst_offset must be a
/// multiple of 8 (RPMA_ATOMIC_WRITE_ALIGNMENT), and so should be the address that the region starts
/// at. dst must be registered with RPMA_MR_USAGE_WRITE_DST. src is ordinary memory, copied in the
/// call.
///
/// Where the device has a native atomic write it is used (ibv_wr_atomic_write), else an RDMA write
/// that carries the 8 bytes itself, which is as atomic as the remote platform's memory. The
/// operation waits for the reads and flushes posted before it: what was flushed is in place when
/// the 8 bytes are.
///
/// flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
/// RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
///
/// Errors:
/// - RPMA_E_INVAL: conn, dst or src is NULL, flags is 0, or dst_offset is not a multiple of 8
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
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

/// Starts to flush what was written to remote memory.
///
/// When the flush has completed, what was written before it on the connection to the len bytes from
/// dst_offset of dst is visible to the remote side (RPMA_FLUSH_TYPE_VISIBILITY), or survives its
/// power failure (RPMA_FLUSH_TYPE_PERSISTENT). dst must be registered with the usage of that name,
/// RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY or RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT.
///
/// Where the device has a native flush it is used (ibv_wr_flush). Otherwise 8 bytes at dst_offset
/// are read, behind the writes, into a buffer of the library: then all of the earlier writes are
/// flushed, len has no effect, and the 8 bytes must lie in the region.
///
/// A flush to persistence relies on the remote peer's word that direct write to PMem is possible
/// (rpma_conn_apply_remote_peer_cfg).
///
/// flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
/// RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
///
/// Errors:
/// - RPMA_E_INVAL: conn or dst is NULL, flags is 0, type is unknown, or len is above 4 GiB - 1 and the
///   flush is native
/// - RPMA_E_NOSUPP: dst is not registered for this type of flush, or the type is
///   RPMA_FLUSH_TYPE_PERSISTENT and the remote peer has not declared direct write to PMem
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
///
/// See: rpma_write, rpma_mr_remote_get_flush_type, rpma_cq_get_wc
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

/// Starts to send a message.
///
/// The message is the len bytes from offset of src, registered with RPMA_MR_USAGE_SEND. src NULL
/// with offset and len 0 sends an empty message. It is placed in the buffer of a receive of the
/// other side; as long as there is none, it waits. A buffer that is too small breaks the
/// connection.
///
/// flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
/// RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
///
/// The call only posts the operation (ibv_post_send): until it has completed, src must stay
/// registered and its bytes unchanged.
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, flags is 0, src is NULL with an offset or a length, or len is
///   above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
///
/// See: rpma_recv, rpma_cq_get_wc
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

/// Starts to send a message with an immediate: 32 bits that travel beside it.
///
/// As rpma_send; besides, the completion of the other side's receive has IBV_WC_WITH_IMM in its
/// wc_flags and imm as imm_data in network byte order. imm is given in host byte order.
///
/// flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
/// RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
///
/// The call only posts the operation (ibv_post_send): until it has completed, src must stay
/// registered and its bytes unchanged.
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, flags is 0, src is NULL with an offset or a length, or len is
///   above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
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

/// Posts a receive: a buffer for a message from the other side.
///
/// The buffer is the len bytes from offset of dst, registered with RPMA_MR_USAGE_RECV; byte_len of
/// the completion tells how many the message has. dst NULL with offset and len 0 posts a receive
/// without a buffer, for an empty message or an rpma_write_with_imm. op_context comes back as wr_id
/// of the completion (struct ibv_wc). Every receive completes.
///
/// The call only posts the receive (ibv_post_recv): until it has completed, dst must stay
/// registered, and its bytes belong to the device. Do not rely on the order in which receives are
/// used. A connection with a shared RQ takes its receives from there (rpma_srq_recv).
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL, dst is NULL with an offset or a length, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the RQ is full, with EINVAL when the
///   connection uses a shared RQ
///
/// See: rpma_send, rpma_conn_req_recv, rpma_conn_get_rcq
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

/// Starts to write 8 bytes of a memory region to remote memory in one piece: releases 0.9 to 0.13.
///
/// Later releases of the original do not have it. New programs use rpma_atomic_write, which takes
/// the 8 bytes from ordinary memory and uses the device's native operation if there is one.
///
/// The 8 bytes at src_offset of src go to dst_offset of dst as a fenced RDMA write, which is as
/// atomic as the remote platform's memory. dst_offset must be a multiple of 8
/// (RPMA_ATOMIC_WRITE_ALIGNMENT), and so should be the address that the remote region starts at.
/// The usages are those of rpma_write.
///
/// flags is RPMA_F_COMPLETION_ON_ERROR, for a completion only if the operation fails, or
/// RPMA_F_COMPLETION_ALWAYS. op_context comes back as wr_id of the completion (struct ibv_wc).
///
/// The call only posts the operation (ibv_post_send): until it has completed, src must stay
/// registered and its bytes unchanged.
///
/// Errors:
/// - RPMA_E_INVAL: conn, dst or src is NULL, flags is 0, or dst_offset is not a multiple of 8
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the SQ is full
///
/// See: rpma_atomic_write
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
