// SPDX-License-Identifier: BSD-3-Clause

//! The C functions of libibverbs and librdmacm.
//!
//! They convert and delegate. Everything that a program holds is a C struct, as the headers declare it,
//! followed by the object that it stands for.

mod addrinfo;
mod cm;
mod cm_connect;
mod cm_event;
mod cm_own_qp;
mod cm_qp;
mod context;
mod cq;
mod data;
mod device;
mod mr;
mod qp;
mod qp_ex;
mod srq;
mod strings;
mod unsupported;

use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::instrument::live::{Kind, LIVE};
use crate::instrument::{self, Args};
use crate::os::child;
use crate::{Errno, Result};

/// A call of the program, which fails in a child of a process that used the fabric.
#[inline]
fn call<T>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<T>,
) -> Result<T> {
    child::refuse()?;
    instrument::call(name, args, body)
}

/// As [`call`], for those that programs repeat until there is something.
#[inline]
fn poll<T>(
    name: &'static str,
    body: impl FnOnce() -> Result<T>,
    found: impl FnOnce(&T, &mut Args) -> bool,
) -> Result<T> {
    child::refuse()?;
    instrument::poll(name, |_| {}, body, found)
}

fn no_args(_: &mut Args) {}

fn set_errno(errno: Errno) {
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() = errno };
}

// The three ways of C functions to say how it went.

/// 0, or the errno. It is in `errno` too, as after a system call.
fn code(result: Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(errno) => {
            set_errno(errno);
            errno
        }
    }
}

/// 0, or -1 and errno.
fn minus_one(result: Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(errno) => {
            set_errno(errno);
            -1
        }
    }
}

/// The pointer, or NULL and errno.
fn pointer<T>(result: Result<*mut T>) -> *mut T {
    result.unwrap_or_else(|errno| {
        set_errno(errno);
        std::ptr::null_mut()
    })
}

/// The object behind a pointer of the program.
///
/// # Safety
/// NULL, or a pointer that this library has handed out as a `H` and not yet taken back.
unsafe fn handle<'a, C, H>(of: *const C) -> Result<&'a H> {
    // SAFETY: the caller's promise. The C struct is the first field of `H`.
    unsafe { of.cast::<H>().as_ref() }.ok_or(libc::EINVAL)
}

/// What programs hold, by its kind: for those who ask what has not been given back.
trait Handle {
    const KIND: Kind;
}

/// Makes what the program gets; `slot` is where the object keeps its address.
fn hand_out<H: Handle>(handle: H, slot: impl Fn(&H) -> Option<&AtomicUsize>) -> *mut H {
    LIVE.given(H::KIND);
    let raw = Box::into_raw(Box::new(handle));
    // SAFETY: just made.
    if let Some(slot) = slot(unsafe { &*raw }) {
        slot.store(raw.expose_provenance(), Ordering::Release);
    }
    raw
}

/// Takes back what the program had.
///
/// # Safety
/// A pointer of `hand_out` for a `H`, which nobody uses any more.
unsafe fn take_back<C, H: Handle>(of: *mut C) {
    LIVE.taken_back(H::KIND);
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(of.cast::<H>()) });
}

/// What the program has of an object, by the address that the object keeps.
fn given<C>(slot: &AtomicUsize) -> *mut C {
    std::ptr::with_exposed_provenance_mut(slot.load(Ordering::Acquire))
}

/// A C struct of zeros.
///
/// # Safety
/// Zeros are valid for it: plain data and pointers.
unsafe fn zeroed<T>() -> T {
    // SAFETY: the caller's promise.
    unsafe { std::mem::zeroed() }
}
