// SPDX-License-Identifier: BSD-3-Clause

//! Connections: events, queues and their end.

use std::ffi::c_int;
use std::ptr;

use super::types::{ConnEventNumber, rpma_completion, rpma_conn_private_data};
use super::{arg, cq, delete, finish, optional_out, out, private_data};
use crate::conn::Conn;
use crate::cq::Cq;
use crate::peer_cfg::PeerCfg;

/// Gets the file descriptor of the events of a connection.
///
/// *fd is readable when rpma_conn_next_event has an event to return. Use it with poll or epoll. If
/// O_NONBLOCK is set on it, rpma_conn_next_event does not block. The file descriptor belongs to the
/// connection: do not read or close it.
///
/// Errors:
/// - RPMA_E_INVAL: conn or fd is NULL
///
/// See: rpma_conn_next_event
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_event_fd(conn: *const Conn, fd: *mut c_int) -> c_int {
    finish(c"rpma_conn_get_event_fd", || {
        // SAFETY: the contract of C.
        let (conn, fd) = unsafe { (arg(conn, "conn")?, out(fd, "fd")?) };
        fd.set(conn.event_fd());
        Ok(())
    })
}

/// Gets the next event of a connection.
///
/// The function waits for an event, unless O_NONBLOCK is set on the file descriptor of
/// rpma_conn_get_event_fd.
///
/// The first event is RPMA_CONN_ESTABLISHED if the connection is made, otherwise
/// RPMA_CONN_REJECTED, RPMA_CONN_UNREACHABLE or RPMA_CONN_LOST. The accepting side gets
/// RPMA_CONN_ESTABLISHED only after the requesting side has taken its own. An established
/// connection ends with RPMA_CONN_CLOSED or RPMA_CONN_LOST. RPMA_CONN_CLOSED can come a second
/// time, some time after the first, if the connection still exists.
///
/// Not thread-safe: one thread at a time for a connection.
///
/// Calls: rdma_get_cm_event, rdma_ack_cm_event
///
/// Errors:
/// - RPMA_E_INVAL: conn or event is NULL
/// - RPMA_E_NO_EVENT: O_NONBLOCK is set and there is no event; not logged
/// - RPMA_E_UNKNOWN: the event has no meaning for a connection; it is taken, and logged as a
///   warning
/// - RPMA_E_NOMEM: out of memory for the private data of the event, which is lost
/// - RPMA_E_PROVIDER: getting or acknowledging the event failed (EINTR after a signal)
///
/// See: rpma_conn_get_event_fd, rpma_conn_disconnect, rpma_utils_conn_event_2str
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

/// Gets the private data that the remote side sent when it connected.
///
/// pdata->ptr points to the bytes and pdata->len is their number. They are NULL and 0 if there is
/// no private data. The side that requested the connection has the private data of the acceptance
/// after it has taken RPMA_CONN_ESTABLISHED. The side that accepted has the private data of the
/// request from the beginning. The bytes belong to the connection and are valid until it is
/// deleted.
///
/// The bytes come unencrypted from the network, and may end with padding zeros that the remote side
/// did not send. Check their number and content before you use them. They do not prove who sent
/// them.
///
/// Not thread-safe: one thread at a time for a connection.
///
/// Errors:
/// - RPMA_E_INVAL: conn or pdata is NULL
///
/// See: rpma_conn_req_connect, rpma_conn_req_get_private_data
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

/// Applies the peer configuration of the remote side to a connection.
///
/// The configuration usually comes from rpma_peer_cfg_from_descriptor. Until one that allows direct
/// write to PMem is applied, rpma_flush refuses RPMA_FLUSH_TYPE_PERSISTENT on the connection. The
/// function sends nothing. The configuration is not needed after the call.
///
/// Not thread-safe: one thread at a time for a connection.
///
/// Errors:
/// - RPMA_E_INVAL: conn or pcfg is NULL
///
/// See: rpma_peer_cfg_from_descriptor, rpma_flush
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

/// Gets the number of the queue pair of a connection.
///
/// *qp_num is the qp_num in the completions (struct ibv_wc) of the connection. With it, a program
/// finds the connection of a completion if several connections use one shared receive queue.
///
/// Errors:
/// - RPMA_E_INVAL: conn or qp_num is NULL
///
/// See: rpma_srq_recv, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_qp_num(conn: *const Conn, qp_num: *mut u32) -> c_int {
    finish(c"rpma_conn_get_qp_num", || {
        // SAFETY: the contract of C.
        let (conn, qp_num) = unsafe { (arg(conn, "conn")?, out(qp_num, "qp_num")?) };
        qp_num.set(conn.qp().number());
        Ok(())
    })
}

/// Gets the completion queue (CQ) of a connection.
///
/// *cq_ptr belongs to the connection and is valid until the connection is deleted. The CQ takes the
/// completions of all operations, except those of receives if the connection has a receive CQ.
///
/// Errors:
/// - RPMA_E_INVAL: conn or cq_ptr is NULL
///
/// See: rpma_cq_wait, rpma_cq_get_wc, rpma_cq_get_fd, rpma_conn_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_cq(conn: *const Conn, cq_ptr: *mut *mut Cq) -> c_int {
    finish(c"rpma_conn_get_cq", || {
        // SAFETY: the contract of C.
        let (conn, cq) = unsafe { (arg(conn, "conn")?, out(cq_ptr, "cq_ptr")?) };
        cq.set(ptr::from_ref(conn.cq()).cast_mut());
        Ok(())
    })
}

/// Gets the receive completion queue (receive CQ) of a connection.
///
/// *rcq_ptr is NULL if the connection has no receive CQ. It has one if rpma_conn_cfg_set_rcq_size
/// has set a size above 0 and the connection does not use a shared receive queue with its own
/// receive CQ (rpma_srq_get_rcq). The receive CQ takes the completions of receives, and the CQ of
/// rpma_conn_get_cq all others. It belongs to the connection and is valid until the connection is
/// deleted.
///
/// Errors:
/// - RPMA_E_INVAL: conn or rcq_ptr is NULL
///
/// See: rpma_conn_cfg_set_rcq_size, rpma_cq_wait, rpma_cq_get_wc, rpma_cq_get_fd
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

/// Disconnects.
///
/// Operations that are still posted complete with IBV_WC_WR_FLUSH_ERR, and the remote side gets
/// RPMA_CONN_CLOSED. This side gets RPMA_CONN_CLOSED when the remote side has disconnected, too, or
/// its process has ended.
///
/// A side that gets RPMA_CONN_CLOSED without having called this function should still call it: this
/// completes its own operations, and the remote side does not have to wait for its
/// RPMA_CONN_CLOSED.
///
/// Take RPMA_CONN_ESTABLISHED first. A message of the remote side can arrive before that event;
/// if this side then disconnects without taking it, the kernel's connection manager does not tell
/// the remote side, which waits forever.
///
/// Not thread-safe: one thread at a time for a connection.
///
/// Calls: rdma_disconnect
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL
/// - RPMA_E_PROVIDER: disconnecting failed
///
/// See: rpma_conn_next_event, rpma_conn_delete
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_disconnect(conn: *mut Conn) -> c_int {
    finish(c"rpma_conn_disconnect", || {
        // SAFETY: the contract of C.
        unsafe { arg(conn, "conn")? }.disconnect()
    })
}

/// Deletes a connection.
///
/// The function sets *conn_ptr to NULL. If *conn_ptr is NULL already, it does nothing. An
/// established connection is closed, and the remote side gets RPMA_CONN_CLOSED.
///
/// Operations that have not completed never complete. If their completions matter, call
/// rpma_conn_disconnect and wait for RPMA_CONN_CLOSED first. The queues, file descriptors and
/// private data of the connection are no longer valid. Memory regions stay registered.
///
/// Not thread-safe: one thread at a time for a connection.
///
/// Calls: ibv_dereg_mr for the emulated flush, rdma_destroy_qp, ibv_destroy_cq, rdma_destroy_id,
/// ibv_destroy_comp_channel, rdma_destroy_event_channel
///
/// Errors:
/// - RPMA_E_INVAL: conn_ptr is NULL
/// - RPMA_E_PROVIDER: releasing one part of the connection failed; all other parts are released,
///   and the object is deleted nevertheless
///
/// See: rpma_conn_disconnect
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_delete(conn_ptr: *mut *mut Conn) -> c_int {
    delete(c"rpma_conn_delete", conn_ptr, Conn::delete)
}

/// Gets the file descriptor of the shared completion channel of a connection.
///
/// *fd is readable when rpma_conn_wait has an event to return. Use it with poll or epoll. If
/// O_NONBLOCK is set on it, rpma_conn_wait does not block. The file descriptor belongs to the
/// connection: do not read or close it.
///
/// Errors:
/// - RPMA_E_INVAL: conn or fd is NULL
/// - RPMA_E_NOT_SHARED_CHNL: each queue has its own channel; use rpma_cq_get_fd
///
/// See: rpma_conn_wait, rpma_conn_cfg_set_compl_channel
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_compl_fd(conn: *const Conn, fd: *mut c_int) -> c_int {
    finish(c"rpma_conn_get_compl_fd", || {
        // SAFETY: the contract of C.
        let (conn, fd) = unsafe { (arg(conn, "conn")?, out(fd, "fd")?) };
        fd.set(conn.compl_fd()?);
        Ok(())
    })
}

/// Waits for a completion in the CQ or the receive CQ of a connection.
///
/// The connection must have a shared completion channel (rpma_conn_cfg_set_compl_channel). *cq is
/// set to the queue that has a completion, and *is_rcq to whether it is the receive CQ. is_rcq may
/// be NULL. flags is ignored: pass 0. The function blocks, unless O_NONBLOCK is set on the file
/// descriptor of rpma_conn_get_compl_fd.
///
/// After it returns 0, call rpma_cq_get_wc until that returns RPMA_E_NO_COMPLETION: one event can
/// stand for several completions. There may be no completion at all if the program has taken it
/// earlier.
///
/// Calls: ibv_get_cq_event, ibv_ack_cq_events, ibv_req_notify_cq
///
/// Errors:
/// - RPMA_E_INVAL: conn or cq is NULL
/// - RPMA_E_NOT_SHARED_CHNL: each queue has its own channel; use rpma_cq_wait
/// - RPMA_E_NO_COMPLETION: O_NONBLOCK is set and there is no event, or a signal ended the wait; not
///   logged
/// - RPMA_E_UNKNOWN: the event belongs to neither queue
/// - RPMA_E_PROVIDER: requesting the next event failed; *cq is NULL then, and *is_rcq is set
///
/// See: rpma_conn_cfg_set_compl_channel, rpma_conn_get_compl_fd, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_wait(
    conn: *mut Conn,
    flags: c_int,
    cq: *mut *mut Cq,
    is_rcq: *mut bool,
) -> c_int {
    // No release uses the flags.
    let _ = flags;
    finish(c"rpma_conn_wait", || {
        // SAFETY: the contract of C.
        let (conn, cq) = unsafe { (arg(conn, "conn")?, out(cq, "cq")?) };
        let (ready, on_rcq) = conn.wait()?;
        // SAFETY: the contract of C.
        if let Some(is_rcq) = unsafe { optional_out(is_rcq) } {
            is_rcq.set(on_rcq);
        }
        let armed = ready.event_taken();
        cq.set(match armed {
            Ok(()) => ptr::from_ref(ready).cast_mut(),
            Err(_) => ptr::null_mut(),
        });
        armed
    })
}

/// Waits for a completion in the CQ of a connection (releases 0.9 and 0.10).
///
/// Later releases of the original C library do not have this function. New programs use
/// rpma_conn_get_cq and rpma_cq_wait, which do the same.
///
/// Calls: ibv_get_cq_event, ibv_ack_cq_events, ibv_req_notify_cq
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL
/// - RPMA_E_NO_COMPLETION: O_NONBLOCK is set and there is no event, or a signal ended the wait; not
///   logged
/// - RPMA_E_SHARED_CHANNEL: the completion channel is shared; use rpma_conn_wait
/// - RPMA_E_PROVIDER: requesting the next event failed
///
/// See: rpma_conn_get_cq, rpma_cq_wait
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_completion_wait(conn: *mut Conn) -> c_int {
    finish(c"rpma_conn_completion_wait", || {
        // SAFETY: the contract of C.
        unsafe { arg(conn, "conn")? }.cq().wait()
    })
}

/// Gets a completion from the CQ of a connection (releases 0.9 and 0.10).
///
/// Later releases of the original C library do not have this function. New programs use
/// rpma_conn_get_cq and rpma_cq_get_wc, which returns a struct ibv_wc.
///
/// op_context and op_status are always set. If op_status is not IBV_WC_SUCCESS, the function
/// returns 0 nevertheless and sets nothing else. imm is set only if flags has IBV_WC_WITH_IMM.
/// Therefore cmpl may be the smaller struct of release 0.9.0.
///
/// Calls: ibv_poll_cq
///
/// Errors:
/// - RPMA_E_INVAL: conn or cmpl is NULL
/// - RPMA_E_NO_COMPLETION: the CQ is empty; not logged
/// - RPMA_E_NOSUPP: the operation is none of enum rpma_op; the completion is taken, and op_context
///   and op_status are set
/// - RPMA_E_PROVIDER: polling the CQ failed
/// - RPMA_E_UNKNOWN: the device returned more completions than requested
///
/// See: rpma_conn_get_cq, rpma_cq_get_wc
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

/// Gets the file descriptor of the CQ of a connection (releases 0.9 and 0.10).
///
/// Later releases of the original C library do not have this function. New programs use
/// rpma_conn_get_cq and rpma_cq_get_fd, which do the same.
///
/// *fd is readable when rpma_conn_completion_wait has an event to return. The file descriptor
/// belongs to the connection: do not read or close it.
///
/// Errors:
/// - RPMA_E_INVAL: conn or fd is NULL
///
/// See: rpma_conn_get_cq, rpma_cq_get_fd
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_completion_fd(conn: *const Conn, fd: *mut c_int) -> c_int {
    finish(c"rpma_conn_get_completion_fd", || {
        // SAFETY: the contract of C.
        let (conn, fd) = unsafe { (arg(conn, "conn")?, out(fd, "fd")?) };
        fd.set(conn.cq().fd());
        Ok(())
    })
}
