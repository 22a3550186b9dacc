// SPDX-License-Identifier: BSD-3-Clause

//! librpma: access to persistent memory on remote machines over RDMA, behind the C ABI of the
//! original C library.
//!
//! C programs use `<librpma.h>`, which is generated from [`capi`]. Three layers, each of which depends only on
//! those below it:
//!
//! - [`capi`]: the C edge. It turns pointers into references and results into codes.
//! - the other modules: the objects and rules of librpma, in safe Rust.
//! - `verbs`: owned handles over libibverbs and librdmacm; and `sys`: functions of the C library.
//!
//! `unsafe` code is allowed in `capi`, `verbs` and `sys` only.

#[allow(unsafe_code)]
pub mod capi;
#[allow(unsafe_code)]
mod sys;
#[allow(unsafe_code)]
mod verbs;

mod completion;
mod conn;
mod conn_cfg;
mod conn_req;
mod cq;
mod ep;
mod error;
mod flush;
mod log;
mod mr;
mod mr_usage;
mod ops;
mod peer;
mod peer_cfg;
mod private_data;
mod queues;
mod report;
mod resolved_addr;
mod srq;
mod srq_cfg;
mod utils;
