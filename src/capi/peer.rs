// SPDX-License-Identifier: BSD-3-Clause

//! Peers.

use std::ffi::c_int;

use rdma_sys::ibv_context;

use super::{create, delete, is_null};
use crate::peer::Peer;
use crate::verbs::Context;

/// Creates a peer: an RDMA device with a protection domain.
///
/// All other objects of the library are made on a peer: memory regions, endpoints, connections and
/// shared receive queues. A program needs one peer for each device; with several peers on one
/// device, the memory regions of one peer cannot be accessed through the connections of another.
///
/// The function queries the device for on-demand paging, native atomic write and native flush.
/// Without native support, the library emulates atomic write and flush, and logs this at level
/// INFO.
///
/// The caller owns *peer_ptr and deletes it with rpma_peer_delete, after all objects that were made
/// on it. ibv_ctx must stay open until then. A context of rpma_utils_get_ibv_context does.
///
/// Calls: ibv_query_device_ex, ibv_alloc_pd
///
/// Errors:
/// - RPMA_E_INVAL: ibv_ctx or peer_ptr is NULL
/// - RPMA_E_NOMEM: out of memory, in the library or in the driver (ENOMEM)
/// - RPMA_E_PROVIDER: querying the device or allocating the protection domain failed
/// - RPMA_E_UNKNOWN: allocating the protection domain failed without an errno
///
/// See: rpma_utils_get_ibv_context, rpma_peer_delete, rpma_mr_reg, rpma_conn_req_new,
/// rpma_ep_listen
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
/// The function sets *peer_ptr to NULL. If *peer_ptr is NULL already, it does nothing. All objects
/// that were made on the peer must be deleted first: connections, connection requests, endpoints,
/// memory regions and shared receive queues. The device context stays open.
///
/// Calls: ibv_dealloc_pd
///
/// Errors:
/// - RPMA_E_INVAL: peer_ptr is NULL
/// - RPMA_E_PROVIDER: deallocating the protection domain failed, with EBUSY if an object on it
///   still exists; the peer is deleted nevertheless
///
/// See: rpma_peer_new
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_delete(peer_ptr: *mut *mut Peer) -> c_int {
    delete(c"rpma_peer_delete", peer_ptr, Peer::delete)
}
