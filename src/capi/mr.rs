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
/// The memory region is the size bytes from ptr on. Alignment does not matter. usage is a
/// combination of RPMA_MR_USAGE_* and decides what the device may do with the memory: for this
/// process, and for every remote side that has a connection on this peer and the descriptor of the
/// region (rpma_mr_get_descriptor).
///
/// Registered pages are locked in memory and count towards RLIMIT_MEMLOCK. If memory cannot be
/// locked (EOPNOTSUPP), as it is with files of many DAX file systems, and the device supports
/// on-demand paging, the function registers it for on-demand paging.
///
/// Registration takes much longer than an RDMA operation: register a buffer once, not once for each
/// operation.
///
/// The caller owns *mr_ptr and deregisters it with rpma_mr_dereg, before it unmaps or frees the
/// memory and before it deletes the peer.
///
/// Calls: ibv_reg_mr
///
/// Errors:
/// - RPMA_E_INVAL: peer, ptr or mr_ptr is NULL, size is 0, or usage is 0 or has unknown bits
/// - RPMA_E_NOMEM: out of memory
/// - RPMA_E_PROVIDER: the registration failed; ENOMEM often means that RLIMIT_MEMLOCK is too low,
///   EFAULT that the memory is not mapped, or is mapped read-only and the usage needs write access
///
/// See: rpma_mr_dereg, rpma_mr_get_descriptor, rpma_mr_advise
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

/// Deregisters a memory region.
///
/// The function sets *mr_ptr to NULL. If *mr_ptr is NULL already, it does nothing. The memory
/// itself stays as it is.
///
/// All operations of this process that use the region must have completed. Operations of the remote
/// side on the region fail from now on.
///
/// Calls: ibv_dereg_mr
///
/// Errors:
/// - RPMA_E_INVAL: mr_ptr is NULL
/// - RPMA_E_PROVIDER: deregistering the memory failed; the object is deleted nevertheless
///
/// See: rpma_mr_reg
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_dereg(mr_ptr: *mut *mut MrLocal) -> c_int {
    delete(c"rpma_mr_dereg", mr_ptr, |mr, releases| {
        (*mr).dereg(releases);
    })
}

/// Writes the descriptor of a memory region to a buffer.
///
/// The descriptor is meant for the remote side, which passes it to rpma_mr_remote_from_descriptor
/// to access the memory. The program sends it in any way, for example as private data or in a
/// message.
///
/// desc must have room for the number of bytes that rpma_mr_get_descriptor_size returns. The bytes
/// are the same on all architectures.
///
/// The descriptor holds the address, size, remote key and usage of the region. Every remote side
/// that has the descriptor and a connection on the same peer can access the memory as the usage
/// allows. Do not send it to anybody else, nor over a network on which others can listen.
///
/// Errors:
/// - RPMA_E_INVAL: mr or desc is NULL
///
/// See: rpma_mr_remote_from_descriptor, rpma_mr_get_descriptor_size, rpma_conn_req_connect
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

/// Creates a remote memory region from a descriptor of the remote side.
///
/// desc is a descriptor that the remote side made with rpma_mr_get_descriptor, and desc_size the
/// number of bytes at desc. Bytes after the end of the descriptor are ignored. desc is not needed
/// after the call.
///
/// A remote memory region belongs to no connection. Use it with connections to the peer on which
/// the memory is registered. The caller owns *mr_ptr and deletes it with rpma_mr_remote_delete.
///
/// The function checks the form of the descriptor only. Address, size and usage are what the remote
/// side claims, and the remote device checks each operation against its registration. Check the
/// size with rpma_mr_remote_get_size before you rely on it.
///
/// Errors:
/// - RPMA_E_INVAL: desc or mr_ptr is NULL, desc_size is smaller than a descriptor, or the
///   descriptor has no usage
/// - RPMA_E_NOMEM: out of memory
///
/// See: rpma_mr_get_descriptor, rpma_mr_remote_get_size, rpma_mr_remote_delete
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

/// Gets the size of the descriptor of a memory region.
///
/// *desc_size is the number of bytes that rpma_mr_get_descriptor writes. It is the same for all
/// memory regions.
///
/// Errors:
/// - RPMA_E_INVAL: mr or desc_size is NULL
///
/// See: rpma_mr_get_descriptor
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

/// Gets the start address of a memory region.
///
/// *ptr is the ptr that was passed to rpma_mr_reg.
///
/// Errors:
/// - RPMA_E_INVAL: mr or ptr is NULL
///
/// See: rpma_mr_reg, rpma_mr_get_size
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_get_ptr(mr: *const MrLocal, ptr: *mut *mut c_void) -> c_int {
    finish(c"rpma_mr_get_ptr", || {
        // SAFETY: the contract of C.
        let (mr, ptr) = unsafe { (arg(mr, "mr")?, out(ptr, "ptr")?) };
        ptr.set(mr.addr());
        Ok(())
    })
}

/// Gets the size of a memory region.
///
/// *size is the number of bytes that was passed to rpma_mr_reg.
///
/// Errors:
/// - RPMA_E_INVAL: mr or size is NULL
///
/// See: rpma_mr_reg, rpma_mr_get_ptr
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_get_size(mr: *const MrLocal, size: *mut usize) -> c_int {
    finish(c"rpma_mr_get_size", || {
        // SAFETY: the contract of C.
        let (mr, size) = unsafe { (arg(mr, "mr")?, out(size, "size")?) };
        size.set(mr.size());
        Ok(())
    })
}

/// Gets the size of a remote memory region.
///
/// *size is a number of bytes. It comes from the descriptor, that is, from the remote side: check
/// it before you use it, for example as the size of a local buffer.
///
/// Errors:
/// - RPMA_E_INVAL: mr or size is NULL
///
/// See: rpma_mr_remote_from_descriptor
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_remote_get_size(mr: *const MrRemote, size: *mut usize) -> c_int {
    finish(c"rpma_mr_remote_get_size", || {
        // SAFETY: the contract of C.
        let (mr, size) = unsafe { (arg(mr, "mr")?, out(size, "size")?) };
        size.set(usize::try_from(mr.size()).unwrap_or(usize::MAX));
        Ok(())
    })
}

/// Gets the types of flush that a remote memory region is registered for.
///
/// *flush_type is a combination of RPMA_MR_USAGE_FLUSH_TYPE_*, or 0 if the region cannot be
/// flushed. They are not values of rpma_flush_type.
///
/// Errors:
/// - RPMA_E_INVAL: mr or flush_type is NULL
///
/// See: rpma_flush, rpma_mr_reg
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

/// Deletes a remote memory region.
///
/// The function sets *mr_ptr to NULL. If *mr_ptr is NULL already, it does nothing. Only the local
/// description of the region is deleted: the remote memory and its registration stay as they are.
/// Operations that are already posted do not need the object.
///
/// Errors:
/// - RPMA_E_INVAL: mr_ptr is NULL
///
/// See: rpma_mr_remote_from_descriptor
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_remote_delete(mr_ptr: *mut *mut MrRemote) -> c_int {
    delete(c"rpma_mr_remote_delete", mr_ptr, |_, _| {})
}

/// Gives the device advice about a range of a memory region.
///
/// The range is the len bytes at offset of the region. advice and flags are those of ibv_advise_mr.
/// For example, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE with IBV_ADVISE_MR_FLAG_FLUSH loads the pages
/// of a region that is registered for on-demand paging.
///
/// Calls: ibv_advise_mr
///
/// Errors:
/// - RPMA_E_INVAL: mr is NULL, len is above 4 GiB - 1, the range is outside the region or not
///   mapped (EFAULT), or the device does not accept the advice or the flags (EINVAL)
/// - RPMA_E_NOSUPP: the device or the installed libibverbs does not support advice
/// - RPMA_E_PROVIDER: the call failed for another reason
///
/// See: rpma_mr_reg, rpma_utils_ibv_context_is_odp_capable
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
