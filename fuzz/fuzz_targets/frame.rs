// SPDX-License-Identifier: BSD-3-Clause

//! The decoder of softrdma's frames: whatever comes in, it answers with a frame or an error.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| softrdma::fuzzing::frame(bytes));
