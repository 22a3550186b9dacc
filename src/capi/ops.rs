// SPDX-License-Identifier: BSD-3-Clause

//! The operations of a connection.

use std::ffi::{c_char, c_int, c_void};

use super::types::{FlushType, rpma_flush_type as kind};
use super::{arg, finish, optional};
use crate::conn::Conn;
use crate::error::Error;
use crate::mr::{MrLocal, MrRemote};
use crate::ops::{ATOMIC_WRITE_SIZE, Notify};
use crate::verbs::FlushKind;

const PERSISTENT: c_int = kind::RPMA_FLUSH_TYPE_PERSISTENT as c_int;
const VISIBILITY: c_int = kind::RPMA_FLUSH_TYPE_VISIBILITY as c_int;

/// Reads from remote memory.
///
/// # Safety
///
/// The contract of C.
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
    finish(c"rpma_read", || {
        // SAFETY: the contract of C.
        let (conn, dst, src) = unsafe { (arg(conn, "conn")?, optional(dst), optional(src)) };
        let notify = Notify::new(flags, op_context as u64)?;
        conn.read((dst, dst_offset), (src, src_offset), len, notify)
    })
}

/// Writes to remote memory.
///
/// # Safety
///
/// The contract of C.
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
    finish(c"rpma_write", || {
        // SAFETY: the contract of C.
        let (conn, dst, src) = unsafe { (arg(conn, "conn")?, optional(dst), optional(src)) };
        let notify = Notify::new(flags, op_context as u64)?;
        conn.write((dst, dst_offset), (src, src_offset), len, None, notify)
    })
}

/// Writes to remote memory and notifies the remote side.
///
/// # Safety
///
/// The contract of C.
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
    finish(c"rpma_write_with_imm", || {
        // SAFETY: the contract of C.
        let (conn, dst, src) = unsafe { (arg(conn, "conn")?, optional(dst), optional(src)) };
        let notify = Notify::new(flags, op_context as u64)?;
        conn.write((dst, dst_offset), (src, src_offset), len, Some(imm), notify)
    })
}

/// Writes 8 bytes to remote memory atomically.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_atomic_write(
    conn: *mut Conn,
    dst: *mut MrRemote,
    dst_offset: usize,
    src: *const c_char,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    finish(c"rpma_atomic_write", || {
        // SAFETY: the contract of C; the source has 8 bytes.
        let (conn, dst, src) = unsafe {
            (
                arg(conn, "conn")?,
                arg(dst, "dst")?,
                arg(src.cast::<[u8; ATOMIC_WRITE_SIZE]>(), "src")?,
            )
        };
        let notify = Notify::new(flags, op_context as u64)?;
        conn.atomic_write(dst, dst_offset, src, notify)
    })
}

/// Flushes remote memory.
///
/// # Safety
///
/// The contract of C.
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
    finish(c"rpma_flush", || {
        // SAFETY: the contract of C.
        let (conn, dst) = unsafe { (arg(conn, "conn")?, arg(dst, "dst")?) };
        let notify = Notify::new(flags, op_context as u64)?;
        let kind = match r#type {
            PERSISTENT => FlushKind::Persistent,
            VISIBILITY => FlushKind::Visibility,
            _ => return Err(Error::inval("unknown type of flush")),
        };
        conn.flush(dst, dst_offset, len, kind, notify)
    })
}

/// Sends a message.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_send(
    conn: *mut Conn,
    src: *const MrLocal,
    offset: usize,
    len: usize,
    flags: c_int,
    op_context: *const c_void,
) -> c_int {
    finish(c"rpma_send", || {
        // SAFETY: the contract of C.
        let (conn, src) = unsafe { (arg(conn, "conn")?, optional(src)) };
        let notify = Notify::new(flags, op_context as u64)?;
        conn.send(src, offset, len, None, notify)
    })
}

/// Sends a message with an immediate.
///
/// # Safety
///
/// The contract of C.
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
    finish(c"rpma_send_with_imm", || {
        // SAFETY: the contract of C.
        let (conn, src) = unsafe { (arg(conn, "conn")?, optional(src)) };
        let notify = Notify::new(flags, op_context as u64)?;
        conn.send(src, offset, len, Some(imm), notify)
    })
}

/// Posts a receive.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_recv(
    conn: *mut Conn,
    dst: *mut MrLocal,
    offset: usize,
    len: usize,
    op_context: *const c_void,
) -> c_int {
    finish(c"rpma_recv", || {
        // SAFETY: the contract of C.
        let (conn, dst) = unsafe { (arg(conn, "conn")?, optional(dst)) };
        conn.recv(dst, offset, len, op_context as u64)
    })
}

/// Writes 8 bytes of a memory region to remote memory atomically (releases 0.9 to 0.13).
///
/// # Safety
///
/// The contract of C.
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
        let notify = Notify::new(flags, op_context as u64)?;
        conn.write_atomic(dst, dst_offset, src, src_offset, notify)
    })
}
