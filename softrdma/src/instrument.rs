// SPDX-License-Identifier: BSD-3-Clause

//! Instrumentation for tests: traces of calls, injected failures, the capabilities of the device.
//!
//! Every function that a program calls goes through [`call`] (or [`call_then`], [`poll`]), which counts
//! it, makes it fail if the settings say so, and writes its line of the trace. The settings come from the
//! environment ([`settings`]). Without any, the cost of a call is one load.
//!
//! A call made inside another one on the same thread is an implementation detail of the outer call: it is
//! neither counted nor traced.

pub mod calls;
pub mod errno;
pub mod fault;
pub mod inject;
pub mod live;
pub mod names;
pub mod pace;
pub mod settings;
pub mod stamp;
pub(crate) mod strict;
pub mod trace;
pub mod units;

use std::cell::Cell;
use std::ffi::c_int;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

pub use calls::CALLS;
pub use fault::FabricFault;
pub use settings::{Caps, Fault, Settings, Strict};
pub use units::{Bandwidth, Span};

use calls::Call;
use inject::Faults;
use stamp::Stamp;
use trace::Trace;

use crate::os::cancel::Hold;

/// Counts the call, runs `body` unless a failure is injected, and writes the trace line.
#[inline]
pub fn call<T>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<T, c_int>,
) -> Result<T, c_int> {
    if is_off() {
        return body();
    }
    observed(name, args, body, |_, _| true)
}

/// As [`call`]; `found` adds the result of the call to its line, for example the type of an event.
#[inline]
pub fn call_then<T>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<T, c_int>,
    found: impl FnOnce(&T, &mut Args),
) -> Result<T, c_int> {
    if is_off() {
        return body();
    }
    observed(name, args, body, |value, line| {
        found(value, line);
        true
    })
}

/// As [`call_then`], for calls that programs repeat until they find something: no line is written when
/// `found` returns false, or when the call fails with `EAGAIN`. The number of such calls depends on timing,
/// and the traces of two runs would never be equal.
#[inline]
pub fn poll<T>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<T, c_int>,
    found: impl FnOnce(&T, &mut Args) -> bool,
) -> Result<T, c_int> {
    if is_off() {
        return body();
    }
    polled(name, args, body, found)
}

/// Writes a line to the trace that is not a call: `name(arguments)`.
#[inline]
pub fn note(name: &'static str, args: impl FnOnce(&mut Args)) {
    if is_off() {
        return;
    }
    if let Some(trace) = &state().trace {
        let _uncancelled = Hold::new();
        let mut line = Args::new(&trace.stamps.begin(), name);
        args(&mut line);
        line.text.push_str(")\n");
        trace.write(&line.text);
    }
}

/// Counts a system call that the library makes outside any call of the program, and returns the error to
/// inject, if any. It is not traced.
#[inline]
pub(crate) fn fails(name: &'static str) -> bool {
    !is_off() && calls::find(name).is_some_and(|call| state().fault(call).is_some())
}

/// The optional capabilities that the device reports.
#[inline]
pub fn caps() -> Caps {
    state().caps
}

/// Lists the objects that the program has not destroyed, at exit and if the settings say so.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = {
    extern "C" fn at_exit() {
        let list = live::LIVE.list();
        if state().leaks && !list.is_empty() {
            // A failure to write to standard error cannot be reported anywhere.
            let _ = writeln!(std::io::stderr(), "softrdma: not destroyed: {list}");
        }
    }
    at_exit
};

/// Whether connections use TCP only, also within one host.
pub(crate) fn socket_only() -> bool {
    state().socket_only
}

/// Whether the owner of the memory executes all requests (`SOFTRDMA_DIRECT=0`).
pub(crate) fn not_direct() -> bool {
    state().not_direct
}

/// How long a client waits for an answer, if not the default.
pub(crate) fn cm_timeout() -> Option<Duration> {
    state().cm_timeout
}

/// Whether registering memory fails with `EOPNOTSUPP` unless it is for on-demand paging.
#[inline]
pub fn mr_eopnotsupp() -> bool {
    state().mr_eopnotsupp
}

/// The arguments of a call, formatted for the trace.
#[derive(Debug)]
pub struct Args {
    text: String,
    /// The next argument is the first one: no comma before it.
    first: bool,
}

impl Args {
    fn new(stamp: &Stamp, name: &str) -> Self {
        let mut text = String::with_capacity(120);
        // Writing to a string cannot fail.
        let _ = write!(text, "{stamp}{name}(");
        Self { text, first: true }
    }

    fn name(&mut self, name: &str) {
        if !self.first {
            self.text.push_str(", ");
        }
        self.first = false;
        self.text.push_str(name);
        self.text.push('=');
    }

    fn add(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{value}");
    }

    /// A number.
    pub fn num(&mut self, name: &'static str, value: impl Into<i128>) {
        self.add(name, value.into());
    }

    /// Bits, in hexadecimal.
    pub fn flags(&mut self, name: &'static str, value: u64) {
        self.add(name, format_args!("{value:#x}"));
    }

    /// Flags by name, for example those of [`names::ACCESS`].
    pub fn bits(&mut self, name: &'static str, value: u64, names: &[(u64, &str)]) {
        self.add(name, names::Bits(value, names));
    }

    /// A value by name, for example one of [`names::WR_OPCODE`].
    pub fn one_of(&mut self, name: &'static str, value: u64, names: &[(u64, &str)]) {
        self.add(name, names::OneOf(value, names));
    }

    /// An object by its running number, or none.
    pub fn object(&mut self, name: &'static str, number: Option<u64>) {
        match number {
            Some(number) => self.add(name, format_args!("#{number}")),
            None => self.add(name, "none"),
        }
    }

    /// The bytes' hash of 32 bits; nothing if there are no bytes.
    pub fn bytes(&mut self, name: &'static str, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.add(name, format_args!("{:#010x}", hash(bytes)));
        }
    }

    /// A `wr_id`, unless it may be an address: addresses are above 65535 and differ between runs.
    pub fn wr_id(&mut self, value: u64) {
        const LOWEST_ADDRESS: u64 = 1 << 16;
        if value < LOWEST_ADDRESS {
            self.num("wr_id", value);
        }
    }

    /// A text, with escapes for newlines and the like.
    pub fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        for c in value.chars() {
            if c.is_control() {
                self.text.extend(c.escape_default());
            } else {
                self.text.push(c);
            }
        }
    }
}

/// FNV-1a. It only has to show differences between traces; it protects no secret.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

// --- Settings in effect ------------------------------------------------------------------------------

/// The settings in effect.
struct State {
    trace: Option<Trace>,
    faults: Vec<Armed>,
    fabric_faults: Faults,
    caps: Caps,
    mr_eopnotsupp: bool,
    leaks: bool,
    socket_only: bool,
    not_direct: bool,
    cm_timeout: Option<Duration>,
}

/// A failure to inject, and the number of its calls so far.
struct Armed {
    fault: Fault,
    seen: AtomicU64,
}

static STATE: OnceLock<State> = OnceLock::new();

/// Whether calls are counted or traced; known once the settings have been read.
static MODE: AtomicU8 = AtomicU8::new(UNREAD);
const UNREAD: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

#[inline]
fn is_off() -> bool {
    match MODE.load(Ordering::Relaxed) {
        OFF => true,
        ON => false,
        _ => is_off_unread(),
    }
}

#[cold]
fn is_off_unread() -> bool {
    let state = state();
    state.trace.is_none() && state.faults.is_empty()
}

#[inline]
fn state() -> &'static State {
    STATE.get_or_init(|| {
        // Invalid settings have already ended the program when it started (below).
        let settings = Settings::from_environment().unwrap_or_default();
        strict::set(settings.strict);
        let state = State::new(settings);
        let observed = state.trace.is_some() || !state.faults.is_empty();
        MODE.store(if observed { ON } else { OFF }, Ordering::Relaxed);
        state
    })
}

impl State {
    fn new(settings: Settings) -> Self {
        settings.link.install();
        if !settings.faults.is_empty()
            || !settings.fabric_faults.is_empty()
            || settings.leaks
            || settings.trace.is_some()
        {
            // SAFETY: the handler only stores to atomics.
            unsafe { libc::pthread_atfork(None, None, Some(count_anew)) };
        }
        Self {
            trace: settings
                .trace
                .as_deref()
                .map(|name| Trace::new(name, settings.trace_stamps)),
            faults: settings
                .faults
                .into_iter()
                .map(|fault| Armed {
                    fault,
                    seen: AtomicU64::new(0),
                })
                .collect(),
            fabric_faults: Faults::new(settings.fabric_faults, settings.seed),
            caps: settings.caps,
            mr_eopnotsupp: settings.mr_eopnotsupp,
            leaks: settings.leaks,
            socket_only: settings.socket_only,
            not_direct: settings.not_direct,
            cm_timeout: settings.cm_timeout,
        }
    }

    /// Counts a call; returns the errno to inject, if it is the Nth one.
    fn fault(&self, call: &'static Call) -> Option<c_int> {
        let mut injected = None;
        for armed in &self.faults {
            if armed.fault.counts(call) {
                let seen = armed.seen.fetch_add(1, Ordering::Relaxed) + 1;
                if seen == armed.fault.nth && injected.is_none() {
                    injected = Some(armed.fault.errno_for(call));
                }
            }
        }
        injected
    }
}

/// A child of `fork` counts from 0: the objects that it has copies of belong to its parent.
extern "C" fn count_anew() {
    live::LIVE.forget();
    if let Some(state) = STATE.get() {
        for armed in &state.faults {
            armed.seen.store(0, Ordering::Relaxed);
        }
        state.fabric_faults.count_anew();
    }
}

/// The exit status of a program that was started with invalid settings.
const BAD_SETTINGS: c_int = 2;
/// The exit status of a program whose trace file cannot be written.
pub const TRACE_FILE: c_int = 125;

fn refuse(problem: &str, status: c_int) {
    // A failure to write to standard error cannot be reported anywhere.
    let _ = writeln!(std::io::stderr(), "softrdma: {problem}");
    // SAFETY: ends the process, without what other libraries do at exit: this one may have been loaded
    // before them.
    unsafe { libc::_exit(status) };
}

/// Reads the settings when the library is loaded, before `main`. With invalid settings, or a trace file that
/// cannot be written, the program ends here: otherwise a test would pass although no failure is injected or
/// no trace is compared.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = {
    extern "C" fn at_load() {
        match Settings::from_environment() {
            Ok(_) => match state().trace.as_ref().map(Trace::check) {
                None | Some(Ok(())) => {}
                Some(Err(problem)) => refuse(&problem, TRACE_FILE),
            },
            Err(problem) => refuse(&problem, BAD_SETTINGS),
        }
    }
    at_load
};

// --- Counting and tracing a call ---------------------------------------------------------------------

thread_local! {
    /// Whether a call is in progress on this thread.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

struct Inside;

impl Inside {
    fn enter() -> Option<Self> {
        if INSIDE.replace(true) {
            None
        } else {
            Some(Self)
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

#[cold]
fn observed<T>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<T, c_int>,
    found: impl FnOnce(&T, &mut Args) -> bool,
) -> Result<T, c_int> {
    state().observe(name, args, body, found)
}

#[cold]
fn polled<T>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<T, c_int>,
    found: impl FnOnce(&T, &mut Args) -> bool,
) -> Result<T, c_int> {
    state().poll(name, args, body, found)
}

impl State {
    fn poll<T>(
        &self,
        name: &'static str,
        args: impl FnOnce(&mut Args),
        body: impl FnOnce() -> Result<T, c_int>,
        found: impl FnOnce(&T, &mut Args) -> bool,
    ) -> Result<T, c_int> {
        let body = || match body() {
            Err(libc::EAGAIN) => Ok(Err(libc::EAGAIN)),
            other => other.map(Ok),
        };
        self.observe(name, args, body, |outcome, line| {
            outcome.as_ref().is_ok_and(|value| found(value, line))
        })?
    }

    fn observe<T>(
        &self,
        name: &'static str,
        args: impl FnOnce(&mut Args),
        body: impl FnOnce() -> Result<T, c_int>,
        found: impl FnOnce(&T, &mut Args) -> bool,
    ) -> Result<T, c_int> {
        // The thread may be cancelled where it waits for an event, but not while it writes a line.
        let _uncancelled = Hold::new();
        let Some(_inside) = Inside::enter() else {
            return body();
        };
        let line = self.trace.as_ref().map(|trace| {
            let stamp = trace.stamps.begin();
            let mut line = Args::new(&stamp, name);
            args(&mut line);
            line.text.push(')');
            (trace, line, stamp)
        });
        let injected = calls::find(name).and_then(|call| self.fault(call));
        let result = match injected {
            Some(errno) => Err(errno),
            None => body(),
        };
        if let Some((trace, mut line, stamp)) = line {
            if line.result(&result, injected.is_some(), found) {
                stamp.end(&mut line.text);
                line.text.push('\n');
                trace.write(&line.text);
            }
        }
        result
    }
}

impl Args {
    /// Adds the result; returns whether the line is to be written.
    fn result<T>(
        &mut self,
        result: &Result<T, c_int>,
        injected: bool,
        found: impl FnOnce(&T, &mut Args) -> bool,
    ) -> bool {
        match result {
            Ok(value) => {
                self.text.push_str(" = ok (");
                self.first = true;
                if !found(value, self) {
                    return false;
                }
                if self.first {
                    // Nothing to add.
                    self.text.truncate(self.text.len() - " (".len());
                } else {
                    self.text.push(')');
                }
            }
            Err(errno) => {
                let _ = write!(self.text, " = {}", errno::Errno(*errno));
                if injected {
                    self.text.push_str(" (injected)");
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
