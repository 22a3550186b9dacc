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
/// These are: timeout RPMA_DEFAULT_TIMEOUT_MS, 10 entries each in the CQ, the SQ and the RQ, no
/// receive CQ, no shared completion channel, no shared RQ. The same configuration can serve any
/// number of connections: rpma_conn_req_new and rpma_ep_next_conn_req read it while they run and do
/// not keep it. The caller deletes it with rpma_conn_cfg_delete.
///
/// The settings may be set and read from several threads at once.
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

/// Deletes a connection configuration and sets *cfg_ptr to NULL.
///
/// Nothing happens when *cfg_ptr is NULL already. Requests and connections made with the
/// configuration do not need it any more. A shared RQ that was set in it is left alone.
///
/// Errors:
/// - RPMA_E_INVAL: cfg_ptr is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_delete(cfg_ptr: *mut *mut ConnCfg) -> c_int {
    delete(c"rpma_conn_cfg_delete", cfg_ptr, |_, _| {})
}

/// Sets how long each step of finding the other side may take, in milliseconds.
///
/// The steps are those of rpma_conn_req_new: resolving the address, and then the route. How long
/// the other side may take to answer the request itself is up to the connection manager. The
/// default is RPMA_DEFAULT_TIMEOUT_MS. Incoming connections have no use for it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL, or timeout_ms is negative
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_timeout(cfg: *mut ConnCfg, timeout_ms: c_int) -> c_int {
    finish(c"rpma_conn_cfg_set_timeout", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.set_timeout_ms(timeout_ms)
    })
}

/// Tells how long each step of finding the other side may take, in milliseconds.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or timeout_ms is NULL
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

/// Sets the size of the completion queue (CQ), in entries; the default is 10.
///
/// It takes the completions of all operations of the connection, but for those of receives when
/// there is a receive CQ. It must have room for all completions that may be waiting at a time: when
/// it overflows, completions are lost or the connection breaks. A size that the device cannot do
/// (0, for example) makes rpma_conn_req_new and rpma_ep_next_conn_req fail.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
///
/// See: rpma_conn_get_cq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_cq_size(cfg: *mut ConnCfg, cq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_cq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.cq_size.store(cq_size, Relaxed);
        Ok(())
    })
}

/// Tells whether the CQ and the receive CQ share a completion channel.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or shared is NULL
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
/// When they do, one call of rpma_conn_wait waits for both, on one file descriptor
/// (rpma_conn_get_compl_fd), and rpma_cq_wait does not work on them. Otherwise, which is the
/// default, each has a channel of its own. It cannot be combined with a shared RQ that has a
/// receive CQ of its own.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_compl_channel(cfg: *mut ConnCfg, shared: bool) -> c_int {
    finish(c"rpma_conn_cfg_set_compl_channel", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.shared_channel.store(shared, Relaxed);
        Ok(())
    })
}

/// Tells the size of the completion queue (CQ), in entries.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or cq_size is NULL
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

/// Sets the size of the receive completion queue (receive CQ), in entries.
///
/// 0, the default, means that there is none, and that the completions of receives go to the CQ. The
/// size is ignored when a shared RQ brings a receive CQ of its own. The queue must have room for
/// all completions that may be waiting at a time.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
///
/// See: rpma_conn_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_rcq_size(cfg: *mut ConnCfg, rcq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_rcq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rcq_size.store(rcq_size, Relaxed);
        Ok(())
    })
}

/// Tells the size of the receive completion queue (receive CQ), in entries; 0 when there is none.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or rcq_size is NULL
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

/// Sets the size of the send queue (SQ), in operations; the default is 10.
///
/// Every operation but a receive takes a place in it, until its completion or that of a later one
/// has been taken from the CQ. The device may round the size up. A size that it cannot do makes
/// rpma_conn_req_new and rpma_ep_next_conn_req fail.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_sq_size(cfg: *mut ConnCfg, sq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_sq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.sq_size.store(sq_size, Relaxed);
        Ok(())
    })
}

/// Tells the size of the send queue (SQ), in operations.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or sq_size is NULL
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

/// Sets the size of the receive queue (RQ), in receives; the default is 10.
///
/// It is the number of receives that may be posted and not completed (rpma_recv). The device may
/// round the size up. With a shared RQ the size has no effect. A size that the device cannot do
/// makes rpma_conn_req_new and rpma_ep_next_conn_req fail.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_rq_size(cfg: *mut ConnCfg, rq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_rq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rq_size.store(rq_size, Relaxed);
        Ok(())
    })
}

/// Tells the size of the receive queue (RQ), in receives.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or rq_size is NULL
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

/// Sets the shared receive queue (shared RQ) that connections take their receives from.
///
/// Receives for such connections are posted with rpma_srq_recv, for all of them together. Their
/// completions go to the receive CQ of the shared RQ if it has one, else to the connection's
/// receive CQ, else to its CQ. The shared RQ must be of the same peer, and must outlive every
/// connection and request that uses it. Once set it cannot be unset: use another configuration.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or srq is NULL
///
/// See: rpma_srq_new
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

/// Tells the shared receive queue (shared RQ) that was set, or NULL.
///
/// The shared RQ stays the property of the one who made it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or srq_ptr is NULL
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

/// The settings of a configuration as they are now, or the default ones for NULL. To be called when they are
/// needed: the program may change them, and delete a shared receive queue that was in them, while a function
/// waits.
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

/// The timeout of a configuration as it is now, or the default one for NULL.
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
