// SPDX-License-Identifier: BSD-3-Clause

//! Finds a device.

use std::ffi::c_int;

use crate::error::Result;
use crate::resolved_addr::ResolvedAddr;
use crate::sys::CallerStr;
use crate::verbs::{CmId, Context, Side};

/// The default timeout for resolving an address and for resolving its route.
pub(crate) const DEFAULT_TIMEOUT_MS: c_int = 1000;

/// Finds the device that has a local address, or through which a remote address is reached.
pub(crate) fn context_by_address(addr: CallerStr, side: Side) -> Result<Option<Context>> {
    let address = ResolvedAddr::look_up(c"rpma_utils_get_ibv_context", addr, None, side)?;
    let id = CmId::create(None)?;
    match side {
        Side::Passive => address.bind(&id)?,
        Side::Active => address.resolve(&id, DEFAULT_TIMEOUT_MS)?,
    }
    // librdmacm keeps the device open after the id is gone.
    Ok(id.context())
}
