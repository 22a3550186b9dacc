// SPDX-License-Identifier: BSD-3-Clause

//! Peers.

use std::ffi::c_int;

use rdma_sys::ibv_context;

use super::{create, delete, is_null};
use crate::peer::Peer;
use crate::verbs::Context;

/// Makes a peer of a device.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_new(
    ibv_ctx: *mut ibv_context,
    peer_ptr: *mut *mut Peer,
) -> c_int {
    create(
        c"rpma_peer_new",
        peer_ptr,
        // SAFETY: the contract of C.
        || unsafe { Context::from_raw(ibv_ctx) }.ok_or_else(|| is_null("ibv_ctx")),
        Peer::new,
    )
}

/// Deletes a peer.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_delete(peer_ptr: *mut *mut Peer) -> c_int {
    delete(c"rpma_peer_delete", peer_ptr, |peer, releases| {
        releases.add(peer.delete());
    })
}
