// SPDX-License-Identifier: BSD-3-Clause

//! `rpma-info`: what librpma finds on this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rpma_tools::info::Report;
use rpma_tools::{complain, print};

/// Shows the RDMA devices of this machine, what librpma makes of them, and what to do about what is missing.
#[derive(Debug, Parser)]
#[command(name = "rpma-info", version, after_help = EXAMPLES)]
struct Arguments {
    /// Only the device that has this address, or through which it is reached
    addr: Option<String>,

    /// Read the copy of /sys in DIR, of another machine
    #[arg(long, value_name = "DIR")]
    sysroot: Option<PathBuf>,

    /// Write JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  rpma-info
  rpma-info 192.168.1.5
  sudo rpma-info --json | jq '.devices[].ddio'
  softrdma run -- rpma-info

Exit status: 0 when librpma can work, 1 when it cannot (the last line says why), 2 when an argument is wrong.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let addr = arguments.addr.as_deref();
    let report = match &arguments.sysroot {
        None => Report::of_this_machine(addr),
        Some(sysroot) => match Report::of_sysroot(sysroot, addr) {
            Ok(report) => report,
            Err(error) => {
                complain(format_args!("rpma-info: {error}"));
                return ExitCode::from(2);
            }
        },
    };
    let text = if arguments.json {
        format!("{:#}\n", report.json())
    } else {
        report.text()
    };
    match print(&text) && report.works() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
