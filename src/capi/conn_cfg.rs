// SPDX-License-Identifier: BSD-3-Clause

//! Connection configurations.

use std::ffi::c_int;
use std::sync::atomic::Ordering::Relaxed;

use super::{arg, create, delete, finish, optional, out};
use crate::conn_cfg::{ConnCfg, Settings};
use crate::srq::Srq;
use crate::utils::DEFAULT_TIMEOUT_MS;

/// Creates a connection configuration with the default settings.
///
/// The defaults are: a timeout of RPMA_DEFAULT_TIMEOUT_MS; 10 entries each in the completion queue
/// (CQ), the send queue (SQ) and the receive queue (RQ); no receive CQ; no shared completion
/// channel; no shared receive queue.
///
/// rpma_conn_req_new and rpma_ep_next_conn_req read the configuration during the call and do not
/// keep it. One configuration can serve any number of connections. The caller owns *cfg_ptr and
/// deletes it with rpma_conn_cfg_delete.
///
/// Several threads may get and set the settings of one configuration at the same time.
///
/// Errors:
/// - RPMA_E_INVAL: cfg_ptr is NULL
/// - RPMA_E_NOMEM: out of memory
///
/// See: rpma_conn_cfg_set_timeout, rpma_conn_cfg_set_cq_size, rpma_conn_cfg_set_rcq_size,
/// rpma_conn_cfg_set_sq_size, rpma_conn_cfg_set_rq_size, rpma_conn_cfg_set_compl_channel,
/// rpma_conn_cfg_set_srq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_new(cfg_ptr: *mut *mut ConnCfg) -> c_int {
    create(
        c"rpma_conn_cfg_new",
        cfg_ptr,
        || Ok(()),
        |()| Ok(ConnCfg::new()),
    )
}

/// Deletes a connection configuration.
///
/// The function sets *cfg_ptr to NULL. If *cfg_ptr is NULL already, it does nothing. Requests and
/// connections that were made with the configuration do not need it any more. A shared receive
/// queue that is set in it is not deleted.
///
/// Errors:
/// - RPMA_E_INVAL: cfg_ptr is NULL
///
/// See: rpma_conn_cfg_new
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_delete(cfg_ptr: *mut *mut ConnCfg) -> c_int {
    delete(c"rpma_conn_cfg_delete", cfg_ptr, |_, _| {})
}

/// Sets the timeout for resolving an address and for resolving its route.
///
/// timeout_ms is a number of milliseconds. rpma_conn_req_new first resolves the address and then
/// the route; the timeout applies to each of the two steps. The default is RPMA_DEFAULT_TIMEOUT_MS.
///
/// The timeout does not limit how long the remote side takes to answer a connection request: the
/// connection manager decides that. Incoming connections do not use it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL, or timeout_ms is negative
///
/// See: rpma_conn_cfg_get_timeout, rpma_conn_req_new
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_timeout(cfg: *mut ConnCfg, timeout_ms: c_int) -> c_int {
    finish(c"rpma_conn_cfg_set_timeout", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.set_timeout_ms(timeout_ms)
    })
}

/// Gets the timeout for resolving an address and for resolving its route.
///
/// *timeout_ms is a number of milliseconds; rpma_conn_cfg_set_timeout explains what it limits.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or timeout_ms is NULL
///
/// See: rpma_conn_cfg_set_timeout
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_get_timeout(
    cfg: *const ConnCfg,
    timeout_ms: *mut c_int,
) -> c_int {
    finish(c"rpma_conn_cfg_get_timeout", || {
        // SAFETY: the contract of C.
        let (cfg, timeout_ms) = unsafe { (arg(cfg, "cfg")?, out(timeout_ms, "timeout_ms")?) };
        timeout_ms.set(cfg.timeout_ms.load(Relaxed));
        Ok(())
    })
}

/// Sets the size of the completion queue (CQ).
///
/// cq_size is a number of entries. The default is 10. The CQ takes the completions of all
/// operations of the connection, except those of receives if there is a receive CQ.
///
/// The CQ must have room for all completions that can be in it at the same time. If it overflows,
/// completions are lost or the connection breaks. With a size that the device does not support, 0
/// for example, rpma_conn_req_new and rpma_ep_next_conn_req fail.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
///
/// See: rpma_conn_cfg_get_cq_size, rpma_conn_get_cq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_cq_size(cfg: *mut ConnCfg, cq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_cq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.cq_size.store(cq_size, Relaxed);
        Ok(())
    })
}

/// Gets whether the CQ and the receive CQ share a completion channel.
///
/// *shared is true if the completion queue (CQ) and the receive CQ of a connection share one
/// completion channel. The default is false: each has its own.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or shared is NULL
///
/// See: rpma_conn_cfg_set_compl_channel
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_get_compl_channel(
    cfg: *const ConnCfg,
    shared: *mut bool,
) -> c_int {
    finish(c"rpma_conn_cfg_get_compl_channel", || {
        // SAFETY: the contract of C.
        let (cfg, shared) = unsafe { (arg(cfg, "cfg")?, out(shared, "shared")?) };
        shared.set(cfg.shared_channel.load(Relaxed));
        Ok(())
    })
}

/// Sets whether the CQ and the receive CQ share a completion channel.
///
/// If shared is true, one call of rpma_conn_wait waits for the completion queue (CQ) and the
/// receive CQ together, on one file descriptor (rpma_conn_get_compl_fd), and rpma_cq_wait returns
/// RPMA_E_SHARED_CHANNEL. If it is false, which is the default, each queue has its own channel, and
/// rpma_cq_wait waits for one queue.
///
/// A shared completion channel cannot be combined with a shared receive queue that has its own
/// receive CQ: rpma_conn_req_new and rpma_ep_next_conn_req then fail.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
///
/// See: rpma_conn_cfg_get_compl_channel, rpma_conn_wait, rpma_conn_get_compl_fd
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_compl_channel(cfg: *mut ConnCfg, shared: bool) -> c_int {
    finish(c"rpma_conn_cfg_set_compl_channel", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.shared_channel.store(shared, Relaxed);
        Ok(())
    })
}

/// Gets the size of the completion queue (CQ).
///
/// *cq_size is a number of entries; rpma_conn_cfg_set_cq_size explains it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or cq_size is NULL
///
/// See: rpma_conn_cfg_set_cq_size
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_get_cq_size(
    cfg: *const ConnCfg,
    cq_size: *mut u32,
) -> c_int {
    finish(c"rpma_conn_cfg_get_cq_size", || {
        // SAFETY: the contract of C.
        let (cfg, cq_size) = unsafe { (arg(cfg, "cfg")?, out(cq_size, "cq_size")?) };
        cq_size.set(cfg.cq_size.load(Relaxed));
        Ok(())
    })
}

/// Sets the size of the receive completion queue (receive CQ).
///
/// rcq_size is a number of entries. With 0, the default, the connection has no receive CQ, and its
/// CQ takes the completions of receives. If the connection uses a shared receive queue that has its
/// own receive CQ, rcq_size is ignored.
///
/// The receive CQ must have room for all completions that can be in it at the same time.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
///
/// See: rpma_conn_cfg_get_rcq_size, rpma_conn_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_rcq_size(cfg: *mut ConnCfg, rcq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_rcq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rcq_size.store(rcq_size, Relaxed);
        Ok(())
    })
}

/// Gets the size of the receive completion queue (receive CQ).
///
/// *rcq_size is a number of entries, or 0 for no receive CQ; rpma_conn_cfg_set_rcq_size explains
/// it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or rcq_size is NULL
///
/// See: rpma_conn_cfg_set_rcq_size
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_get_rcq_size(
    cfg: *const ConnCfg,
    rcq_size: *mut u32,
) -> c_int {
    finish(c"rpma_conn_cfg_get_rcq_size", || {
        // SAFETY: the contract of C.
        let (cfg, rcq_size) = unsafe { (arg(cfg, "cfg")?, out(rcq_size, "rcq_size")?) };
        rcq_size.set(cfg.rcq_size.load(Relaxed));
        Ok(())
    })
}

/// Sets the size of the send queue (SQ).
///
/// sq_size is a number of operations. The default is 10. Every operation except a receive uses one
/// entry of the SQ. The entry is free again when the completion of this operation, or of a later
/// one, has been taken from the CQ.
///
/// The device may round the size up. With a size that it does not support, rpma_conn_req_new and
/// rpma_ep_next_conn_req fail.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
///
/// See: rpma_conn_cfg_get_sq_size
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_sq_size(cfg: *mut ConnCfg, sq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_sq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.sq_size.store(sq_size, Relaxed);
        Ok(())
    })
}

/// Gets the size of the send queue (SQ).
///
/// *sq_size is a number of operations; rpma_conn_cfg_set_sq_size explains it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or sq_size is NULL
///
/// See: rpma_conn_cfg_set_sq_size
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_get_sq_size(
    cfg: *const ConnCfg,
    sq_size: *mut u32,
) -> c_int {
    finish(c"rpma_conn_cfg_get_sq_size", || {
        // SAFETY: the contract of C.
        let (cfg, sq_size) = unsafe { (arg(cfg, "cfg")?, out(sq_size, "sq_size")?) };
        sq_size.set(cfg.sq_size.load(Relaxed));
        Ok(())
    })
}

/// Sets the size of the receive queue (RQ).
///
/// rq_size is the number of receives that may be posted and not yet completed. The default is 10.
/// If the connection uses a shared receive queue, rq_size has no effect.
///
/// The device may round the size up. With a size that it does not support, rpma_conn_req_new and
/// rpma_ep_next_conn_req fail.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
///
/// See: rpma_conn_cfg_get_rq_size, rpma_recv
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_rq_size(cfg: *mut ConnCfg, rq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_rq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rq_size.store(rq_size, Relaxed);
        Ok(())
    })
}

/// Gets the size of the receive queue (RQ).
///
/// *rq_size is a number of receives; rpma_conn_cfg_set_rq_size explains it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or rq_size is NULL
///
/// See: rpma_conn_cfg_set_rq_size
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_get_rq_size(
    cfg: *const ConnCfg,
    rq_size: *mut u32,
) -> c_int {
    finish(c"rpma_conn_cfg_get_rq_size", || {
        // SAFETY: the contract of C.
        let (cfg, rq_size) = unsafe { (arg(cfg, "cfg")?, out(rq_size, "rq_size")?) };
        rq_size.set(cfg.rq_size.load(Relaxed));
        Ok(())
    })
}

/// Sets the shared receive queue (SRQ) of connections.
///
/// All connections that are made with the configuration take their receives from srq. The program
/// posts these receives with rpma_srq_recv, not with rpma_recv. Their completions go to the receive
/// CQ of the SRQ if it has one, otherwise to the receive CQ of the connection if it has one,
/// otherwise to the CQ of the connection.
///
/// srq must be on the same peer as the connections, and must exist until all requests and
/// connections that use it are deleted. Once set, it cannot be removed from the configuration: use
/// another configuration for connections without it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or srq is NULL
///
/// See: rpma_conn_cfg_get_srq, rpma_srq_new, rpma_srq_recv
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_srq(cfg: *mut ConnCfg, srq: *mut Srq) -> c_int {
    finish(c"rpma_conn_cfg_set_srq", || {
        // SAFETY: the contract of C.
        let cfg = unsafe {
            arg(srq, "srq")?;
            arg(cfg, "cfg")?
        };
        cfg.set_srq(srq);
        Ok(())
    })
}

/// Gets the shared receive queue (SRQ) of a connection configuration.
///
/// *srq_ptr is the SRQ that rpma_conn_cfg_set_srq has set, or NULL. The program that created the
/// SRQ still owns it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or srq_ptr is NULL
///
/// See: rpma_conn_cfg_set_srq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_get_srq(
    cfg: *const ConnCfg,
    srq_ptr: *mut *mut Srq,
) -> c_int {
    finish(c"rpma_conn_cfg_get_srq", || {
        // SAFETY: the contract of C.
        let (cfg, srq_ptr) = unsafe { (arg(cfg, "cfg")?, out(srq_ptr, "srq_ptr")?) };
        srq_ptr.set(cfg.srq());
        Ok(())
    })
}

/// A copy of the current settings of a configuration, or of the default settings for NULL. Call it when they are
/// needed: while a function waits, the program may change them, and delete a shared receive queue that they had.
///
/// # Safety
///
/// The contract of C, for the configuration and the shared receive queue in it.
#[inline(always)]
pub(super) unsafe fn settings<'a>(cfg: *const ConnCfg) -> Settings<'a> {
    // SAFETY: the contract of C.
    match unsafe { optional(cfg) } {
        // SAFETY: as above.
        Some(cfg) => cfg.settings(unsafe { optional(cfg.srq()) }),
        None => ConnCfg::new().settings(None),
    }
}

/// The current timeout of a configuration, or the default timeout for NULL.
///
/// # Safety
///
/// The contract of C, for the configuration.
pub(super) unsafe fn timeout_ms(cfg: *const ConnCfg) -> c_int {
    // SAFETY: the contract of C.
    match unsafe { optional(cfg) } {
        Some(cfg) => cfg.timeout_ms.load(Relaxed),
        None => DEFAULT_TIMEOUT_MS,
    }
}
