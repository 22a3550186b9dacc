// SPDX-License-Identifier: BSD-3-Clause

//! Functions that `<infiniband/verbs.h>` defines in the header.

use std::ffi::c_int;
use std::mem::offset_of;
use std::ptr::NonNull;

use libc::EOPNOTSUPP;

use crate::*;

/// `verbs_get_ctx`: the extended context whose last field is `context`, if there is one.
///
/// # Safety
///
/// `context` must be an open context.
#[inline]
pub unsafe fn verbs_get_ctx(context: *mut ibv_context) -> Option<NonNull<verbs_context>> {
    // SAFETY: an open context can be read.
    let mark = unsafe { (*context).abi_compat };
    // A pointer with all bits set, of whatever size pointers have.
    if mark.addr() != usize::MAX {
        return None;
    }
    // SAFETY: the mark says that the context is a part of an extended one.
    NonNull::new(unsafe { context.byte_sub(offset_of!(verbs_context, context)) }.cast())
}

/// `verbs_get_ctx_op`: the member `$op` of the extended context of `$context`, if there is one.
///
/// The struct grows at its front, and `sz` tells its size: a member that lies before the start of the
/// provider's struct must not be read.
macro_rules! context_op {
    ($context:expr, $op:ident) => {
        match verbs_get_ctx($context) {
            Some(extended)
                if (*extended.as_ptr()).sz
                    >= size_of::<verbs_context>() - offset_of!(verbs_context, $op) =>
            {
                (*extended.as_ptr()).$op
            }
            _ => None,
        }
    };
}

/// `ibv_query_device_ex`
///
/// # Safety
///
/// As in C: an open context, a valid or NULL `input`, and an `attr` that can be written.
#[inline]
pub unsafe fn ibv_query_device_ex(
    context: *mut ibv_context,
    input: *const ibv_query_device_ex_input,
    attr: *mut ibv_device_attr_ex,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        if !input.is_null() && (*input).comp_mask != 0 {
            return libc::EINVAL;
        }
        if let Some(query) = context_op!(context, query_device_ex) {
            let returned = query(context, input, attr, size_of::<ibv_device_attr_ex>());
            if returned != EOPNOTSUPP && returned != libc::ENOSYS {
                return returned;
            }
        }
        attr.write_bytes(0, 1);
        ibv_query_device(context, &raw mut (*attr).orig_attr)
    }
}

/// `ibv_advise_mr`
///
/// # Safety
///
/// As in C: a protection domain, and `num_sge` elements at `sg_list`.
#[inline]
pub unsafe fn ibv_advise_mr(
    pd: *mut ibv_pd,
    advice: ib_uverbs_advise_mr_advice::Type,
    flags: u32,
    sg_list: *mut ibv_sge,
    num_sge: u32,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        match context_op!((*pd).context, advise_mr) {
            Some(advise) => advise(pd, advice, flags, sg_list, num_sge),
            None => EOPNOTSUPP,
        }
    }
}

/// Calls a provider's function, which every open context has.
macro_rules! provider {
    ($ops:expr, $op:ident, $($argument:expr),*) => {
        $ops.$op.unwrap_unchecked()($($argument),*)
    };
}

/// `ibv_poll_cq`
///
/// # Safety
///
/// As in C: a completion queue, and room for `num_entries` completions at `wc`.
#[inline(always)]
pub unsafe fn ibv_poll_cq(cq: *mut ibv_cq, num_entries: c_int, wc: *mut ibv_wc) -> c_int {
    // SAFETY: the caller's promise; a provider sets this function in each context.
    unsafe { provider!((*(*cq).context).ops, poll_cq, cq, num_entries, wc) }
}

/// `ibv_req_notify_cq`
///
/// # Safety
///
/// As in C: a completion queue.
#[inline(always)]
pub unsafe fn ibv_req_notify_cq(cq: *mut ibv_cq, solicited_only: c_int) -> c_int {
    // SAFETY: the caller's promise; a provider sets this function in each context.
    unsafe { provider!((*(*cq).context).ops, req_notify_cq, cq, solicited_only) }
}

/// `ibv_post_send`
///
/// # Safety
///
/// As in C: a queue pair, a valid list of requests, and a `bad_wr` that can be written.
#[inline(always)]
pub unsafe fn ibv_post_send(
    qp: *mut ibv_qp,
    wr: *mut ibv_send_wr,
    bad_wr: *mut *mut ibv_send_wr,
) -> c_int {
    // SAFETY: the caller's promise; a provider sets this function in each context.
    unsafe { provider!((*(*qp).context).ops, post_send, qp, wr, bad_wr) }
}

/// `ibv_post_recv`
///
/// # Safety
///
/// As in C: a queue pair, a valid list of requests, and a `bad_wr` that can be written.
#[inline(always)]
pub unsafe fn ibv_post_recv(
    qp: *mut ibv_qp,
    wr: *mut ibv_recv_wr,
    bad_wr: *mut *mut ibv_recv_wr,
) -> c_int {
    // SAFETY: the caller's promise; a provider sets this function in each context.
    unsafe { provider!((*(*qp).context).ops, post_recv, qp, wr, bad_wr) }
}

/// `ibv_post_srq_recv`
///
/// # Safety
///
/// As in C: a shared receive queue, a valid list of requests, and a `bad_wr` that can be written.
#[inline(always)]
pub unsafe fn ibv_post_srq_recv(
    srq: *mut ibv_srq,
    wr: *mut ibv_recv_wr,
    bad_wr: *mut *mut ibv_recv_wr,
) -> c_int {
    // SAFETY: the caller's promise; a provider sets this function in each context.
    unsafe { provider!((*(*srq).context).ops, post_srq_recv, srq, wr, bad_wr) }
}
