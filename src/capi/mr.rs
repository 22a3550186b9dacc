// SPDX-License-Identifier: BSD-3-Clause

//! Memory regions, local and remote.

use std::ffi::{c_int, c_void};

use super::{arg, bytes, create, delete, finish, is_null, out};
use crate::error::Error;
use crate::mr::{Descriptor, MrLocal, MrRemote};
use crate::mr_usage::Usage;
use crate::peer::Peer;

/// Registers memory with the device of a peer.
///
/// The region is the size bytes from ptr on; alignment does not matter. usage is any combination of
/// RPMA_MR_USAGE_* and decides what the device may do with the memory (ibv_reg_mr), for this
/// process and for everybody who knows the region's descriptor and has a connection of this peer.
/// Where flush is emulated, RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY and
/// RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT let the remote side read the memory; on iWARP,
/// RPMA_MR_USAGE_READ_DST lets it write.
///
/// Registered pages are locked in memory and count towards RLIMIT_MEMLOCK. Memory that cannot be
/// locked (EOPNOTSUPP), such as that of a file on a DAX file system, is registered for on-demand
/// paging instead if the device is capable of it.
///
/// The caller deregisters the region with rpma_mr_dereg, before it unmaps or frees the memory and
/// before it deletes the peer.
///
/// Errors:
/// - RPMA_E_INVAL: peer, ptr or mr_ptr is NULL, size is 0, or usage is 0 or has unknown bits
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: the registration failed; ENOMEM often means RLIMIT_MEMLOCK, EFAULT memory
///   that is not mapped, or mapped read-only where the usage needs writing
///
/// See: rpma_mr_get_descriptor, rpma_mr_advise
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_reg(
    peer: *mut Peer,
    ptr: *mut c_void,
    size: usize,
    usage: c_int,
    mr_ptr: *mut *mut MrLocal,
) -> c_int {
    create(
        c"rpma_mr_reg",
        mr_ptr,
        || {
            // SAFETY: the contract of C.
            let device = unsafe { arg(peer, "peer")? }.device();
            if ptr.is_null() {
                return Err(is_null("ptr"));
            }
            if size == 0 {
                return Err(Error::invalid("size is 0"));
            }
            Ok((device, Usage::from_bits(usage)?))
        },
        |(device, usage)| MrLocal::reg(device, ptr, size, usage),
    )
}

/// Deregisters memory and sets *mr_ptr to NULL.
///
/// Nothing happens when *mr_ptr is NULL already. Operations of this process that use the region
/// must have completed; operations of the remote side fail from here on. The memory itself is left
/// alone (ibv_dereg_mr).
///
/// Errors:
/// - RPMA_E_INVAL: mr_ptr is NULL
/// - RPMA_E_PROVIDER: the deregistration failed; the object is gone nevertheless
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_dereg(mr_ptr: *mut *mut MrLocal) -> c_int {
    delete(c"rpma_mr_dereg", mr_ptr, |mr, releases| {
        (*mr).dereg(releases);
    })
}

/// Writes the descriptor of a memory region, which the remote side needs to access it.
///
/// desc must have room for as many bytes as rpma_mr_get_descriptor_size tells. The bytes are the
/// same on every architecture. How they reach the other side is up to the program: as private data
/// or as a message, for example.
///
/// The descriptor holds the address, size, remote key and usage of the region. Together with a
/// connection of the same peer it is all that is needed to do with the memory what the usage
/// allows, so it should go to nobody else, and not over a network where others listen.
///
/// Errors:
/// - RPMA_E_INVAL: mr or desc is NULL
///
/// See: rpma_mr_remote_from_descriptor
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_get_descriptor(mr: *const MrLocal, desc: *mut c_void) -> c_int {
    finish(c"rpma_mr_get_descriptor", || {
        // SAFETY: the contract of C; the caller has made room for a descriptor.
        let (mr, desc) = unsafe {
            (
                arg(mr, "mr")?,
                out(desc.cast::<[u8; Descriptor::SIZE]>(), "desc")?,
            )
        };
        desc.set(mr.descriptor().encode());
        Ok(())
    })
}

/// Creates a remote memory region from a descriptor that came from the other side.
///
/// desc_size is the number of bytes at desc; those behind the descriptor are ignored. desc is not
/// needed afterwards. The caller deletes the region with rpma_mr_remote_delete. It belongs to no
/// connection: use it on connections to the peer that registered the memory.
///
/// What the descriptor says is checked for its form only. Its address, size and usage are what the
/// other side claims; the remote device checks every operation against what is really registered.
/// The program checks the size (rpma_mr_remote_get_size) before it relies on it.
///
/// Errors:
/// - RPMA_E_INVAL: desc or mr_ptr is NULL, desc_size is smaller than a descriptor, or the
///   descriptor has no usage
/// - RPMA_E_NOMEM: out of memory
///
/// See: rpma_mr_get_descriptor
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_remote_from_descriptor(
    desc: *const c_void,
    desc_size: usize,
    mr_ptr: *mut *mut MrRemote,
) -> c_int {
    create(
        c"rpma_mr_remote_from_descriptor",
        mr_ptr,
        // SAFETY: the contract of C, for the descriptor and its size.
        || unsafe { bytes(desc, desc_size, Descriptor::SIZE, "desc") },
        MrRemote::from_descriptor,
    )
}

/// Tells the size of the descriptor of a memory region, in bytes.
///
/// Errors:
/// - RPMA_E_INVAL: mr or desc_size is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_get_descriptor_size(
    mr: *const MrLocal,
    desc_size: *mut usize,
) -> c_int {
    finish(c"rpma_mr_get_descriptor_size", || {
        // SAFETY: the contract of C.
        let desc_size = unsafe {
            arg(mr, "mr")?;
            out(desc_size, "desc_size")?
        };
        desc_size.set(Descriptor::SIZE);
        Ok(())
    })
}

/// Tells where a memory region starts: the ptr that it was registered with.
///
/// Errors:
/// - RPMA_E_INVAL: mr or ptr is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_get_ptr(mr: *const MrLocal, ptr: *mut *mut c_void) -> c_int {
    finish(c"rpma_mr_get_ptr", || {
        // SAFETY: the contract of C.
        let (mr, ptr) = unsafe { (arg(mr, "mr")?, out(ptr, "ptr")?) };
        ptr.set(mr.addr());
        Ok(())
    })
}

/// Tells the size of a memory region, in bytes.
///
/// Errors:
/// - RPMA_E_INVAL: mr or size is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_get_size(mr: *const MrLocal, size: *mut usize) -> c_int {
    finish(c"rpma_mr_get_size", || {
        // SAFETY: the contract of C.
        let (mr, size) = unsafe { (arg(mr, "mr")?, out(size, "size")?) };
        size.set(mr.size());
        Ok(())
    })
}

/// Tells the size of a remote memory region, in bytes.
///
/// The number came from the other side, with the descriptor: check it before you use it as the size
/// of something local.
///
/// Errors:
/// - RPMA_E_INVAL: mr or size is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_remote_get_size(mr: *const MrRemote, size: *mut usize) -> c_int {
    finish(c"rpma_mr_remote_get_size", || {
        // SAFETY: the contract of C.
        let (mr, size) = unsafe { (arg(mr, "mr")?, out(size, "size")?) };
        size.set(usize::try_from(mr.size()).unwrap_or(usize::MAX));
        Ok(())
    })
}

/// Tells which types of flush a remote memory region was registered for.
///
/// *flush_type is a combination of RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY and
/// RPMA_MR_USAGE_FLUSH_TYPE_PERSISTENT, or 0. (These are not the values of enum rpma_flush_type.)
///
/// Errors:
/// - RPMA_E_INVAL: mr or flush_type is NULL
///
/// See: rpma_flush
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_remote_get_flush_type(
    mr: *const MrRemote,
    flush_type: *mut c_int,
) -> c_int {
    finish(c"rpma_mr_remote_get_flush_type", || {
        // SAFETY: the contract of C.
        let (mr, flush_type) = unsafe { (arg(mr, "mr")?, out(flush_type, "flush_type")?) };
        flush_type.set(mr.flush_bits());
        Ok(())
    })
}

/// Deletes a remote memory region and sets *mr_ptr to NULL.
///
/// Nothing happens when *mr_ptr is NULL already. Only the description of the region is deleted: the
/// memory and its registration on the other side stay as they are. Operations in flight do not need
/// the object.
///
/// Errors:
/// - RPMA_E_INVAL: mr_ptr is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_remote_delete(mr_ptr: *mut *mut MrRemote) -> c_int {
    delete(c"rpma_mr_remote_delete", mr_ptr, |_, _| {})
}

/// Gives the device advice about a range of a memory region.
///
/// The range is the len bytes from offset on. advice and flags are those of ibv_advise_mr, for
/// example IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE with IBV_ADVISE_MR_FLAG_FLUSH: it brings in pages of
/// a region that was registered for on-demand paging.
///
/// Errors:
/// - RPMA_E_INVAL: mr is NULL, len is above 4 GiB - 1, the range is not in the region or not mapped
///   (EFAULT), or the device does not take the advice or the flags (EINVAL)
/// - RPMA_E_NOSUPP: the device or the installed libibverbs has no such call
/// - RPMA_E_PROVIDER: it failed for another reason
///
/// See: rpma_utils_ibv_context_is_odp_capable
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_advise(
    mr: *mut MrLocal,
    offset: usize,
    len: usize,
    advice: c_int,
    flags: u32,
) -> c_int {
    finish(c"rpma_mr_advise", || {
        // SAFETY: the contract of C.
        unsafe { arg(mr, "mr")? }.advise(offset, len, advice, flags)
    })
}
