// SPDX-License-Identifier: BSD-3-Clause

//! A benchmark between two machines: a server offers memory, a client reads, writes and flushes it, or sends
//! messages, and measures.

mod chart;
pub mod client;
mod measure;
mod protocol;
mod raw;
mod report;
pub mod server;

use std::fmt;
use std::io;

use clap::ValueEnum;

use crate::rpma::Failure;

/// The most operations that may be under way on a connection.
pub const MAX_DEPTH: u16 = 1024;

/// The port, unless the user names another.
pub const PORT: u16 = 7204;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Op {
    /// Read memory of the server
    Read,
    /// Write to memory of the server
    Write,
    /// Flush memory of the server
    Flush,
    /// Write and flush what was written
    WriteFlush,
    /// Write 8 bytes in one piece
    AtomicWrite,
    /// Send messages, which are answered
    Send,
}

impl Op {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::WriteFlush => "write-flush",
            Self::AtomicWrite => "atomic-write",
            Self::Send => "send",
        }
    }

    /// Whether it moves as many bytes as its size says.
    fn moves_data(self) -> bool {
        self != Self::Flush
    }

    /// How many requests it takes.
    fn requests(self) -> usize {
        match self {
            Self::WriteFlush | Self::Send => 2,
            _ => 1,
        }
    }
}

/// How to learn that something has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Ask again and again, which is faster and keeps a processor busy
    Poll,
    /// Sleep until there is something
    Event,
}

/// Why it cannot go on.
#[derive(Debug)]
pub enum Error {
    /// A function of librpma failed.
    Rpma(Failure),
    /// A call of the system failed.
    System(&'static str, io::Error),
    /// Something else, in words.
    Other(String),
    /// The user has pressed Ctrl-C.
    Interrupted,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rpma(failure) => failure.fmt(f),
            Self::System(what, error) => write!(f, "{what}: {error}"),
            Self::Other(text) => f.write_str(text),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Rpma(failure)
    }
}

/// What the functions of this module return.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, in words, with what the user can do where no device is found.
fn no_device(addr: &str, failure: &Failure) -> Error {
    Error::Other(format!(
        "no RDMA device for {addr}: {failure}\nrpma-info tells what is missing; without a device, put \
         'softrdma run --' in front of the command on both sides"
    ))
}
