// SPDX-License-Identifier: BSD-3-Clause

//! Starts the program: finds it and the library, checks both, sets the environment.

mod elf;
mod exec;
mod library;
mod program;
mod symbols;

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use softrdma::instrument::settings::{
    self, BANDWIDTH, CAPS, DELAY, FAIL, FAULT, LEAKS, MR_EOPNOTSUPP, SEED, STRICT, TRACE,
    TRACE_THREADS, TRACE_TIMES,
};
use softrdma::instrument::{
    Bandwidth, Caps, FabricFault, Fault, Settings, Span, Strict, inject, trace,
};

use library::Library;

/// The command line.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) trace: Option<PathBuf>,
    pub(crate) trace_times: bool,
    pub(crate) trace_threads: bool,
    pub(crate) faults: Vec<Fault>,
    pub(crate) fabric_faults: Vec<FabricFault>,
    pub(crate) seed: Option<u64>,
    pub(crate) delay: Option<Span>,
    pub(crate) bandwidth: Option<Bandwidth>,
    pub(crate) caps: Option<Caps>,
    pub(crate) mr_eopnotsupp: bool,
    pub(crate) leaks: bool,
    pub(crate) strict: Option<Strict>,
    /// The program and its arguments.
    pub(crate) program: Vec<OsString>,
}

/// Why the program does not run.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The exit status.
    pub(crate) status: u8,
    pub(crate) text: String,
}

/// libsoftrdma.so was not found, or cannot be used.
const LIBRARY: u8 = 120;
/// The program or its libibverbs is statically linked, or it is for another C library.
const NOT_PRELOADABLE: u8 = 121;
/// The program gains privileges when it starts.
const PRIVILEGED: u8 = 122;
/// The program is for another processor architecture.
const OTHER_PROCESSOR: u8 = 123;
/// The trace file cannot be written.
const TRACE_FILE: u8 = 125;
/// The program exists but cannot be run.
const NOT_EXECUTABLE: u8 = 126;
/// The program was not found.
const NOT_FOUND: u8 = 127;

impl Problem {
    fn new(status: u8, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }
}

/// The text of an error as the C library has it, without the number that Rust appends.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "it ends too early".to_owned();
    }
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// Replaces this process with the program. Returns only on failure.
pub(crate) fn run(order: Order) -> Problem {
    match prepare(order) {
        Ok(ready) => exec::exec(ready),
        Err(problem) => problem,
    }
}

/// The arguments of `execve`.
struct Ready {
    file: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

fn prepare(order: Order) -> Result<Ready, Problem> {
    let library = library::find()?;
    let name = order
        .program
        .first()
        .map_or(OsStr::new(""), OsString::as_os_str);
    let file = program::find(name)?;
    program::check(&file, &library)?;

    let mut environment: Vec<_> = std::env::vars_os().collect();
    let mut set = |name: &str, value: OsString| {
        environment.retain(|(variable, _)| variable != name);
        environment.push((name.into(), value));
    };
    set(
        "LD_PRELOAD",
        library.preload(std::env::var_os("LD_PRELOAD")),
    );
    if let Some(directory) = library.names() {
        match symbols::unknown_to(library.path()) {
            None => set(
                "LD_LIBRARY_PATH",
                Library::in_front_of(directory.into(), std::env::var_os("LD_LIBRARY_PATH")),
            ),
            // The program runs all the same, unless it opens the library by its name.
            Some((function, soname)) => {
                // A failure to write to standard error cannot be reported anywhere.
                let _ = writeln!(
                    io::stderr(),
                    "softrdma: {soname} of this machine has a function that softrdma does not know ({function}): \
                     a program that opens it with dlopen gets that library"
                );
            }
        }
    }
    if let Some(trace) = &order.trace {
        set(TRACE, trace_file(trace)?.into());
    }
    if order.trace_times {
        set(TRACE_TIMES, "1".into());
    }
    if order.trace_threads {
        set(TRACE_THREADS, "1".into());
    }
    if !order.faults.is_empty() {
        let faults: Vec<_> = order.faults.iter().map(ToString::to_string).collect();
        set(FAIL, faults.join(",").into());
    }
    if !order.fabric_faults.is_empty() {
        let faults: Vec<_> = order
            .fabric_faults
            .iter()
            .map(ToString::to_string)
            .collect();
        set(FAULT, faults.join(",").into());
    }
    if let Some(seed) = order.seed {
        set(SEED, seed.to_string().into());
    }
    if let Some(delay) = order.delay {
        set(DELAY, delay.to_string().into());
    }
    if let Some(bandwidth) = order.bandwidth {
        set(BANDWIDTH, bandwidth.to_string().into());
    }
    if let Some(caps) = order.caps {
        set(CAPS, caps.to_string().into());
    }
    if order.mr_eopnotsupp {
        set(MR_EOPNOTSUPP, "1".into());
    }
    if order.leaks {
        set(LEAKS, "1".into());
    }
    if let Some(strict) = order.strict {
        set(STRICT, strict.to_string().into());
    }
    choose_seed_if_needed(&mut environment);
    Ok(Ready {
        file,
        arguments: order.program,
        environment,
    })
}

/// All processes of the program have the same seed, and it is printed once.
fn choose_seed_if_needed(environment: &mut Vec<(OsString, OsString)>) {
    let settings = Settings::from_variables(|name| {
        let variable = environment.iter().find(|(variable, _)| variable == name);
        variable.map(|(_, value)| value.clone())
    });
    // The library says what is wrong with invalid settings.
    if settings.is_ok_and(|settings| settings.lacks_seed()) {
        let seed = inject::choose_seed();
        inject::tell_seed(seed);
        environment.retain(|(variable, _)| variable != SEED);
        environment.push((SEED.into(), seed.to_string().into()));
    }
}

/// Makes the name of the trace file absolute, as the program may change its directory. Empties a file that all
/// processes share, as its content is from an earlier run.
fn trace_file(name: &Path) -> Result<PathBuf, Problem> {
    let failed = |error: io::Error| {
        let (name, why) = (name.display(), reason(&error));
        let text = format!("the trace file {name} cannot be written: {why}");
        Problem::new(TRACE_FILE, text)
    };
    let absolute = std::path::absolute(name).map_err(failed)?;
    let file = settings::trace_file(&absolute, std::process::id());
    trace::check(&file).map_err(failed)?;
    if settings::for_each_process(&absolute) {
        return Ok(absolute);
    }
    // Not a terminal or a pipe, as opening one may block, and not a file that standard output also goes to.
    let is_kept = fs::metadata(&file)
        .is_ok_and(|file| !file.is_file() || trace::standard_output(&file).is_some());
    if !is_kept {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&file)
            .map_err(failed)?;
    }
    Ok(absolute)
}
