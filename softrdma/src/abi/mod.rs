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
mod flags;
mod mr;
mod qp;
mod qp_ex;
mod qp_modify;
// Not with ThreadSanitizer, whose runtime calls them before code that is compiled for it can run.
#[cfg(not(thread_sanitizer))]
mod signals;
mod srq;
mod strings;
mod unsupported;

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::fork;
use crate::instrument::live::{Kind, LIVE};
use crate::instrument::{self, Args};
use crate::io::fork_state;
use crate::os::cancel::Hold;
use crate::{Errno, Result};

/// A call of the program. It fails in a child that cannot use anything of its parent. The thread is not cancelled in
/// it, but where it waits for an event.
#[inline]
fn call<T>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let _uncancelled = Hold::new();
    quick_call(name, args, body)
}

/// As [`call`], for the data path: what it does contains no cancellation points.
#[inline]
fn quick_call<T>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<T>,
) -> Result<T> {
    fork_state::check()?;
    instrument::call(name, args, body)
}

/// As [`call`], for those that make an object: the line says which one it is.
#[inline]
fn call_new<C: Object>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<*mut C>,
) -> Result<*mut C> {
    let _uncancelled = Hold::new();
    fork_state::check()?;
    instrument::call_then(name, args, body, |&made, line| {
        // SAFETY: just made.
        unsafe { object(line, made) };
    })
}

/// As [`call`], for those that programs repeat until there is something.
#[inline]
fn poll<T>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<T>,
    found: impl FnOnce(&T, &mut Args) -> bool,
) -> Result<T> {
    let _uncancelled = Hold::new();
    quick_poll(name, args, body, found)
}

/// As [`poll`], for the data path: see [`quick_call`].
#[inline]
fn quick_poll<T>(
    name: &'static str,
    args: impl FnOnce(&mut Args),
    body: impl FnOnce() -> Result<T>,
    found: impl FnOnce(&T, &mut Args) -> bool,
) -> Result<T> {
    fork_state::check()?;
    instrument::poll(name, args, body, found)
}

fn no_args(_: &mut Args) {}

/// For the line of a call on one object, which says which one.
///
/// # Safety
/// NULL, or an object of the program until the line is begun.
unsafe fn shows<C: Object>(of: *const C) -> impl FnOnce(&mut Args) {
    // SAFETY: the caller's promise.
    move |args| unsafe { object(args, of) }
}

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

    /// Where the running number in the trace is, if the object itself keeps it.
    fn number(&self) -> Option<&AtomicU64> {
        None
    }
}

/// A C struct that stands for an object, and how traces name it.
trait Object {
    const NAME: &'static str;
    type Handle: Handle;
}

/// What the program gets.
#[repr(C)]
struct Numbered<H> {
    handle: H,
    /// The running number in the trace, 0 before the object is shown there.
    number: AtomicU64,
}

/// Shows an object by its running number: that of its kind in this process, in the order in which the trace
/// first shows them.
///
/// # Safety
/// NULL, or an object of the program.
unsafe fn object<C: Object>(args: &mut Args, of: *const C) {
    // SAFETY: the caller's promise.
    unsafe { object_as(args, C::NAME, of) };
}

/// As [`object`], when it has several of that kind.
///
/// # Safety
/// As there.
unsafe fn object_as<C: Object>(args: &mut Args, name: &'static str, of: *const C) {
    // SAFETY: the caller's promise; made by `hand_out`.
    let found = unsafe { of.cast::<Numbered<C::Handle>>().as_ref() };
    args.object(name, found.map(Numbered::number));
}

impl<H: Handle> Numbered<H> {
    fn number(&self) -> u64 {
        number_in(self.handle.number().unwrap_or(&self.number), H::KIND)
    }
}

fn number_in(place: &AtomicU64, kind: Kind) -> u64 {
    match place.load(Ordering::Acquire) {
        0 => {
            let new = LIVE.number(kind);
            let first = place.compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire);
            // Another thread may show it at the same time.
            first.map_or_else(|other| other, |_| new)
        }
        number => number,
    }
}

/// # Safety
/// NULL, or so many bytes.
unsafe fn trace_private_data(args: &mut Args, data: *const c_void, length: u8) {
    args.num("private_data_len", length);
    if !data.is_null() {
        // SAFETY: the caller's promise.
        let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length.into()) };
        args.bytes("private_data", data);
    }
}

/// Makes what the program gets; `slot` is where the object keeps its address.
fn hand_out<H: Handle>(handle: H, slot: impl Fn(&H) -> Option<&AtomicUsize>) -> *mut H {
    LIVE.given(H::KIND);
    let raw = Box::into_raw(Box::new(Numbered {
        handle,
        number: AtomicU64::new(0),
    }));
    // SAFETY: just made.
    if let Some(slot) = slot(unsafe { &(*raw).handle }) {
        slot.store(raw.expose_provenance(), Ordering::Release);
    }
    // The first field.
    raw.cast()
}

/// Takes back what the program had.
///
/// # Safety
/// A pointer of `hand_out` for a `H`, which nobody uses any more.
unsafe fn take_back<C, H: Handle>(of: *mut C) {
    LIVE.taken_back(H::KIND);
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(of.cast::<Numbered<H>>()) });
}

/// What the program has of an object, by the address that the object keeps.
fn given<C>(slot: &AtomicUsize) -> *mut C {
    std::ptr::with_exposed_provenance_mut(slot.load(Ordering::Acquire))
}

/// Nothing of this library runs before it.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = {
    extern "C" fn at_load() {
        fork::install();
    }
    at_load
};

/// A C struct of zeros.
///
/// # Safety
/// Zeros are valid for it: plain data and pointers.
unsafe fn zeroed<T>() -> T {
    // SAFETY: the caller's promise.
    unsafe { std::mem::zeroed() }
}
