// SPDX-License-Identifier: BSD-3-Clause

//! What programs make on a device, apart from queue pairs: protection domains, memory regions, completion
//! queues, shared receive queues, event channels.

pub(crate) mod attached;
mod busy_wait;
pub(crate) mod channel;
pub(crate) mod context;
pub(crate) mod cq;
pub(crate) mod generation;
pub(crate) mod mr;
pub(crate) mod numbers;
pub(crate) mod pd;
mod shared;
pub(crate) mod srq;
pub(crate) mod strict;
pub(crate) mod users;
