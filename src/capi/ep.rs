// SPDX-License-Identifier: BSD-3-Clause

//! Listening endpoints.

use std::ffi::{c_char, c_int};

use super::conn_cfg::settings;
use super::{arg, create, delete, finish, out, string};
use crate::conn_cfg::ConnCfg;
use crate::conn_req::ConnReq;
use crate::ep::Ep;
use crate::peer::Peer;

/// Listens for connections.
///
/// # Safety
///
/// The contract of C.
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
                arg(peer, "peer")?.domain(),
                string(addr, "addr")?,
                string(port, "port")?,
            ))
        },
        |(domain, addr, port)| Ep::listen(domain, addr, port),
    )
}

/// Stops listening.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_ep_shutdown(ep_ptr: *mut *mut Ep) -> c_int {
    delete(c"rpma_ep_shutdown", ep_ptr, Ep::shutdown)
}

/// Tells the descriptor of the endpoint's events.
///
/// # Safety
///
/// The contract of C.
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
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_ep_next_conn_req(
    ep: *mut Ep,
    cfg: *const ConnCfg,
    req_ptr: *mut *mut ConnReq,
) -> c_int {
    create(
        c"rpma_ep_next_conn_req",
        req_ptr,
        // SAFETY: the contract of C.
        || unsafe { Ok((arg(ep, "ep")?, settings(cfg))) },
        |(ep, settings)| ep.next_conn_req(settings),
    )
}
