// SPDX-License-Identifier: BSD-3-Clause

//! Strict mode: whether it is on, and the lines of what it finds. What is looked for is in `objects::strict`.

use crate::os::warning::warn;
use std::fmt::Display;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::Strict;

/// Set once, when the settings are read: 0 is off.
static MODE: AtomicU8 = AtomicU8::new(0);
const REPORT: u8 = 1;
const ABORT: u8 = 2;

/// As many lines as anybody reads. A program that repeats its error would print one for each request.
const MOST_LINES: u32 = 100;
static LINES: AtomicU32 = AtomicU32::new(0);

pub(super) fn set(strict: Strict) {
    let mode = match strict {
        Strict::Off => 0,
        Strict::Report => REPORT,
        Strict::Abort => ABORT,
    };
    MODE.store(mode, Ordering::Relaxed);
}

/// Whether errors that softrdma forgives are looked for. All that strict mode costs when it is off.
#[inline]
pub(crate) fn is_on() -> bool {
    MODE.load(Ordering::Relaxed) != 0
}

/// Reports an error of the program. With `--strict=abort` the process ends here.
#[cold]
pub(crate) fn finding(text: &dyn Display) {
    write(&format!("strict: {text}"));
    if MODE.load(Ordering::Relaxed) == ABORT {
        std::process::abort();
    }
}

/// Reports what may become an error, but is none yet.
#[cold]
pub(crate) fn warning(text: &dyn Display) {
    write(&format!("strict: warning: {text}"));
}

fn write(text: &str) {
    let before = LINES.fetch_add(1, Ordering::Relaxed);
    if before < MOST_LINES {
        warn(text);
    } else if before == MOST_LINES {
        warn("strict: more was found, which is not printed");
    }
}
