// SPDX-License-Identifier: BSD-3-Clause

//! Connections: events, queues and their end.

use std::ffi::c_int;
use std::ptr;

use super::types::{ConnEventNumber, rpma_completion, rpma_conn_private_data};
use super::{arg, cq, delete, finish, optional_out, out, private_data};
use crate::conn::Conn;
use crate::cq::Cq;
use crate::peer_cfg::PeerCfg;

/// Tells the file descriptor of a connection's events.
///
/// It is readable when rpma_conn_next_event has something to take. Use it with poll or epoll; made
/// non-blocking with fcntl (O_NONBLOCK), it makes that call non-blocking. It belongs to the
/// connection, and must neither be closed nor read.
///
/// Errors:
/// - RPMA_E_INVAL: conn or fd is NULL
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
/// Waits for an event (rdma_get_cm_event) unless the file descriptor of rpma_conn_get_event_fd is
/// non-blocking. A connection begins with RPMA_CONN_ESTABLISHED (on the accepting side not before
/// the other side has taken its own), or ends before that with RPMA_CONN_REJECTED,
/// RPMA_CONN_UNREACHABLE or RPMA_CONN_LOST. It ends with RPMA_CONN_CLOSED when either side has
/// disconnected or the other side's process is gone, or with RPMA_CONN_LOST when the device is
/// gone. RPMA_CONN_CLOSED may come twice: some time after the first one, if the connection has not
/// been deleted.
///
/// Not thread-safe: one thread at a time for a connection.
///
/// Errors:
/// - RPMA_E_INVAL: conn or event is NULL
/// - RPMA_E_NO_EVENT: the file descriptor is non-blocking and no event is there; not logged
/// - RPMA_E_UNKNOWN: an event that has no meaning here; it is taken, and logged as a warning
/// - RPMA_E_NOMEM: out of memory for the private data of the event, which is lost
/// - RPMA_E_PROVIDER: taking or acknowledging the event failed (EINTR after a signal)
///
/// See: rpma_utils_conn_event_2str, rpma_conn_disconnect
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

/// Tells the private data that the other side sent when the connection was made.
///
/// pdata->ptr is NULL and pdata->len 0 when there is none. The side that asked for the connection
/// has it once it has taken RPMA_CONN_ESTABLISHED; the side that accepted has that of the request
/// from the beginning. The bytes belong to the connection and are valid until it is deleted.
///
/// The bytes come from the network, unencrypted, and may be padded with zeros beyond what the other
/// side gave. Check their length and content before you use them, and do not take them for a proof
/// of who sent them.
///
/// Not thread-safe: one thread at a time for a connection.
///
/// Errors:
/// - RPMA_E_INVAL: conn or pdata is NULL
///
/// See: rpma_conn_req_get_private_data, rpma_conn_req_connect
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

/// Applies to a connection what the remote peer says of itself.
///
/// The configuration usually comes from rpma_peer_cfg_from_descriptor. As long as one that declares
/// direct write to PMem has not been applied, rpma_flush refuses RPMA_FLUSH_TYPE_PERSISTENT on the
/// connection. The configuration is not needed afterwards. Nothing is sent.
///
/// Not thread-safe: one thread at a time for a connection.
///
/// Errors:
/// - RPMA_E_INVAL: conn or pcfg is NULL
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
/// It is the qp_num of the connection's completions (struct ibv_wc), which tells apart connections
/// that share a receive queue.
///
/// Errors:
/// - RPMA_E_INVAL: conn or qp_num is NULL
///
/// See: rpma_srq_recv
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_qp_num(conn: *const Conn, qp_num: *mut u32) -> c_int {
    finish(c"rpma_conn_get_qp_num", || {
        // SAFETY: the contract of C.
        let (conn, qp_num) = unsafe { (arg(conn, "conn")?, out(qp_num, "qp_num")?) };
        qp_num.set(conn.qp().number());
        Ok(())
    })
}

/// Tells the connection's completion queue (CQ).
///
/// The CQ belongs to the connection and is valid until that is deleted.
///
/// Errors:
/// - RPMA_E_INVAL: conn or cq_ptr is NULL
///
/// See: rpma_cq_wait, rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_cq(conn: *const Conn, cq_ptr: *mut *mut Cq) -> c_int {
    finish(c"rpma_conn_get_cq", || {
        // SAFETY: the contract of C.
        let (conn, cq) = unsafe { (arg(conn, "conn")?, out(cq_ptr, "cq_ptr")?) };
        cq.set(ptr::from_ref(conn.cq()).cast_mut());
        Ok(())
    })
}

/// Tells the connection's receive completion queue (receive CQ), or NULL when it has none.
///
/// It has one when rpma_conn_cfg_set_rcq_size set a size above 0 and no shared RQ brings a receive
/// CQ of its own (rpma_srq_get_rcq). Then the completions of receives come here, all others to the
/// CQ. It belongs to the connection and is valid until that is deleted.
///
/// Errors:
/// - RPMA_E_INVAL: conn or rcq_ptr is NULL
///
/// See: rpma_cq_wait, rpma_cq_get_wc
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
/// What is still posted on the connection completes with IBV_WC_WR_FLUSH_ERR, and the other side
/// gets RPMA_CONN_CLOSED (rdma_disconnect). This side gets RPMA_CONN_CLOSED when the other side has
/// disconnected as well, or is gone. A side that has got RPMA_CONN_CLOSED first should still call
/// this, so that its own operations are flushed and the initiator need not wait.
///
/// Not thread-safe: one thread at a time for a connection.
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL
/// - RPMA_E_PROVIDER: rdma_disconnect failed
///
/// See: rpma_conn_next_event, rpma_conn_delete
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_disconnect(conn: *mut Conn) -> c_int {
    finish(c"rpma_conn_disconnect", || {
        // SAFETY: the contract of C.
        unsafe { arg(conn, "conn")? }.disconnect()
    })
}

/// Deletes a connection and sets *conn_ptr to NULL.
///
/// Nothing happens when *conn_ptr is NULL already. A connection that is still up is closed, and the
/// other side gets RPMA_CONN_CLOSED; but call rpma_conn_disconnect and wait for RPMA_CONN_CLOSED
/// first if completions matter, since what has not completed never will. The connection's queues,
/// file descriptors and private data are not valid any more. Memory regions are left alone.
///
/// Not thread-safe: one thread at a time for a connection.
///
/// Errors:
/// - RPMA_E_INVAL: conn_ptr is NULL
/// - RPMA_E_PROVIDER: releasing one of the connection's parts failed; all others are released, and
///   the object is gone nevertheless
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_delete(conn_ptr: *mut *mut Conn) -> c_int {
    delete(c"rpma_conn_delete", conn_ptr, Conn::delete)
}

/// Tells the file descriptor of the completion channel that the connection's queues share.
///
/// It is readable when rpma_conn_wait has something to take. Use it with poll or epoll; made
/// non-blocking with fcntl (O_NONBLOCK), it makes that call non-blocking. It belongs to the
/// connection, and must neither be closed nor read.
///
/// Errors:
/// - RPMA_E_INVAL: conn or fd is NULL
/// - RPMA_E_NOT_SHARED_CHNL: each queue has a channel of its own; see rpma_cq_get_fd
///
/// See: rpma_conn_cfg_set_compl_channel
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_get_compl_fd(conn: *const Conn, fd: *mut c_int) -> c_int {
    finish(c"rpma_conn_get_compl_fd", || {
        // SAFETY: the contract of C.
        let (conn, fd) = unsafe { (arg(conn, "conn")?, out(fd, "fd")?) };
        fd.set(conn.compl_fd()?);
        Ok(())
    })
}

/// Waits for a completion on the completion channel that the connection's queues share.
///
/// *cq is then the CQ or the receive CQ, and *is_rcq says whether it is the receive CQ; is_rcq may
/// be NULL. flags is ignored: give 0. Waits unless the file descriptor of rpma_conn_get_compl_fd is
/// non-blocking (ibv_get_cq_event, ibv_req_notify_cq).
///
/// After that take completions with rpma_cq_get_wc until it returns RPMA_E_NO_COMPLETION: several
/// may have come with one event. There may also be none, when they were taken earlier.
///
/// Errors:
/// - RPMA_E_INVAL: conn or cq is NULL
/// - RPMA_E_NOT_SHARED_CHNL: each queue has a channel of its own; see rpma_cq_wait
/// - RPMA_E_NO_COMPLETION: a signal ended the wait, or the file descriptor is non-blocking and
///   nothing is there; not logged
/// - RPMA_E_UNKNOWN: the event is of neither queue
/// - RPMA_E_PROVIDER: asking for the next event failed; *cq is NULL then, and *is_rcq is set
///
/// See: rpma_conn_cfg_set_compl_channel
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

/// Waits for a completion in the connection's CQ: the name of rpma_cq_wait in 0.9 and 0.10.
///
/// Later releases of the original do not have it. New programs use rpma_conn_get_cq and
/// rpma_cq_wait, which does the same and fails in the same ways.
///
/// Errors:
/// - RPMA_E_INVAL: conn is NULL
/// - RPMA_E_NO_COMPLETION: a signal ended the wait, or the file descriptor is non-blocking and
///   nothing is there; not logged
/// - RPMA_E_SHARED_CHANNEL: the completion channel is shared; see rpma_conn_wait
/// - RPMA_E_PROVIDER: asking for the next event failed
///
/// See: rpma_conn_get_cq, rpma_cq_wait
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_completion_wait(conn: *mut Conn) -> c_int {
    finish(c"rpma_conn_completion_wait", || {
        // SAFETY: the contract of C.
        unsafe { arg(conn, "conn")? }.cq().wait()
    })
}

/// Takes a completion from the connection's CQ, in the form that 0.9 and 0.10 had.
///
/// Later releases of the original do not have it. New programs use rpma_conn_get_cq and
/// rpma_cq_get_wc, which fills a struct ibv_wc.
///
/// op_context and op_status are always set. When op_status is not IBV_WC_SUCCESS nothing else is,
/// and the call succeeds nevertheless. imm is set only when the flags have IBV_WC_WITH_IMM, so that
/// cmpl may be the smaller struct of release 0.9.0.
///
/// Errors:
/// - RPMA_E_INVAL: conn or cmpl is NULL
/// - RPMA_E_NO_COMPLETION: the CQ is empty; not logged
/// - RPMA_E_NOSUPP: the operation is none of enum rpma_op; the completion is taken, and op_context
///   and op_status are set
/// - RPMA_E_PROVIDER: polling the CQ failed (ibv_poll_cq)
/// - RPMA_E_UNKNOWN: the device told more completions than it was asked for
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

/// Tells the file descriptor of the connection's CQ: the name of rpma_cq_get_fd in 0.9 and 0.10.
///
/// Later releases of the original do not have it. New programs use rpma_conn_get_cq and
/// rpma_cq_get_fd, which tells the same. The file descriptor belongs to the connection, and must
/// neither be closed nor read.
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
