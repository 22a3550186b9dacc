// SPDX-License-Identifier: BSD-3-Clause

//! Contexts: what the static inline functions of `<infiniband/verbs.h>` go through.

use std::ffi::c_int;
use std::mem::{self, offset_of};
use std::sync::{Arc, OnceLock, Weak};

use rdma_sys as sys;

use super::{cq, data, device, hand_out, mr, qp, srq, unsupported, zeroed};
use crate::Result;
use crate::instrument::live::{Kind, LIVE};
use crate::objects::context::{AsyncKind, Context, EventSource};

/// The extended context, whose last field is the context that programs see.
#[repr(C)]
pub(super) struct ContextHandle {
    pub(super) verbs: sys::verbs_context,
    pub(super) engine: Arc<Context>,
}

impl super::Handle for ContextHandle {
    const KIND: Kind = Kind::Context;
}

/// A program has the address of a field of the handle.
impl super::Object for ContextHandle {
    const NAME: &'static str = "context";
    type Handle = Self;
}

/// The address of a context's handle.
///
/// # Safety
/// NULL, or a context of this library that is open.
unsafe fn handle_of(context: *mut sys::ibv_context) -> *mut ContextHandle {
    if context.is_null() {
        return std::ptr::null_mut();
    }
    let start = offset_of!(ContextHandle, verbs) + offset_of!(sys::verbs_context, context);
    // SAFETY: a context is made below, as a part of its handle.
    unsafe { context.byte_sub(start).cast() }
}

/// The handle of a context.
///
/// # Safety
/// NULL, or a context of this library that is open.
pub(super) unsafe fn of<'a>(context: *const sys::ibv_context) -> Result<&'a ContextHandle> {
    // SAFETY: the caller's promise.
    unsafe { handle_of(context.cast_mut()).as_ref() }.ok_or(libc::EINVAL)
}

impl ContextHandle {
    pub(super) fn as_ptr(&self) -> *mut sys::ibv_context {
        (&raw const self.verbs.context).cast_mut()
    }
}

/// Opens the device.
pub(super) fn open() -> Result<*mut sys::ibv_context> {
    let engine = Context::new()?;
    // SAFETY: function pointers and plain data; NULL is what the inline functions look for.
    let mut verbs: sys::verbs_context = unsafe { zeroed() };
    verbs.sz = mem::size_of::<sys::verbs_context>();
    verbs.query_port = Some(device::query_port_ex);
    verbs.query_device_ex = Some(device::query_device_ex);
    verbs.advise_mr = Some(mr::advise_mr);
    verbs.create_qp_ex = Some(qp::create_qp_ex);
    verbs.create_cq_ex = Some(cq::create_cq_ex);
    verbs.create_srq_ex = Some(srq::create_srq_ex);
    verbs.get_srq_num = Some(unsupported::ibv_get_srq_num);
    verbs.modify_cq = Some(cq::modify_cq);
    verbs.alloc_dm = Some(unsupported::ibv_alloc_dm);
    verbs.alloc_null_mr = Some(unsupported::ibv_alloc_null_mr);
    verbs.alloc_parent_domain = Some(unsupported::ibv_alloc_parent_domain);
    verbs.alloc_td = Some(unsupported::ibv_alloc_td);
    verbs.create_counters = Some(unsupported::ibv_create_counters);
    verbs.ibv_create_flow = Some(unsupported::ibv_create_flow);
    verbs.create_rwq_ind_table = Some(unsupported::ibv_create_rwq_ind_table);
    verbs.create_wq = Some(unsupported::ibv_create_wq);
    verbs.modify_qp_rate_limit = Some(unsupported::ibv_modify_qp_rate_limit);
    verbs.open_qp = Some(unsupported::ibv_open_qp);
    verbs.open_xrcd = Some(unsupported::ibv_open_xrcd);
    verbs.post_srq_ops = Some(unsupported::ibv_post_srq_ops);
    verbs.query_rt_values = Some(unsupported::ibv_query_rt_values_ex);

    let context = &mut verbs.context;
    context.device = device::device();
    context.ops.poll_cq = Some(data::poll_cq);
    context.ops.req_notify_cq = Some(data::req_notify_cq);
    context.ops.post_send = Some(data::post_send);
    context.ops.post_recv = Some(data::post_recv);
    context.ops.post_srq_recv = Some(data::post_srq_recv);
    context.ops.alloc_mw = Some(unsupported::ibv_alloc_mw);
    context.ops.bind_mw = Some(unsupported::ibv_bind_mw);
    context.ops.dealloc_mw = Some(unsupported::ibv_dealloc_mw);
    context.cmd_fd = -1;
    context.async_fd = engine.events.fd();
    context.num_comp_vectors = 1;
    // The mark of an extended context.
    context.abi_compat = std::ptr::without_provenance_mut(usize::MAX);

    let raw = hand_out(ContextHandle { verbs, engine }, |_| None);
    // SAFETY: just made.
    Ok(unsafe { (*raw).as_ptr() })
}

/// The context of the connection manager, and its protection domain for programs that bring none. They
/// stay for the life of the process, as librdmacm's do.
pub(super) struct ForCm {
    /// The same as `context`, but for where it begins: valgrind takes memory for lost that only pointers into the
    /// middle lead to.
    _handle: *mut ContextHandle,
    pub(super) context: *mut sys::ibv_context,
    pub(super) pd: *mut sys::ibv_pd,
}

// SAFETY: verbs calls may be made on both from any thread.
unsafe impl Send for ForCm {}
// SAFETY: as above.
unsafe impl Sync for ForCm {}

static FOR_CM: OnceLock<ForCm> = OnceLock::new();

pub(super) fn for_cm() -> Result<&'static ForCm> {
    if let Some(found) = FOR_CM.get() {
        return Ok(found);
    }
    let context = open()?;
    // SAFETY: just opened.
    let pd = super::mr::new_pd(unsafe { of(context) }?);
    // Not the program's to destroy.
    LIVE.taken_back(Kind::Context);
    LIVE.taken_back(Kind::Pd);
    // SAFETY: just opened.
    let handle = unsafe { handle_of(context) };
    Ok(FOR_CM.get_or_init(|| ForCm {
        _handle: handle,
        context,
        pd,
    }))
}

// --- Opening and closing -----------------------------------------------------------------------------

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_open_device(_device: *mut sys::ibv_device) -> *mut sys::ibv_context {
    let opened = super::call_new("ibv_open_device", super::no_args, || {
        // SAFETY: just opened.
        open().map(|context| unsafe { handle_of(context) })
    });
    // SAFETY: just opened.
    super::pointer(opened.map(|handle| unsafe { (*handle).as_ptr() }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_close_device(context: *mut sys::ibv_context) -> c_int {
    // SAFETY: a context of the program.
    let handle = unsafe { handle_of(context) };
    // SAFETY: as above.
    let args = unsafe { super::shows(handle) };
    super::minus_one(super::call("ibv_close_device", args, || {
        if handle.is_null() {
            return Err(libc::EINVAL);
        }
        if FOR_CM.get().is_some_and(|cm| cm.context == context) {
            return Err(libc::EINVAL);
        }
        // SAFETY: made by `open`, and the program's to close.
        unsafe { super::take_back::<_, ContextHandle>(handle) };
        Ok(())
    }))
}

/// The element of an event that is not of an object: the only port.
const THE_PORT: sys::ibv_async_event_element_t = sys::ibv_async_event_element_t { port_num: 1 };

// --- Events of the device ----------------------------------------------------------------------------

fn event_for_program(kind: AsyncKind, source: Option<&dyn EventSource>) -> sys::ibv_async_event {
    use sys::ibv_async_event_element_t as Element;
    use sys::ibv_event_type as event;
    let element = match source.map(EventSource::handle) {
        None => THE_PORT,
        Some(source) => match kind {
            AsyncKind::CqError => Element {
                cq: super::given(source),
            },
            AsyncKind::SrqLimitReached => Element {
                srq: super::given(source),
            },
            _ => Element {
                qp: super::given(source),
            },
        },
    };
    let event_type = match kind {
        AsyncKind::CqError => event::IBV_EVENT_CQ_ERR,
        AsyncKind::QpFatal => event::IBV_EVENT_QP_FATAL,
        AsyncKind::QpRequestError => event::IBV_EVENT_QP_REQ_ERR,
        AsyncKind::QpAccessError => event::IBV_EVENT_QP_ACCESS_ERR,
        AsyncKind::LastWqeReached => event::IBV_EVENT_QP_LAST_WQE_REACHED,
        AsyncKind::SrqLimitReached => event::IBV_EVENT_SRQ_LIMIT_REACHED,
        AsyncKind::PortError => event::IBV_EVENT_PORT_ERR,
        AsyncKind::PortActive => event::IBV_EVENT_PORT_ACTIVE,
        AsyncKind::DeviceFatal => event::IBV_EVENT_DEVICE_FATAL,
    };
    sys::ibv_async_event {
        element,
        event_type,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ibv_get_async_event(
    context: *mut sys::ibv_context,
    event: *mut sys::ibv_async_event,
) -> c_int {
    super::minus_one(super::poll(
        "ibv_get_async_event",
        super::no_args,
        || {
            // SAFETY: a context of the program.
            let handle = unsafe { of(context) }?;
            loop {
                let taken = handle.engine.events.take(|event| {
                    if let Some(source) = event.source.as_ref().and_then(Weak::upgrade) {
                        source.async_unacknowledged().add();
                    }
                })?;
                let source = taken.source.as_ref().and_then(Weak::upgrade);
                if source.is_none() && taken.source.is_some() {
                    // It was destroyed in the meantime.
                    continue;
                }
                // SAFETY: room for an event, the program's.
                unsafe { event.write(event_for_program(taken.kind, source.as_deref())) };
                return Ok(());
            }
        },
        |(), line| {
            // SAFETY: written above.
            line.num("event", unsafe { (*event).event_type } as i32);
            true
        },
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_ack_async_event(event: *mut sys::ibv_async_event) {
    use sys::ibv_event_type as kind;
    let _ = super::call("ibv_ack_async_event", super::no_args, || {
        // SAFETY: an event of the function above.
        let event = unsafe { event.as_ref() }.ok_or(libc::EINVAL)?;
        // SAFETY: the type says which object it is, and that exists until it is acknowledged.
        unsafe {
            match event.event_type {
                kind::IBV_EVENT_CQ_ERR => {
                    let cq: &cq::CqHandle = super::handle(event.element.cq)?;
                    cq.engine.async_unacknowledged.acknowledge(1);
                }
                kind::IBV_EVENT_QP_FATAL
                | kind::IBV_EVENT_QP_REQ_ERR
                | kind::IBV_EVENT_QP_ACCESS_ERR
                | kind::IBV_EVENT_QP_LAST_WQE_REACHED => {
                    let qp: &qp::QpHandle = super::handle(event.element.qp)?;
                    qp.engine.unacknowledged.acknowledge(1);
                }
                kind::IBV_EVENT_SRQ_LIMIT_REACHED => {
                    let srq: &srq::SrqHandle = super::handle(event.element.srq)?;
                    srq.engine.unacknowledged.acknowledge(1);
                }
                _ => {}
            }
        }
        Ok(())
    });
}
