// SPDX-License-Identifier: BSD-3-Clause

//! `softrdma run -- PROGRAM` runs a program on softrdma: with `libsoftrdma.so` loaded in front of
//! libibverbs and librdmacm, and with the options passed in the environment.

mod launcher;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use softrdma::instrument::{Bandwidth, CALLS, Caps, FabricFault, Fault, Span, Strict};

/// Runs RDMA programs without an RDMA device.
#[derive(Debug, Parser)]
#[command(name = "softrdma", version, after_help = EXAMPLES, after_long_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a program on softrdma
    #[command(
        override_usage = "softrdma run [OPTIONS] [--] PROGRAM [ARGUMENT]...",
        after_help = EXAMPLES,
        after_long_help = AFTER_RUN,
    )]
    Run(Run),
    /// List the calls that can be traced and made to fail
    ///
    /// Each is followed by the error that it fails with unless --fail names one.
    Calls,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Write a line for each call to FILE
    ///
    /// %p in the name stands for the process id: a file for each process.
    /// Without it, FILE is emptied first, and all processes of the program
    /// append to it. The lines have no addresses, keys or descriptors, so
    /// that two traces can be compared with diff: objects have running
    /// numbers, memory is shown by region and offset, a remote address by
    /// its offset in the page, private data by a hash.
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    trace: Option<PathBuf>,

    /// Show in the trace when each call began and how long it took
    ///
    /// In front of the line are seconds since 1970, behind it the seconds that
    /// the call took: "1764443487.123456 ibv_alloc_pd() = ok (pd=#1) <0.000004>".
    #[arg(long, verbatim_doc_comment)]
    trace_times: bool,

    /// Show in the trace which thread made each call
    ///
    /// Threads have numbers from 1, in the order in which the trace first
    /// shows them: "T2 ibv_dereg_mr(mr=#1) = ok".
    #[arg(long, verbatim_doc_comment)]
    trace_threads: bool,

    /// Inject a failure: CALL:N[:ERRNO] or any:N[:ERRNO]
    ///
    /// The Nth call of CALL in each process fails and does nothing else; with
    /// "any", the Nth call of all that can fail. ERRNO is a name such as
    /// ENOMEM or a number; without it, the call fails with its default error.
    /// May be given several times. "softrdma calls" lists the calls and their
    /// default errors.
    #[arg(long, value_name = "CALL:N[:ERRNO]", verbatim_doc_comment)]
    fail: Vec<Fault>,

    /// Inject a fault of the device, a connection or the peer
    ///
    ///   completion[:qp=Q]:WHEN:STATUS  a completion gets an error status, such
    ///                                  as WR_FLUSH_ERR, and its queue pair too
    ///   event:EVENT[:WHEN]             a connection gets an event: rejected,
    ///                                  unreachable, disconnected,
    ///                                  device-removal or timewait-exit
    ///   async:EVENT[:WHEN]             the device has an event at a connection:
    ///                                  port-err, port-active, device-fatal,
    ///                                  qp-fatal, qp-req-err or qp-access-err
    ///   peer-dies[:qp=Q]:WHEN          the peer is gone after a request
    ///   rnr[:qp=Q]:WHEN:DURATION       the peer has no receive for a message,
    ///                                  for a while such as 20ms
    ///
    /// WHEN is N, the Nth of all in the process (1 unless given), or
    /// random:A/B, each with that probability. qp=Q: only those of the Qth
    /// queue pair that the process made. May be given several times.
    #[arg(long, value_name = "FAULT", verbatim_doc_comment)]
    fault: Vec<FabricFault>,

    /// Repeat the random faults of an earlier run
    ///
    /// Without it a seed is chosen, and printed on standard error.
    #[arg(long, value_name = "N", verbatim_doc_comment)]
    seed: Option<u64>,

    /// Let what is sent, and what completes, take this long on its way
    ///
    /// A duration such as 5us; the units are ns, us, ms and s. A request reaches
    /// the peer so much later, and completes so much later again. Each process
    /// delays its own requests, so give the option to both ends.
    #[arg(long, value_name = "DURATION", verbatim_doc_comment)]
    delay: Option<Span>,

    /// Let no more than this pass in each direction
    ///
    /// A bandwidth such as 10Gbit; the units are bit, Kbit, Mbit and Gbit per
    /// second. It counts the payloads of all requests of the process.
    #[arg(long, value_name = "BANDWIDTH", verbatim_doc_comment)]
    bandwidth: Option<Bandwidth>,

    /// Optional capabilities of the device: odp,atomic-write,flush
    ///
    /// Separated by commas: odp is on-demand paging, atomic-write and flush
    /// are the native operations. The default is none of them.
    #[arg(long, value_name = "LIST", verbatim_doc_comment)]
    caps: Option<Caps>,

    /// Refuse to register memory except for on-demand paging
    ///
    /// Other registrations fail with EOPNOTSUPP, as they do on network cards
    /// for memory mapped from a file system on persistent memory (DAX).
    #[arg(long, verbatim_doc_comment)]
    mr_eopnotsupp: bool,

    /// List at exit the objects that the program has not destroyed
    ///
    /// One line on standard error, for example
    /// "softrdma: not destroyed: 1 ibv_pd, 2 ibv_mr"; no line if it has
    /// destroyed all of them.
    #[arg(long, verbatim_doc_comment)]
    leaks: bool,

    /// Report what a device would punish and softrdma otherwise forgives
    ///
    /// One line on standard error for each error of the program, which begins
    /// with "softrdma: strict: " and names the object, what is wrong with it
    /// and what a device does; calls and requests fail as they would there.
    /// "man softrdma" lists all that is found. The exit status stays that of the
    /// program. With --strict=abort it aborts after the first such line, so
    /// that a debugger stops there. It makes programs slower.
    #[arg(
        long,
        value_name = "report|abort",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "report",
        verbatim_doc_comment
    )]
    strict: Option<Strict>,

    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "PROGRAM",
        hide = true
    )]
    program: Vec<OsString>,
}

macro_rules! examples {
    () => {
        "\
Examples:
  softrdma run -- ./server 127.0.0.1 7204
  softrdma run --trace calls.txt -- ./client 127.0.0.1 7204
  softrdma run --fail ibv_reg_mr:2:ENOMEM --caps odp,flush -- ./client 127.0.0.1 7204
  softrdma run --strict -- ./client 127.0.0.1 7204
  softrdma run -- ibv_devinfo"
    };
}

macro_rules! environment {
    () => {
        "\
Environment:
  An option of \"softrdma run\" takes precedence over its variable. An empty
  variable counts as not set.
  SOFTRDMA_TRACE          the FILE of --trace, which is not emptied (default: no trace)
  SOFTRDMA_TRACE_TIMES    1: as --trace-times (default: 0)
  SOFTRDMA_TRACE_THREADS  1: as --trace-threads (default: 0)
  SOFTRDMA_FAIL           as --fail, more than one separated by commas (default: none)
  SOFTRDMA_FAULT          as --fault, more than one separated by commas (default: none)
  SOFTRDMA_SEED           the N of --seed (default: one is chosen)
  SOFTRDMA_DELAY          the DURATION of --delay (default: none)
  SOFTRDMA_BANDWIDTH      the BANDWIDTH of --bandwidth (default: no limit)
  SOFTRDMA_CAPS           the LIST of --caps (default: none)
  SOFTRDMA_MR_EOPNOTSUPP  1: as --mr-eopnotsupp (default: 0)
  SOFTRDMA_LEAKS          1: as --leaks (default: 0)
  SOFTRDMA_STRICT         1 or report: as --strict, abort: as --strict=abort (default: 0)
  SOFTRDMA_SOCKET_ONLY    1: all data goes over TCP, also between processes of one
                          machine (default: 0, shared memory and direct copies)
  SOFTRDMA_DIRECT         0: the process that owns memory executes all that its peers ask
                          for (default: 1, its peers on one machine do it themselves)
  SOFTRDMA_CM_TIMEOUT_MS  milliseconds that a client waits for the answer of a server, and
                          a server for a client that it has accepted (default: 102000)
  SOFTRDMA_LIBRARY        the library to load (default: the libsoftrdma.so that belongs
                          to this command)"
    };
}

const EXAMPLES: &str = examples!();

const AFTER_HELP: &str = concat!(
    examples!(),
    "\n\n",
    environment!(),
    "\n\nExit statuses: see \"softrdma run --help\". More: man softrdma"
);

const AFTER_RUN: &str = concat!(
    examples!(),
    "

softrdma becomes the program: process id and exit status are those of the program.
Exit statuses of softrdma itself:
    2  the command line, or a setting in the environment, is wrong
  120  libsoftrdma.so was not found, or cannot be used
  121  the program or its libibverbs is statically linked, or it is for another C library
  122  the program gains privileges when it starts (set-user-ID and the like)
  123  the program is for another processor architecture
  125  the trace file cannot be written
  126  the program exists but cannot be run
  127  the program was not found

",
    environment!()
);

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(run) => {
            let problem = launcher::run(launcher::Order {
                trace: run.trace,
                trace_times: run.trace_times,
                trace_threads: run.trace_threads,
                faults: run.fail,
                fabric_faults: run.fault,
                seed: run.seed,
                delay: run.delay,
                bandwidth: run.bandwidth,
                caps: run.caps,
                mr_eopnotsupp: run.mr_eopnotsupp,
                leaks: run.leaks,
                strict: run.strict,
                program: run.program,
            });
            // A failure to write to standard error cannot be reported anywhere.
            let _ = writeln!(io::stderr(), "softrdma: {}", problem.text);
            ExitCode::from(problem.status)
        }
        Command::Calls => {
            let list: String = CALLS.iter().map(|call| format!("{call}\n")).collect();
            match io::stdout().write_all(list.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
                Err(error) => {
                    let _ = writeln!(io::stderr(), "softrdma: {error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}
