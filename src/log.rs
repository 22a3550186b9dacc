// SPDX-License-Identifier: BSD-3-Clause

//! Logging: two thresholds, a function of the user's or the default one, and the way of a message
//! through them.
//!
//! Everything here is atomic, so that any thread may log while another changes the settings.

use std::ffi::{CStr, c_int};
use std::fmt::{self, Write as _};
use std::panic::Location;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::error::{Error, Result};
use crate::text::Text;
use crate::verbs::os;

pub(crate) use crate::verbs::os::LogFunction;

/// The levels of `enum rpma_log_level`, without `RPMA_LOG_DISABLED`: no message has that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Level {
    Error = 1,
    Warning = 2,
    Notice = 3,
    Info = 4,
    Debug = 5,
}

/// Below all levels: nothing passes.
pub(crate) const DISABLED: c_int = -1;
const MOST_VERBOSE: c_int = Level::Debug as c_int;

pub(crate) const THRESHOLD_COUNT: usize = 2;

/// Indexed by `enum rpma_log_threshold`: the main and the auxiliary threshold.
static THRESHOLDS: [AtomicI32; THRESHOLD_COUNT] = [
    AtomicI32::new(Level::Warning as c_int),
    AtomicI32::new(DISABLED),
];

fn threshold(which: c_int) -> Result<&'static AtomicI32> {
    usize::try_from(which)
        .ok()
        .and_then(|index| THRESHOLDS.get(index))
        .ok_or_else(|| Error::inval("unknown threshold"))
}

pub(crate) fn set_threshold(which: c_int, level: c_int) -> Result<()> {
    let threshold = threshold(which)?;
    if !(DISABLED..=MOST_VERBOSE).contains(&level) {
        return Err(Error::inval("unknown log level"));
    }
    threshold.store(level, Ordering::Relaxed);
    Ok(())
}

pub(crate) fn get_threshold(which: c_int) -> Result<c_int> {
    Ok(threshold(which)?.load(Ordering::Relaxed))
}

/// Whether the main threshold lets a message of this level pass.
pub(crate) fn passes(level: Level) -> bool {
    level as c_int <= THRESHOLDS[0].load(Ordering::Relaxed)
}

/// Sends messages to `function`, or to the default function for `None`.
pub(crate) fn set_function(function: Option<LogFunction>) {
    os::USER_LOG_FUNCTION.store(function);
}

/// The longest text of one message, with its newline and NUL.
const MESSAGE_MAX: usize = 1024;

/// The text of one message.
pub(crate) type Message = Text<MESSAGE_MAX>;

/// Logs one message in the name of a public function, when the main threshold lets it pass.
#[cold]
pub(crate) fn write(
    level: Level,
    at: &Location<'_>,
    function: &'static CStr,
    message: fmt::Arguments<'_>,
) {
    if passes(level) {
        write_text(level, at, function, Message::format(message));
    }
}

/// The same for a text that Rust cannot format, since it is of the program's encoding.
#[cold]
pub(crate) fn write_text(
    level: Level,
    at: &Location<'_>,
    function: &'static CStr,
    mut text: Message,
) {
    if !passes(level) {
        return;
    }
    text.end_line();
    let file = Text::<256>::format(format_args!("{}", at.file()));
    let line = c_int::try_from(at.line()).unwrap_or(0);

    match os::USER_LOG_FUNCTION.load() {
        Some(user) => user.call(
            level as c_int,
            file.as_c_str(),
            line,
            function,
            text.as_c_str(),
        ),
        None => write_default(level, at, function, text.as_c_str()),
    }
}

/// The default function: syslog always, and stderr when the auxiliary threshold lets it pass.
fn write_default(level: Level, at: &Location<'_>, function: &CStr, text: &CStr) {
    let name = at.file().rsplit('/').next().unwrap_or_default();
    let (tag, priority) = match level {
        Level::Error => ("*ERROR* ", libc::LOG_ERR),
        Level::Warning => ("*WARN*  ", libc::LOG_WARNING),
        Level::Notice => ("*NOTE*  ", libc::LOG_NOTICE),
        Level::Info => ("*INFO*  ", libc::LOG_INFO),
        Level::Debug => ("*DEBUG* ", libc::LOG_DEBUG),
    };
    let mut record = Text::<{ MESSAGE_MAX + 256 }>::format(format_args!(
        "{tag}{name}: {line:3}: {function}: ",
        line = at.line(),
        function = function.to_str().unwrap_or_default(),
    ));
    record.push(text.to_bytes());
    if level as c_int <= THRESHOLDS[1].load(Ordering::Relaxed) {
        let mut timed = Text::<{ MESSAGE_MAX + 768 }>::new();
        timed.push(os::local_time().as_bytes());
        let _ = write!(timed, "[{}] ", os::thread_id());
        timed.push(record.as_bytes());
        os::write_stderr(timed.as_c_str());
    }
    os::write_syslog(priority, record.as_c_str());
}

/// Logs a message that is no error of the function: `log!(Notice, c"rpma_ep_listen", "…", …)`.
macro_rules! log {
    ($level:ident, $function:expr, $($message:tt)+) => {
        if $crate::log::passes($crate::log::Level::$level) {
            $crate::log::write(
                $crate::log::Level::$level,
                std::panic::Location::caller(),
                $function,
                format_args!($($message)+),
            );
        }
    };
}
pub(crate) use log;
