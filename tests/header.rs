// SPDX-License-Identifier: BSD-3-Clause

//! `include/librpma.h` is what cbindgen makes of `src/capi`, with a few finishing touches.
//!
//! `UPDATE_HEADER=1 cargo test --test header` writes it anew.

// A test fails by panicking.
#![allow(clippy::expect_used)]

use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The function type that Rust has no name for.
const LOG_FUNCTION: &str = "
/**
 * A function that receives the messages of the log (rpma_log_set_function).
 *
 * The arguments are the level of the message, the source file and line of the library, the name of
 * the public function that was called, and a format with its arguments as printf takes them. The
 * formatted text ends with a newline. Any thread can call the function, and several threads can call
 * it at the same time.
 */
typedef void rpma_log_function(enum rpma_log_level level, const char *file_name, const int line_no,
                               const char *function_name, const char *message_format, ...);
";

fn generate() -> String {
    let config = cbindgen::Config::from_root_or_default(ROOT);
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_crate(ROOT)
        .with_config(config)
        .generate()
        .expect("cbindgen reads the crate")
        .write(&mut header);
    finish(&String::from_utf8(header).expect("the header is UTF-8"))
}

fn finish(header: &str) -> String {
    // What Rust calls safety is the same for every function, and the header says it at the top.
    let header = header.replace(" *\n * # Safety\n *\n * The contract of C.\n", "");
    let header = header.replace("rpma_log_function_pointer ", "rpma_log_function *");
    let mut finished = String::new();
    let mut in_log_level = false;
    for line in header.lines() {
        finished.push_str(&in_parentheses(line));
        finished.push('\n');
        in_log_level |= line == "enum rpma_log_level {";
        if in_log_level && line == "};" {
            finished.push_str(LOG_FUNCTION);
            in_log_level = false;
        }
    }
    finished
}

/// `#define NAME -1` can fall apart in an expression; `#define NAME (-1)` cannot.
fn in_parentheses(line: &str) -> String {
    match line
        .strip_prefix("#define ")
        .and_then(|d| d.split_once(" -"))
    {
        Some((name, number)) => format!("#define {name} (-{number})"),
        None => line.to_owned(),
    }
}

#[test]
fn the_committed_header_is_current() {
    let path = Path::new(ROOT).join("include/librpma.h");
    let generated = generate();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &generated).expect("the header can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let changed = generated
        .lines()
        .zip(committed.lines())
        .find(|(new, old)| new != old);
    assert!(
        generated == committed,
        "include/librpma.h is not what the sources say; write it anew with\n    \
         UPDATE_HEADER=1 cargo test --test header\nFirst difference (new, old): {changed:?}"
    );
}

#[test]
fn every_function_is_declared_and_none_is_made_unsafe_to_read() {
    let header = generate();
    assert_eq!(header.matches("\nint rpma_").count(), 87);
    assert_eq!(header.matches("\nconst char *rpma_").count(), 2);
    for leftover in ["# Safety", "contract of C", "Option_"] {
        assert!(
            !header.contains(leftover),
            "{leftover:?} is left in the header"
        );
    }
}
