// SPDX-License-Identifier: BSD-3-Clause

//! librpma: access to persistent memory on remote machines over RDMA, behind the C ABI of the
//! original C library.
//!
//! C programs use `<librpma.h>`, which is generated from [`capi`]. Three storeys, each of which
//! depends only on those below it:
//!
//! - [`capi`]: the C edge. It turns pointers into references and results into codes.
//! - this module's other children: the objects and rules of librpma, in safe Rust.
//! - `verbs`: owned handles over libibverbs and librdmacm.
//!
//! `unsafe` code is allowed in `capi` and in `verbs` only.

#[allow(unsafe_code)]
pub mod capi;
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
mod info;
mod log;
mod mr;
mod ops;
mod peer;
mod peer_cfg;
mod private_data;
mod srq;
mod srq_cfg;
mod text;
mod utils;
