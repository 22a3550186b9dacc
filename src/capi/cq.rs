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

/// Gets the file descriptor of the completion channel of a completion queue (CQ).
///
/// *fd is readable when rpma_cq_wait has an event to return. Use it with poll or epoll. If
/// O_NONBLOCK is set on it, rpma_cq_wait does not block. If the queues of the connection share a
/// completion channel, *fd is the file descriptor of that channel, the same as that of
/// rpma_conn_get_compl_fd. The file descriptor belongs to the owner of the CQ: do not read or close
/// it.
///
/// Errors:
/// - RPMA_E_INVAL: cq or fd is NULL
///
/// See: rpma_cq_wait, rpma_cq_get_wc, rpma_conn_get_cq, rpma_conn_get_rcq, rpma_srq_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_cq_get_fd(cq: *const Cq, fd: *mut c_int) -> c_int {
    finish(c"rpma_cq_get_fd", || {
        // SAFETY: the contract of C.
        let (cq, fd) = unsafe { (arg(cq, "cq")?, out(fd, "fd")?) };
        fd.set(cq.fd());
        Ok(())
    })
}

/// Waits for a completion in a completion queue (CQ).
///
/// The function blocks, unless O_NONBLOCK is set on the file descriptor of rpma_cq_get_fd.
///
/// After it returns 0, call rpma_cq_get_wc until that returns RPMA_E_NO_COMPLETION: one event can
/// stand for several completions. There may be no completion at all if the program has taken it
/// earlier.
///
/// Calls: ibv_get_cq_event, ibv_ack_cq_events, ibv_req_notify_cq
///
/// Errors:
/// - RPMA_E_INVAL: cq is NULL
/// - RPMA_E_NO_COMPLETION: O_NONBLOCK is set and there is no event, or a signal ended the wait; not
///   logged
/// - RPMA_E_SHARED_CHANNEL: the completion channel is shared; use rpma_conn_wait
/// - RPMA_E_PROVIDER: requesting the next event failed
///
/// See: rpma_cq_get_wc, rpma_cq_get_fd, rpma_conn_get_cq, rpma_conn_get_rcq, rpma_srq_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_cq_wait(cq: *mut Cq) -> c_int {
    finish(c"rpma_cq_wait", || {
        // SAFETY: the contract of C.
        unsafe { arg(cq, "cq")? }.wait()
    })
}

/// Gets completions from a completion queue (CQ) without waiting.
///
/// wc is an array of num_entries elements. *num_entries_got is the number of elements that were
/// set, at least 1. num_entries_got may be NULL if num_entries is 1.
///
/// wr_id of a completion is the op_context of its operation. Check status first: if it is not
/// IBV_WC_SUCCESS, only wr_id, status, qp_num and vendor_err are valid, and the connection is
/// broken. imm_data is in network byte order.
///
/// opcode of a successful completion is IBV_WC_RDMA_READ for a read, IBV_WC_RDMA_WRITE for a write,
/// IBV_WC_SEND for a message that was sent, IBV_WC_RECV for one that was received, and
/// IBV_WC_RECV_RDMA_WITH_IMM for a receive that an rpma_write_with_imm has used up. A native flush
/// is IBV_WC_FLUSH and an emulated one IBV_WC_RDMA_READ; a native atomic write is
/// IBV_WC_ATOMIC_WRITE and an emulated one IBV_WC_RDMA_WRITE.
///
/// Calls: ibv_poll_cq
///
/// Errors:
/// - RPMA_E_INVAL: cq or wc is NULL, num_entries is less than 1, or num_entries_got is NULL and
///   num_entries is more than 1
/// - RPMA_E_NO_COMPLETION: the CQ is empty; not logged
/// - RPMA_E_PROVIDER: polling the CQ failed
/// - RPMA_E_UNKNOWN: the device returned more completions than requested
///
/// See: rpma_cq_wait, rpma_cq_get_fd, rpma_conn_get_cq, rpma_conn_get_rcq, rpma_srq_get_rcq
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_cq_get_wc(
    cq: *mut Cq,
    num_entries: c_int,
    wc: *mut ibv_wc,
    num_entries_got: *mut c_int,
) -> c_int {
    // Programs poll in a loop, mostly for one completion, and mostly find an empty queue: both paths are kept short.
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
            // One unsigned comparison checks that 1 <= got <= num_entries.
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

/// Gets a completion from a completion queue (releases 0.10 and 0.11).
///
/// Later releases of the original C library do not have this function. New programs use
/// rpma_cq_get_wc, which returns a struct ibv_wc.
///
/// op_context and op_status are always set. If op_status is not IBV_WC_SUCCESS, the function
/// returns 0 nevertheless and sets nothing else. imm is set only if flags has IBV_WC_WITH_IMM.
///
/// Calls: ibv_poll_cq
///
/// Errors:
/// - RPMA_E_INVAL: cq or cmpl is NULL
/// - RPMA_E_NO_COMPLETION: the CQ is empty; not logged
/// - RPMA_E_NOSUPP: the operation is none of enum rpma_op; the completion is taken, and op_context
///   and op_status are set
/// - RPMA_E_PROVIDER: polling the CQ failed
/// - RPMA_E_UNKNOWN: the device returned more completions than requested
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
