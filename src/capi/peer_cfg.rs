// SPDX-License-Identifier: BSD-3-Clause

//! What a peer tells the others about itself.

use std::ffi::{c_int, c_void};

use super::{arg, bytes, create, delete, finish, out};
use crate::peer_cfg::PeerCfg;

/// Creates a peer configuration, which says that direct write to PMem is not possible.
///
/// A peer configuration is what one side of a connection tells the other about its platform. The
/// caller deletes it with rpma_peer_cfg_delete.
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

/// Deletes a peer configuration and sets *pcfg_ptr to NULL.
///
/// Nothing happens when *pcfg_ptr is NULL already. Connections that the configuration was applied
/// to do not need it any more.
///
/// Errors:
/// - RPMA_E_INVAL: pcfg_ptr is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_peer_cfg_delete(pcfg_ptr: *mut *mut PeerCfg) -> c_int {
    delete(c"rpma_peer_cfg_delete", pcfg_ptr, |_, _| {})
}

/// Declares whether direct write to PMem is possible on this side.
///
/// It is possible when the platform is set up so that what the network adapter writes to persistent
/// memory cannot be left behind in a volatile cache; on Intel platforms that means, for example,
/// that DDIO is off for the adapter's port. The library cannot find out: a wrong true costs data at
/// the next power failure, because flushes to persistence succeed without having their effect.
///
/// The declaration takes effect on the remote side, once it has received the descriptor of this
/// configuration and applied it to its connection. May be called from several threads at once.
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

/// Tells whether a peer configuration declares direct write to PMem.
///
/// Errors:
/// - RPMA_E_INVAL: pcfg or supported is NULL
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

/// Writes the descriptor of a peer configuration, which is meant for the other side.
///
/// desc must have room for as many bytes as rpma_peer_cfg_get_descriptor_size tells. The bytes are
/// the same on every architecture. How they reach the other side is up to the program: as private
/// data or as a message, for example.
///
/// Errors:
/// - RPMA_E_INVAL: pcfg or desc is NULL
///
/// See: rpma_peer_cfg_from_descriptor
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

/// Tells the size of the descriptor of a peer configuration, in bytes.
///
/// Errors:
/// - RPMA_E_INVAL: pcfg or desc_size is NULL
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

/// Creates a peer configuration from a descriptor that came from the other side.
///
/// desc_size is the number of bytes at desc; those behind the descriptor are ignored. desc is not
/// needed afterwards. The caller deletes the configuration with rpma_peer_cfg_delete.
///
/// The descriptor is as trustworthy as the way it came: what it declares cannot be verified, and a
/// false declaration makes flushes to persistence succeed without having their effect.
///
/// Errors:
/// - RPMA_E_INVAL: desc or pcfg_ptr is NULL, or desc_size is 0
/// - RPMA_E_NOMEM: out of memory
///
/// See: rpma_conn_apply_remote_peer_cfg
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
