// SPDX-License-Identifier: BSD-3-Clause

//! Connection requests.

use std::ffi::{c_char, c_int, c_void};

use super::conn_cfg::settings;
use super::types::rpma_conn_private_data;
use super::{Slot, arg, bytes, create, delete, finish, out, private_data, string, take};
use crate::conn::Conn;
use crate::conn_cfg::ConnCfg;
use crate::conn_req::ConnReq;
use crate::error::Error;
use crate::mr::MrLocal;
use crate::peer::Peer;

/// Makes a request for a connection.
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

/// Deletes a connection request.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_req_delete(req_ptr: *mut *mut ConnReq) -> c_int {
    delete(c"rpma_conn_req_delete", req_ptr, ConnReq::delete)
}

/// Turns a connection request into a connection.
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
        let args = || {
            // SAFETY: the contract of C.
            let conn = unsafe { out(conn_ptr, "conn_ptr")? };
            // SAFETY: the contract of C.
            let data = match unsafe { pdata.as_ref() } {
                None => &[],
                Some(data) if data.len == 0 => {
                    return Err(Error::inval("private data without a length"));
                }
                // SAFETY: the contract of C, for the data and its length.
                Some(data) => unsafe { bytes(data.ptr, data.len.into(), "pdata->ptr")? },
            };
            Ok((conn, data))
        };
        let (conn, data) = match args() {
            Ok(args) => args,
            Err(error) => {
                let mut releases = crate::error::Releases::new(FUNCTION);
                request.delete(&mut releases);
                return Err(error);
            }
        };
        let slot = Slot::reserve()?;
        conn.set(slot.fill(request.connect(data)?));
        Ok(())
    })
}

/// Posts a receive before there is a connection.
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
    finish(c"rpma_conn_req_recv", || {
        // SAFETY: the contract of C.
        let (req, dst) = unsafe { (arg(req, "req")?, arg(dst, "dst")?) };
        req.recv(dst, offset, len, op_context as u64)
    })
}

/// Tells the private data that came with a connection request.
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
