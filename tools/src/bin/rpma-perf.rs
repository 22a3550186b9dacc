// SPDX-License-Identifier: BSD-3-Clause

//! `rpma-perf server` and `rpma-perf client`: a benchmark between two machines.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rpma_tools::perf::{self, Error, MAX_DEPTH, Op, PORT, Wait, client, server};
use rpma_tools::rpma::FlushType;
use rpma_tools::{complain, units};

/// Measures reads, writes, flushes and messages of librpma between two machines, or two processes of one.
#[derive(Debug, Parser)]
#[command(name = "rpma-perf", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    side: Side,
}

#[derive(Debug, Subcommand)]
enum Side {
    /// Offer memory to clients
    #[command(after_help = EXAMPLES)]
    Server(ServerArguments),
    /// Measure against a server
    #[command(after_help = EXAMPLES)]
    Client(ClientArguments),
}

#[derive(Debug, Args)]
struct ServerArguments {
    /// The address to listen on
    addr: String,

    /// The port to listen on; 0 for a free one, which is printed
    #[arg(long, default_value_t = PORT)]
    port: u16,

    /// Let clients use memory of this file, which is made if need be, in place of private memory
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Declare that what clients write goes to persistent memory directly, which permits flushes to persistence
    #[arg(long)]
    direct_write: bool,

    /// How much memory each connection may ask for
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = units::parse_size)]
    max_memory: u64,

    /// How to wait for messages
    #[arg(long, value_enum, default_value = "event")]
    wait: Wait,

    /// End when the last connection is closed, instead of waiting for the next
    #[arg(long)]
    once: bool,
}

#[derive(Debug, Args)]
struct ClientArguments {
    /// The address of the server
    addr: String,

    /// The port of the server
    #[arg(long, default_value_t = PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// What to measure; several with commas
    #[arg(
        long = "op",
        value_enum,
        value_delimiter = ',',
        default_value = "write",
        value_name = "OP"
    )]
    ops: Vec<Op>,

    /// Sizes with commas; 8..1M is 8 and its doubles up to 1M. An atomic write always has 8 bytes
    #[arg(long = "size", value_name = "SIZES", default_value = "4K")]
    sizes: String,

    /// How many operations each thread keeps under way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_DEPTH)))]
    depth: u16,

    /// How many threads, each with a connection of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,

    /// How long each measurement takes: 2 (seconds), 500ms, 1m
    #[arg(long, default_value = "2", value_parser = units::parse_duration)]
    duration: Duration,

    /// How to wait for completions
    #[arg(long, value_enum, default_value = "poll")]
    wait: Wait,

    /// Which flush
    #[arg(long, value_enum, default_value = "visibility")]
    flush: Flush,

    /// Write from and read to memory of this file, which is made if need be, in place of private memory
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Measure the same requests by ibv_post_send, without librpma, on the same connection, too
    #[arg(long)]
    raw: bool,

    /// Write JSON in place of the table
    #[arg(long)]
    json: bool,

    /// Draw a chart of latency over size
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Flush {
    /// To where the server's processors see the data
    Visibility,
    /// To persistent memory
    Persistent,
}

const EXAMPLES: &str = "\
Examples:
  rpma-perf server 192.168.1.5
  rpma-perf client 192.168.1.5 --op read,write --size 8..1M --svg latency.svg
  rpma-perf client 192.168.1.5 --op write-flush --depth 16 --threads 4 --json

Without an RDMA device, on one machine:
  softrdma run -- rpma-perf server 127.0.0.1 --once &
  softrdma run -- rpma-perf client 127.0.0.1 --op write-flush --raw

With persistent memory:
  rpma-perf server 192.168.1.5 --file /dev/dax0.0 --direct-write
  rpma-perf client 192.168.1.5 --op write-flush --flush persistent";

/// More than librpma takes as a length, or than receives are described with.
const LARGEST: u64 = u32::MAX as u64;

/// As a shell has it: ended by SIGINT.
const STATUS_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().side {
        Side::Server(arguments) => server::run(&server::Options {
            addr: arguments.addr,
            port: arguments.port,
            file: arguments.file,
            direct_write: arguments.direct_write,
            max_memory: arguments.max_memory,
            wait: arguments.wait,
            once: arguments.once,
        }),
        Side::Client(arguments) => match sizes(&arguments.sizes) {
            Ok(sizes) => run_client(arguments, sizes),
            Err(error) => {
                complain(format_args!("rpma-perf: --size: {error}"));
                return ExitCode::from(2);
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("rpma-perf: {error}"));
            match error {
                Error::Interrupted => ExitCode::from(STATUS_INTERRUPTED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn sizes(text: &str) -> Result<Vec<u64>, String> {
    let sizes = units::parse_sizes(text)?;
    match sizes.iter().find(|&&size| size > LARGEST) {
        Some(size) => Err(format!(
            "{} is more than an operation can have (4G - 1)",
            units::size(*size)
        )),
        None => Ok(sizes),
    }
}

fn run_client(arguments: ClientArguments, sizes: Vec<u64>) -> perf::Result<()> {
    client::run(&client::Options {
        addr: arguments.addr,
        port: arguments.port,
        ops: arguments.ops,
        sizes,
        depth: arguments.depth,
        threads: arguments.threads,
        duration: arguments.duration,
        wait: arguments.wait,
        flush: match arguments.flush {
            Flush::Visibility => FlushType::Visibility,
            Flush::Persistent => FlushType::Persistent,
        },
        file: arguments.file,
        raw: arguments.raw,
        json: arguments.json,
        svg: arguments.svg,
    })
}
