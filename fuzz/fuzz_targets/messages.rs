// SPDX-License-Identifier: BSD-3-Clause

//! Captures the log messages of both libraries.

use std::ffi::{CStr, c_char, c_int};

use super::original::Library;

type LogFunction =
    unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char, *const c_char, ...);
type SetLogFunction = unsafe extern "C" fn(Option<LogFunction>) -> c_int;
type SetThreshold = unsafe extern "C" fn(c_int, c_int) -> c_int;

// In log.c: the first two store the last message of each library.
unsafe extern "C" {
    fn fuzz_keep_ours(
        _: c_int,
        _: *const c_char,
        _: c_int,
        _: *const c_char,
        _: *const c_char,
        ...
    );
    fn fuzz_keep_original(
        _: c_int,
        _: *const c_char,
        _: c_int,
        _: *const c_char,
        _: *const c_char,
        ...
    );
    fn fuzz_kept(whose: c_int) -> *mut c_char;
}

/// Installs the log functions, so that `last` returns the messages.
pub fn keep(libraries: &[Library; 2]) {
    const THRESHOLD: c_int = 0;
    const DEBUG: c_int = 5;
    let functions: [LogFunction; 2] = [fuzz_keep_ours, fuzz_keep_original];
    for (library, function) in libraries.iter().zip(functions) {
        // SAFETY: the types are those of <librpma.h>, where the log function is variadic.
        unsafe {
            let set_function: SetLogFunction = library.function(c"rpma_log_set_function");
            let set_threshold: SetThreshold = library.function(c"rpma_log_set_threshold");
            assert_eq!(set_function(Some(function)), 0);
            assert_eq!(set_threshold(THRESHOLD, DEBUG), 0);
        }
    }
}

/// The last message of a library, by its index; "" if there is none since the last call.
pub fn last(whose: usize) -> String {
    // SAFETY: a string in a static buffer of log.c, which nothing writes to now: there is one thread.
    unsafe {
        let kept = fuzz_kept(whose as c_int);
        let text = CStr::from_ptr(kept).to_string_lossy().into_owned();
        *kept = 0;
        text
    }
}

/// The numbers of a message that follow these names and "=".
pub fn numbers<const N: usize>(message: &str, names: [&str; N]) -> [u64; N] {
    names.map(|name| {
        number(message, name).unwrap_or_else(|| panic!("there is no {name} in {message:?}"))
    })
}

fn number(message: &str, name: &str) -> Option<u64> {
    let (_, value) = message.split_once(&format!("{name}="))?;
    let (value, radix) = match value.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (value, 10),
    };
    let len = value.find(|c: char| !c.is_digit(radix));
    u64::from_str_radix(&value[..len.unwrap_or(value.len())], radix).ok()
}
