// SPDX-License-Identifier: BSD-3-Clause

//! Feeds arbitrary bytes to a connection of softrdma, as a peer could: an invalid frame ends the connection, and
//! nothing else happens.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| softrdma::fuzzing::connection(bytes));
