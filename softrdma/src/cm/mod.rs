// SPDX-License-Identifier: BSD-3-Clause

//! The connection manager. The port of an RDMA connection is a TCP port, and the connection is a TCP
//! connection: whoever connects sends a hello with the request, and gets one back with the answer.

pub(crate) mod connect;
pub(crate) mod door;
mod end;
pub(crate) mod event;
mod faults;
pub(crate) mod handshake;
pub(crate) mod id;
pub(crate) mod listen;
pub(crate) mod own_qp;
pub(crate) mod pairs;
mod refusal;
mod room;
pub(crate) mod silent;
