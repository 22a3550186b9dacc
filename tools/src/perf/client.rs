// SPDX-License-Identifier: BSD-3-Clause

//! The client: connects, measures, tells.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::measure::{Case, Measured, Plan, Shared, Worker};
use super::report::{self, Row};
use super::{Error, Op, Result, Wait, chart, no_device};
use crate::rpma::{self, Context, FlushType, Peer};
use crate::{complain, print, signals, units};

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    /// The address of the server.
    pub addr: String,
    /// Its port.
    pub port: u16,
    /// What to measure.
    pub ops: Vec<Op>,
    /// In which sizes.
    pub sizes: Vec<u64>,
    /// How many operations are under way on each connection.
    pub depth: u16,
    /// How many threads, each with a connection.
    pub threads: u16,
    /// How long each measurement takes.
    pub duration: Duration,
    /// How to wait for completions.
    pub wait: Wait,
    /// Which flush.
    pub flush: FlushType,
    /// The file that data is written from and read to.
    pub file: Option<PathBuf>,
    /// Measure without librpma, too.
    pub raw: bool,
    /// JSON instead of a table.
    pub json: bool,
    /// Where to draw a chart.
    pub svg: Option<PathBuf>,
}

/// How often librpma and raw verbs take turns at most, so that what changes on the machine meanwhile concerns both.
const MOST_TURNS: u32 = 20;

/// How often the user is told what is going on.
const OFTEN: Duration = Duration::from_millis(200);

/// How long a turn is at least.
const TURN: Duration = Duration::from_millis(50);

/// Measures all that was asked for. What was measured before an error is told, too.
pub fn run(options: &Options) -> Result<()> {
    signals::watch().map_err(|error| Error::System("signals", error))?;
    let cases = cases(options);
    let context =
        Context::remote(&options.addr).map_err(|failure| no_device(&options.addr, &failure))?;
    let peer = Peer::new(context)?;
    let plan = Plan {
        addr: &options.addr,
        port: options.port,
        depth: options.depth,
        size: cases.iter().map(|case| case.size).max().unwrap_or(8),
        sends: options.ops.contains(&Op::Send),
        flush: options.flush,
        wait: options.wait,
        file: options.file.as_deref(),
    };
    let mut workers = Vec::new();
    for _ in 0..options.threads {
        workers.push(Worker::new(&peer, &plan)?);
    }

    let mut rows = Vec::new();
    let progress = Progress::new(options);
    let mut printed = options.json || print(&report::header());
    let mut outcome = Ok(());
    for case in cases {
        match measure(&mut workers, case, options, context, &progress) {
            Ok(row) => {
                progress.clear();
                printed = printed && (options.json || print(&row.text()));
                rows.push(row);
            }
            Err(error) => {
                progress.clear();
                outcome = Err(error);
                break;
            }
        }
    }
    if outcome.is_ok() {
        for worker in workers {
            worker.close()?;
        }
    }
    if options.json {
        let text = format!("{:#}\n", to_json(options, &rows, outcome.as_ref().err()));
        printed = print(&text);
    }
    if let (Some(path), false) = (&options.svg, rows.is_empty()) {
        let written = fs::write(path, chart::svg(&title(options), &rows));
        written.map_err(|error| Error::Other(format!("{}: {error}", path.display())))?;
    }
    if outcome.is_ok() && !printed {
        return Err(Error::Other("the results could not be printed".into()));
    }
    outcome
}

/// An atomic write has 8 bytes, whatever the sizes of the others.
fn cases(options: &Options) -> Vec<Case> {
    let mut cases = Vec::new();
    for &op in &options.ops {
        match op {
            Op::AtomicWrite => cases.push(Case { op, size: 8 }),
            _ => cases.extend(options.sizes.iter().map(|&size| Case { op, size })),
        }
    }
    cases
}

fn measure(
    workers: &mut [Worker],
    case: Case,
    options: &Options,
    context: Context,
    progress: &Progress,
) -> Result<Row> {
    let shared = Shared::default();
    let mut copied = options.raw;
    for worker in workers.iter_mut() {
        // SAFETY: this is the only thread now.
        copied &= unsafe { worker.warm_up(case, &shared, options.raw.then_some(context))? };
    }
    if options.raw && !copied {
        complain(format_args!(
            "rpma-perf: {}: this device has it as an operation of its own, which is not posted by ibv_post_send: \
             not measured without librpma",
            case.op.name()
        ));
    }

    let mut librpma = Measured::new()?;
    let mut raw = if copied { Some(Measured::new()?) } else { None };
    let mut costs = Vec::new();
    let possible =
        u32::try_from(options.duration.as_millis() / TURN.as_millis()).unwrap_or(MOST_TURNS);
    let turns = if copied {
        possible.clamp(2, MOST_TURNS)
    } else {
        1
    };
    let time = options.duration / turns;
    let begin = Instant::now();
    let mut before = 0;
    let mut once = |by_verbs| -> Result<Measured> {
        let mut measured = Measured::new()?;
        at_once(workers, case, time, by_verbs, &mut measured, |operations| {
            progress.tell(case, before + operations, begin);
        })?;
        before += measured.operations();
        Ok(measured)
    };
    for turn in 0..turns {
        let Some(raw) = &mut raw else {
            librpma = once(false)?;
            break;
        };
        // One begins, then the other, so that neither has the better place.
        let (with, without) = if turn % 2 == 0 {
            let with = once(false)?;
            (with, once(true)?)
        } else {
            let without = once(true)?;
            (once(false)?, without)
        };
        costs.extend(report::cost(&with, &without, options.depth));
        librpma.add(&with)?;
        raw.add(&without)?;
    }
    let cost = report::median(&mut costs);
    Ok(Row {
        op: case.op,
        size: case.size,
        librpma,
        raw,
        cost,
    })
}

/// All workers at the same time, each on a thread.
fn at_once(
    workers: &mut [Worker],
    case: Case,
    time: Duration,
    by_verbs: bool,
    into: &mut Measured,
    tell: impl Fn(u64),
) -> Result<()> {
    let shared = Shared::default();
    let results = thread::scope(|scope| {
        let (done, ends) = mpsc::channel();
        let mut started = 0;
        for worker in workers.iter_mut() {
            let (done, shared) = (done.clone(), &shared);
            let spawned = thread::Builder::new().spawn_scoped(scope, move || {
                let result = Measured::new().and_then(|mut measured| {
                    let result = match by_verbs {
                        false => worker.by_librpma(case, time, shared, &mut measured),
                        true => worker.by_verbs(time, shared, &mut measured),
                    };
                    result.map(|()| measured)
                });
                if result.is_err() {
                    shared.stop.store(true, Ordering::Relaxed);
                }
                // The receiver stays until all have sent.
                let _ = done.send(result);
            });
            match spawned {
                Ok(_) => started += 1,
                Err(error) => {
                    shared.stop.store(true, Ordering::Relaxed);
                    let _ = done_with(&ends, started);
                    return Err(Error::System("thread", error));
                }
            }
        }
        let mut results = Vec::new();
        while results.len() < started {
            match ends.recv_timeout(OFTEN) {
                Ok(result) => results.push(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            tell(shared.operations.load(Ordering::Relaxed));
        }
        Ok(results)
    })?;

    let mut longest = Duration::ZERO;
    let mut failure = None;
    for result in results {
        match result {
            Ok(measured) => {
                into.latency
                    .add(&measured.latency)
                    .map_err(|error| Error::Other(error.to_string()))?;
                longest = longest.max(measured.time);
            }
            // The others stop because of the first.
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    into.time = longest;
    failure.map_or(Ok(()), Err)
}

/// Waits for threads that were started before one could not be.
fn done_with<T>(ends: &mpsc::Receiver<T>, number: usize) -> usize {
    (0..number).filter(|_| ends.recv().is_ok()).count()
}

fn title(options: &Options) -> String {
    let wait = match options.wait {
        Wait::Poll => "polling",
        Wait::Event => "events",
    };
    format!(
        "librpma to {}: latency (depth {}, {} thread{}, {wait})",
        options.addr,
        options.depth,
        options.threads,
        if options.threads == 1 { "" } else { "s" }
    )
}

fn to_json(options: &Options, rows: &[Row], error: Option<&Error>) -> Value {
    let (library, own) = rpma::library();
    json!({
        "library": { "path": library, "original": !own },
        "server": { "address": options.addr, "port": options.port },
        "options": {
            "depth": options.depth,
            "threads": options.threads,
            "seconds": options.duration.as_secs_f64(),
            "wait": match options.wait { Wait::Poll => "poll", Wait::Event => "event" },
            "flush": match options.flush {
                FlushType::Persistent => "persistent",
                FlushType::Visibility => "visibility",
            },
            "file": options.file.as_ref().map(|path| path.display().to_string()),
        },
        "results": rows.iter().map(Row::json).collect::<Vec<_>>(),
        "error": error.map(ToString::to_string),
    })
}

/// What is going on, on standard error: a line that is written over and over on a terminal; elsewhere a line when a
/// measurement begins to take long, and every ten seconds.
struct Progress {
    terminal: bool,
    total: Duration,
    last: std::cell::Cell<Option<Instant>>,
}

impl Progress {
    fn new(options: &Options) -> Self {
        let sides = if options.raw { 2 } else { 1 };
        Self {
            terminal: io::stderr().is_terminal(),
            total: options.duration * sides,
            last: std::cell::Cell::new(None),
        }
    }

    fn tell(&self, case: Case, operations: u64, begin: Instant) {
        let now = Instant::now();
        let often = if self.terminal {
            OFTEN
        } else {
            Duration::from_secs(10)
        };
        if begin.elapsed() < OFTEN || self.last.get().is_some_and(|last| now - last < often) {
            return;
        }
        self.last.set(Some(now));
        let text = format!(
            "{} {}: {:.1} of {:.1} s, {operations} operations",
            case.op.name(),
            units::size(case.size),
            begin.elapsed().min(self.total).as_secs_f64(),
            self.total.as_secs_f64(),
        );
        let mut err = io::stderr();
        // Nobody can be told if this fails.
        let _ = if self.terminal {
            write!(err, "\r\x1b[K{text}")
        } else {
            writeln!(err, "rpma-perf: {text}")
        };
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
