// SPDX-License-Identifier: BSD-3-Clause

//! Connection configurations.

use std::ffi::c_int;
use std::sync::atomic::Ordering::Relaxed;

use super::{arg, create, delete, finish, optional, out};
use crate::conn_cfg::{ConnCfg, Settings};
use crate::srq::Srq;

/// Makes a connection configuration with the default settings.
///
/// # Safety
///
/// The contract of C.
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
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_delete(cfg_ptr: *mut *mut ConnCfg) -> c_int {
    delete(c"rpma_conn_cfg_delete", cfg_ptr, |_, _| {})
}

/// Sets how long each step of connecting may take.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_timeout(cfg: *mut ConnCfg, timeout_ms: c_int) -> c_int {
    finish(c"rpma_conn_cfg_set_timeout", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.set_timeout_ms(timeout_ms)
    })
}

/// Tells how long each step of connecting may take.
///
/// # Safety
///
/// The contract of C.
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

/// Sets the size of the completion queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_cq_size(cfg: *mut ConnCfg, cq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_cq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.cq_size.store(cq_size, Relaxed);
        Ok(())
    })
}

/// Tells whether the completion channel is shared.
///
/// # Safety
///
/// The contract of C.
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

/// Sets whether the completion channel is shared.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_compl_channel(cfg: *mut ConnCfg, shared: bool) -> c_int {
    finish(c"rpma_conn_cfg_set_compl_channel", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.shared_channel.store(shared, Relaxed);
        Ok(())
    })
}

/// Tells the size of the completion queue.
///
/// # Safety
///
/// The contract of C.
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

/// Sets the size of the receive completion queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_rcq_size(cfg: *mut ConnCfg, rcq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_rcq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rcq_size.store(rcq_size, Relaxed);
        Ok(())
    })
}

/// Tells the size of the receive completion queue.
///
/// # Safety
///
/// The contract of C.
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

/// Sets the size of the send queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_sq_size(cfg: *mut ConnCfg, sq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_sq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.sq_size.store(sq_size, Relaxed);
        Ok(())
    })
}

/// Tells the size of the send queue.
///
/// # Safety
///
/// The contract of C.
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

/// Sets the size of the receive queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_rq_size(cfg: *mut ConnCfg, rq_size: u32) -> c_int {
    finish(c"rpma_conn_cfg_set_rq_size", || {
        // SAFETY: the contract of C.
        let cfg = unsafe { arg(cfg, "cfg")? };
        cfg.rq_size.store(rq_size, Relaxed);
        Ok(())
    })
}

/// Tells the size of the receive queue.
///
/// # Safety
///
/// The contract of C.
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

/// Sets the shared receive queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_set_srq(cfg: *mut ConnCfg, srq: *mut Srq) -> c_int {
    finish(c"rpma_conn_cfg_set_srq", || {
        // SAFETY: the contract of C.
        let cfg = unsafe {
            arg(srq, "srq")?;
            arg(cfg, "cfg")?
        };
        cfg.srq.store(srq, Relaxed);
        Ok(())
    })
}

/// Tells the shared receive queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_conn_cfg_get_srq(
    cfg: *const ConnCfg,
    srq_ptr: *mut *mut Srq,
) -> c_int {
    finish(c"rpma_conn_cfg_get_srq", || {
        // SAFETY: the contract of C.
        let (cfg, srq_ptr) = unsafe { (arg(cfg, "cfg")?, out(srq_ptr, "srq_ptr")?) };
        srq_ptr.set(cfg.srq.load(Relaxed));
        Ok(())
    })
}

/// The settings of a configuration, or the default ones for NULL.
///
/// # Safety
///
/// The contract of C, for the configuration and the shared receive queue in it.
pub(super) unsafe fn settings<'a>(cfg: *const ConnCfg) -> Settings<'a> {
    // SAFETY: the contract of C.
    match unsafe { optional(cfg) } {
        // SAFETY: as above.
        Some(cfg) => cfg.settings(unsafe { optional(cfg.srq.load(Relaxed)) }),
        None => ConnCfg::new().settings(None),
    }
}
