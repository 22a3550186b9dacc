// SPDX-License-Identifier: BSD-3-Clause

//! Completion queues.

use std::ffi::{CStr, c_int, c_uint, c_void};

use rdma_sys::ibv_wc;

use super::types::{OpNumber, rpma_completion};
use super::{arg, finish, is_null, optional, optional_out, out};
use crate::completion::Completion;
use crate::cq::{Cq, no_completion, poll_error};
use crate::error::{Error, Result};
use crate::report::report;

/// Tells the file descriptor of a completion queue's channel.
///
/// It is readable when rpma_cq_wait has something to take. Use it with poll or epoll; made
/// non-blocking with fcntl (O_NONBLOCK), it makes that call non-blocking. If the connection's
/// queues share their channel, it is that of rpma_conn_get_compl_fd. It belongs to the owner of the
/// queue, and must neither be closed nor read.
///
/// Errors:
/// - RPMA_E_INVAL: cq or fd is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_cq_get_fd(cq: *const Cq, fd: *mut c_int) -> c_int {
    finish(c"rpma_cq_get_fd", || {
        // SAFETY: the contract of C.
        let (cq, fd) = unsafe { (arg(cq, "cq")?, out(fd, "fd")?) };
        fd.set(cq.fd());
        Ok(())
    })
}

/// Waits for a completion in a completion queue.
///
/// Waits unless the file descriptor of rpma_cq_get_fd is non-blocking (ibv_get_cq_event,
/// ibv_req_notify_cq). After that take completions with rpma_cq_get_wc until it returns
/// RPMA_E_NO_COMPLETION: several may have come with one event. There may also be none, when they
/// were taken earlier.
///
/// Errors:
/// - RPMA_E_INVAL: cq is NULL
/// - RPMA_E_NO_COMPLETION: a signal ended the wait, or the file descriptor is non-blocking and
///   nothing is there; not logged
/// - RPMA_E_SHARED_CHANNEL: the completion channel is shared; see rpma_conn_wait
/// - RPMA_E_PROVIDER: asking for the next event failed
///
/// See: rpma_conn_get_cq, rpma_conn_get_rcq, rpma_srq_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_cq_wait(cq: *mut Cq) -> c_int {
    finish(c"rpma_cq_wait", || {
        // SAFETY: the contract of C.
        unsafe { arg(cq, "cq")? }.wait()
    })
}

/// Takes up to num_entries completions from a completion queue, without waiting.
///
/// wc is an array of num_entries elements. *num_entries_got is how many of them were filled;
/// num_entries_got may be NULL when num_entries is 1 (ibv_poll_cq).
///
/// wr_id is the op_context of the operation. Check status first: unless it is IBV_WC_SUCCESS, only
/// wr_id, status, qp_num and vendor_err are valid, and the connection is broken. imm_data is in
/// network byte order. An emulated flush completes as IBV_WC_RDMA_READ.
///
/// Errors:
/// - RPMA_E_INVAL: cq or wc is NULL, num_entries is below 1, or num_entries_got is NULL with
///   num_entries above 1
/// - RPMA_E_NO_COMPLETION: the queue is empty; not logged
/// - RPMA_E_PROVIDER: polling failed
/// - RPMA_E_UNKNOWN: the device told more completions than it was asked for
///
/// See: rpma_cq_wait, rpma_conn_get_cq, rpma_conn_get_rcq, rpma_srq_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_cq_get_wc(
    cq: *mut Cq,
    num_entries: c_int,
    wc: *mut ibv_wc,
    num_entries_got: *mut c_int,
) -> c_int {
    // Programs poll in a loop, mostly for one completion and mostly empty queues: each way out is kept as
    // short as it can be.
    if num_entries != 1 {
        // SAFETY: the contract of C.
        return unsafe { get_several_wc(cq, num_entries, wc, num_entries_got) };
    }
    // SAFETY: the contract of C.
    match unsafe { optional(cq) } {
        Some(cq) if !wc.is_null() => {
            // SAFETY: the contract of C, for one entry.
            let got = unsafe { cq.verbs_cq().poll(1, wc) };
            if got != 1 {
                return not_polled(got, 1);
            }
            // SAFETY: the contract of C.
            if let Some(num_entries_got) = unsafe { optional_out(num_entries_got) } {
                num_entries_got.set(1);
            }
            0
        }
        // SAFETY: the contract of C.
        _ => unsafe { refuse_get_wc(cq, num_entries, wc, num_entries_got) },
    }
}

const GET_WC: &CStr = c"rpma_cq_get_wc";

/// `rpma_cq_get_wc` for another number than 1.
///
/// # Safety
///
/// The contract of C.
#[inline(never)]
unsafe extern "C" fn get_several_wc(
    cq: *mut Cq,
    num_entries: c_int,
    wc: *mut ibv_wc,
    num_entries_got: *mut c_int,
) -> c_int {
    // SAFETY: the contract of C.
    match unsafe { (optional(cq), optional_out(num_entries_got)) } {
        (Some(cq), Some(num_entries_got)) if num_entries > 1 && !wc.is_null() => {
            // SAFETY: the contract of C, for an array of so many entries.
            let got = unsafe { cq.verbs_cq().poll(num_entries, wc) };
            // From 1 to num_entries: one comparison without a sign tells both.
            if got.wrapping_sub(1) as c_uint >= num_entries as c_uint {
                return not_polled(got, num_entries);
            }
            num_entries_got.set(got);
            0
        }
        // SAFETY: the contract of C.
        _ => unsafe { refuse_get_wc(cq, num_entries, wc, num_entries_got) },
    }
}

/// The end of a poll that gave no completion, or more than there is room for.
#[inline(always)]
fn not_polled(got: c_int, wanted: c_int) -> c_int {
    if got == 0 {
        no_completion(GET_WC)
    } else {
        poll_failed(got, wanted)
    }
}

#[cold]
#[inline(never)]
fn poll_failed(got: c_int, wanted: c_int) -> c_int {
    report(&poll_error(got, wanted), GET_WC)
}

/// Arguments that `rpma_cq_get_wc` does not take.
///
/// # Safety
///
/// The contract of C.
#[cold]
#[inline(never)]
unsafe extern "C" fn refuse_get_wc(
    cq: *mut Cq,
    num_entries: c_int,
    _wc: *mut ibv_wc,
    num_entries_got: *mut c_int,
) -> c_int {
    let error = if cq.is_null() {
        is_null("cq")
    } else if num_entries < 1 {
        Error::invalid("num_entries is less than 1")
    } else if num_entries != 1 && num_entries_got.is_null() {
        is_null("num_entries_got")
    } else {
        is_null("wc")
    };
    report(&error, GET_WC)
}

/// Takes a completion from a completion queue, in the form that 0.10 and 0.11 had.
///
/// Later releases of the original do not have it. New programs use rpma_cq_get_wc, which fills a
/// struct ibv_wc.
///
/// op_context and op_status are always set. When op_status is not IBV_WC_SUCCESS nothing else is,
/// and the call succeeds nevertheless. imm is set only when the flags have IBV_WC_WITH_IMM.
///
/// Errors:
/// - RPMA_E_INVAL: cq or cmpl is NULL
/// - RPMA_E_NO_COMPLETION: the queue is empty; not logged
/// - RPMA_E_NOSUPP: the operation is none of enum rpma_op; the completion is taken, and op_context
///   and op_status are set
/// - RPMA_E_PROVIDER: polling the queue failed (ibv_poll_cq)
/// - RPMA_E_UNKNOWN: the device told more completions than it was asked for
///
/// See: rpma_cq_get_wc
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_cq_get_completion(cq: *mut Cq, cmpl: *mut rpma_completion) -> c_int {
    const FUNCTION: &CStr = c"rpma_cq_get_completion";
    finish(FUNCTION, || {
        // SAFETY: the contract of C.
        let cq = unsafe { arg(cq, "cq")? };
        // SAFETY: the contract of C, for a struct of release 0.9.0 at least.
        unsafe { get_completion(FUNCTION, cq, cmpl) }
    })
}

/// Takes a completion and writes what is known of it, field by field: a program of release 0.9.0
/// owns the struct up to `imm` only.
///
/// # Safety
///
/// `cmpl` must be NULL or valid for writing what comes before `imm`, and `imm` too if operations
/// with an immediate may complete on the queue.
pub(super) unsafe fn get_completion(
    function: &'static CStr,
    cq: &Cq,
    cmpl: *mut rpma_completion,
) -> Result<()> {
    // SAFETY: the contract of this function.
    unsafe { out(cmpl, "cmpl")? };
    let completion = Completion::get(function, cq)?;
    // SAFETY: the contract of this function.
    unsafe {
        (&raw mut (*cmpl).op_context).write(completion.op_context() as *mut c_void);
        (&raw mut (*cmpl).op_status).write(completion.status());
    }
    let Some(details) = completion.details()? else {
        return Ok(());
    };
    // SAFETY: as above.
    unsafe {
        (&raw mut (*cmpl).op).write(details.op as OpNumber);
        (&raw mut (*cmpl).byte_len).write(details.byte_len);
        (&raw mut (*cmpl).flags).write(details.flags);
        if let Some(immediate) = details.immediate {
            (&raw mut (*cmpl).imm).write(immediate);
        }
    }
    Ok(())
}
