// SPDX-License-Identifier: BSD-3-Clause

//! Configurations of shared receive queues.

use std::ffi::c_int;
use std::sync::atomic::Ordering::Relaxed;

use super::{arg, create, delete, finish, out};
use crate::srq_cfg::SrqCfg;

/// Creates a configuration of a shared receive queue with the default settings.
///
/// These are: 20 receives in the queue, and 20 entries in its receive CQ. rpma_srq_new reads the
/// configuration and does not keep it. The caller deletes it with rpma_srq_cfg_delete.
///
/// The settings may be set and read from several threads at once.
///
/// Errors:
/// - RPMA_E_INVAL: cfg_ptr is NULL
/// - RPMA_E_NOMEM: out of memory
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_new(cfg_ptr: *mut *mut SrqCfg) -> c_int {
    create(
        c"rpma_srq_cfg_new",
        cfg_ptr,
        || Ok(()),
        |()| Ok(SrqCfg::new()),
    )
}

/// Deletes a configuration of a shared receive queue and sets *cfg_ptr to NULL.
///
/// Nothing happens when *cfg_ptr is NULL already. Queues made with the configuration do not need it
/// any more.
///
/// Errors:
/// - RPMA_E_INVAL: cfg_ptr is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_delete(cfg_ptr: *mut *mut SrqCfg) -> c_int {
    delete(c"rpma_srq_cfg_delete", cfg_ptr, |_, _| {})
}

/// Sets the size of the shared receive queue, in receives; the default is 20.
///
/// It is the number of receives that may be posted and not completed (rpma_srq_recv). A size that
/// the device cannot do makes rpma_srq_new fail.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_set_rq_size(cfg: *mut SrqCfg, rq_size: u32) -> c_int {
    finish(c"rpma_srq_cfg_set_rq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rq_size.store(rq_size, Relaxed);
        Ok(())
    })
}

/// Tells the size of the shared receive queue, in receives.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or rq_size is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_get_rq_size(cfg: *const SrqCfg, rq_size: *mut u32) -> c_int {
    finish(c"rpma_srq_cfg_get_rq_size", || {
        // SAFETY: the contract of C.
        let (cfg, rq_size) = unsafe { (arg(cfg, "cfg")?, out(rq_size, "rq_size")?) };
        rq_size.set(cfg.rq_size.load(Relaxed));
        Ok(())
    })
}

/// Sets the size of the receive CQ of the shared receive queue, in entries; the default is 20.
///
/// The receive CQ takes the completions of the receives of all connections that share the queue. 0
/// means that there is none: the completions go to the queues of each connection.
///
/// Errors:
/// - RPMA_E_INVAL: cfg is NULL
///
/// See: rpma_srq_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_set_rcq_size(cfg: *mut SrqCfg, rcq_size: u32) -> c_int {
    finish(c"rpma_srq_cfg_set_rcq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rcq_size.store(rcq_size, Relaxed);
        Ok(())
    })
}

/// Tells the size of the receive CQ of the shared receive queue, in entries; 0 when there is none.
///
/// Errors:
/// - RPMA_E_INVAL: cfg or rcq_size is NULL
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
