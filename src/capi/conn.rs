// SPDX-License-Identifier: BSD-3-Clause

//! Connections: events, queues and their end.

use std::ffi::c_int;
use std::ptr;

use super::types::{ConnEventNumber, rpma_completion, rpma_conn_private_data};
use super::{arg, cq, delete, finish, out, private_data};
use crate::conn::Conn;
use crate::cq::Cq;
use crate::peer_cfg::PeerCfg;

/// Tells the descriptor of the connection's events.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_event_fd(conn: *const Conn, fd: *mut c_int) -> c_int {
    finish(c"rpma_conn_get_event_fd", || {
        // SAFETY: the contract of C.
        let (conn, fd) = unsafe { (arg(conn, "conn")?, out(fd, "fd")?) };
        fd.set(conn.event_fd());
        Ok(())
    })
}

/// Takes the next event of a connection.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_next_event(
    conn: *mut Conn,
    event: *mut ConnEventNumber,
) -> c_int {
    finish(c"rpma_conn_next_event", || {
        // SAFETY: the contract of C.
        let (conn, event) = unsafe { (arg(conn, "conn")?, out(event, "event")?) };
        event.set(conn.next_event()? as ConnEventNumber);
        Ok(())
    })
}

/// Tells the private data that the other side sent.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_private_data(
    conn: *const Conn,
    pdata: *mut rpma_conn_private_data,
) -> c_int {
    finish(c"rpma_conn_get_private_data", || {
        // SAFETY: the contract of C.
        let (conn, pdata) = unsafe { (arg(conn, "conn")?, out(pdata, "pdata")?) };
        pdata.set(private_data(conn.private_data()));
        Ok(())
    })
}

/// Applies what the remote peer says of itself.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_apply_remote_peer_cfg(
    conn: *mut Conn,
    pcfg: *const PeerCfg,
) -> c_int {
    finish(c"rpma_conn_apply_remote_peer_cfg", || {
        // SAFETY: the contract of C.
        let (conn, cfg) = unsafe { (arg(conn, "conn")?, arg(pcfg, "pcfg")?) };
        conn.apply_remote_peer_cfg(cfg);
        Ok(())
    })
}

/// Tells the number of the connection's queue pair.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_qp_num(conn: *const Conn, qp_num: *mut u32) -> c_int {
    finish(c"rpma_conn_get_qp_num", || {
        // SAFETY: the contract of C.
        let (conn, qp_num) = unsafe { (arg(conn, "conn")?, out(qp_num, "qp_num")?) };
        qp_num.set(conn.qp().number());
        Ok(())
    })
}

/// Tells the connection's completion queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_cq(conn: *const Conn, cq_ptr: *mut *mut Cq) -> c_int {
    finish(c"rpma_conn_get_cq", || {
        // SAFETY: the contract of C.
        let (conn, cq) = unsafe { (arg(conn, "conn")?, out(cq_ptr, "cq_ptr")?) };
        cq.set(ptr::from_ref(conn.cq()).cast_mut());
        Ok(())
    })
}

/// Tells the connection's receive completion queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_rcq(conn: *const Conn, rcq_ptr: *mut *mut Cq) -> c_int {
    finish(c"rpma_conn_get_rcq", || {
        // SAFETY: the contract of C.
        let (conn, rcq) = unsafe { (arg(conn, "conn")?, out(rcq_ptr, "rcq_ptr")?) };
        rcq.set(
            conn.rcq()
                .map_or(ptr::null_mut(), |rcq| ptr::from_ref(rcq).cast_mut()),
        );
        Ok(())
    })
}

/// Asks for the end of a connection.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_disconnect(conn: *mut Conn) -> c_int {
    finish(c"rpma_conn_disconnect", || {
        // SAFETY: the contract of C.
        unsafe { arg(conn, "conn")? }.disconnect()
    })
}

/// Deletes a connection.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_delete(conn_ptr: *mut *mut Conn) -> c_int {
    delete(c"rpma_conn_delete", conn_ptr, Conn::delete)
}

/// Tells the descriptor of the shared completion channel.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_compl_fd(conn: *const Conn, fd: *mut c_int) -> c_int {
    finish(c"rpma_conn_get_compl_fd", || {
        // SAFETY: the contract of C.
        let (conn, fd) = unsafe { (arg(conn, "conn")?, out(fd, "fd")?) };
        fd.set(conn.compl_fd()?);
        Ok(())
    })
}

/// Waits for a completion on the shared completion channel.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_wait(
    conn: *mut Conn,
    flags: c_int,
    cq: *mut *mut Cq,
    is_rcq: *mut bool,
) -> c_int {
    // No release has given the flags a meaning.
    let _ = flags;
    finish(c"rpma_conn_wait", || {
        // SAFETY: the contract of C.
        let (conn, cq) = unsafe { (arg(conn, "conn")?, out(cq, "cq")?) };
        let (ready, on_rcq) = conn.wait()?;
        if !is_rcq.is_null() {
            // SAFETY: the contract of C.
            unsafe { is_rcq.write(on_rcq) };
        }
        let armed = ready.event_taken();
        cq.set(match armed {
            Ok(()) => ptr::from_ref(ready).cast_mut(),
            Err(_) => ptr::null_mut(),
        });
        armed
    })
}

/// Waits for a completion of the connection's completion queue (releases 0.9 and 0.10).
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_completion_wait(conn: *mut Conn) -> c_int {
    finish(c"rpma_conn_completion_wait", || {
        // SAFETY: the contract of C.
        unsafe { arg(conn, "conn")? }.cq().wait()
    })
}

/// Takes a completion from the connection's completion queue (releases 0.9 and 0.10).
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_completion_get(
    conn: *mut Conn,
    cmpl: *mut rpma_completion,
) -> c_int {
    const FUNCTION: &std::ffi::CStr = c"rpma_conn_completion_get";
    finish(FUNCTION, || {
        // SAFETY: the contract of C.
        let conn = unsafe { arg(conn, "conn")? };
        // SAFETY: the contract of C, for a struct of release 0.9.0 at least.
        unsafe { cq::get_completion(FUNCTION, conn.cq(), cmpl) }
    })
}

/// Tells the descriptor of the connection's completion channel (releases 0.9 and 0.10).
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_completion_fd(conn: *const Conn, fd: *mut c_int) -> c_int {
    finish(c"rpma_conn_get_completion_fd", || {
        // SAFETY: the contract of C.
        let (conn, fd) = unsafe { (arg(conn, "conn")?, out(fd, "fd")?) };
        fd.set(conn.cq().fd());
        Ok(())
    })
}
