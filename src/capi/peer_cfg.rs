// SPDX-License-Identifier: BSD-3-Clause

//! What a peer tells the others about itself.

use std::ffi::{c_int, c_void};

use super::{arg, bytes, create, delete, finish, out};
use crate::peer_cfg::PeerCfg;

/// Makes a peer configuration: no direct write to PMem.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_cfg_new(pcfg_ptr: *mut *mut PeerCfg) -> c_int {
    create(
        c"rpma_peer_cfg_new",
        pcfg_ptr,
        || Ok(()),
        |()| Ok(PeerCfg::new()),
    )
}

/// Deletes a peer configuration.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_cfg_delete(pcfg_ptr: *mut *mut PeerCfg) -> c_int {
    delete(c"rpma_peer_cfg_delete", pcfg_ptr, |_, _| {})
}

/// Declares whether direct write to PMem is possible.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_cfg_set_direct_write_to_pmem(
    pcfg: *mut PeerCfg,
    supported: bool,
) -> c_int {
    finish(c"rpma_peer_cfg_set_direct_write_to_pmem", || {
        // SAFETY: the contract of C.
        unsafe { arg(pcfg, "pcfg")? }.set_direct_write_to_pmem(supported);
        Ok(())
    })
}

/// Tells whether direct write to PMem is possible.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_cfg_get_direct_write_to_pmem(
    pcfg: *const PeerCfg,
    supported: *mut bool,
) -> c_int {
    finish(c"rpma_peer_cfg_get_direct_write_to_pmem", || {
        // SAFETY: the contract of C.
        let (cfg, supported) = unsafe { (arg(pcfg, "pcfg")?, out(supported, "supported")?) };
        supported.set(cfg.direct_write_to_pmem());
        Ok(())
    })
}

/// Writes the descriptor of a peer configuration.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_cfg_get_descriptor(
    pcfg: *const PeerCfg,
    desc: *mut c_void,
) -> c_int {
    finish(c"rpma_peer_cfg_get_descriptor", || {
        // SAFETY: the contract of C; the caller has made room for a descriptor.
        let (cfg, desc) = unsafe {
            (
                arg(pcfg, "pcfg")?,
                out(desc.cast::<[u8; PeerCfg::DESCRIPTOR_SIZE]>(), "desc")?,
            )
        };
        desc.set(cfg.descriptor());
        Ok(())
    })
}

/// Tells how large the descriptor of a peer configuration is.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_cfg_get_descriptor_size(
    pcfg: *const PeerCfg,
    desc_size: *mut usize,
) -> c_int {
    finish(c"rpma_peer_cfg_get_descriptor_size", || {
        // SAFETY: the contract of C.
        let desc_size = unsafe {
            arg(pcfg, "pcfg")?;
            out(desc_size, "desc_size")?
        };
        desc_size.set(PeerCfg::DESCRIPTOR_SIZE);
        Ok(())
    })
}

/// Makes a peer configuration from a descriptor.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_cfg_from_descriptor(
    desc: *const c_void,
    desc_size: usize,
    pcfg_ptr: *mut *mut PeerCfg,
) -> c_int {
    create(
        c"rpma_peer_cfg_from_descriptor",
        pcfg_ptr,
        // SAFETY: the contract of C, for the descriptor and its size.
        || unsafe { bytes(desc, desc_size, "desc") },
        PeerCfg::from_descriptor,
    )
}
