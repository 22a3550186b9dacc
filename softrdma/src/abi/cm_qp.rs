// SPDX-License-Identifier: BSD-3-Clause

//! Queue pairs of identifiers, and endpoints: identifiers with all that belongs to them.

use std::ffi::c_int;
use std::sync::Arc;

use rdma_sys as sys;

use super::cm::{self, IdHandle};
use super::cq::{self, CqHandle};
use super::flags::{qp_init, srq_init};
use super::qp::{self, Init, QpHandle};
use super::unsupported::not_there;
use super::{call, call_new, context, handle, minus_one, no_args, object, set_errno, shows};
use crate::Result;
use crate::objects::srq::Srq;
use crate::qp::State;

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_create_qp(
    id: *mut sys::rdma_cm_id,
    pd: *mut sys::ibv_pd,
    attr: *mut sys::ibv_qp_init_attr,
) -> c_int {
    // SAFETY: the program's.
    let Some(attr) = (unsafe { attr.as_mut() }) else {
        return minus_one(Err(libc::EINVAL));
    };
    let mut init = Init::from_plain(attr);
    minus_one(
        call_new(
            "rdma_create_qp",
            // SAFETY: the program's.
            |args| unsafe {
                object(args, id);
                object(args, pd);
                Init::from_plain(attr).trace(args);
            },
            || {
                // SAFETY: the program's.
                unsafe { create_qp(id, pd, &mut init) }
            },
        )
        .map(|_| {
            attr.cap = init.attr.cap;
            attr.send_cq = init.attr.send_cq;
            attr.recv_cq = init.attr.recv_cq;
        }),
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_create_qp_ex(
    id: *mut sys::rdma_cm_id,
    attr: *mut sys::ibv_qp_init_attr_ex,
) -> c_int {
    // SAFETY: the program's.
    let Some(attr) = (unsafe { attr.as_mut() }) else {
        return minus_one(Err(libc::EINVAL));
    };
    let asked = Init::from_extended(attr);
    let pd = if attr.comp_mask & qp_init::PD == 0 {
        std::ptr::null_mut()
    } else {
        attr.pd
    };
    let made = call_new(
        "rdma_create_qp_ex",
        // SAFETY: the program's.
        |args| unsafe {
            object(args, id);
            object(args, pd);
            if let Ok(asked) = &asked {
                asked.trace(args);
            }
        },
        || {
            let mut init = Init::from_extended(attr)?;
            // SAFETY: the program's.
            let qp = unsafe { create_qp(id, pd, &mut init) }?;
            attr.cap = init.attr.cap;
            attr.send_cq = init.attr.send_cq;
            attr.recv_cq = init.attr.recv_cq;
            Ok(qp)
        },
    );
    minus_one(made.map(|_| ()))
}

/// # Safety
/// The program's.
unsafe fn create_qp(
    id: *mut sys::rdma_cm_id,
    pd: *mut sys::ibv_pd,
    init: &mut Init,
) -> Result<*mut sys::ibv_qp> {
    // SAFETY: the caller's promise.
    unsafe {
        let found: &IdHandle = handle(id)?;
        if (*id).verbs.is_null() || !(*id).qp.is_null() || (*id).qp_type != init.attr.qp_type {
            return Err(libc::EINVAL);
        }
        let pd = if pd.is_null() { (*id).pd } else { pd };
        if pd.is_null() || (*pd).context != (*id).verbs {
            return Err(libc::EINVAL);
        }
        create_cqs(id, init)?;
        if init.attr.srq.is_null() {
            init.attr.srq = (*id).srq;
        }
        let made = qp::new(pd, init, State::Init);
        match made {
            Ok(qp) => {
                let engine: &QpHandle = handle(qp)?;
                engine.engine.allow(found.engine.access());
                found.engine.set_qp(Some(Arc::clone(&engine.engine)));
                (*id).qp = qp;
                (*id).pd = pd;
                Ok(qp)
            }
            Err(errno) => {
                destroy_cqs(id);
                Err(errno)
            }
        }
    }
}

/// A program that gives no completion queues gets one for each direction, with a channel.
unsafe fn create_cqs(id: *mut sys::rdma_cm_id, init: &mut Init) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe {
        let device = context::of((*id).verbs)?;
        let cq_context = id.cast();
        let new = |size: u32| -> Result<_> {
            let channel = cq::new_channel(device)?;
            let size = c_int::try_from(size.max(1)).map_err(|_| libc::EINVAL)?;
            cq::new_cq(device, size, cq_context, channel, 0)
                .map(|cq| (channel, cq))
                .inspect_err(|_| take_back_channel(channel))
        };
        if init.attr.send_cq.is_null() {
            if (*id).send_cq.is_null() {
                ((*id).send_cq_channel, (*id).send_cq) = new(init.attr.cap.max_send_wr)?;
            }
            init.attr.send_cq = (*id).send_cq;
        }
        if init.attr.recv_cq.is_null() {
            if (*id).recv_cq.is_null() {
                let made = new(init.attr.cap.max_recv_wr);
                if made.is_err() {
                    destroy_cqs(id);
                }
                ((*id).recv_cq_channel, (*id).recv_cq) = made?;
            }
            init.attr.recv_cq = (*id).recv_cq;
        }
    }
    Ok(())
}

/// # Safety
/// Made above, and used by nobody any more.
unsafe fn take_back_channel(channel: *mut sys::ibv_comp_channel) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Ok(found) = handle::<_, cq::ChannelHandle>(channel) {
            found.engine.context.users.remove();
        }
        super::take_back::<_, cq::ChannelHandle>(channel);
    }
}

/// Those that were made above.
unsafe fn destroy_cqs(id: *mut sys::rdma_cm_id) {
    // SAFETY: the caller's promise.
    unsafe {
        let both = [
            (&raw mut (*id).send_cq, &raw mut (*id).send_cq_channel),
            (&raw mut (*id).recv_cq, &raw mut (*id).recv_cq_channel),
        ];
        for (cq, channel) in both {
            if (*cq).is_null() {
                continue;
            }
            if handle::<_, CqHandle>(*cq).is_ok_and(|found| found.engine.destroy().is_ok()) {
                super::take_back::<_, CqHandle>(*cq);
                take_back_channel(*channel);
            }
            *cq = std::ptr::null_mut();
            *channel = std::ptr::null_mut();
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_destroy_qp(id: *mut sys::rdma_cm_id) {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    let _ = call("rdma_destroy_qp", args, || {
        if !id.is_null() {
            // SAFETY: the program's.
            unsafe { destroy_qp(id) };
        }
        Ok(())
    });
}

/// # Safety
/// An identifier of the program.
pub(super) unsafe fn destroy_qp(id: *mut sys::rdma_cm_id) {
    // SAFETY: the caller's promise.
    unsafe {
        let qp = std::mem::replace(&mut (*id).qp, std::ptr::null_mut());
        if let Ok(found) = handle::<_, IdHandle>(id) {
            found.engine.set_qp(None);
        }
        if !qp.is_null() {
            // There is one, so there is nothing to fail.
            let _ = qp::destroy(qp);
        }
        destroy_cqs(id);
    }
}

// --- Shared receive queues ---------------------------------------------------------------------------

/// # Safety
/// The program's.
unsafe fn create_srq(
    id: *mut sys::rdma_cm_id,
    pd: *mut sys::ibv_pd,
    attr: *mut sys::ibv_srq_init_attr,
) -> Result<*mut sys::ibv_srq> {
    // SAFETY: the caller's promise.
    unsafe {
        let _: &IdHandle = handle(id)?;
        let pd = if pd.is_null() { (*id).pd } else { pd };
        if (*id).verbs.is_null() || pd.is_null() || (*pd).context != (*id).verbs {
            return Err(libc::EINVAL);
        }
        let srq = super::srq::new(pd, attr)?;
        (*id).srq = srq;
        Ok(srq)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_create_srq(
    id: *mut sys::rdma_cm_id,
    pd: *mut sys::ibv_pd,
    attr: *mut sys::ibv_srq_init_attr,
) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    let made = call_new("rdma_create_srq", args, || {
        // SAFETY: the program's.
        unsafe { create_srq(id, pd, attr) }
    });
    minus_one(made.map(|_| ()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_create_srq_ex(
    id: *mut sys::rdma_cm_id,
    attr: *mut sys::ibv_srq_init_attr_ex,
) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    let made = call_new("rdma_create_srq_ex", args, || {
        // SAFETY: the program's.
        let attr = unsafe { attr.as_ref() }.ok_or(libc::EINVAL)?;
        let plain = attr.comp_mask & srq_init::TYPE == 0
            || attr.srq_type == sys::ibv_srq_type::IBV_SRQT_BASIC;
        if !plain || attr.comp_mask & !(srq_init::TYPE | srq_init::PD) != 0 {
            return Err(not_there(
                "shared receive queues of other kinds than the basic one",
            ));
        }
        let pd = if attr.comp_mask & srq_init::PD == 0 {
            std::ptr::null_mut()
        } else {
            attr.pd
        };
        let mut basic = sys::ibv_srq_init_attr {
            srq_context: attr.srq_context,
            attr: attr.attr,
        };
        // SAFETY: the program's.
        unsafe { create_srq(id, pd, &raw mut basic) }
    });
    minus_one(made.map(|_| ()))
}

/// # Safety
/// An identifier of the program.
unsafe fn destroy_srq(id: *mut sys::rdma_cm_id) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe {
        let srq = (*id).srq;
        if let Ok(found) = handle::<_, super::srq::SrqHandle>(srq) {
            let engine: &Arc<Srq> = &found.engine;
            engine.destroy()?;
            super::take_back::<_, super::srq::SrqHandle>(srq);
            (*id).srq = std::ptr::null_mut();
        }
    }
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_destroy_srq(id: *mut sys::rdma_cm_id) {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    let result = call("rdma_destroy_srq", args, || {
        // SAFETY: the program's.
        unsafe {
            let _: &IdHandle = handle(id)?;
            destroy_srq(id)
        }
    });
    if let Err(errno) = result {
        set_errno(errno);
    }
}

// --- Endpoints ---------------------------------------------------------------------------------------

/// What a listening endpoint's connections get.
pub(super) struct Template {
    pd: *mut sys::ibv_pd,
    attr: sys::ibv_qp_init_attr,
}
// SAFETY: what the pointers lead to may be used from any thread.
unsafe impl Send for Template {}

/// A connection of a listening endpoint gets a queue pair like it.
///
/// # Safety
/// Both the program's.
pub(super) unsafe fn create_as_listener(
    listen: *mut sys::rdma_cm_id,
    id: *mut sys::rdma_cm_id,
) -> Result<()> {
    // SAFETY: the caller's promise.
    let found: &IdHandle = unsafe { handle(listen) }?;
    let template = found.template.lock();
    let Some((pd, mut init)) = template
        .as_ref()
        .map(|template| (template.pd, Init::from_plain(&template.attr)))
    else {
        return Ok(());
    };
    drop(template);
    // SAFETY: the caller's promise.
    unsafe { create_qp(id, pd, &mut init) }.map(|_| ())
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn rdma_create_ep(
    to: *mut *mut sys::rdma_cm_id,
    info: *mut sys::rdma_addrinfo,
    pd: *mut sys::ibv_pd,
    attr: *mut sys::ibv_qp_init_attr,
) -> c_int {
    let made = call_new("rdma_create_ep", no_args, || {
        // SAFETY: the program's.
        unsafe {
            let info = info.as_ref().ok_or(libc::EINVAL)?;
            if to.is_null() {
                return Err(libc::EINVAL);
            }
            if info.ai_port_space != sys::rdma_port_space::RDMA_PS_TCP as i32 {
                return Err(not_there("port spaces other than RDMA_PS_TCP"));
            }
            let id = cm::create(std::ptr::null_mut(), std::ptr::null_mut())?;
            if let Err(errno) = set_up(id, info, pd, attr.as_mut()) {
                cm::destroy(id)?;
                return Err(errno);
            }
            to.write(id);
            Ok(id)
        }
    });
    minus_one(made.map(|_| ()))
}

/// # Safety
/// The program's.
unsafe fn set_up(
    id: *mut sys::rdma_cm_id,
    info: &sys::rdma_addrinfo,
    pd: *mut sys::ibv_pd,
    attr: Option<&mut sys::ibv_qp_init_attr>,
) -> Result<()> {
    const RAI_PASSIVE: c_int = 1;
    // The address information says of what kind the queue pair is, whatever the attributes say.
    let qp_type = info.ai_qp_type as u32;
    // SAFETY: the caller's promise.
    unsafe {
        let found: &IdHandle = handle(id)?;
        if info.ai_flags & RAI_PASSIVE != 0 {
            cm::bind(id, info.ai_src_addr)?;
            *found.template.lock() = attr.map(|attr| {
                let attr = sys::ibv_qp_init_attr { qp_type, ..*attr };
                Template { pd, attr }
            });
            return Ok(());
        }
        cm::resolve(id, info.ai_src_addr, info.ai_dst_addr)?;
        found.engine.resolve_route()?;
        super::cm_event::complete(id)?;
        if let Some(attr) = attr {
            attr.qp_type = qp_type;
            let mut init = Init::from_plain(attr);
            create_qp(id, pd, &mut init)?;
            attr.cap = init.attr.cap;
            attr.send_cq = init.attr.send_cq;
            attr.recv_cq = init.attr.recv_cq;
        }
    }
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_destroy_ep(id: *mut sys::rdma_cm_id) {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    let result = call("rdma_destroy_ep", args, || {
        // SAFETY: the program's.
        unsafe {
            let _: &IdHandle = handle(id)?;
            destroy_qp(id);
            // One that others use as well is not the endpoint's alone: it stays.
            let _ = destroy_srq(id);
            cm::destroy(id)
        }
    });
    if let Err(errno) = result {
        set_errno(errno);
    }
}
