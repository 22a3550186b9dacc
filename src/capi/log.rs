// SPDX-License-Identifier: BSD-3-Clause

//! The log.

use std::ffi::c_int;

use super::types::{LogLevel, LogThreshold};
use super::{finish, out};
use crate::log::{self, LogFunction};
// Under a name that the header has a C type for.
use crate::log::RawLogFunctionOrNull as LogFunctionPointer;

/// Sets the function that receives the messages of the log.
///
/// Every message that passes the threshold RPMA_LOG_THRESHOLD goes to log_function. Any thread that
/// uses the library can call it, and several threads can call it at the same time. After another
/// function is set, a call that has already begun may still run to its end.
///
/// RPMA_LOG_USE_DEFAULT_FUNCTION, that is NULL, restores the default function of the library. It
/// writes each message to syslog, and to stderr if the message passes the threshold
/// RPMA_LOG_THRESHOLD_AUX.
///
/// log_function gets the level of the message (enum rpma_log_level), the source file and line of
/// the library, the name of the public function that was called, and a format with arguments as
/// printf takes them. The formatted text ends with a newline.
///
/// See: rpma_log_set_threshold, rpma_log_get_threshold
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
/// A message passes a threshold if its level is the same or more severe. RPMA_LOG_THRESHOLD decides
/// which messages are logged at all; it is RPMA_LOG_LEVEL_WARNING at the start.
/// RPMA_LOG_THRESHOLD_AUX decides which of these the default log function also writes to stderr; it
/// is RPMA_LOG_DISABLED at the start. A log function of the program can use RPMA_LOG_THRESHOLD_AUX
/// as it likes. With RPMA_LOG_DISABLED, no message passes.
///
/// Errors:
/// - RPMA_E_INVAL: threshold is neither RPMA_LOG_THRESHOLD nor RPMA_LOG_THRESHOLD_AUX, or level is
///   not a value of its enum
///
/// See: rpma_log_get_threshold, rpma_log_set_function
#[unsafe(no_mangle)]
pub extern "C" fn rpma_log_set_threshold(threshold: LogThreshold, level: LogLevel) -> c_int {
    finish(c"rpma_log_set_threshold", || {
        log::set_threshold(threshold, level)
    })
}

/// Gets a threshold of the log.
///
/// *level is the value that rpma_log_set_threshold has set, or the one that the library starts
/// with. A log function may call this function.
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
