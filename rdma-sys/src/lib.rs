// SPDX-License-Identifier: BSD-3-Clause

//! Declarations of libibverbs and librdmacm: what librpma and softrdma use of them.
//!
//! Names and shapes are those of the published crate `rdma-sys` 0.3, whose place this one takes.
//! Each declaration is written with a macro of `declare.rs`, which also makes a table of it; the
//! tests compare the tables with the C headers.

mod declare;

mod cm;
mod inline;
mod verbs;

pub use cm::*;
pub use inline::*;
pub use verbs::*;

#[cfg(test)]
mod tests;
