// SPDX-License-Identifier: BSD-3-Clause

//! The times and thread numbers of trace lines, for those who ask for them.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What each line of a trace shows besides the call. By default nothing, since traces are compared with diff.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// When the call began, and how long it took.
    pub times: bool,
    /// The thread that made the call.
    pub threads: bool,
}

/// The stamps of one line. Displayed in front of it.
pub(super) struct Stamp {
    begun: Option<(SystemTime, Instant)>,
    thread: Option<u64>,
}

impl Stamps {
    /// A call begins.
    pub(super) fn begin(self) -> Stamp {
        Stamp {
            begun: self.times.then(|| (SystemTime::now(), Instant::now())),
            thread: self.threads.then(thread_number),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((time, _)) = self.begun {
            // Seconds since 1970: lines of several processes and machines can be merged with sort.
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            write!(f, "{}.{:06} ", since.as_secs(), since.subsec_micros())?;
        }
        if let Some(thread) = self.thread {
            write!(f, "T{thread} ")?;
        }
        Ok(())
    }
}

impl Stamp {
    /// The call has ended: how long it took goes to the end of its line.
    pub(super) fn end(&self, line: &mut String) {
        if let Some((_, begun)) = self.begun {
            let took = begun.elapsed();
            // Writing to a string cannot fail.
            let _ = write!(line, " <{}.{:06}>", took.as_secs(), took.subsec_micros());
        }
    }
}

/// The number of this thread: from 1, in the order in which threads first appear in the trace.
fn thread_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    if NUMBER.get() == 0 {
        NUMBER.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
    }
    NUMBER.get()
}
