// SPDX-License-Identifier: BSD-3-Clause

//! Replaces this process with the program, with signal dispositions as they were when softrdma started.

use std::ffi::{CString, OsString, c_char};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{NOT_EXECUTABLE, Problem, Ready, reason};

/// Rust programs ignore SIGPIPE, and ignored signals stay ignored across `execve`.
static IGNORED_SIGPIPE: AtomicBool = AtomicBool::new(false);

/// Runs before Rust's runtime starts, and records whether SIGPIPE was already ignored.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = {
    extern "C" fn at_start() {
        // SAFETY: it is plain data, for which zeros are valid.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: only asks, and there is room for the answer.
        let known = unsafe { libc::sigaction(libc::SIGPIPE, ptr::null(), &raw mut action) } == 0;
        IGNORED_SIGPIPE.store(
            known && action.sa_sigaction == libc::SIG_IGN,
            Ordering::Relaxed,
        );
    }
    at_start
};

/// Replaces this process with the program; returns why that failed.
pub(super) fn exec(ready: Ready) -> Problem {
    let file = ready.file.display();
    match try_exec(&ready) {
        Ok(error) => Problem::new(NOT_EXECUTABLE, format!("{file}: {}", reason(&error))),
        Err(_) => Problem::new(
            NOT_EXECUTABLE,
            format!("{file}: an argument contains a zero byte"),
        ),
    }
}

fn try_exec(ready: &Ready) -> Result<io::Error, std::ffi::NulError> {
    let file = CString::new(ready.file.as_os_str().as_bytes())?;
    let arguments = ready
        .arguments
        .iter()
        .map(|argument| CString::new(argument.as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    let environment = ready
        .environment
        .iter()
        .map(|(name, value)| {
            let mut variable = OsString::from(name);
            variable.push("=");
            variable.push(value);
            CString::new(variable.into_vec())
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (arguments, environment) = (pointers(&arguments), pointers(&environment));
    if !IGNORED_SIGPIPE.load(Ordering::Relaxed) {
        // SAFETY: nothing here relies on the signal being ignored.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
    // SAFETY: the lists end with a null pointer, and their texts with a zero byte. The name has a slash, so PATH
    // is not searched; unlike execve, this function lets the shell run a script without an interpreter line.
    unsafe { libc::execvpe(file.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Ok(io::Error::last_os_error())
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts
        .iter()
        .map(|text| text.as_ptr())
        .chain([ptr::null()])
        .collect()
}
