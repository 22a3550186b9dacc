// SPDX-License-Identifier: BSD-3-Clause

//! Configurations of shared receive queues.

use std::ffi::c_int;
use std::sync::atomic::Ordering::Relaxed;

use super::{arg, create, delete, finish, out};
use crate::srq_cfg::SrqCfg;

/// Creates a configuration of a shared receive queue with the default settings.
///
/// The defaults are: 20 receives in the shared receive queue (SRQ), and 20 entries in its receive
/// CQ. rpma_srq_new reads the configuration during the call and does not keep it. The caller owns
/// *cfg_ptr and deletes it with rpma_srq_cfg_delete.
///
/// Several threads may get and set the settings of one configuration at the same time.
///
/// Errors:
/// - RPMA_E_INVAL: cfg_ptr is NULL
/// - RPMA_E_NOMEM: out of memory
///
/// See: rpma_srq_new, rpma_srq_cfg_set_rq_size, rpma_srq_cfg_set_rcq_size
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_new(cfg_ptr: *mut *mut SrqCfg) -> c_int {
    create(
        c"rpma_srq_cfg_new",
        cfg_ptr,
        || Ok(()),
        |()| Ok(SrqCfg::new()),
    )
}

/// Deletes a configuration of a shared receive queue.
///
/// The function sets *cfg_ptr to NULL. If *cfg_ptr is NULL already, it does nothing. Queues that
/// were made with the configuration do not need it any more.
///
/// Errors:
/// - RPMA_E_INVAL: cfg_ptr is NULL
///
/// See: rpma_srq_cfg_new
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_delete(cfg_ptr: *mut *mut SrqCfg) -> c_int {
    delete(c"rpma_srq_cfg_delete", cfg_ptr, |_, _| {})
}

/// Sets the size of a shared receive queue (SRQ).
///
/// rq_size is the number of receives that may be posted and not yet completed. The default is 20.
/// With a size that the device does not support, rpma_srq_new fails.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
///
/// See: rpma_srq_cfg_get_rq_size, rpma_srq_recv
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_set_rq_size(cfg: *mut SrqCfg, rq_size: u32) -> c_int {
    finish(c"rpma_srq_cfg_set_rq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rq_size.store(rq_size, Relaxed);
        Ok(())
    })
}

/// Gets the size of a shared receive queue (SRQ).
///
/// *rq_size is a number of receives; rpma_srq_cfg_set_rq_size explains it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or rq_size is NULL
///
/// See: rpma_srq_cfg_set_rq_size
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_get_rq_size(cfg: *const SrqCfg, rq_size: *mut u32) -> c_int {
    finish(c"rpma_srq_cfg_get_rq_size", || {
        // SAFETY: the contract of C.
        let (cfg, rq_size) = unsafe { (arg(cfg, "cfg")?, out(rq_size, "rq_size")?) };
        rq_size.set(cfg.rq_size.load(Relaxed));
        Ok(())
    })
}

/// Sets the size of the receive CQ of a shared receive queue (SRQ).
///
/// rcq_size is a number of entries. The default is 20. The receive CQ takes the completions of the
/// receives of all connections that use the SRQ. With 0, the SRQ has no receive CQ, and the
/// completions go to the queues of each connection.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
///
/// See: rpma_srq_cfg_get_rcq_size, rpma_srq_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_set_rcq_size(cfg: *mut SrqCfg, rcq_size: u32) -> c_int {
    finish(c"rpma_srq_cfg_set_rcq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rcq_size.store(rcq_size, Relaxed);
        Ok(())
    })
}

/// Gets the size of the receive CQ of a shared receive queue (SRQ).
///
/// *rcq_size is a number of entries, or 0 for no receive CQ; rpma_srq_cfg_set_rcq_size explains it.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or rcq_size is NULL
///
/// See: rpma_srq_cfg_set_rcq_size
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_get_rcq_size(
    cfg: *const SrqCfg,
    rcq_size: *mut u32,
) -> c_int {
    finish(c"rpma_srq_cfg_get_rcq_size", || {
        // SAFETY: the contract of C.
        let (cfg, rcq_size) = unsafe { (arg(cfg, "cfg")?, out(rcq_size, "rcq_size")?) };
        rcq_size.set(cfg.rcq_size.load(Relaxed));
        Ok(())
    })
}
