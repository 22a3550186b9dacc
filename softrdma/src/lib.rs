// SPDX-License-Identifier: BSD-3-Clause

//! An RDMA fabric in user space: the functions of libibverbs and librdmacm without a device.

pub mod instrument;
