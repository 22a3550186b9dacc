// SPDX-License-Identifier: BSD-3-Clause

//! Lines on standard error.

use std::io::Write as _;

use super::cancel::Hold;

/// Says what is wrong with what the program does.
pub(crate) fn warn(text: &str) {
    if cfg!(test) {
        return;
    }
    // Locks may be held.
    let _uncancelled = Hold::new();
    // In one piece: other processes may write to the same file.
    let line = format!("softrdma: {text}\n");
    // A failure to write to standard error cannot be reported anywhere.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
