// SPDX-License-Identifier: BSD-3-Clause

//! Connection requests.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::conn_cfg::{settings, timeout_ms};
use super::types::rpma_conn_private_data;
use super::{Out, Post, Slot, arg, finish, is_null, optional, out, private_data, string, take_raw};
use crate::conn::Conn;
use crate::conn_cfg::ConnCfg;
use crate::conn_req::ConnReq;
use crate::error::{Error, Failure, Result};
use crate::mr::MrLocal;
use crate::peer::Peer;
use crate::report::{Releases, report};
use crate::verbs::ConnParam;

/// Creates a request for a connection to a listening endpoint.
///
/// addr is an IPv4 or IPv6 address or a host name, port a number or the name of a service. The call
/// looks up the address, resolves it and its route (rdma_getaddrinfo, rdma_resolve_addr,
/// rdma_resolve_route), which may block up to the timeout of cfg for each of the two latter, and
/// makes the queues of the connection (rdma_create_qp_ex). Nothing reaches the other side's program
/// before rpma_conn_req_connect.
///
/// cfg may be NULL: the default settings, those of rpma_conn_cfg_new. The timeout is read when the
/// call begins, the other settings of cfg when the route is known and the queues are made; cfg is
/// not needed after the call. The request ends with rpma_conn_req_connect or rpma_conn_req_delete;
/// the peer must outlive the request and the connection that it becomes.
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
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_req_new(
    peer: *mut Peer,
    addr: *const c_char,
    port: *const c_char,
    cfg: *const ConnCfg,
    req_ptr: *mut *mut ConnReq,
) -> c_int {
    finish(c"rpma_conn_req_new", || {
        // SAFETY: the contract of C.
        let (device, addr, port, timeout_ms, req) = unsafe {
            (
                arg(peer, "peer")?.device(),
                string(addr, "addr")?,
                string(port, "port")?,
                timeout_ms(cfg),
                out(req_ptr, "the pointer for the new object")?,
            )
        };
        let slot = Slot::allocate()?;
        // SAFETY: the contract of C.
        let settings = || unsafe { settings(cfg) };
        let place = |request| RequestBox::new(request, slot);
        let request = ConnReq::outgoing(device, addr, port, timeout_ms, settings, place)?;
        req.set(request.into_handle());
        Ok(())
    })
}

/// A request in memory for the connection that it becomes: connecting allocates nothing.
pub(super) struct RequestBox(NonNull<ConnReq>);

impl RequestBox {
    #[inline(always)]
    pub(super) fn new(request: ConnReq, memory: Slot<Conn>) -> Self {
        Self(memory.fill_with(request))
    }

    #[inline(always)]
    pub(super) fn into_handle(self) -> *mut ConnReq {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for RequestBox {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and taken once.
        drop(unsafe { Slot::<Conn>::take_out(self.0) });
    }
}

/// Takes the request behind a handle, with its memory, and sets the handle to NULL; `None` when it is NULL
/// already.
///
/// # Safety
///
/// The contract of C, for `handle` and for what it points to.
#[inline(always)]
unsafe fn take_request(handle: *mut *mut ConnReq) -> Result<Option<(ConnReq, Slot<Conn>)>> {
    // SAFETY: the contract of C. Every handle of a request comes from a `RequestBox`.
    unsafe { Ok(take_raw(handle)?.map(|request| Slot::take_out(request))) }
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
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_req_delete(req_ptr: *mut *mut ConnReq) -> c_int {
    const FUNCTION: &CStr = c"rpma_conn_req_delete";
    finish(FUNCTION, || {
        // SAFETY: the contract of C.
        match unsafe { take_request(req_ptr)? } {
            Some((request, _memory)) => {
                let mut releases = Releases::new(FUNCTION);
                request.delete(&mut releases);
                releases.result()
            }
            None => Ok(()),
        }
    })
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
/// - RPMA_E_NOMEM: no memory for the page that emulated flushes read into; it is mapped once for
///   the process, by the first connection that needs it
/// - RPMA_E_PROVIDER: accepting or connecting failed (EINVAL if there is too much private data), or
///   making the event channel, moving the CM identifier to it (rdma_migrate_id), or registering the
///   page of the emulated flush
///
/// See: rpma_conn_req_new, rpma_ep_next_conn_req
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_req_connect(
    req_ptr: *mut *mut ConnReq,
    pdata: *const rpma_conn_private_data,
    conn_ptr: *mut *mut Conn,
) -> c_int {
    finish(CONNECT, || {
        // SAFETY: the contract of C.
        let Some((request, slot)) = (unsafe { take_request(req_ptr)? }) else {
            return Err(Error::invalid("the connection request is NULL"));
        };
        // From here on the request is consumed, whatever happens.
        // SAFETY: the contract of C.
        let (param, conn) = match unsafe { connect_args(pdata, conn_ptr) } {
            Ok(args) => args,
            Err(error) => {
                request.delete(&mut Releases::new(CONNECT));
                return Err(error);
            }
        };
        let connection = request.connect(param, |connection| slot.fill(connection))?;
        conn.set(Box::into_raw(connection));
        Ok(())
    })
}

const CONNECT: &CStr = c"rpma_conn_req_connect";

/// Checks all arguments but the request.
///
/// # Safety
///
/// The contract of C.
#[inline(always)]
unsafe fn connect_args(
    pdata: *const rpma_conn_private_data,
    conn_ptr: *mut *mut Conn,
) -> Result<(ConnParam, Out<*mut Conn>)> {
    // SAFETY: the contract of C.
    let conn = unsafe { out(conn_ptr, "conn_ptr")? };
    // SAFETY: the contract of C.
    let param = match unsafe { optional(pdata) } {
        None => ConnParam::NO_PRIVATE_DATA,
        Some(data) if data.len == 0 => {
            return Err(Error::invalid("private data without a length"));
        }
        Some(data) => match NonNull::new(data.ptr) {
            // SAFETY: the contract of C, for the data and its length.
            Some(bytes) => unsafe { ConnParam::new(bytes, data.len) },
            None => return Err(is_null("pdata->ptr")),
        },
    };
    Ok((param, conn))
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
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_req_recv(
    req: *mut ConnReq,
    dst: *mut MrLocal,
    offset: usize,
    len: usize,
    op_context: *const c_void,
) -> c_int {
    // SAFETY: the contract of C.
    match unsafe { (optional(req), optional(dst), u32::try_from(len)) } {
        (Some(req), Some(dst), Ok(length)) => {
            REQ_RECV.finish(req.post_recv(dst, offset, length, op_context as u64))
        }
        _ => refuse_recv(req.is_null(), dst.is_null(), len),
    }
}

static REQ_RECV: Post = Post {
    function: c"rpma_conn_req_recv",
    call: "ibv_post_recv",
};

/// Arguments that `rpma_conn_req_recv` does not take.
#[cold]
#[inline(never)]
fn refuse_recv(req_is_null: bool, dst_is_null: bool, len: usize) -> c_int {
    let error = match (req_is_null, dst_is_null) {
        (true, _) => is_null("req"),
        (_, true) => is_null("dst"),
        _ => Error::new(Failure::TooLong(len)),
    };
    report(&error, REQ_RECV.function)
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
