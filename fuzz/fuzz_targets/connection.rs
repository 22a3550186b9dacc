// SPDX-License-Identifier: BSD-3-Clause

//! A connection of softrdma that is fed whatever a peer may send: a bad frame ends it, and nothing
//! else happens.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| softrdma::fuzzing::connection(bytes));
