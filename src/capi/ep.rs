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
/// addr is a local IPv4 or IPv6 address or a host name, port a number or the name of a service
/// (rdma_getaddrinfo, rdma_bind_addr, rdma_listen). Whoever reaches the address may send requests.
/// The caller ends the endpoint with rpma_ep_shutdown; the peer must outlive it.
///
/// Not thread-safe: one thread at a time for a peer.
///
/// Errors:
/// - RPMA_E_INVAL: peer, addr, port or ep_ptr is NULL
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: making the event channel or the CM identifier, looking up the address,
///   binding (EADDRINUSE, EADDRNOTAVAIL) or listening failed; when the name lookup failed, the log
///   has the reason and errno may not
///
/// See: rpma_ep_next_conn_req, rpma_ep_get_fd
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

/// Stops listening, deletes the endpoint and sets *ep_ptr to NULL.
///
/// Nothing happens when *ep_ptr is NULL already. Requests that have not been taken are rejected.
/// Requests that have been taken must be connected or deleted first: until then they use the
/// endpoint. Connections made from them are not affected.
///
/// Not thread-safe: one thread at a time for an endpoint.
///
/// Errors:
/// - RPMA_E_INVAL: ep_ptr is NULL
/// - RPMA_E_PROVIDER: releasing the CM identifier failed (rdma_destroy_id); the object is gone
///   nevertheless
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_ep_shutdown(ep_ptr: *mut *mut Ep) -> c_int {
    delete(c"rpma_ep_shutdown", ep_ptr, Ep::shutdown)
}

/// Tells the file descriptor of an endpoint's events.
///
/// It is readable when rpma_ep_next_conn_req has something to take. Use it with poll or epoll; made
/// non-blocking with fcntl (O_NONBLOCK), it makes that call non-blocking. It belongs to the
/// endpoint, and must neither be closed nor read.
///
/// Errors:
/// - RPMA_E_INVAL: ep or fd is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_ep_get_fd(ep: *const Ep, fd: *mut c_int) -> c_int {
    finish(c"rpma_ep_get_fd", || {
        // SAFETY: the contract of C.
        let (ep, fd) = unsafe { (arg(ep, "ep")?, out(fd, "fd")?) };
        fd.set(ep.fd());
        Ok(())
    })
}

/// Takes the next incoming connection request.
///
/// Waits for a request unless the file descriptor of rpma_ep_get_fd is non-blocking. The queues of
/// the connection are made at once, with the settings that cfg has when the request is there, not those
/// when the wait began. cfg may be NULL: the default settings, those of rpma_conn_cfg_new. It is not
/// needed afterwards.
///
/// rpma_conn_req_connect accepts the request, rpma_conn_req_delete rejects it; one of them must
/// happen before the endpoint is shut down. rpma_conn_req_get_private_data helps to decide. If this
/// call fails after it has taken a request, the request is rejected.
///
/// Not thread-safe: one thread at a time for an endpoint.
///
/// Errors:
/// - RPMA_E_INVAL: ep or req_ptr is NULL, the event is not a connection request, or cfg combines a
///   shared completion channel with a shared RQ that has a receive CQ of its own
/// - RPMA_E_NO_EVENT: the file descriptor is non-blocking and no request is there; not logged
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: taking the event failed (EINTR after a signal), or making the queues
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
