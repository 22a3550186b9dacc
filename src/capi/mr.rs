// SPDX-License-Identifier: BSD-3-Clause

//! Memory regions, local and remote.

use std::ffi::{c_int, c_void};

use super::{arg, bytes, create, delete, finish, is_null, out};
use crate::error::Error;
use crate::mr::{Descriptor, MrLocal, MrRemote, Usage};
use crate::peer::Peer;

/// Registers memory.
///
/// # Safety
///
/// The contract of C.
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
            let domain = unsafe { arg(peer, "peer")? }.domain();
            if ptr.is_null() {
                return Err(is_null("ptr"));
            }
            if size == 0 {
                return Err(Error::inval("size is 0"));
            }
            Ok((domain, Usage::from_bits(usage)?))
        },
        |(domain, usage)| MrLocal::reg(domain, ptr, size, usage),
    )
}

/// Deregisters memory.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_dereg(mr_ptr: *mut *mut MrLocal) -> c_int {
    delete(c"rpma_mr_dereg", mr_ptr, |mr, releases| {
        releases.add(mr.dereg());
    })
}

/// Writes the descriptor of a memory region.
///
/// # Safety
///
/// The contract of C.
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

/// Makes a remote memory region from a descriptor.
///
/// # Safety
///
/// The contract of C.
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
        || unsafe { bytes(desc, desc_size, "desc") },
        MrRemote::from_descriptor,
    )
}

/// Tells how large the descriptor of a memory region is.
///
/// # Safety
///
/// The contract of C.
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

/// Tells where a memory region starts.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_get_ptr(mr: *const MrLocal, ptr: *mut *mut c_void) -> c_int {
    finish(c"rpma_mr_get_ptr", || {
        // SAFETY: the contract of C.
        let (mr, ptr) = unsafe { (arg(mr, "mr")?, out(ptr, "ptr")?) };
        ptr.set(mr.addr());
        Ok(())
    })
}

/// Tells how large a memory region is.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_get_size(mr: *const MrLocal, size: *mut usize) -> c_int {
    finish(c"rpma_mr_get_size", || {
        // SAFETY: the contract of C.
        let (mr, size) = unsafe { (arg(mr, "mr")?, out(size, "size")?) };
        size.set(mr.size());
        Ok(())
    })
}

/// Tells how large a remote memory region is.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_remote_get_size(mr: *const MrRemote, size: *mut usize) -> c_int {
    finish(c"rpma_mr_remote_get_size", || {
        // SAFETY: the contract of C.
        let (mr, size) = unsafe { (arg(mr, "mr")?, out(size, "size")?) };
        size.set(usize::try_from(mr.size()).unwrap_or(usize::MAX));
        Ok(())
    })
}

/// Tells which types of flush a remote memory region takes.
///
/// # Safety
///
/// The contract of C.
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
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_mr_remote_delete(mr_ptr: *mut *mut MrRemote) -> c_int {
    delete(c"rpma_mr_remote_delete", mr_ptr, |_, _| {})
}

/// Gives the device advice about a range of a memory region.
///
/// # Safety
///
/// The contract of C.
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
