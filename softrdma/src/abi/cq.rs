// SPDX-License-Identifier: BSD-3-Clause

//! Completion queues and their channels.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;

use rdma_sys as sys;

use super::context::{self, ContextHandle};
use super::unsupported::not_there;
use super::{call, call_new, code, given, hand_out, handle, minus_one, no_args, object, pointer};
use super::{poll, set_errno, shows, take_back, zeroed};
use crate::Result;
use crate::instrument::live::Kind;
use crate::objects::cq::{CompChannel, Cq};

#[repr(C)]
pub(super) struct ChannelHandle {
    pub(super) abi: sys::ibv_comp_channel,
    pub(super) engine: Arc<CompChannel>,
}

impl super::Handle for ChannelHandle {
    const KIND: Kind = Kind::CompChannel;
}

impl super::Object for sys::ibv_comp_channel {
    const NAME: &'static str = "comp_channel";
    type Handle = ChannelHandle;
}

#[repr(C)]
pub(super) struct CqHandle {
    pub(super) abi: sys::ibv_cq,
    pub(super) engine: Arc<Cq>,
}

impl super::Handle for CqHandle {
    const KIND: Kind = Kind::Cq;
}

impl super::Object for sys::ibv_cq {
    const NAME: &'static str = "cq";
    type Handle = CqHandle;
}

pub(super) fn new_channel(context: &ContextHandle) -> Result<*mut sys::ibv_comp_channel> {
    let engine = Arc::new(CompChannel::new(&context.engine)?);
    context.engine.users.add();
    let abi = sys::ibv_comp_channel {
        context: context.as_ptr(),
        fd: engine.events.fd(),
        refcnt: 0,
    };
    Ok(hand_out(ChannelHandle { abi, engine }, |_| None).cast())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_create_comp_channel(
    context: *mut sys::ibv_context,
) -> *mut sys::ibv_comp_channel {
    pointer(call_new("ibv_create_comp_channel", no_args, || {
        // SAFETY: a context of the program.
        new_channel(unsafe { context::of(context) }?)
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_destroy_comp_channel(channel: *mut sys::ibv_comp_channel) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(channel) };
    code(call("ibv_destroy_comp_channel", args, || {
        // SAFETY: a channel of the program.
        let handle: &ChannelHandle = unsafe { handle(channel) }?;
        handle.engine.users.refuse_if_any()?;
        handle.engine.context.users.remove();
        // SAFETY: nothing uses it any more.
        unsafe { take_back::<_, ChannelHandle>(channel) };
        Ok(())
    }))
}

pub(super) fn new_cq(
    context: &ContextHandle,
    size: c_int,
    cq_context: *mut c_void,
    channel: *mut sys::ibv_comp_channel,
    vector: c_int,
) -> Result<*mut sys::ibv_cq> {
    if vector != 0 {
        return Err(libc::EINVAL);
    }
    let size = u32::try_from(size).map_err(|_| libc::EINVAL)?;
    let engine_channel = if channel.is_null() {
        None
    } else {
        // SAFETY: a channel of the program.
        let handle: &ChannelHandle = unsafe { handle(channel) }?;
        Some(Arc::clone(&handle.engine))
    };
    let engine = Cq::new(&context.engine, size, engine_channel)?;
    // SAFETY: plain data, and a mutex and a condition of which zeros are valid.
    let mut abi: sys::ibv_cq = unsafe { zeroed() };
    abi.context = context.as_ptr();
    abi.channel = channel;
    abi.cq_context = cq_context;
    abi.cqe = c_int::try_from(engine.room()).unwrap_or(c_int::MAX);
    let raw = hand_out(CqHandle { abi, engine }, |cq| Some(&cq.engine.handle));
    Ok(raw.cast())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_create_cq(
    context: *mut sys::ibv_context,
    size: c_int,
    cq_context: *mut c_void,
    channel: *mut sys::ibv_comp_channel,
    vector: c_int,
) -> *mut sys::ibv_cq {
    pointer(call_new(
        "ibv_create_cq",
        |args| {
            args.num("cqe", size);
            // SAFETY: the program's.
            unsafe { object(args, channel) };
            args.num("comp_vector", vector);
        },
        || {
            // SAFETY: a context of the program.
            let context = unsafe { context::of(context) }?;
            new_cq(context, size, cq_context, channel, vector)
        },
    ))
}

pub(super) unsafe extern "C" fn create_cq_ex(
    _context: *mut sys::ibv_context,
    _attr: *mut sys::ibv_cq_init_attr_ex,
) -> *mut sys::ibv_cq_ex {
    pointer(call("ibv_create_cq_ex", no_args, || {
        Err(not_there("ibv_create_cq_ex"))
    }))
}

pub(super) unsafe extern "C" fn modify_cq(
    _cq: *mut sys::ibv_cq,
    _attr: *mut sys::ibv_modify_cq_attr,
) -> c_int {
    code(call("ibv_modify_cq", no_args, || {
        Err(not_there("ibv_modify_cq"))
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_resize_cq(cq: *mut sys::ibv_cq, size: c_int) -> c_int {
    code(call(
        "ibv_resize_cq",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, cq) };
            args.num("cqe", size);
        },
        || {
            // SAFETY: a queue of the program.
            let handle: &CqHandle = unsafe { handle(cq) }?;
            let size = u32::try_from(size).map_err(|_| libc::EINVAL)?;
            let room = handle.engine.resize(size)?;
            // SAFETY: the program's struct, which it has asked to change.
            unsafe { (*cq).cqe = c_int::try_from(room).unwrap_or(c_int::MAX) };
            Ok(())
        },
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_destroy_cq(cq: *mut sys::ibv_cq) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(cq) };
    code(call("ibv_destroy_cq", args, || {
        // SAFETY: a queue of the program.
        let handle: &CqHandle = unsafe { handle(cq) }?;
        handle.engine.destroy()?;
        // SAFETY: nothing uses it any more.
        unsafe { take_back::<_, CqHandle>(cq) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ibv_get_cq_event(
    channel: *mut sys::ibv_comp_channel,
    cq: *mut *mut sys::ibv_cq,
    cq_context: *mut *mut c_void,
) -> c_int {
    minus_one(poll(
        "ibv_get_cq_event",
        // SAFETY: the program's.
        unsafe { shows(channel) },
        || {
            // SAFETY: a channel of the program.
            let handle: &ChannelHandle = unsafe { handle(channel) }?;
            handle.engine.events.touch();
            let engine = handle.engine.take()?;
            let found: *mut sys::ibv_cq = given(&engine.handle);
            // SAFETY: the queue exists until its event is acknowledged; the places are the program's.
            unsafe {
                cq.write(found);
                cq_context.write((*found).cq_context);
            }
            Ok(())
        },
        |(), line| {
            // SAFETY: written above.
            unsafe { object(line, *cq) };
            true
        },
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_ack_cq_events(cq: *mut sys::ibv_cq, count: c_uint) {
    // How many at a time depends on the time.
    // SAFETY: the program's.
    let args = unsafe { shows(cq) };
    let result = call("ibv_ack_cq_events", args, || {
        // SAFETY: a queue of the program.
        let handle: &CqHandle = unsafe { handle(cq) }?;
        handle.engine.acknowledge(count);
        Ok(())
    });
    if let Err(errno) = result {
        set_errno(errno);
    }
}
