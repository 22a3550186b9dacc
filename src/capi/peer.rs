// SPDX-License-Identifier: BSD-3-Clause

//! Peers.

use std::ffi::c_int;

use rdma_sys::ibv_context;

use super::{create, delete, is_null};
use crate::peer::Peer;
use crate::verbs::Context;

/// Creates a peer: a device, and the protection domain of all that is made on it.
///
/// Asks the device for on-demand paging, native atomic write and native flush
/// (ibv_query_device_ex), and allocates a protection domain (ibv_alloc_pd). What the device does
/// not have natively is emulated; the log says so at level INFO.
///
/// The caller deletes the peer with rpma_peer_delete, after everything that was made with it. The
/// context must stay open until then; that of rpma_utils_get_ibv_context does.
///
/// Errors:
/// - RPMA_E_INVAL: ibv_ctx or peer_ptr is NULL
/// - RPMA_E_NOMEM: out of memory, here or in the driver (ENOMEM)
/// - RPMA_E_PROVIDER: querying the device or allocating the protection domain failed
/// - RPMA_E_UNKNOWN: allocating the protection domain failed without an errno
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

/// Deletes a peer and sets *peer_ptr to NULL.
///
/// Nothing happens when *peer_ptr is NULL already. Connections, connection requests, endpoints,
/// memory regions and shared receive queues that were made with the peer must be deleted first. The
/// device context stays open.
///
/// Errors:
/// - RPMA_E_INVAL: peer_ptr is NULL
/// - RPMA_E_PROVIDER: deallocating the protection domain failed (ibv_dealloc_pd), with EBUSY when
///   something in it is left; the peer is gone nevertheless
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_delete(peer_ptr: *mut *mut Peer) -> c_int {
    delete(c"rpma_peer_delete", peer_ptr, Peer::delete)
}
