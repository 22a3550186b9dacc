// SPDX-License-Identifier: BSD-3-Clause

//! Owned handles over libibverbs and librdmacm, and the little that is needed of the C library.
//!
//! Each type owns one object of the device or of the connection manager and destroys it exactly once:
//! when it is dropped, which is how a half-built object is undone, or in `destroy`, which reports what
//! the destruction returned, where it returns anything.
//!
//! # Parents
//!
//! A handle does not keep its parents alive. The C caller decides in which order objects go, and
//! must see the device's EBUSY when that order is wrong. So whoever stores handles of these types
//! stores children before parents (the queue pair before its CM id, a completion queue before its
//! completion channel), and the documentation of the C functions says which objects must outlive
//! which. The `SAFETY` comments below call this *the order of handles*.

use std::ffi::c_int;
use std::panic::Location;
use std::ptr::NonNull;

mod addr_info;
mod cm_id;
mod comp_channel;
mod context;
mod cq;
mod event_channel;
mod mr;
pub(crate) mod os;
mod page;
mod qp;
mod srq;

pub(crate) use addr_info::{AddrInfo, Side};
pub(crate) use cm_id::{CmId, ConnParam, QpInit};
pub(crate) use comp_channel::CompChannel;
pub(crate) use context::{Context, DeviceCaps, Pd, PdRef};
pub(crate) use cq::{CompletedOp, Cq, WorkCompletion, status_text};
pub(crate) use event_channel::{CmEvent, EventChannel, EventKind, event_name};
pub(crate) use mr::{Access, Mr};
pub(crate) use page::SharedPage;
pub(crate) use qp::{FlushKind, Immediate, Qp, Remote, Request, SendOp, Sge};
pub(crate) use srq::Srq;

/// A verbs or CM call that failed, with the errno that says why (0 when the call gave none).
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerbsError {
    pub(crate) call: &'static str,
    pub(crate) errno: c_int,
    pub(crate) at: &'static Location<'static>,
}

pub(crate) type Result<T> = std::result::Result<T, VerbsError>;

#[cold]
#[track_caller]
fn failed(call: &'static str, errno: c_int) -> VerbsError {
    VerbsError {
        call,
        errno: errno.saturating_abs(),
        at: Location::caller(),
    }
}

/// For calls that return 0 or the errno itself.
#[track_caller]
#[inline]
fn check_errno(call: &'static str, returned: c_int) -> Result<()> {
    match returned {
        0 => Ok(()),
        // Some providers have it the other way.
        -1 => Err(failed(call, os::errno())),
        errno => Err(failed(call, errno)),
    }
}

/// For calls that return 0, or something else and set errno.
#[track_caller]
#[inline]
fn check(call: &'static str, returned: c_int) -> Result<()> {
    if returned == 0 {
        Ok(())
    } else {
        Err(failed(call, os::errno()))
    }
}

/// For calls that return an object, or NULL and set errno.
#[track_caller]
fn check_object<T>(call: &'static str, object: *mut T) -> Result<NonNull<T>> {
    match NonNull::new(object) {
        Some(object) => Ok(object),
        None => Err(failed(call, os::errno())),
    }
}
