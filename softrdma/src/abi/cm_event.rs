// SPDX-License-Identifier: BSD-3-Clause

//! Events of the connection manager, and what librdmacm does when a program takes one.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rdma_sys as sys;

use super::cm::{self, IdHandle};
use super::qp::QpHandle;
use super::{call, call_new, given, hand_out, handle, minus_one, no_args, object, object_as};
use super::{pointer, poll, shows, take_back, zeroed};
use crate::cm::event::{Event, EventChannel, Kind};
use crate::cm::id::Id;
use crate::instrument::{Args, live, names};
use crate::qp::State;
use crate::{Errno, Result};

#[repr(C)]
pub(super) struct ChannelHandle {
    pub(super) abi: sys::rdma_event_channel,
    pub(super) engine: Arc<EventChannel>,
}

impl super::Handle for ChannelHandle {
    const KIND: live::Kind = live::Kind::EventChannel;
}

impl super::Object for sys::rdma_event_channel {
    const NAME: &'static str = "event_channel";
    type Handle = ChannelHandle;
}

#[repr(C)]
struct EventHandle {
    abi: sys::rdma_cm_event,
    /// Who waits for the acknowledgement.
    owner: Arc<Id>,
    private_data: Vec<u8>,
}

impl super::Handle for EventHandle {
    const KIND: live::Kind = live::Kind::CmEvent;
}

pub(super) fn new_channel() -> Result<*mut sys::rdma_event_channel> {
    let engine = Arc::new(EventChannel::new()?);
    let abi = sys::rdma_event_channel { fd: engine.fd() };
    Ok(hand_out(ChannelHandle { abi, engine }, |_| None).cast())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_create_event_channel() -> *mut sys::rdma_event_channel {
    pointer(call_new("rdma_create_event_channel", no_args, new_channel))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_destroy_event_channel(channel: *mut sys::rdma_event_channel) {
    // SAFETY: the program's.
    let args = unsafe { shows(channel) };
    let _ = call("rdma_destroy_event_channel", args, || {
        if !channel.is_null() {
            // SAFETY: the program's, which nothing uses any more.
            unsafe { take_back::<_, ChannelHandle>(channel) };
        }
        Ok(())
    });
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn rdma_get_cm_event(
    channel: *mut sys::rdma_event_channel,
    to: *mut *mut sys::rdma_cm_event,
) -> c_int {
    minus_one(poll(
        "rdma_get_cm_event",
        // SAFETY: the program's.
        unsafe { shows(channel) },
        || {
            if to.is_null() {
                return Err(libc::EINVAL);
            }
            // SAFETY: the program's.
            let event = unsafe { next(channel) }?;
            // SAFETY: the program's place.
            unsafe { to.write(event) };
            Ok(())
        },
        |(), line| {
            // SAFETY: written above.
            let event = unsafe { &**to };
            line.one_of("event", u64::from(event.event), names::CM_EVENT);
            line.num("status", event.status);
            // SAFETY: the program's.
            unsafe { object(line, event.id) };
            if !event.listen_id.is_null() {
                // SAFETY: the program's.
                unsafe { object_as(line, "listen_id", event.listen_id) };
            }
            // SAFETY: all events here are of connections, with so many bytes.
            unsafe {
                let param = &event.param.conn;
                super::trace_private_data(line, param.private_data, param.private_data_len);
            }
            true
        },
    ))
}

/// Takes the next event of a channel.
///
/// # Safety
/// A channel of the program.
unsafe fn next(channel: *mut sys::rdma_event_channel) -> Result<*mut sys::rdma_cm_event> {
    // SAFETY: the caller's promise.
    let found: &ChannelHandle = unsafe { handle(channel) }?;
    found.engine.touch();
    let mut event = found
        .engine
        .take(|event| event.owner().unacknowledged.add())?;
    if let Err(errno) = taken(&mut event) {
        event.owner().unacknowledged.acknowledge(1);
        return Err(errno);
    }
    Ok(to_abi(event))
}

/// What has to be done on the program's side when it takes an event.
fn taken(event: &mut Event) -> Result<()> {
    match event.kind {
        Kind::AddrResolved | Kind::RouteResolved => {
            // SAFETY: the program has not destroyed it: its events would be gone.
            unsafe { cm::refresh(given(&event.id.handle)) }?;
        }
        Kind::ConnectRequest => {
            let Some(listening) = &event.listen else {
                return Err(libc::EINVAL);
            };
            let listen: *mut sys::rdma_cm_id = given(&listening.handle);
            // SAFETY: as above.
            let (channel, id_context) = unsafe { ((*listen).channel, (*listen).context) };
            // SAFETY: the listening identifier's.
            let events: &ChannelHandle = unsafe { handle(channel) }?;
            // The listening one may have moved since the request came.
            event.id.migrate(Arc::clone(&events.engine));
            listening.request_taken();
            let id = cm::new_handle(Arc::clone(&event.id), channel, id_context, false);
            // SAFETY: just made, and not handed out if this fails.
            unsafe { cm::refresh(id).or_else(|errno| cm::destroy(id).and(Err(errno))) }?;
        }
        Kind::ConnectResponse if event.id.has_qp() => {
            event.kind = Kind::Established;
            if event.id.establish().is_err() {
                // librdmacm says no more than this.
                event.kind = Kind::ConnectError;
                event.status = -1;
                event.private_data.clear();
            } else {
                set_qp_state(&event.id, State::ReadyToSend);
            }
        }
        Kind::Rejected => set_qp_state(&event.id, State::Error),
        _ => {}
    }
    Ok(())
}

/// librdmacm moves the program's queue pair along.
fn set_qp_state(id: &Arc<Id>, state: State) {
    let id: *mut sys::rdma_cm_id = given(&id.handle);
    // SAFETY: as in `taken`.
    let qp = unsafe { (*id).qp };
    // SAFETY: the program's queue pair, or NULL.
    if let Ok(found) = unsafe { handle::<_, QpHandle>(qp) } {
        if state == State::Error {
            // Its only failure is a state that cannot become another one.
            let _ = found.engine.modify(state);
        }
        // SAFETY: the program's struct.
        unsafe { (*qp).state = super::qp::to_abi(state) };
    }
}

fn to_abi(event: Event) -> *mut sys::rdma_cm_event {
    // SAFETY: plain data and pointers.
    let mut abi: sys::rdma_cm_event = unsafe { zeroed() };
    abi.id = given(&event.id.handle);
    abi.listen_id = event
        .listen
        .as_ref()
        .map_or(std::ptr::null_mut(), |listen| given(&listen.handle));
    abi.event = event.kind as sys::rdma_cm_event_type::Type;
    abi.status = event.status;
    let owner = Arc::clone(event.owner());
    let private_data = event.private_data;
    let params = event.params;
    abi.param.conn = sys::rdma_conn_param {
        private_data: if private_data.is_empty() {
            std::ptr::null()
        } else {
            private_data.as_ptr().cast()
        },
        private_data_len: private_data.len() as u8,
        responder_resources: params.responder_resources,
        initiator_depth: params.initiator_depth,
        flow_control: params.flow_control,
        retry_count: params.retry_count,
        rnr_retry_count: params.rnr_retry_count,
        srq: params.srq,
        qp_num: params.qp_num,
    };
    hand_out(
        EventHandle {
            abi,
            owner,
            private_data,
        },
        |_| None,
    )
    .cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_ack_cm_event(event: *mut sys::rdma_cm_event) -> c_int {
    let args = |args: &mut Args| {
        // SAFETY: the program's. Its identifier may be gone, if it is that of a request.
        if let Some(event) = unsafe { event.as_ref() } {
            args.one_of("event", u64::from(event.event), names::CM_EVENT);
        }
    };
    minus_one(call("rdma_ack_cm_event", args, || {
        // SAFETY: the program's.
        unsafe { acknowledge(event) }
    }))
}

/// # Safety
/// An event of the program.
unsafe fn acknowledge(event: *mut sys::rdma_cm_event) -> Result<()> {
    // SAFETY: the caller's promise.
    let found: &EventHandle = unsafe { handle(event) }?;
    let owner = Arc::clone(&found.owner);
    // SAFETY: the caller's promise.
    unsafe { take_back::<_, EventHandle>(event) };
    owner.unacknowledged.acknowledge(1);
    Ok(())
}

/// The event that an identifier keeps for its program.
///
/// # Safety
/// An identifier of the program.
pub(super) unsafe fn acknowledge_kept(id: *mut sys::rdma_cm_id) {
    // SAFETY: the caller's promise.
    unsafe {
        let kept = std::mem::replace(&mut (*id).event, std::ptr::null_mut());
        if !kept.is_null() {
            // It is there, so it is acknowledged.
            let _ = acknowledge(kept);
        }
    }
}

fn errno_of(event: &sys::rdma_cm_event) -> Option<Errno> {
    match event.status {
        0 => None,
        _ if event.event == sys::rdma_cm_event_type::RDMA_CM_EVENT_REJECTED => {
            Some(libc::ECONNREFUSED)
        }
        status => Some(status.abs()),
    }
}

/// A synchronous identifier waits for the event of what it has just begun, and keeps it.
///
/// # Safety
/// An identifier of the program.
pub(super) unsafe fn complete(id: *mut sys::rdma_cm_id) -> Result<()> {
    // SAFETY: the caller's promise.
    let found: &IdHandle = unsafe { handle(id) }?;
    if !found.sync.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: the caller's promise; a synchronous identifier has a channel of its own.
    unsafe {
        acknowledge_kept(id);
        let event = next((*id).channel)?;
        (*id).event = event;
        errno_of(&*event).map_or(Ok(()), Err)
    }
}

/// The next request of a synchronous listener.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn rdma_get_request(
    listen: *mut sys::rdma_cm_id,
    to: *mut *mut sys::rdma_cm_id,
) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(listen) };
    let got = call_new("rdma_get_request", args, || {
        // SAFETY: the program's.
        unsafe {
            let found: &IdHandle = handle(listen)?;
            if !found.sync.load(Ordering::Relaxed) {
                return Err(libc::EINVAL);
            }
            acknowledge_kept(listen);
            let event = next((*listen).channel)?;
            if let Some(errno) = errno_of(&*event) {
                acknowledge(event)?;
                return Err(errno);
            }
            if (*event).event != sys::rdma_cm_event_type::RDMA_CM_EVENT_CONNECT_REQUEST {
                acknowledge(event)?;
                return Err(libc::EINVAL);
            }
            let id = (*event).id;
            let made = super::cm_qp::create_as_listener(listen, id)
                .and_then(|()| cm::migrate(id, std::ptr::null_mut()));
            if let Err(errno) = made {
                acknowledge(event)?;
                super::cm_qp::destroy_qp(id);
                cm::destroy(id)?;
                return Err(errno);
            }
            (*id).event = event;
            to.write(id);
            Ok(id)
        }
    });
    minus_one(got.map(|_| ()))
}
