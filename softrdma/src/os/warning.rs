// SPDX-License-Identifier: BSD-3-Clause

//! Lines on standard error.

use std::io::Write as _;

use super::cancel::Hold;

/// Prints a line about an error of the program.
pub(crate) fn warn(text: &str) {
    if cfg!(test) {
        return;
    }
    // The caller may hold locks, which a thread that is cancelled here would not release.
    let _uncancelled = Hold::new();
    // In one piece: other processes may write to the same file.
    let line = format!("softrdma: {text}\n");
    // A failure to write to standard error cannot be reported anywhere.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
