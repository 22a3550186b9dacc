// SPDX-License-Identifier: BSD-3-Clause

//! The log.

use std::ffi::c_int;

use super::types::{LogLevel, LogThreshold};
use super::{finish, out};
use crate::log::{self, LogFunction};
// Under a name that the header has a C type for.
use crate::verbs::os::RawLogFunctionOrNull as LogFunctionPointer;

/// Sets the function that the messages of the log go to.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_log_set_function(log_function: LogFunctionPointer) -> c_int {
    finish(c"rpma_log_set_function", || {
        // SAFETY: the contract of C.
        log::set_function(log_function.map(|function| unsafe { LogFunction::new(function) }));
        Ok(())
    })
}

/// Sets a threshold of the log.
#[unsafe(no_mangle)]
pub extern "C" fn rpma_log_set_threshold(threshold: LogThreshold, level: LogLevel) -> c_int {
    finish(c"rpma_log_set_threshold", || {
        log::set_threshold(threshold, level)
    })
}

/// Tells a threshold of the log.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_log_get_threshold(
    threshold: LogThreshold,
    level: *mut LogLevel,
) -> c_int {
    finish(c"rpma_log_get_threshold", || {
        // SAFETY: the contract of C.
        let level = unsafe { out(level, "level")? };
        level.set(log::get_threshold(threshold)?);
        Ok(())
    })
}
