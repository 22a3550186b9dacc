// SPDX-License-Identifier: BSD-3-Clause

//! Owned handles over libibverbs and librdmacm.
//!
//! Each type owns one object of the device or of the connection manager and destroys it exactly once:
//! when it is dropped, which releases a half-built object, or in `destroy`, which returns the result of the
//! destruction if there is one.
//!
//! # Parents
//!
//! A handle does not keep its parents alive. The C caller decides in which order objects go, and
//! must see the device's EBUSY when that order is wrong. So a struct with fields of these types has
//! children before parents (the queue pair before its CM id, a completion queue before its
//! completion channel), and the documentation of the C functions says which objects must outlive
//! which. The `SAFETY` comments below call this *the order of handles*.

use std::ffi::c_int;
use std::ptr::NonNull;

use crate::sys::CallError;

mod addr_info;
mod cm_event;
mod cm_id;
mod comp_channel;
mod context;
mod cq;
mod event_count;
mod event_channel;
mod mr;
mod qp;
mod srq;

pub(crate) use addr_info::{AddrInfo, Side};
pub(crate) use cm_event::{CmEvent, EventKind, event_name};
pub(crate) use cm_id::{CmId, ConnParam, QpInit};
pub(crate) use comp_channel::CompChannel;
pub(crate) use context::{Context, DeviceCaps, Pd, PdRef};
pub(crate) use cq::{CompletedOp, IbvCq, WorkCompletion, status_text};
pub(crate) use event_channel::EventChannel;
pub(crate) use mr::{Access, Mr};
pub(crate) use qp::{FlushKind, Immediate, Notify, PostError, Posted, Qp, Remote, SendOp, Sge};
pub(crate) use srq::IbvSrq;

pub(crate) type Result<T> = std::result::Result<T, CallError>;

/// The error of a call that returns the errno.
#[cold]
#[track_caller]
fn returned_errno(call: &'static str, returned: c_int) -> CallError {
    match returned {
        // Some providers return -1 and set errno.
        -1 => CallError::last(call),
        errno => CallError::new(call, errno),
    }
}

/// Checks a call that returns 0 or the errno.
#[track_caller]
#[inline]
fn check_errno(call: &'static str, returned: c_int) -> Result<()> {
    if returned == 0 {
        Ok(())
    } else {
        Err(returned_errno(call, returned))
    }
}

/// Checks a call that returns 0, or another value and sets errno.
#[track_caller]
#[inline]
fn check(call: &'static str, returned: c_int) -> Result<()> {
    if returned == 0 {
        Ok(())
    } else {
        Err(CallError::last(call))
    }
}

/// Checks a call that returns an object, or NULL and sets errno.
#[track_caller]
#[inline]
fn check_object<T>(call: &'static str, object: *mut T) -> Result<NonNull<T>> {
    match NonNull::new(object) {
        Some(object) => Ok(object),
        None => Err(CallError::last(call)),
    }
}
