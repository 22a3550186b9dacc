// SPDX-License-Identifier: BSD-3-Clause

//! What tests see and change: the trace of the calls, injected failures, the device's capabilities.
//!
//! Every function that a program calls goes through [`call`] (or [`call_then`], [`poll`]), which counts
//! it, fails it if that was asked for, and writes its line of the trace. What is asked for stands in the
//! environment ([`settings`]). When that is nothing, a call costs one load more.
//!
//! A call made while another one is under way on the same thread is a detail of that one: it is neither
//! counted nor traced.

pub mod calls;
pub mod errno;
pub mod live;
pub mod names;
pub mod settings;
pub mod trace;

use std::cell::Cell;
use std::ffi::c_int;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

pub use calls::CALLS;
pub use settings::{Caps, Fault, Settings};

use calls::Call;
use trace::Trace;

/// Counts the call, fails it if asked to (then `body` is not run), runs `body`, writes the trace line.
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

/// As [`call`]; `found` adds what the call gave to its line, for example the type of an event.
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

/// As [`call_then`], for calls that programs repeat until there is something: no line is written when
/// `found` says that there was nothing, or when the call fails with `EAGAIN`. How many of those there
/// are depends on the time, and the traces of two runs would never be equal.
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
        let mut line = Args::new(name);
        args(&mut line);
        line.text.push_str(")\n");
        trace.write(&line.text);
    }
}

/// Counts a call of the kernel that is made for a program, whatever that does meanwhile, and says whether
/// it has to fail. It is in no trace.
#[inline]
pub(crate) fn fails(name: &'static str) -> bool {
    !is_off() && calls::find(name).is_some_and(|call| state().fault(call).is_some())
}

/// The optional capabilities that the device reports.
#[inline]
pub fn caps() -> Caps {
    state().caps
}

/// Says at exit what the program has not given back, when that was asked for.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = {
    extern "C" fn at_exit() {
        let list = live::LIVE.list();
        if state().leaks && !list.is_empty() {
            // Nobody is there to be told if this fails.
            let _ = writeln!(std::io::stderr(), "softrdma: not destroyed: {list}");
        }
    }
    at_exit
};

/// Whether connections stay on TCP, also within one host.
pub(crate) fn socket_only() -> bool {
    state().socket_only
}

/// How long a client waits for an answer, if not as long as usual.
pub(crate) fn cm_timeout() -> Option<Duration> {
    state().cm_timeout
}

/// Whether memory can be registered for on-demand paging only; else that fails with `EOPNOTSUPP`.
#[inline]
pub fn mr_eopnotsupp() -> bool {
    state().mr_eopnotsupp
}

/// The arguments of a call, as its line of the trace shows them.
#[derive(Debug)]
pub struct Args {
    text: String,
    /// Nothing stands before the next argument that it must be kept apart from.
    first: bool,
}

impl Args {
    fn new(name: &str) -> Self {
        let mut text = String::with_capacity(120);
        text.push_str(name);
        text.push('(');
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

    /// Bits by their names, for example those of [`names::ACCESS`].
    pub fn bits(&mut self, name: &'static str, value: u64, names: &[(u64, &str)]) {
        self.add(name, names::Bits(value, names));
    }

    /// A value by its name, for example one of [`names::WR_OPCODE`].
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

    /// Bytes, by a short hash of them; nothing if there are none.
    pub fn bytes(&mut self, name: &'static str, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.add(name, format_args!("{:#010x}", hash(bytes)));
        }
    }

    /// The number that a program gave to a request, unless it is an address: those are never as low.
    pub fn wr_id(&mut self, value: u64) {
        const LOWEST_ADDRESS: u64 = 1 << 16;
        if value < LOWEST_ADDRESS {
            self.num("wr_id", value);
        }
    }

    /// A text. It cannot break the line.
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

/// FNV-1a: for telling apart what two traces have, with nothing to be kept secret.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

// --- What was asked for -----------------------------------------------------------------------------

/// The settings at work.
struct State {
    trace: Option<Trace>,
    faults: Vec<Armed>,
    caps: Caps,
    mr_eopnotsupp: bool,
    leaks: bool,
    socket_only: bool,
    cm_timeout: Option<Duration>,
}

/// A failure that was asked for, and how many calls it has seen.
struct Armed {
    fault: Fault,
    seen: AtomicU64,
}

static STATE: OnceLock<State> = OnceLock::new();

/// Whether calls have to be looked at; known once the settings were read.
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
        // The settings of a program that was started with bad ones are refused at its start (below).
        let state = State::new(Settings::from_environment().unwrap_or_default());
        let observed = state.trace.is_some() || !state.faults.is_empty();
        MODE.store(if observed { ON } else { OFF }, Ordering::Relaxed);
        state
    })
}

impl State {
    fn new(settings: Settings) -> Self {
        if !settings.faults.is_empty() || settings.leaks || settings.trace.is_some() {
            // SAFETY: the handler only stores to atomics.
            unsafe { libc::pthread_atfork(None, None, Some(count_anew)) };
        }
        Self {
            trace: settings.trace.as_deref().map(Trace::new),
            faults: settings
                .faults
                .into_iter()
                .map(|fault| Armed {
                    fault,
                    seen: AtomicU64::new(0),
                })
                .collect(),
            caps: settings.caps,
            mr_eopnotsupp: settings.mr_eopnotsupp,
            leaks: settings.leaks,
            socket_only: settings.socket_only,
            cm_timeout: settings.cm_timeout,
        }
    }

    /// Counts a call; the errno that it has to fail with, if it is the one.
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

/// A child counts its own calls and objects; those that it has copies of are the parent's.
extern "C" fn count_anew() {
    live::LIVE.forget();
    if let Some(state) = STATE.get() {
        for armed in &state.faults {
            armed.seen.store(0, Ordering::Relaxed);
        }
    }
}

/// The exit status of a program that was started with settings that cannot be understood.
const BAD_SETTINGS: c_int = 2;
/// That of one whose trace cannot be written.
pub const TRACE_FILE: c_int = 125;

fn refuse(problem: &str, status: c_int) {
    // Nobody is there to be told if this fails.
    let _ = writeln!(std::io::stderr(), "softrdma: {problem}");
    // SAFETY: ends the process, without what other libraries do at exit: this one may have been loaded
    // before them.
    unsafe { libc::_exit(status) };
}

/// Reads the settings when the library is loaded, before `main`. A program that was started with
/// settings that cannot be understood, or whose trace cannot be written, ends here: a test that injects
/// nothing, or compares nothing, would pass without a word.
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

// --- A call that is looked at -----------------------------------------------------------------------

thread_local! {
    /// A call is under way on this thread.
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
        let Some(_inside) = Inside::enter() else {
            return body();
        };
        let line = self.trace.as_ref().map(|trace| {
            let mut line = Args::new(name);
            args(&mut line);
            line.text.push(')');
            (trace, line)
        });
        let injected = calls::find(name).and_then(|call| self.fault(call));
        let result = match injected {
            Some(errno) => Err(errno),
            None => body(),
        };
        if let Some((trace, mut line)) = line {
            if line.result(&result, injected.is_some(), found) {
                trace.write(&line.text);
            }
        }
        result
    }
}

impl Args {
    /// Completes the line; whether it is worth writing.
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
        self.text.push('\n');
        true
    }
}

#[cfg(test)]
mod tests;
