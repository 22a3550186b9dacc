// SPDX-License-Identifier: BSD-3-Clause

//! An RDMA fabric in user space: the functions of libibverbs and librdmacm without a device.
//!
//! `abi` has the C functions; `os` the operating system. Between them, in safe code, the objects of a
//! device: contexts, protection domains, memory regions, queues, and the connection manager.

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
