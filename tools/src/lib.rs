// SPDX-License-Identifier: BSD-3-Clause

//! The commands `rpma-info` and `rpma-perf`, on top of librpma's C interface.
//!
//! - [`info`]: what librpma finds on a machine, from libibverbs, librpma and `/sys`
//! - [`perf`]: a benchmark between two machines
//! - [`rpma`]: librpma's functions, wrapped
//! - [`memory`], [`signals`], [`units`]: what both use

pub mod info;
pub mod memory;
pub mod perf;
pub mod rpma;
pub mod signals;
pub mod units;

/// Prints a line to standard error. Nobody can be told if that fails.
pub fn complain(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints to standard output; whether it could be. A reader that has gone away is no failure.
pub fn print(text: &str) -> bool {
    use std::io::{self, Write};
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => true,
        Err(error) => {
            complain(format_args!("standard output: {error}"));
            false
        }
    }
}
