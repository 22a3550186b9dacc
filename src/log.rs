// SPDX-License-Identifier: BSD-3-Clause

//! Logging: two thresholds, and the function of the program or the default function. A message is formatted only
//! if it passes the threshold.
//!
//! All settings are atomic, because any thread may log while another thread changes them.

use std::ffi::{CStr, c_int};
use std::panic::Location;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::error::{Error, Result};
use crate::sys::{Text, log_function, log_output};

pub(crate) use crate::sys::log_function::{LogFunction, RawLogFunctionOrNull, set as set_function};

/// The levels of `enum rpma_log_level`, without `RPMA_LOG_DISABLED` and `RPMA_LOG_LEVEL_FATAL`, which no message
/// has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Level {
    Error = 1,
    Warning = 2,
    Notice = 3,
    Info = 4,
    Debug = 5,
}

/// Below all levels, so that no message passes.
pub(crate) const DISABLED: c_int = -1;
const MOST_VERBOSE: c_int = Level::Debug as c_int;

/// The thresholds of `enum rpma_log_threshold`: indices of [`THRESHOLDS`].
pub(crate) const MAIN: usize = 0;
pub(crate) const AUXILIARY: usize = 1;
pub(crate) const THRESHOLD_COUNT: usize = 2;

static THRESHOLDS: [AtomicI32; THRESHOLD_COUNT] = [
    AtomicI32::new(Level::Warning as c_int),
    AtomicI32::new(DISABLED),
];

fn threshold(which: c_int) -> Result<&'static AtomicI32> {
    usize::try_from(which)
        .ok()
        .and_then(|index| THRESHOLDS.get(index))
        .ok_or_else(|| Error::invalid("unknown threshold"))
}

pub(crate) fn set_threshold(which: c_int, level: c_int) -> Result<()> {
    let threshold = threshold(which)?;
    if !(DISABLED..=MOST_VERBOSE).contains(&level) {
        return Err(Error::invalid("unknown log level"));
    }
    threshold.store(level, Ordering::Relaxed);
    Ok(())
}

pub(crate) fn get_threshold(which: c_int) -> Result<c_int> {
    Ok(threshold(which)?.load(Ordering::Relaxed))
}

/// Whether the main threshold lets a message of this level pass.
#[inline]
pub(crate) fn passes(level: Level) -> bool {
    level as c_int <= THRESHOLDS[MAIN].load(Ordering::Relaxed)
}

fn goes_to_stderr(level: Level) -> bool {
    level as c_int <= THRESHOLDS[AUXILIARY].load(Ordering::Relaxed)
}

/// The maximum length of the text of a message, with its newline.
const MESSAGE_MAX: usize = 815;
/// The maximum length of the prefix: time, thread, level, file, line and function.
const PREFIX_MAX: usize = 208;

/// A message with its prefix. The stack of the thread that logs can be small, so it holds only one of these.
pub(crate) type Line = Text<{ PREFIX_MAX + MESSAGE_MAX + 1 }>;

/// Logs one message in the name of a public function: `compose` adds its text to the line. The caller checks
/// before with `passes` that the level passes, so that it need not prepare arguments for nothing.
#[cold]
#[inline(never)]
pub(crate) fn write(
    level: Level,
    at: &Location<'_>,
    function: &'static CStr,
    compose: &dyn Fn(&mut Line),
) {
    let mut line = Line::new();
    line.limit(PREFIX_MAX);
    match log_function::current() {
        Some(user) => {
            // The name of the file as a C string, and then the text.
            line.push(at.file().as_bytes());
            line.end_string();
            let start = finish(&mut line, compose);
            user.call(
                level as c_int,
                line.c_str_at(0),
                c_int::try_from(at.line()).unwrap_or(0),
                function,
                line.c_str_at(start),
            );
        }
        None => write_default(level, at, function, &mut line, compose),
    }
}

/// Adds the message and its newline; returns where it starts.
fn finish(line: &mut Line, compose: &dyn Fn(&mut Line)) -> usize {
    let start = line.len();
    line.limit(MESSAGE_MAX);
    compose(line);
    line.end_line();
    start
}

/// The default function: syslog always, and stderr when the auxiliary threshold lets the message pass.
// Not inlined, so that a function of the program has more stack.
#[inline(never)]
fn write_default(
    level: Level,
    at: &Location<'_>,
    function: &CStr,
    line: &mut Line,
    compose: &dyn Fn(&mut Line),
) {
    let (tag, priority) = match level {
        Level::Error => ("*ERROR* ", libc::LOG_ERR),
        Level::Warning => ("*WARN*  ", libc::LOG_WARNING),
        Level::Notice => ("*NOTE*  ", libc::LOG_NOTICE),
        Level::Info => ("*INFO*  ", libc::LOG_INFO),
        Level::Debug => ("*DEBUG* ", libc::LOG_DEBUG),
    };
    let to_stderr = goes_to_stderr(level);
    if to_stderr {
        log_output::push_local_time(line);
        line.format(format_args!("[{}] ", log_output::thread_id()));
    }
    let record = line.len();
    line.push(tag.as_bytes());
    line.push(at.file().rsplit('/').next().unwrap_or_default().as_bytes());
    line.format(format_args!(": {:3}: ", at.line()));
    line.push(function.to_bytes());
    line.push(b": ");
    finish(line, compose);
    if to_stderr {
        log_output::write_stderr(line.c_str_at(0));
    }
    log_output::write_syslog(priority, line.c_str_at(record));
}

/// Logs a message that is not an error: `log!(Notice, c"rpma_ep_listen", "…", …)`.
macro_rules! log {
    ($level:ident, $function:expr, $($message:tt)+) => {
        if $crate::log::passes($crate::log::Level::$level) {
            $crate::log::write(
                $crate::log::Level::$level,
                std::panic::Location::caller(),
                $function,
                &|line| line.format(format_args!($($message)+)),
            );
        }
    };
}
pub(crate) use log;
