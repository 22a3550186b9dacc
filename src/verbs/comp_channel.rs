// SPDX-License-Identifier: BSD-3-Clause

//! Completion channels.

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use rdma_sys as sys;

use super::{IbvCq, Result, check, check_errno};

/// A completion channel, which takes the events of completion queues.
pub(crate) struct CompChannel(NonNull<sys::ibv_comp_channel>);

// SAFETY: verbs calls may be made on a completion channel from any thread.
unsafe impl Send for CompChannel {}
// SAFETY: as above.
unsafe impl Sync for CompChannel {}

/// The address of the completion queue of an event. It is compared and never dereferenced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CqId(*mut sys::ibv_cq);

impl CompChannel {
    pub(super) fn from_raw(raw: NonNull<sys::ibv_comp_channel>) -> Self {
        Self(raw)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::ibv_comp_channel {
        self.0.as_ptr()
    }

    pub(crate) fn fd(&self) -> c_int {
        // SAFETY: the channel exists as long as `self`; its descriptor does not change.
        unsafe { (*self.0.as_ptr()).fd }
    }

    /// `ibv_get_cq_event`: waits for an event, unless the descriptor is non-blocking
    pub(crate) fn get_event(&self) -> Result<CqId> {
        let mut cq = ptr::null_mut();
        let mut context = ptr::null_mut();
        // SAFETY: the channel is open, the out-pointers valid.
        check("ibv_get_cq_event", unsafe {
            sys::ibv_get_cq_event(self.as_ptr(), &raw mut cq, &raw mut context)
        })?;
        Ok(CqId(cq))
    }

    /// `ibv_destroy_comp_channel`
    pub(crate) fn destroy(self) -> Result<()> {
        let channel = ManuallyDrop::new(self);
        // SAFETY: owned, and given back once: `self` is gone. With queues left on it, the call
        // fails with EBUSY and changes nothing.
        check_errno("ibv_destroy_comp_channel", unsafe {
            sys::ibv_destroy_comp_channel(channel.as_ptr())
        })
    }
}

impl CqId {
    pub(crate) fn is(self, cq: &IbvCq) -> bool {
        self.0 == cq.as_ptr()
    }
}

impl Drop for CompChannel {
    fn drop(&mut self) {
        // SAFETY: as in `destroy`, which does not come here.
        unsafe { sys::ibv_destroy_comp_channel(self.as_ptr()) };
    }
}
