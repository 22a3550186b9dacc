// SPDX-License-Identifier: BSD-3-Clause

//! Shared receive queues.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;

use rdma_sys as sys;

use super::qp::{Posted, posted, recv_request};
use super::{Result, Sge, check_errno};

/// A shared receive queue.
pub(crate) struct IbvSrq(NonNull<sys::ibv_srq>);

// SAFETY: verbs calls may be made on a shared receive queue from any thread.
unsafe impl Send for IbvSrq {}
// SAFETY: as above.
unsafe impl Sync for IbvSrq {}

impl IbvSrq {
    pub(super) fn from_raw(raw: NonNull<sys::ibv_srq>) -> Self {
        Self(raw)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::ibv_srq {
        self.0.as_ptr()
    }

    /// `ibv_post_srq_recv` of one receive, without an SGE for `None`
    #[inline(always)]
    pub(crate) fn post_recv(&self, into: Option<&Sge>, wr_id: u64) -> Posted {
        let mut request = recv_request(into, wr_id);
        let mut bad = MaybeUninit::uninit();
        // SAFETY: the queue exists, and the request is valid during the call.
        posted(unsafe { sys::ibv_post_srq_recv(self.as_ptr(), &raw mut request, bad.as_mut_ptr()) })
    }

    /// `ibv_destroy_srq`
    pub(crate) fn destroy(self) -> Result<()> {
        let srq = ManuallyDrop::new(self);
        // SAFETY: owned, and given back once: `self` is gone. With queue pairs left on it, the call
        // fails with EBUSY and changes nothing.
        check_errno("ibv_destroy_srq", unsafe {
            sys::ibv_destroy_srq(srq.as_ptr())
        })
    }
}

impl Drop for IbvSrq {
    fn drop(&mut self) {
        // SAFETY: as in `destroy`, which does not come here.
        unsafe { sys::ibv_destroy_srq(self.as_ptr()) };
    }
}
