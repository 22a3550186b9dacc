// SPDX-License-Identifier: BSD-3-Clause

//! The decoder of softrdma's frames: for any input it returns a frame or an error.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| softrdma::fuzzing::frame(bytes));
