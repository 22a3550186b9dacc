// SPDX-License-Identifier: BSD-3-Clause

//! Finding a device, and texts.

use std::ffi::{c_char, c_int};

use rdma_sys::ibv_context;

use super::types::{ConnEventNumber, UtilIbvContextType, rpma_util_ibv_context_type as kind};
use super::{finish, is_null, out, string};
use crate::error::Error;
use crate::verbs::{Context, Side};
use crate::{conn, error, utils};

const LOCAL: c_int = kind::RPMA_UTIL_IBV_CONTEXT_LOCAL as c_int;
const REMOTE: c_int = kind::RPMA_UTIL_IBV_CONTEXT_REMOTE as c_int;

/// Finds the RDMA device of an IPv4 or IPv6 address or host name.
///
/// With RPMA_UTIL_IBV_CONTEXT_LOCAL, addr is an address of this machine, and the device is the one
/// that has it (rdma_bind_addr). With RPMA_UTIL_IBV_CONTEXT_REMOTE, addr is an address of another
/// machine, and the device is the one through which it is reached (rdma_resolve_addr, which takes
/// up to RPMA_DEFAULT_TIMEOUT_MS).
///
/// The context belongs to librdmacm and stays valid until the process ends: the program must not
/// close it. A wildcard address (0.0.0.0 or ::) belongs to no device: the function succeeds, and
/// *ibv_ctx_ptr is NULL.
///
/// Not thread-safe: one thread at a time.
///
/// Errors:
/// - RPMA_E_INVAL: addr or ibv_ctx_ptr is NULL, or type is unknown
/// - RPMA_E_PROVIDER: looking up the address, creating a CM identifier, or binding it or resolving
///   the address failed; when the name lookup failed, the log has the reason and errno may not
///
/// See: rpma_peer_new, rpma_utils_ibv_context_is_odp_capable
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_utils_get_ibv_context(
    addr: *const c_char,
    r#type: UtilIbvContextType,
    ibv_ctx_ptr: *mut *mut ibv_context,
) -> c_int {
    finish(c"rpma_utils_get_ibv_context", || {
        // SAFETY: the contract of C.
        let (addr, ibv_ctx) = unsafe { (string(addr, "addr")?, out(ibv_ctx_ptr, "ibv_ctx_ptr")?) };
        let side = match r#type {
            LOCAL => Side::Passive,
            REMOTE => Side::Active,
            _ => return Err(Error::invalid("unknown type of context")),
        };
        let context = utils::context_by_address(addr, side)?;
        ibv_ctx.set(context.map_or(std::ptr::null_mut(), Context::as_ptr));
        Ok(())
    })
}

/// Tells whether a device can do on-demand paging for reliable connections.
///
/// *is_odp_capable is 1 when the device supports on-demand paging for both RDMA reads and RDMA
/// writes of the RC transport, otherwise 0; it is 0 also when the query failed. Memory mapped from
/// a file of a DAX file system usually can be registered on such a device only (see rpma_mr_reg).
///
/// Errors:
/// - RPMA_E_INVAL: ibv_ctx or is_odp_capable is NULL
/// - RPMA_E_PROVIDER: querying the device failed (ibv_query_device_ex)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_utils_ibv_context_is_odp_capable(
    ibv_ctx: *mut ibv_context,
    is_odp_capable: *mut c_int,
) -> c_int {
    finish(c"rpma_utils_ibv_context_is_odp_capable", || {
        // SAFETY: the contract of C.
        let (context, capable) = unsafe {
            let context = Context::from_raw(ibv_ctx).ok_or_else(|| is_null("ibv_ctx"))?;
            (context, out(is_odp_capable, "is_odp_capable")?)
        };
        // What the caller reads after a failure is "no", as it always was.
        capable.set(0);
        let caps = context.query_caps()?;
        capable.set(c_int::from(caps.on_demand_paging));
        Ok(())
    })
}

/// Gives the text of a connection event.
///
/// The string is static, in English and without a newline: the program must not free it. Every
/// value has a text, also one that is no event.
///
/// See: rpma_conn_next_event
#[unsafe(no_mangle)]
pub extern "C" fn rpma_utils_conn_event_2str(conn_event: ConnEventNumber) -> *const c_char {
    conn::event_text(conn_event).as_ptr()
}

/// Gives the text of a code that a function of this library returned.
///
/// The string is static, in English and without a newline: the program must not free it. Every
/// value has a text, 0 and values that are no code as well. What exactly failed is in the log and,
/// after RPMA_E_PROVIDER, in errno.
#[unsafe(no_mangle)]
pub extern "C" fn rpma_err_2str(ret: c_int) -> *const c_char {
    error::code_text(ret).as_ptr()
}
