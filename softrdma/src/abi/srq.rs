// SPDX-License-Identifier: BSD-3-Clause

//! Shared receive queues.

use std::ffi::c_int;
use std::sync::Arc;

use rdma_sys as sys;

use super::mr::PdHandle;
use super::unsupported::not_there;
use super::zeroed;
use super::{call, call_new, code, hand_out, handle, no_args, object, pointer, shows, take_back};
use crate::Result;
use crate::instrument::live::Kind;
use crate::objects::srq::Srq;

#[repr(C)]
pub(super) struct SrqHandle {
    pub(super) abi: sys::ibv_srq,
    pub(super) engine: Arc<Srq>,
}

impl super::Handle for SrqHandle {
    const KIND: Kind = Kind::Srq;
}

impl super::Object for sys::ibv_srq {
    const NAME: &'static str = "srq";
    type Handle = SrqHandle;
}

pub(super) unsafe fn new(
    pd: *mut sys::ibv_pd,
    attr: *mut sys::ibv_srq_init_attr,
) -> Result<*mut sys::ibv_srq> {
    // SAFETY: a domain of the program.
    let domain: &PdHandle = unsafe { handle(pd) }?;
    // SAFETY: the program's.
    let attr = unsafe { attr.as_ref() }.ok_or(libc::EINVAL)?;
    let limits = &attr.attr;
    let engine = Srq::new(
        &domain.engine,
        limits.max_wr,
        limits.max_sge,
        limits.srq_limit,
    )?;
    // SAFETY: plain data, and a mutex and a condition of which zeros are valid.
    let mut abi: sys::ibv_srq = unsafe { zeroed() };
    abi.context = domain.abi.context;
    abi.srq_context = attr.srq_context;
    abi.pd = pd;
    let raw = hand_out(SrqHandle { abi, engine }, |srq| Some(&srq.engine.handle));
    Ok(raw.cast())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_create_srq(
    pd: *mut sys::ibv_pd,
    attr: *mut sys::ibv_srq_init_attr,
) -> *mut sys::ibv_srq {
    pointer(call_new(
        "ibv_create_srq",
        |args| {
            // SAFETY: a domain of the program.
            unsafe { object(args, pd) };
            // SAFETY: the program's.
            if let Some(attr) = unsafe { attr.as_ref() } {
                args.num("max_wr", attr.attr.max_wr);
                args.num("max_sge", attr.attr.max_sge);
                args.num("srq_limit", attr.attr.srq_limit);
            }
        },
        // SAFETY: as this function.
        || unsafe { new(pd, attr) },
    ))
}

/// Only for kinds that the inline function does not send to `ibv_create_srq`: there are none here.
pub(super) unsafe extern "C" fn create_srq_ex(
    _context: *mut sys::ibv_context,
    _attr: *mut sys::ibv_srq_init_attr_ex,
) -> *mut sys::ibv_srq {
    pointer(call("ibv_create_srq_ex", no_args, || {
        Err(not_there(
            "shared receive queues of other kinds than the basic one",
        ))
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_modify_srq(
    srq: *mut sys::ibv_srq,
    attr: *mut sys::ibv_srq_attr,
    mask: c_int,
) -> c_int {
    const MAX_WR: c_int = 1;
    const LIMIT: c_int = 2;
    code(call(
        "ibv_modify_srq",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, srq) };
            // SAFETY: the program's.
            if let Some(attr) = unsafe { attr.as_ref() } {
                args.flags("attr_mask", u64::from(mask as u32));
                args.num("max_wr", attr.max_wr);
                args.num("srq_limit", attr.srq_limit);
            }
        },
        || {
            // SAFETY: a queue of the program.
            let handle: &SrqHandle = unsafe { handle(srq) }?;
            // SAFETY: the program's.
            let attr = unsafe { attr.as_ref() }.ok_or(libc::EINVAL)?;
            if mask & !(MAX_WR | LIMIT) != 0 {
                return Err(libc::EINVAL);
            }
            if mask & MAX_WR != 0 {
                handle.engine.resize(attr.max_wr)?;
            }
            if mask & LIMIT != 0 {
                handle.engine.set_limit(attr.srq_limit)?;
            }
            Ok(())
        },
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_srq(srq: *mut sys::ibv_srq, attr: *mut sys::ibv_srq_attr) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(srq) };
    code(call("ibv_query_srq", args, || {
        // SAFETY: a queue of the program.
        let handle: &SrqHandle = unsafe { handle(srq) }?;
        // SAFETY: the program's.
        let attr = unsafe { attr.as_mut() }.ok_or(libc::EINVAL)?;
        attr.max_wr = handle.engine.size();
        attr.max_sge = handle.engine.max_sge;
        attr.srq_limit = handle.engine.limit();
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_destroy_srq(srq: *mut sys::ibv_srq) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(srq) };
    code(call("ibv_destroy_srq", args, || {
        // SAFETY: a queue of the program.
        let handle: &SrqHandle = unsafe { handle(srq) }?;
        handle.engine.destroy()?;
        // SAFETY: nothing uses it any more.
        unsafe { take_back::<_, SrqHandle>(srq) };
        Ok(())
    }))
}
