// SPDX-License-Identifier: BSD-3-Clause

//! Listening endpoints.

use std::ffi::{c_char, c_int};

use super::conn_cfg::settings;
use super::conn_req::RequestBox;
use super::{Slot, arg, create, delete, finish, out, string};
use crate::conn_cfg::ConnCfg;
use crate::conn_req::ConnReq;
use crate::ep::Ep;
use crate::peer::Peer;

/// Creates an endpoint that listens for connection requests.
///
/// addr is an IPv4 address, an IPv6 address or a host name of this machine. port is a port number
/// or the name of a service. Any program that can reach the address can send a request.
///
/// The caller owns *ep_ptr and deletes it with rpma_ep_shutdown. The peer must exist until then.
///
/// Not thread-safe: one thread at a time for a peer.
///
/// Calls: rdma_create_event_channel, rdma_create_id, rdma_getaddrinfo, rdma_bind_addr, rdma_listen
///
/// Errors:
/// - RPMA_E_INVAL: peer, addr, port or ep_ptr is NULL
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: creating the event channel or the CM identifier, the address lookup, binding
///   (EADDRINUSE, EADDRNOTAVAIL) or listening failed; after a failed lookup, the log has the reason
///   and errno may not have it
///
/// See: rpma_ep_next_conn_req, rpma_ep_get_fd, rpma_ep_shutdown
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_ep_listen(
    peer: *mut Peer,
    addr: *const c_char,
    port: *const c_char,
    ep_ptr: *mut *mut Ep,
) -> c_int {
    create(
        c"rpma_ep_listen",
        ep_ptr,
        // SAFETY: the contract of C.
        || unsafe {
            Ok((
                arg(peer, "peer")?.device(),
                string(addr, "addr")?,
                string(port, "port")?,
            ))
        },
        |(device, addr, port)| Ep::listen(device, addr, port),
    )
}

/// Stops listening and deletes an endpoint.
///
/// The function sets *ep_ptr to NULL. If *ep_ptr is NULL already, it does nothing. Requests that
/// the program has not taken are rejected. Requests that it has taken must be connected or deleted
/// first. Connections that were made from them stay as they are.
///
/// Not thread-safe: one thread at a time for an endpoint.
///
/// Calls: rdma_destroy_id, rdma_destroy_event_channel
///
/// Errors:
/// - RPMA_E_INVAL: ep_ptr is NULL
/// - RPMA_E_PROVIDER: destroying the CM identifier failed; the object is deleted nevertheless
///
/// See: rpma_ep_listen
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_ep_shutdown(ep_ptr: *mut *mut Ep) -> c_int {
    delete(c"rpma_ep_shutdown", ep_ptr, Ep::shutdown)
}

/// Gets the file descriptor of the events of an endpoint.
///
/// *fd is readable when rpma_ep_next_conn_req has a request to return. Use it with poll or epoll.
/// If O_NONBLOCK is set on it, rpma_ep_next_conn_req does not block. The file descriptor belongs to
/// the endpoint: do not read or close it.
///
/// Errors:
/// - RPMA_E_INVAL: ep or fd is NULL
///
/// See: rpma_ep_next_conn_req
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_ep_get_fd(ep: *const Ep, fd: *mut c_int) -> c_int {
    finish(c"rpma_ep_get_fd", || {
        // SAFETY: the contract of C.
        let (ep, fd) = unsafe { (arg(ep, "ep")?, out(fd, "fd")?) };
        fd.set(ep.fd());
        Ok(())
    })
}

/// Gets the next incoming connection request.
///
/// The function waits for a request, unless O_NONBLOCK is set on the file descriptor of
/// rpma_ep_get_fd. It then creates the queues of the connection. It reads cfg after the request has
/// arrived, not when the wait begins. cfg may be NULL for the default settings of
/// rpma_conn_cfg_new. It is not needed after the call.
///
/// The caller owns *req_ptr. rpma_conn_req_connect accepts the request and rpma_conn_req_delete
/// rejects it. One of them must be called before the endpoint is shut down.
/// rpma_conn_req_get_private_data returns the private data of the request, which can help to
/// decide.
///
/// If this function fails after a request has arrived, it rejects the request.
///
/// Not thread-safe: one thread at a time for an endpoint.
///
/// Calls: rdma_get_cm_event, rdma_ack_cm_event, ibv_create_comp_channel, ibv_create_cq,
/// ibv_req_notify_cq, rdma_create_qp_ex
///
/// Errors:
/// - RPMA_E_INVAL: ep or req_ptr is NULL, the event is not a connection request, or cfg combines a
///   shared completion channel with an SRQ that has its own receive CQ
/// - RPMA_E_NO_EVENT: O_NONBLOCK is set and there is no request; not logged
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: getting the event failed (EINTR after a signal), or creating the queues
///   failed
///
/// See: rpma_conn_req_connect, rpma_conn_req_delete, rpma_conn_req_get_private_data,
/// rpma_conn_req_recv, rpma_conn_cfg_new
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_ep_next_conn_req(
    ep: *mut Ep,
    cfg: *const ConnCfg,
    req_ptr: *mut *mut ConnReq,
) -> c_int {
    finish(c"rpma_ep_next_conn_req", || {
        // SAFETY: the contract of C.
        let (ep, req) = unsafe {
            (
                arg(ep, "ep")?,
                out(req_ptr, "the pointer for the new object")?,
            )
        };
        let slot = Slot::allocate()?;
        // SAFETY: the contract of C.
        let settings = || unsafe { settings(cfg) };
        let request = ep.next_conn_req(settings, |request| RequestBox::new(request, slot))?;
        req.set(request.into_handle());
        Ok(())
    })
}
