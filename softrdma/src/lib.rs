// SPDX-License-Identifier: BSD-3-Clause

//! An RDMA fabric in user space: the functions of libibverbs and librdmacm without a device.
//!
//! In layers, of which none uses one above it (`tests/layers.rs`): `types`, `wire` (frames), `os` (system calls),
//! `instrument` (traces and faults), `io` (the I/O thread), `objects` (regions, queues), `qp` (queue pairs), `cm` (the
//! connection manager), `fork`, and `abi` (the C functions). doc/design.md describes them.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod fuzzing;
pub mod instrument;

mod abi;
mod cm;
mod fork;
mod io;
mod objects;
mod os;
mod qp;
mod types;
mod wire;

/// What calls fail with.
pub(crate) type Errno = std::ffi::c_int;
pub(crate) type Result<T, E = Errno> = std::result::Result<T, E>;
