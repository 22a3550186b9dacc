// SPDX-License-Identifier: BSD-3-Clause

//! Finding a device, and texts for codes and events.

use std::ffi::{CStr, c_int};

use crate::error::{AGAIN, Code, Result};
use crate::info::Info;
use crate::verbs::{CmId, Context, Side};

/// `RPMA_DEFAULT_TIMEOUT_MS`
pub(crate) const DEFAULT_TIMEOUT_MS: c_int = 1000;

/// The device that the address belongs to (passive side) or is reached through (active side).
pub(crate) fn context_by_address(addr: &CStr, side: Side) -> Result<Option<Context>> {
    let info = Info::get(c"rpma_utils_get_ibv_context", addr, None, side)?;
    let id = CmId::create(None)?;
    match side {
        Side::Passive => info.bind(&id)?,
        Side::Active => info.resolve_addr(&id, DEFAULT_TIMEOUT_MS)?,
    }
    // librdmacm keeps the device open after the id is gone.
    Ok(id.context())
}

/// The text of `rpma_err_2str`.
pub(crate) fn error_text(code: c_int) -> &'static CStr {
    match code {
        0 => c"Success",
        _ if code == Code::NoSupp.value() => c"Not supported",
        _ if code == Code::Provider.value() => c"Provider error occurred",
        _ if code == Code::NoMem.value() => c"Out of memory",
        _ if code == Code::Inval.value() => c"Invalid argument",
        _ if code == Code::NoCompletion.value() => c"No next completion available",
        _ if code == Code::NoEvent.value() => c"No next event available",
        AGAIN => c"Temporary error, try again",
        _ if code == Code::SharedChannel.value() => c"Completion channel is shared",
        _ if code == Code::NotSharedChannel.value() => c"Completion channel is not shared",
        _ => c"Unknown error",
    }
}
