// SPDX-License-Identifier: BSD-3-Clause

//! Completion queues.

use std::ffi::{CStr, c_int};
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;

use rdma_sys as sys;

use super::event_count::EventCount;
use super::{Result, check_errno};

/// A completion queue.
pub(crate) struct IbvCq {
    raw: NonNull<sys::ibv_cq>,
    events: EventCount,
}

// SAFETY: verbs calls may be made on a completion queue from any thread.
unsafe impl Send for IbvCq {}
// SAFETY: as above.
unsafe impl Sync for IbvCq {}

impl IbvCq {
    pub(super) fn from_raw(raw: NonNull<sys::ibv_cq>) -> Self {
        Self {
            raw,
            events: EventCount::new(),
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::ibv_cq {
        self.raw.as_ptr()
    }

    /// Counts an event of this queue that was taken from its channel. Events are acknowledged in batches
    /// (`ibv_ack_cq_events`), and the rest when the queue is destroyed.
    #[inline]
    pub(crate) fn event_taken(&self) {
        if self.events.add_completes_batch() {
            self.acknowledge(EventCount::BATCH);
        }
    }

    fn acknowledge(&self, events: u32) {
        // SAFETY: the queue exists as long as `self`, and this number of events was taken.
        unsafe { sys::ibv_ack_cq_events(self.as_ptr(), events) };
    }

    fn acknowledge_rest(&self) {
        let rest = self.events.rest();
        if rest > 0 {
            self.acknowledge(rest);
        }
    }

    /// `ibv_req_notify_cq` for any completion
    #[inline]
    pub(crate) fn request_notify(&self) -> Result<()> {
        // SAFETY: the queue exists as long as `self`.
        check_errno("ibv_req_notify_cq", unsafe {
            sys::ibv_req_notify_cq(self.as_ptr(), 0)
        })
    }

    /// `ibv_poll_cq` of up to `wanted` completions into the array at `wc`; returns its result
    ///
    /// # Safety
    ///
    /// `wc` must be valid for writing `wanted` elements.
    #[inline(always)]
    pub(crate) unsafe fn poll(&self, wanted: c_int, wc: *mut sys::ibv_wc) -> c_int {
        // SAFETY: the queue exists as long as `self`; the array is valid by the contract of this function.
        unsafe { sys::ibv_poll_cq(self.as_ptr(), wanted, wc) }
    }

    /// `ibv_poll_cq` of one completion
    pub(crate) fn poll_one(&self) -> (c_int, WorkCompletion) {
        // SAFETY: the struct is plain data, for which zeros are valid.
        let mut wc: sys::ibv_wc = unsafe { mem::zeroed() };
        // SAFETY: `wc` is one element.
        let got = unsafe { self.poll(1, &raw mut wc) };
        (got, WorkCompletion(wc))
    }

    /// `ibv_destroy_cq`
    pub(crate) fn destroy(self) -> Result<()> {
        let cq = ManuallyDrop::new(self);
        cq.acknowledge_rest();
        // SAFETY: owned, and given back once: `self` is gone. With queue pairs left on it, the call
        // fails with EBUSY and changes nothing.
        check_errno("ibv_destroy_cq", unsafe {
            sys::ibv_destroy_cq(cq.as_ptr())
        })
    }
}

/// A completion of verbs.
pub(crate) struct WorkCompletion(sys::ibv_wc);

/// The operation of a completed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompletedOp {
    Read,
    Write,
    Send,
    Recv,
    RecvRdmaWithImm,
    Other(u32),
}

impl WorkCompletion {
    pub(crate) fn wr_id(&self) -> u64 {
        self.0.wr_id
    }

    /// The status (`enum ibv_wc_status`). If it is not success, only `wr_id` is valid, too.
    pub(crate) fn status(&self) -> u32 {
        self.0.status
    }

    pub(crate) fn is_success(&self) -> bool {
        self.0.status == sys::ibv_wc_status::IBV_WC_SUCCESS
    }

    pub(crate) fn op(&self) -> CompletedOp {
        use sys::ibv_wc_opcode as opcode;
        match self.0.opcode {
            opcode::IBV_WC_RDMA_READ => CompletedOp::Read,
            opcode::IBV_WC_RDMA_WRITE => CompletedOp::Write,
            // The operations that emulate these on other devices, which programs have always seen.
            opcode::IBV_WC_FLUSH => CompletedOp::Read,
            opcode::IBV_WC_ATOMIC_WRITE => CompletedOp::Write,
            opcode::IBV_WC_SEND => CompletedOp::Send,
            opcode::IBV_WC_RECV => CompletedOp::Recv,
            opcode::IBV_WC_RECV_RDMA_WITH_IMM => CompletedOp::RecvRdmaWithImm,
            other => CompletedOp::Other(other),
        }
    }

    pub(crate) fn byte_len(&self) -> u32 {
        self.0.byte_len
    }

    pub(crate) fn flags(&self) -> u32 {
        self.0.wc_flags
    }

    /// The immediate data in host byte order, if the completion has any.
    pub(crate) fn immediate(&self) -> super::Immediate {
        let with_immediate = self.0.wc_flags & sys::ibv_wc_flags::IBV_WC_WITH_IMM.0 != 0;
        // SAFETY: both members of the union are 32 bits of plain data.
        with_immediate
            .then(|| u32::from_be(unsafe { self.0.imm_data_invalidated_rkey_union.imm_data }))
    }
}

/// The text of libibverbs for the status of a completion.
pub(crate) fn status_text(status: u32) -> &'static str {
    // SAFETY: ibv_wc_status_str returns a static string for every value.
    let text = unsafe { CStr::from_ptr(sys::ibv_wc_status_str(status)) };
    text.to_str().unwrap_or("unknown status")
}

impl Drop for IbvCq {
    fn drop(&mut self) {
        self.acknowledge_rest();
        // SAFETY: as in `destroy`, which does not come here.
        unsafe { sys::ibv_destroy_cq(self.as_ptr()) };
    }
}
