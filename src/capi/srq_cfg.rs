// SPDX-License-Identifier: BSD-3-Clause

//! Configurations of shared receive queues.

use std::ffi::c_int;
use std::sync::atomic::Ordering::Relaxed;

use super::{arg, create, delete, finish, out};
use crate::srq_cfg::SrqCfg;

/// Makes a configuration of a shared receive queue with the default settings.
///
/// # Safety
///
/// The contract of C.
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
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_delete(cfg_ptr: *mut *mut SrqCfg) -> c_int {
    delete(c"rpma_srq_cfg_delete", cfg_ptr, |_, _| {})
}

/// Sets the size of the shared receive queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_set_rq_size(cfg: *mut SrqCfg, rq_size: u32) -> c_int {
    finish(c"rpma_srq_cfg_set_rq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rq_size.store(rq_size, Relaxed);
        Ok(())
    })
}

/// Tells the size of the shared receive queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_get_rq_size(cfg: *const SrqCfg, rq_size: *mut u32) -> c_int {
    finish(c"rpma_srq_cfg_get_rq_size", || {
        // SAFETY: the contract of C.
        let (cfg, rq_size) = unsafe { (arg(cfg, "cfg")?, out(rq_size, "rq_size")?) };
        rq_size.set(cfg.rq_size.load(Relaxed));
        Ok(())
    })
}

/// Sets the size of its receive completion queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_srq_cfg_set_rcq_size(cfg: *mut SrqCfg, rcq_size: u32) -> c_int {
    finish(c"rpma_srq_cfg_set_rcq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rcq_size.store(rcq_size, Relaxed);
        Ok(())
    })
}

/// Tells the size of its receive completion queue.
///
/// # Safety
///
/// The contract of C.
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
