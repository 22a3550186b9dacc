// SPDX-License-Identifier: BSD-3-Clause

//! Event channels of the connection manager.

use std::ffi::c_int;
use std::ptr::NonNull;

use rdma_sys as sys;

use super::{Result, check_object};

/// An event channel.
pub(crate) struct EventChannel(NonNull<sys::rdma_event_channel>);

// SAFETY: CM calls may be made on an event channel from any thread.
unsafe impl Send for EventChannel {}
// SAFETY: as above.
unsafe impl Sync for EventChannel {}

impl EventChannel {
    /// `rdma_create_event_channel`
    pub(crate) fn create() -> Result<Self> {
        // SAFETY: takes nothing.
        let channel = unsafe { sys::rdma_create_event_channel() };
        check_object("rdma_create_event_channel", channel).map(Self)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rdma_event_channel {
        self.0.as_ptr()
    }

    pub(crate) fn fd(&self) -> c_int {
        // SAFETY: the channel exists as long as `self`; its descriptor does not change.
        unsafe { (*self.0.as_ptr()).fd }
    }
}

impl Drop for EventChannel {
    /// `rdma_destroy_event_channel`, which reports nothing
    fn drop(&mut self) {
        // SAFETY: owned; ids that use it are gone by the order of handles.
        unsafe { sys::rdma_destroy_event_channel(self.as_ptr()) };
    }
}
