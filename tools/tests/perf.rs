// SPDX-License-Identifier: BSD-3-Clause

//! The command line of `rpma-perf`. What needs a device is in `tests-c/run-tools`.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rpma-perf"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn help_shows_examples() {
    for arguments in [&["--help"][..], &["server", "--help"], &["client", "-h"]] {
        let output = run(arguments);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("softrdma run -- rpma-perf client 127.0.0.1"),
            "{text}"
        );
    }
}

#[test]
fn bad_arguments_are_refused_with_a_word() {
    for (arguments, word) in [
        (&[][..], "Usage"),
        (&["server"], "<ADDR>"),
        (&["client"], "<ADDR>"),
        (&["client", "127.0.0.1", "--op", "erase"], "erase"),
        (&["client", "127.0.0.1", "--op", ""], "--op"),
        (&["client", "127.0.0.1", "--size", "1M..8"], "1M..8"),
        (&["client", "127.0.0.1", "--size", "0"], "at least 1"),
        (&["client", "127.0.0.1", "--size", "4G"], "4G"),
        (&["client", "127.0.0.1", "--depth", "0"], "--depth"),
        (&["client", "127.0.0.1", "--depth", "1025"], "--depth"),
        (&["client", "127.0.0.1", "--threads", "0"], "--threads"),
        (&["client", "127.0.0.1", "--duration", "0"], "--duration"),
        (&["client", "127.0.0.1", "--port", "0"], "--port"),
        (&["client", "127.0.0.1", "--wait", "long"], "long"),
        (&["server", "127.0.0.1", "--port", "65536"], "65536"),
        (&["server", "127.0.0.1", "--max-memory", "much"], "much"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
}

/// With the stand-in that the tests are linked with, no device is found.
#[test]
fn without_a_device_it_is_said_what_to_do() {
    for side in ["server", "client"] {
        let output = run(&[side, "127.0.0.1"]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains("no RDMA device for 127.0.0.1") && text.contains("softrdma run --"),
            "{text}"
        );
    }
}
