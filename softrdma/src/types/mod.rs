// SPDX-License-Identifier: BSD-3-Clause

//! Plain data that all layers share.

pub(crate) mod completion;
pub(crate) mod limits;
pub(crate) mod region;
pub(crate) mod work;
