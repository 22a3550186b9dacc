// SPDX-License-Identifier: BSD-3-Clause

//! Finding a device, and the texts of codes and events.

use std::ffi::{c_char, c_int};

use rdma_sys::ibv_context;

use super::types::{ConnEventNumber, UtilIbvContextType, rpma_util_ibv_context_type as kind};
use super::{finish, is_null, out, string};
use crate::error::Error;
use crate::verbs::{Context, Side};
use crate::{conn, error, utils};

const LOCAL: c_int = kind::RPMA_UTIL_IBV_CONTEXT_LOCAL as c_int;
const REMOTE: c_int = kind::RPMA_UTIL_IBV_CONTEXT_REMOTE as c_int;

/// Finds the RDMA device that belongs to an address.
///
/// addr is an IPv4 address, an IPv6 address or a host name. type says how the device is found: by
/// an address of this machine, or by the address of another machine that is reached through it.
/// With RPMA_UTIL_IBV_CONTEXT_REMOTE, resolving the address takes up to RPMA_DEFAULT_TIMEOUT_MS.
///
/// *ibv_ctx_ptr is the device context, as rpma_peer_new takes it. The context belongs to librdmacm
/// and stays open until the process ends: the program must not close it.
///
/// A wildcard address (0.0.0.0 or ::) belongs to no device: the function returns 0 and sets
/// *ibv_ctx_ptr to NULL.
///
/// Not thread-safe: one thread at a time.
///
/// Calls: rdma_getaddrinfo, rdma_create_id, rdma_bind_addr for a local address or rdma_resolve_addr
/// for a remote one, rdma_destroy_id
///
/// Errors:
/// - RPMA_E_INVAL: addr or ibv_ctx_ptr is NULL, or type is not a value of its enum
/// - RPMA_E_PROVIDER: the address lookup, creating the CM identifier, or binding or resolving the
///   address failed; after a failed lookup, the log has the reason and errno may not have it
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

/// Checks whether a device supports on-demand paging for reliable connections.
///
/// *is_odp_capable is 1 if the device supports on-demand paging (ODP) for both RDMA reads and RDMA
/// writes of the RC transport, otherwise 0. It is also 0 if the query fails. Memory that is mapped
/// from a file of a DAX file system can usually be registered only on a device with ODP (see
/// rpma_mr_reg).
///
/// Calls: ibv_query_device_ex
///
/// Errors:
/// - RPMA_E_INVAL: ibv_ctx or is_odp_capable is NULL
/// - RPMA_E_PROVIDER: querying the device failed
///
/// See: rpma_utils_get_ibv_context, rpma_mr_reg, rpma_mr_advise
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
        // The caller reads "no" after a failure, as with the original.
        capable.set(0);
        let caps = context.query_caps()?;
        capable.set(c_int::from(caps.on_demand_paging));
        Ok(())
    })
}

/// Returns a text for a connection event.
///
/// The string is static, in English and has no newline at its end. The program must not free or
/// change it. A value that is not a connection event has a text, too.
///
/// See: rpma_conn_next_event
#[unsafe(no_mangle)]
pub extern "C" fn rpma_utils_conn_event_2str(conn_event: ConnEventNumber) -> *const c_char {
    conn::event_text(conn_event).as_ptr()
}

/// Returns a text for an error code of this library.
///
/// ret is a return value of a function of this library: 0 or one of RPMA_E_*. The string is static,
/// in English and has no newline at its end. The program must not free or change it. A value that
/// is not an error code has a text, too.
///
/// The text names the kind of failure only. The log says what exactly failed, and after
/// RPMA_E_PROVIDER, errno has the error number of the failed call.
///
/// See: rpma_log_set_function
#[unsafe(no_mangle)]
pub extern "C" fn rpma_err_2str(ret: c_int) -> *const c_char {
    error::code_text(ret).as_ptr()
}
