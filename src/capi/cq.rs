// SPDX-License-Identifier: BSD-3-Clause

//! Completion queues.

use std::ffi::{CStr, c_int, c_void};

use rdma_sys::ibv_wc;

use super::types::{OpNumber, rpma_completion};
use super::{arg, finish, is_null, out};
use crate::completion::Completion;
use crate::cq::Cq;
use crate::error::{Error, Result};

/// Tells the descriptor of a completion queue's channel.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_cq_get_fd(cq: *const Cq, fd: *mut c_int) -> c_int {
    finish(c"rpma_cq_get_fd", || {
        // SAFETY: the contract of C.
        let (cq, fd) = unsafe { (arg(cq, "cq")?, out(fd, "fd")?) };
        fd.set(cq.fd());
        Ok(())
    })
}

/// Waits for a completion.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_cq_wait(cq: *mut Cq) -> c_int {
    finish(c"rpma_cq_wait", || {
        // SAFETY: the contract of C.
        unsafe { arg(cq, "cq")? }.wait()
    })
}

/// Takes completions from a completion queue.
///
/// # Safety
///
/// The contract of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rpma_cq_get_wc(
    cq: *mut Cq,
    num_entries: c_int,
    wc: *mut ibv_wc,
    num_entries_got: *mut c_int,
) -> c_int {
    const FUNCTION: &CStr = c"rpma_cq_get_wc";
    finish(FUNCTION, || {
        // SAFETY: the contract of C.
        let cq = unsafe { arg(cq, "cq")? };
        if num_entries < 1 {
            return Err(Error::inval("num_entries is less than 1"));
        }
        if wc.is_null() {
            return Err(is_null("wc"));
        }
        if num_entries > 1 && num_entries_got.is_null() {
            return Err(is_null("num_entries_got"));
        }
        // SAFETY: the contract of C, for an array of so many entries.
        let got = unsafe { cq.raw().poll(num_entries, wc) };
        let got = Cq::polled(FUNCTION, num_entries, got)?;
        if !num_entries_got.is_null() {
            // SAFETY: the contract of C.
            unsafe { num_entries_got.write(got) };
        }
        Ok(())
    })
}

/// Takes a completion from a completion queue (releases 0.10 and 0.11).
///
/// # Safety
///
/// The contract of C.
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
    if cmpl.is_null() {
        return Err(is_null("cmpl"));
    }
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
