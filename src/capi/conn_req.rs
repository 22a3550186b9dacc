// SPDX-License-Identifier: BSD-3-Clause

//! Connection requests.

use std::ffi::{c_char, c_int, c_void};

use super::conn_cfg::settings;
use super::types::rpma_conn_private_data;
use super::{
    Slot, arg, bytes, create, delete, finish, finish_op, optional, out, private_data, string, take,
};
use crate::conn::Conn;
use crate::conn_cfg::ConnCfg;
use crate::conn_req::ConnReq;
use crate::error::{Error, Releases};
use crate::mr::MrLocal;
use crate::peer::Peer;

/// Creates a request for a connection to a listening endpoint.
///
/// addr is an IPv4 or IPv6 address or a host name, port a number or the name of a service. The call
/// looks up the address, resolves it and its route (rdma_getaddrinfo, rdma_resolve_addr,
/// rdma_resolve_route), which may block up to the timeout of cfg for each of the two latter, and
/// makes the queues of the connection (rdma_create_qp_ex). Nothing reaches the other side's program
/// before rpma_conn_req_connect.
///
/// cfg may be NULL: the default settings, those of rpma_conn_cfg_new. It is not needed afterwards.
/// The request ends with rpma_conn_req_connect or rpma_conn_req_delete; the peer must outlive it,
/// and what becomes of it.
///
/// Not thread-safe: one thread at a time for a peer.
///
/// Errors:
/// - RPMA_E_INVAL: peer, addr, port or req_ptr is NULL, the address leads to no RDMA device, or cfg
///   combines a shared completion channel with a shared RQ that has a receive CQ of its own
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: one of the calls named above failed, or making a CQ; when the name lookup
///   failed, the log has the reason and errno may not
///
/// See: rpma_conn_req_recv, rpma_ep_listen
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_req_new(
    peer: *mut Peer,
    addr: *const c_char,
    port: *const c_char,
    cfg: *const ConnCfg,
    req_ptr: *mut *mut ConnReq,
) -> c_int {
    create(
        c"rpma_conn_req_new",
        req_ptr,
        // SAFETY: the contract of C.
        || unsafe {
            Ok((
                arg(peer, "peer")?.domain(),
                string(addr, "addr")?,
                string(port, "port")?,
                settings(cfg),
            ))
        },
        |(domain, addr, port, settings)| ConnReq::outgoing(domain, addr, port, settings),
    )
}

/// Deletes a connection request and sets *req_ptr to NULL.
///
/// Nothing happens when *req_ptr is NULL already. Deleting an incoming request rejects it
/// (rdma_reject): the other side gets RPMA_CONN_REJECTED. Receives posted to the request do not
/// complete. Private data that was read from the request is not valid any more.
///
/// Not thread-safe: one thread at a time for a request.
///
/// Errors:
/// - RPMA_E_INVAL: req_ptr is NULL
/// - RPMA_E_PROVIDER: rejecting the request or releasing one of its parts failed; everything else
///   is released, and the object is gone nevertheless
///
/// See: rpma_conn_req_connect
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_req_delete(req_ptr: *mut *mut ConnReq) -> c_int {
    delete(c"rpma_conn_req_delete", req_ptr, ConnReq::delete)
}

/// Turns a connection request into a connection, and starts to establish it.
///
/// An outgoing request is sent to the other side (rdma_connect), an incoming one is accepted
/// (rdma_accept). The connection is established when rpma_conn_next_event tells
/// RPMA_CONN_ESTABLISHED; until then, the active side may post receives only. The caller deletes
/// the connection with rpma_conn_delete.
///
/// pdata may be NULL; otherwise its bytes are sent along, and the other side reads them with
/// rpma_conn_req_get_private_data or rpma_conn_get_private_data. They are copied. The connection
/// manager limits their length: on InfiniBand and RoCE, to 56 bytes with a request and 196 with its
/// acceptance. They travel unencrypted.
///
/// The request is consumed, whether the call succeeds or not: *req_ptr is NULL afterwards. If it
/// fails, everything of the request has been released, and an incoming request does not become a
/// connection on the other side either, or not for long.
///
/// Not thread-safe: one thread at a time for a request.
///
/// Errors:
/// - RPMA_E_INVAL: req_ptr, *req_ptr or conn_ptr is NULL, or pdata is given with a NULL ptr or a
///   len of 0
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: accepting or connecting failed (EINVAL if there is too much private data), or
///   making the event channel or registering the buffer of the emulated flush
///
/// See: rpma_conn_req_new, rpma_ep_next_conn_req
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_req_connect(
    req_ptr: *mut *mut ConnReq,
    pdata: *const rpma_conn_private_data,
    conn_ptr: *mut *mut Conn,
) -> c_int {
    const FUNCTION: &std::ffi::CStr = c"rpma_conn_req_connect";
    finish(FUNCTION, || {
        // SAFETY: the contract of C.
        let Some(request) = (unsafe { take(req_ptr)? }) else {
            return Err(Error::inval("the connection request is NULL"));
        };
        // From here on the request is consumed, whatever happens.
        let prepare = || {
            // SAFETY: the contract of C.
            let conn = unsafe { out(conn_ptr, "conn_ptr")? };
            // SAFETY: the contract of C.
            let data = match unsafe { optional(pdata) } {
                None => &[],
                Some(data) if data.len == 0 => {
                    return Err(Error::inval("private data without a length"));
                }
                // SAFETY: the contract of C, for the data and its length.
                Some(data) => unsafe {
                    bytes(data.ptr, data.len.into(), usize::MAX, "pdata->ptr")?
                },
            };
            Ok((conn, data, Slot::reserve()?))
        };
        let (conn, data, slot) = match prepare() {
            Ok(prepared) => prepared,
            Err(error) => {
                let mut releases = Releases::new(FUNCTION);
                request.delete(&mut releases);
                return Err(error);
            }
        };
        conn.set(slot.fill(request.connect(data)?));
        Ok(())
    })
}

/// Posts a receive before the connection exists.
///
/// As rpma_recv, but on a connection request: so that a buffer is there before the other side can
/// send its first message. The completion comes through the queues of the later connection. dst is
/// required here.
///
/// The call only posts the receive (ibv_post_recv): until it has completed, or the request or
/// connection is deleted, dst must stay registered, and its bytes belong to the device.
///
/// Errors:
/// - RPMA_E_INVAL: req or dst is NULL, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM when the RQ is full, with EINVAL when the request
///   uses a shared RQ
///
/// See: rpma_conn_req_connect
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_req_recv(
    req: *mut ConnReq,
    dst: *mut MrLocal,
    offset: usize,
    len: usize,
    op_context: *const c_void,
) -> c_int {
    finish_op(c"rpma_conn_req_recv", || {
        // SAFETY: the contract of C.
        let (req, dst) = unsafe { (arg(req, "req")?, arg(dst, "dst")?) };
        req.recv(dst, offset, len, op_context as u64)
    })
}

/// Tells the private data that came with an incoming connection request.
///
/// pdata->ptr is NULL and pdata->len 0 when there is none; an outgoing request never has any. The
/// bytes belong to the request. rpma_conn_req_connect hands them on to the connection, without
/// moving them; otherwise they are valid until the request is deleted.
///
/// The bytes come from the network, unencrypted and from anybody who can reach the endpoint, and
/// may be padded with zeros beyond what the other side gave. Check their length and content before
/// you use them, and do not take them for a proof of who sent them.
///
/// Errors:
/// - RPMA_E_INVAL: req or pdata is NULL
///
/// See: rpma_ep_next_conn_req, rpma_conn_get_private_data
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_req_get_private_data(
    req: *const ConnReq,
    pdata: *mut rpma_conn_private_data,
) -> c_int {
    finish(c"rpma_conn_req_get_private_data", || {
        // SAFETY: the contract of C.
        let (req, pdata) = unsafe { (arg(req, "req")?, out(pdata, "pdata")?) };
        pdata.set(private_data(req.private_data()));
        Ok(())
    })
}
