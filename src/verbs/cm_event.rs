// SPDX-License-Identifier: BSD-3-Clause

//! Events of the connection manager.

use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::slice;

use rdma_sys as sys;
use rdma_sys::rdma_cm_event_type as kind;

use super::{CmId, EventChannel, Result, check, check_object};

impl EventChannel {
    /// `rdma_get_cm_event`: waits for an event, unless the descriptor is non-blocking
    pub(crate) fn get_event(&self) -> Result<CmEvent> {
        let mut event = ptr::null_mut();
        // SAFETY: the channel is open, the out-pointer valid.
        check("rdma_get_cm_event", unsafe {
            sys::rdma_get_cm_event(self.as_ptr(), &raw mut event)
        })?;
        check_object("rdma_get_cm_event", event).map(CmEvent)
    }
}

/// The kinds of events that librpma distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    ConnectRequest,
    ConnectError,
    Unreachable,
    Rejected,
    Established,
    Disconnected,
    DeviceRemoval,
    TimewaitExit,
    Other,
}

/// An event that was taken from its channel; dropping it acknowledges it.
pub(crate) struct CmEvent(NonNull<sys::rdma_cm_event>);

/// The name of an event in librdmacm.
pub(crate) fn event_name(event: u32) -> &'static str {
    // SAFETY: rdma_event_str returns a static string for every value.
    let name = unsafe { CStr::from_ptr(sys::rdma_event_str(event)) };
    name.to_str().unwrap_or("unknown event")
}

impl CmEvent {
    fn raw(&self) -> &sys::rdma_cm_event {
        // SAFETY: the event exists until it is acknowledged, and does not change.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn kind(&self) -> EventKind {
        match self.raw().event {
            kind::RDMA_CM_EVENT_CONNECT_REQUEST => EventKind::ConnectRequest,
            kind::RDMA_CM_EVENT_CONNECT_ERROR => EventKind::ConnectError,
            kind::RDMA_CM_EVENT_UNREACHABLE => EventKind::Unreachable,
            kind::RDMA_CM_EVENT_REJECTED => EventKind::Rejected,
            kind::RDMA_CM_EVENT_ESTABLISHED => EventKind::Established,
            kind::RDMA_CM_EVENT_DISCONNECTED => EventKind::Disconnected,
            kind::RDMA_CM_EVENT_DEVICE_REMOVAL => EventKind::DeviceRemoval,
            kind::RDMA_CM_EVENT_TIMEWAIT_EXIT => EventKind::TimewaitExit,
            _ => EventKind::Other,
        }
    }

    /// The number of the event, for [`event_name`].
    pub(crate) fn number(&self) -> u32 {
        self.raw().event
    }

    /// The private data of a connection event.
    pub(crate) fn private_data(&self) -> &[u8] {
        // SAFETY: a TCP port space has connections only, whose events carry `conn`.
        let conn = unsafe { &self.raw().param.conn };
        if conn.private_data.is_null() {
            return &[];
        }
        // SAFETY: `private_data_len` bytes are valid as long as the event exists.
        unsafe {
            slice::from_raw_parts(
                conn.private_data.cast::<u8>(),
                usize::from(conn.private_data_len),
            )
        }
    }

    /// Takes ownership of the id of a connection request, which was created with the event. `None` for other
    /// events: their id has an owner.
    pub(crate) fn take_id(&mut self) -> Option<CmId> {
        if self.kind() != EventKind::ConnectRequest {
            return None;
        }
        // SAFETY: this object owns the event, and nothing else accesses it.
        let id = unsafe { &mut self.0.as_mut().id };
        NonNull::new(std::mem::replace(id, ptr::null_mut())).map(CmId::from_raw)
    }

    /// `rdma_ack_cm_event`
    pub(crate) fn acknowledge(self) -> Result<()> {
        let event = ManuallyDrop::new(self);
        // SAFETY: owned, and given back once: `self` is gone.
        check("rdma_ack_cm_event", unsafe {
            sys::rdma_ack_cm_event(event.0.as_ptr())
        })
    }
}

impl Drop for CmEvent {
    fn drop(&mut self) {
        // SAFETY: as in `acknowledge`, which does not come here.
        unsafe { sys::rdma_ack_cm_event(self.0.as_ptr()) };
    }
}
