// SPDX-License-Identifier: BSD-3-Clause

//! Peer configurations.

use std::ffi::{c_int, c_void};

use super::{arg, bytes, create, delete, finish, out};
use crate::peer_cfg::PeerCfg;

/// Creates a peer configuration.
///
/// A peer configuration describes the platform of one side of a connection to the other side. It
/// has one setting: whether direct write to persistent memory (PMem) is possible. The default is
/// that it is not.
///
/// The caller owns *pcfg_ptr and deletes it with rpma_peer_cfg_delete.
///
/// Errors:
/// - RPMA_E_INVAL: pcfg_ptr is NULL
/// - RPMA_E_NOMEM: out of memory
///
/// See: rpma_peer_cfg_set_direct_write_to_pmem, rpma_peer_cfg_get_descriptor
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
/// The function sets *pcfg_ptr to NULL. If *pcfg_ptr is NULL already, it does nothing. Connections
/// to which the configuration was applied do not need it any more.
///
/// Errors:
/// - RPMA_E_INVAL: pcfg_ptr is NULL
///
/// See: rpma_peer_cfg_new, rpma_peer_cfg_from_descriptor
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_cfg_delete(pcfg_ptr: *mut *mut PeerCfg) -> c_int {
    delete(c"rpma_peer_cfg_delete", pcfg_ptr, |_, _| {})
}

/// Sets whether direct write to PMem is possible on this side.
///
/// Direct write to persistent memory (PMem) is possible if no volatile cache can hold back what the
/// network adapter writes to persistent memory. On Intel platforms this means, for example, that
/// DDIO is disabled for the PCIe root port of the adapter, or that the platform flushes its caches
/// at a power failure (eADR). The library cannot detect this. A wrong true causes data loss at the
/// next power failure: flushes to persistence then succeed without any effect.
///
/// The setting takes effect on the remote side, after that side has received the descriptor of this
/// configuration and applied it to its connection.
///
/// Errors:
/// - RPMA_E_INVAL: pcfg is NULL
///
/// See: rpma_peer_cfg_get_descriptor, rpma_conn_apply_remote_peer_cfg, rpma_flush
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

/// Gets whether a peer configuration allows direct write to PMem.
///
/// *supported is true if direct write to persistent memory (PMem) is possible on the side that the
/// configuration describes. The default is false.
///
/// Errors:
/// - RPMA_E_INVAL: pcfg or supported is NULL
///
/// See: rpma_peer_cfg_set_direct_write_to_pmem
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

/// Writes the descriptor of a peer configuration to a buffer.
///
/// The descriptor is meant for the remote side, which passes it to rpma_peer_cfg_from_descriptor.
/// The program sends it in any way, for example as private data or in a message.
///
/// desc must have room for the number of bytes that rpma_peer_cfg_get_descriptor_size returns. The
/// bytes are the same on all architectures.
///
/// Errors:
/// - RPMA_E_INVAL: pcfg or desc is NULL
///
/// See: rpma_peer_cfg_from_descriptor, rpma_peer_cfg_get_descriptor_size
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

/// Gets the size of the descriptor of a peer configuration.
///
/// *desc_size is the number of bytes that rpma_peer_cfg_get_descriptor writes.
///
/// Errors:
/// - RPMA_E_INVAL: pcfg or desc_size is NULL
///
/// See: rpma_peer_cfg_get_descriptor
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

/// Creates a peer configuration from a descriptor of the remote side.
///
/// desc is a descriptor that the remote side made with rpma_peer_cfg_get_descriptor, and desc_size
/// the number of bytes at desc. Bytes after the end of the descriptor are ignored. desc is not
/// needed after the call.
///
/// The caller owns *pcfg_ptr and deletes it with rpma_peer_cfg_delete.
///
/// The library cannot verify what the descriptor says. If it wrongly allows direct write to PMem,
/// flushes to persistence succeed without any effect.
///
/// Errors:
/// - RPMA_E_INVAL: desc or pcfg_ptr is NULL, or desc_size is 0
/// - RPMA_E_NOMEM: out of memory
///
/// See: rpma_conn_apply_remote_peer_cfg, rpma_peer_cfg_get_descriptor
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
        || unsafe { bytes(desc, desc_size, PeerCfg::DESCRIPTOR_SIZE, "desc") },
        PeerCfg::from_descriptor,
    )
}
