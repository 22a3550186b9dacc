// SPDX-License-Identifier: BSD-3-Clause

//! Protection domains and memory regions.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rdma_sys as sys;

use super::context::{self, ContextHandle};
use super::data;
use super::unsupported;
use super::{call, call_new, code, hand_out, handle, no_args, object, pointer, shows, take_back};
use crate::Result;
use crate::instrument::live::Kind;
use crate::instrument::{self, names};
use crate::objects::mr::Mr;
use crate::objects::pd::Pd;
use crate::types::region::{Terms, access};

#[repr(C)]
pub(super) struct PdHandle {
    pub(super) abi: sys::ibv_pd,
    pub(super) engine: Arc<Pd>,
}

impl super::Handle for PdHandle {
    const KIND: Kind = Kind::Pd;
}

impl super::Object for sys::ibv_pd {
    const NAME: &'static str = "pd";
    type Handle = PdHandle;
}

#[repr(C)]
pub(super) struct MrHandle {
    pub(super) abi: sys::ibv_mr,
    pub(super) engine: Arc<Mr>,
}

impl super::Handle for MrHandle {
    const KIND: Kind = Kind::Mr;

    fn number(&self) -> Option<&AtomicU64> {
        Some(&self.engine.trace_number)
    }
}

impl super::Object for sys::ibv_mr {
    const NAME: &'static str = "mr";
    type Handle = MrHandle;
}

pub(super) fn new_pd(context: &ContextHandle) -> *mut sys::ibv_pd {
    let engine = Pd::new(&context.engine);
    let abi = sys::ibv_pd {
        context: context.as_ptr(),
        handle: engine.number,
    };
    hand_out(PdHandle { abi, engine }, |_| None).cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_alloc_pd(context: *mut sys::ibv_context) -> *mut sys::ibv_pd {
    pointer(call_new("ibv_alloc_pd", no_args, || {
        // SAFETY: a context of the program.
        Ok(new_pd(unsafe { context::of(context) }?))
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_dealloc_pd(pd: *mut sys::ibv_pd) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(pd) };
    code(call("ibv_dealloc_pd", args, || {
        // SAFETY: a domain of the program.
        let handle: &PdHandle = unsafe { handle(pd) }?;
        handle.engine.destroy()?;
        // SAFETY: nothing uses it any more.
        unsafe { take_back::<_, PdHandle>(pd) };
        Ok(())
    }))
}

/// Memory of a DAX file system cannot be registered but for on-demand access. A test may want all memory to
/// be like that.
fn fails_as_on_dax(flags: u32) -> bool {
    instrument::mr_eopnotsupp() && flags & access::ON_DEMAND == 0
}

/// The kernel's error for an access that the device does not have is EINVAL, which says little.
fn say_what_needs_a_capability(flags: u32) {
    let caps = instrument::caps();
    if flags & access::ON_DEMAND != 0 && !caps.odp {
        unsupported::say_disabled("IBV_ACCESS_ON_DEMAND", "odp");
    }
    if flags & access::FLUSHES != 0 && !caps.flush {
        unsupported::say_disabled(
            "IBV_ACCESS_FLUSH_GLOBAL or IBV_ACCESS_FLUSH_PERSISTENT",
            "flush",
        );
    }
}

unsafe fn register(
    pd: *mut sys::ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    flags: u32,
) -> Result<*mut sys::ibv_mr> {
    // SAFETY: a domain of the program.
    let pd_handle: &PdHandle = unsafe { handle(pd) }?;
    let terms = Terms {
        addr: addr.expose_provenance() as u64,
        length: length as u64,
        iova,
        access: flags,
    };
    if fails_as_on_dax(flags) {
        return Err(libc::EOPNOTSUPP);
    }
    say_what_needs_a_capability(flags);
    let engine = Mr::register(&pd_handle.engine, terms.check()?)?;
    let abi = sys::ibv_mr {
        context: pd_handle.abi.context,
        pd,
        addr,
        length,
        handle: engine.lkey >> 1,
        lkey: engine.lkey,
        rkey: engine.rkey(),
    };
    let raw = hand_out(MrHandle { abi, engine }, |_| None);
    Ok(raw.cast())
}

unsafe fn reg_mr(
    name: &'static str,
    pd: *mut sys::ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    flags: u32,
) -> *mut sys::ibv_mr {
    pointer(call_new(
        name,
        |args| {
            // SAFETY: the caller's.
            unsafe { object(args, pd) };
            args.num("length", length as i128);
            args.bits("access", u64::from(flags), names::ACCESS);
        },
        // SAFETY: the caller's.
        || unsafe { register(pd, addr, length, iova, flags) },
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_reg_mr(
    pd: *mut sys::ibv_pd,
    addr: *mut c_void,
    length: usize,
    flags: c_int,
) -> *mut sys::ibv_mr {
    let iova = addr.addr() as u64;
    // SAFETY: as this function.
    unsafe { reg_mr("ibv_reg_mr", pd, addr, length, iova, flags as u32) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_reg_mr_iova(
    pd: *mut sys::ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    flags: c_int,
) -> *mut sys::ibv_mr {
    let flags = flags as u32;
    // SAFETY: as this function.
    unsafe { reg_mr("ibv_reg_mr_iova", pd, addr, length, iova, flags) }
}

/// The inline `ibv_reg_mr` comes here too, when the compiler does not know the flags: for a trace, and
/// for those who count calls, that is the same call.
#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_reg_mr_iova2(
    pd: *mut sys::ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    flags: u32,
) -> *mut sys::ibv_mr {
    let name = if iova == addr.addr() as u64 {
        "ibv_reg_mr"
    } else {
        "ibv_reg_mr_iova2"
    };
    // SAFETY: as this function.
    unsafe { reg_mr(name, pd, addr, length, iova, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_dereg_mr(mr: *mut sys::ibv_mr) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(mr) };
    code(call("ibv_dereg_mr", args, || {
        // SAFETY: a region of the program.
        let handle: &MrHandle = unsafe { handle(mr) }?;
        handle.engine.deregister()?;
        // SAFETY: nobody finds it any more.
        unsafe { take_back::<_, MrHandle>(mr) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_rereg_mr(
    mr: *mut sys::ibv_mr,
    what: c_int,
    pd: *mut sys::ibv_pd,
    addr: *mut c_void,
    length: usize,
    flags: c_int,
) -> c_int {
    const CHANGE_TRANSLATION: c_int = 1;
    const CHANGE_PD: c_int = 2;
    const CHANGE_ACCESS: c_int = 4;
    const ERR_INPUT: c_int = -1;
    const ERR_CMD: c_int = -4;
    let mut failed = ERR_INPUT;
    let result = call(
        "ibv_rereg_mr",
        |args| {
            // SAFETY: a region of the program.
            unsafe { object(args, mr) };
            args.num("flags", what);
            if what & CHANGE_PD != 0 {
                // SAFETY: a domain of the program.
                unsafe { object(args, pd) };
            }
            args.num("length", length as i128);
            args.bits("access", u64::from(flags as u32), names::ACCESS);
        },
        || {
            // SAFETY: a region of the program.
            let region: &MrHandle = unsafe { handle(mr) }?;
            if what == 0 || what & !(CHANGE_TRANSLATION | CHANGE_PD | CHANGE_ACCESS) != 0 {
                return Err(libc::EINVAL);
            }
            let domain = if what & CHANGE_PD == 0 {
                None
            } else {
                // SAFETY: a domain of the program.
                let domain: &PdHandle = unsafe { handle(pd) }?;
                Some(Arc::clone(&domain.engine))
            };
            let mut terms = region.engine.terms().ok_or(libc::EINVAL)?;
            if what & CHANGE_TRANSLATION != 0 {
                terms.addr = addr.expose_provenance() as u64;
                terms.iova = terms.addr;
                terms.length = length as u64;
            }
            if what & CHANGE_ACCESS != 0 {
                terms.access = flags as u32;
                say_what_needs_a_capability(terms.access);
            }
            // From here on it is the device that refuses.
            failed = ERR_CMD;
            region.engine.change(terms.check()?, domain)?;
            if what & CHANGE_PD != 0 {
                // SAFETY: the program's struct, which it has asked to change.
                unsafe { (*mr).pd = pd };
            }
            if what & CHANGE_TRANSLATION != 0 {
                // SAFETY: the program's struct, which it has asked to change.
                unsafe {
                    (*mr).addr = addr;
                    (*mr).length = length;
                }
            }
            Ok(())
        },
    );
    match result {
        Ok(()) => 0,
        Err(errno) => {
            super::set_errno(errno);
            failed
        }
    }
}

/// Nothing is paged by the device, so with on-demand paging there is nothing to do, and without it the
/// advice means nothing.
pub(super) unsafe extern "C" fn advise_mr(
    pd: *mut sys::ibv_pd,
    advice: sys::ib_uverbs_advise_mr_advice::Type,
    flags: u32,
    list: *mut sys::ibv_sge,
    count: u32,
) -> c_int {
    code(call(
        "ibv_advise_mr",
        |args| {
            // SAFETY: a domain of the program.
            unsafe { object(args, pd) };
            args.num("advice", advice);
            args.flags("flags", u64::from(flags));
            args.num("num_sge", count);
            if !list.is_null() {
                // SAFETY: the program's list of so many.
                for sge in unsafe { std::slice::from_raw_parts(list, count as usize) } {
                    args.num("length", sge.length);
                    data::trace_place(args, &data::range(sge));
                }
            }
        },
        || {
            const PREFETCH_NO_FAULT: u32 = 2;
            if !instrument::caps().odp {
                return Err(libc::EOPNOTSUPP);
            }
            if advice > PREFETCH_NO_FAULT || flags > 1 || list.is_null() || count == 0 {
                return Err(libc::EINVAL);
            }
            // SAFETY: a domain of the program.
            let domain: &PdHandle = unsafe { handle(pd) }?;
            // SAFETY: the program's list of so many.
            for sge in unsafe { std::slice::from_raw_parts(list, count as usize) } {
                data::range(sge)
                    .grant(&domain.engine, 0)
                    .map_err(|_| libc::EFAULT)?;
            }
            Ok(())
        },
    ))
}
