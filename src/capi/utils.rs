// SPDX-License-Identifier: BSD-3-Clause

//! Finding a device, and texts.

use std::ffi::{c_char, c_int};

use rdma_sys::ibv_context;

use super::types::{ConnEventNumber, UtilIbvContextType, rpma_util_ibv_context_type as kind};
use super::{finish, is_null, out, string};
use crate::error::Error;
use crate::verbs::{Context, Side};
use crate::{conn, utils};

const LOCAL: c_int = kind::RPMA_UTIL_IBV_CONTEXT_LOCAL as c_int;
const REMOTE: c_int = kind::RPMA_UTIL_IBV_CONTEXT_REMOTE as c_int;

/// Finds the RDMA device of an address.
///
/// # Safety
///
/// The contract of C.
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
            _ => return Err(Error::inval("unknown type of context")),
        };
        let context = utils::context_by_address(addr, side)?;
        ibv_ctx.set(context.map_or(std::ptr::null_mut(), Context::as_ptr));
        Ok(())
    })
}

/// Tells whether a device can do on-demand paging.
///
/// # Safety
///
/// The contract of C.
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

/// The text of a connection event.
#[unsafe(no_mangle)]
pub extern "C" fn rpma_utils_conn_event_2str(conn_event: ConnEventNumber) -> *const c_char {
    conn::event_text(conn_event).as_ptr()
}

/// The text of a code that a function of this library returned.
#[unsafe(no_mangle)]
pub extern "C" fn rpma_err_2str(ret: c_int) -> *const c_char {
    utils::error_text(ret).as_ptr()
}
