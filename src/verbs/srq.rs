// SPDX-License-Identifier: BSD-3-Clause

//! Shared receive queues.

use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use rdma_sys as sys;

use super::qp::RecvRequest;
use super::{Result, Sge, check_errno};

/// A shared receive queue.
pub(crate) struct Srq(NonNull<sys::ibv_srq>);

// SAFETY: verbs calls may be made on a shared receive queue from any thread.
unsafe impl Send for Srq {}
// SAFETY: as above.
unsafe impl Sync for Srq {}

impl Srq {
    pub(super) fn from_raw(raw: NonNull<sys::ibv_srq>) -> Self {
        Self(raw)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::ibv_srq {
        self.0.as_ptr()
    }

    /// `ibv_post_srq_recv` of one receive, without an SGE for `None`
    #[inline(always)]
    pub(crate) fn post_recv(&self, into: Option<Sge>, wr_id: u64) -> Result<()> {
        let mut request = RecvRequest::new(into, wr_id);
        let mut bad = ptr::null_mut();
        // SAFETY: a queue points to its context, and that to the provider's functions.
        let post = unsafe { (*(*self.0.as_ptr()).context).ops.post_srq_recv };
        let returned = match post {
            // SAFETY: the provider's function, with a queue of that provider and a request that
            // lives through the call.
            Some(post) => unsafe { post(self.as_ptr(), request.as_raw(), &raw mut bad) },
            None => libc::EOPNOTSUPP,
        };
        check_errno("ibv_post_srq_recv", returned)
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

impl Drop for Srq {
    fn drop(&mut self) {
        // SAFETY: as in `destroy`, which does not come here.
        unsafe { sys::ibv_destroy_srq(self.as_ptr()) };
    }
}
