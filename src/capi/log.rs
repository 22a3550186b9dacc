// SPDX-License-Identifier: BSD-3-Clause

//! The log.

use std::ffi::c_int;

use super::types::{LogLevel, LogThreshold};
use super::{finish, out};
use crate::log::{self, LogFunction};
// Under a name that the header has a C type for.
use crate::log::RawLogFunctionOrNull as LogFunctionPointer;

/// Sets the function that the messages of the log go to.
///
/// log_function may be called from every thread that uses the library, and from several at once,
/// until another one is set; a call that is under way then may still come to its end. It gets the
/// messages that RPMA_LOG_THRESHOLD lets pass.
///
/// RPMA_LOG_USE_DEFAULT_FUNCTION, that is NULL, brings back the function of the library, which is
/// there at the beginning. It writes to syslog and, as far as RPMA_LOG_THRESHOLD_AUX lets messages
/// pass, to stderr. The call always returns 0.
///
/// See: rpma_log_set_threshold
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_log_set_function(log_function: LogFunctionPointer) -> c_int {
    finish(c"rpma_log_set_function", || {
        // SAFETY: the contract of C.
        log::set_function(log_function.map(|function| unsafe { LogFunction::new(function) }));
        Ok(())
    })
}

/// Sets a threshold of the log.
///
/// Messages pass RPMA_LOG_THRESHOLD, and are logged at all, when their level is that of the
/// threshold or a more serious one. It is RPMA_LOG_LEVEL_WARNING at the beginning.
/// RPMA_LOG_THRESHOLD_AUX decides which of these the library's own log function writes to stderr as
/// well; it is RPMA_LOG_DISABLED at the beginning, and a log function of the program's own may read
/// it. With RPMA_LOG_DISABLED nothing passes. May be called from several threads at once.
///
/// Errors:
/// - RPMA_E_INVAL: threshold or level is none of its enum, or threshold is RPMA_LOG_THRESHOLD_MAX
///
/// See: rpma_log_get_threshold, rpma_log_set_function
#[unsafe(no_mangle)]
pub extern "C" fn rpma_log_set_threshold(threshold: LogThreshold, level: LogLevel) -> c_int {
    finish(c"rpma_log_set_threshold", || {
        log::set_threshold(threshold, level)
    })
}

/// Tells a threshold of the log.
///
/// May be called from several threads at once, and from a log function.
///
/// Errors:
/// - RPMA_E_INVAL: level is NULL, or threshold is neither RPMA_LOG_THRESHOLD nor
///   RPMA_LOG_THRESHOLD_AUX
///
/// See: rpma_log_set_threshold
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
