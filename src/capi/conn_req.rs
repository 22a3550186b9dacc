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
/// addr is an IPv4 address, an IPv6 address or a host name. port is a port number or the name of a
/// service. The function looks up the address, resolves it and its route, and creates the queues of
/// the connection. Resolving the address and resolving the route each block up to the timeout of
/// cfg. Nothing is sent to the remote program until rpma_conn_req_connect.
///
/// cfg may be NULL for the default settings of rpma_conn_cfg_new. The timeout is read when the call
/// begins, all other settings after the route is resolved. cfg is not needed after the call.
///
/// The caller owns *req_ptr and ends it with rpma_conn_req_connect or rpma_conn_req_delete. The
/// peer must exist until the request, and the connection that is made from it, are deleted.
///
/// Not thread-safe: one thread at a time for a peer.
///
/// Calls: rdma_getaddrinfo, rdma_create_id, rdma_resolve_addr, rdma_resolve_route,
/// ibv_create_comp_channel, ibv_create_cq, ibv_req_notify_cq, rdma_create_qp_ex
///
/// Errors:
/// - RPMA_E_INVAL: peer, addr, port or req_ptr is NULL, the address belongs to no RDMA device, or
///   cfg combines a shared completion channel with an SRQ that has its own receive CQ
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: a call of libibverbs or librdmacm failed: the address lookup, resolving the
///   address or the route, or creating the queues; after a failed lookup, the log has the reason
///   and errno may not have it
///
/// See: rpma_conn_req_recv, rpma_conn_req_connect, rpma_conn_req_delete, rpma_conn_cfg_new,
/// rpma_ep_listen
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

/// A request in the memory of its later connection, so that connecting allocates nothing.
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

/// Deletes a connection request.
///
/// The function sets *req_ptr to NULL. If *req_ptr is NULL already, it does nothing. An incoming
/// request is rejected: the remote side gets RPMA_CONN_REJECTED. Receives that are posted to the
/// request do not complete. Private data that was read from the request is no longer valid.
///
/// Not thread-safe: one thread at a time for a request.
///
/// Calls: rdma_destroy_qp, ibv_destroy_cq, ibv_destroy_comp_channel, rdma_reject for an incoming
/// request, rdma_destroy_id
///
/// Errors:
/// - RPMA_E_INVAL: req_ptr is NULL
/// - RPMA_E_PROVIDER: rejecting the request or releasing one of its parts failed; all other parts
///   are released, and the object is deleted nevertheless
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

/// Connects: sends a connection request, or accepts an incoming one.
///
/// A request of rpma_conn_req_new is sent to the remote side. A request of rpma_ep_next_conn_req is
/// accepted. The function does not wait for the remote side: the connection is established when
/// rpma_conn_next_event returns RPMA_CONN_ESTABLISHED. Until then, the side that requested the
/// connection may post receives only.
///
/// pdata is private data for the remote side, or NULL for none. The function copies the bytes. The
/// remote side reads them with rpma_conn_req_get_private_data (it accepts) or
/// rpma_conn_get_private_data (it has requested the connection). Their number is limited by the
/// connection manager: on InfiniBand and RoCE, to 56 bytes with a request and 196 bytes with its
/// acceptance. They are not encrypted.
///
/// The request is used up even if the function fails: *req_ptr is NULL afterwards, and all parts of
/// the request belong to the connection or are released. If an accepted request fails, the remote
/// side sees no connection, or sees it closed after a short time.
///
/// The caller owns *conn_ptr and deletes it with rpma_conn_delete.
///
/// Not thread-safe: one thread at a time for a request.
///
/// Calls: rdma_create_event_channel, rdma_migrate_id, ibv_reg_mr for the emulated flush,
/// rdma_connect or rdma_accept
///
/// Errors:
/// - RPMA_E_INVAL: req_ptr, *req_ptr or conn_ptr is NULL, or pdata is not NULL and has a NULL ptr
///   or a len of 0
/// - RPMA_E_NOMEM: out of memory for the page that emulated flushes read into; the first connection
///   that needs this page maps it for the whole process
/// - RPMA_E_PROVIDER: a call of libibverbs or librdmacm failed: connecting or accepting (EINVAL if
///   there is too much private data), creating the event channel, moving the CM identifier to it,
///   or registering the page of the emulated flush
///
/// See: rpma_conn_req_new, rpma_ep_next_conn_req, rpma_conn_next_event, rpma_conn_delete
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
        // From here on the request is used up, even if the function fails.
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
            return Err(Error::invalid("the length of the private data is 0"));
        }
        Some(data) => match NonNull::new(data.ptr) {
            // SAFETY: the contract of C, for the data and its length.
            Some(bytes) => unsafe { ConnParam::new(bytes, data.len) },
            None => return Err(is_null("pdata->ptr")),
        },
    };
    Ok((param, conn))
}

/// Posts a receive to a connection request.
///
/// A receive that is posted before rpma_conn_req_connect is there before the remote side can send
/// its first message. It works as rpma_recv, except that dst must not be NULL. Its completion goes
/// to the queues of the connection that is made from the request.
///
/// The call only posts the receive. Until the receive has completed, or the request or the
/// connection is deleted, dst must stay registered and the program must not use its bytes.
///
/// Calls: ibv_post_recv
///
/// Errors:
/// - RPMA_E_INVAL: req or dst is NULL, or len is above 4 GiB - 1
/// - RPMA_E_PROVIDER: posting failed, with ENOMEM if the RQ is full, with EINVAL if the request
///   uses a shared receive queue
///
/// See: rpma_recv, rpma_conn_req_connect
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

/// Reports wrong arguments of `rpma_conn_req_recv`.
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

/// Gets the private data of an incoming connection request.
///
/// pdata->ptr points to the bytes that the remote side sent with its request, and pdata->len is
/// their number. They are NULL and 0 if there is no private data, which is always so for an
/// outgoing request.
///
/// The bytes belong to the request. After rpma_conn_req_connect they belong to the connection and
/// stay at the same address. Otherwise they are valid until the request is deleted.
///
/// The bytes come unencrypted from any program that can reach the endpoint, and may end with
/// padding zeros that the remote side did not send. Check their number and content before you use
/// them. They do not prove who sent them.
///
/// Errors:
/// - RPMA_E_INVAL: req or pdata is NULL
///
/// See: rpma_ep_next_conn_req, rpma_conn_req_connect, rpma_conn_get_private_data
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
