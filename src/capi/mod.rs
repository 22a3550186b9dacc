// SPDX-License-Identifier: BSD-3-Clause

//! The C edge: the 89 functions of `<librpma.h>`, which is generated from here.
//!
//! Each function converts pointers to references, calls the method that does the work, and converts the result
//! to a code, with the helpers below.
//!
//! # Safety
//!
//! The requirements on the C caller are the same for all functions. The `SAFETY` comments call them *the contract
//! of C*:
//!
//! - A pointer is NULL or points to what its type says, aligned and valid until the function returns. A
//!   parameter that is not `const` may be written to.
//! - A handle was made by this library and is not deleted yet. No handle is deleted while another thread uses
//!   it, nor before the handles that were made on it.
//! - A string ends with a NUL, and stays allocated until the function returns.
//! - Functions that are described as not thread-safe are called by one thread at a time for one object.
//!
//! A pointer is converted to a reference when it is needed. Except for the handle that the function works on, no
//! such reference lives across a call that can block, because the program may change a configuration, or the
//! bytes of a string, while a function waits.

// The section Safety above is for all functions.
#![allow(clippy::missing_safety_doc)]

use std::alloc::{self, Layout};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::slice;

use crate::error::{Error, Failure, Result};
use crate::report::{Releases, report};
use crate::sys::CallerStr;
use crate::verbs::{PostError, Posted};

// In the order of the header.
mod types;
mod utils;
mod peer_cfg;
mod peer;
mod mr;
mod conn_cfg;
mod srq_cfg;
mod srq;
mod conn_req;
mod ep;
mod conn;
mod ops;
mod cq;
mod log;

pub use conn::*;
pub use conn_cfg::*;
pub use conn_req::*;
pub use cq::*;
pub use ep::*;
pub use log::*;
pub use mr::*;
pub use ops::*;
pub use peer::*;
pub use peer_cfg::*;
pub use srq::*;
pub use srq_cfg::*;
pub use types::*;
pub use utils::*;

/// C programs use handles on several threads at once.
const _: () = {
    const fn shareable<T: Send + Sync>() {}
    shareable::<crate::conn::Conn>();
    shareable::<crate::conn_cfg::ConnCfg>();
    shareable::<crate::conn_req::ConnReq>();
    shareable::<crate::cq::Cq>();
    shareable::<crate::ep::Ep>();
    shareable::<crate::mr::MrLocal>();
    shareable::<crate::mr::MrRemote>();
    shareable::<crate::peer::Peer>();
    shareable::<crate::peer_cfg::PeerCfg>();
    shareable::<crate::srq::Srq>();
    shareable::<crate::srq_cfg::SrqCfg>();
};

/// Runs the body of a public function and turns its result into a code.
#[inline(always)]
fn finish(function: &'static CStr, body: impl FnOnce() -> Result<()>) -> c_int {
    match body() {
        Ok(()) => 0,
        Err(error) => report(&error, function),
    }
}

/// The names for the log if an operation of the data path fails, in one constant: a failure passes one pointer.
struct Post {
    function: &'static CStr,
    call: &'static str,
}

impl Post {
    /// Turns the result of posting a request into a code.
    #[inline(always)]
    fn finish(&'static self, posted: Posted) -> c_int {
        match posted {
            Ok(()) => 0,
            Err(failed) => self.failed(failed),
        }
    }

    #[cold]
    #[inline(never)]
    fn failed(&'static self, failed: PostError) -> c_int {
        report(&failed.of(self.call).into(), self.function)
    }
}

/// Runs a function that creates a handle. `args` checks the arguments; then memory for the handle is
/// allocated, so running out of memory needs no rollback; then `make` does the work.
#[inline(always)]
fn create<A, T>(
    function: &'static CStr,
    handle: *mut *mut T,
    args: impl FnOnce() -> Result<A>,
    make: impl FnOnce(A) -> Result<T>,
) -> c_int {
    finish(function, || {
        let args = args()?;
        // SAFETY: the contract of C.
        let handle = unsafe { out(handle, "the pointer for the new object")? };
        let slot = Slot::allocate()?;
        handle.set(Box::into_raw(slot.fill(make(args)?)));
        Ok(())
    })
}

/// Runs a function that deletes a handle, if there is one: the handle becomes NULL, and every step is tried.
#[inline(always)]
fn delete<T>(
    function: &'static CStr,
    handle: *mut *mut T,
    delete: impl FnOnce(Box<T>, &mut Releases),
) -> c_int {
    finish(function, || {
        // SAFETY: the contract of C.
        let Some(object) = (unsafe { take(handle)? }) else {
            return Ok(());
        };
        let mut releases = Releases::new(function);
        delete(object, &mut releases);
        releases.result()
    })
}

#[cold]
#[track_caller]
fn is_null(name: &'static str) -> Error {
    Error::new(Failure::Null(name))
}

/// The object that a required pointer points to.
///
/// # Safety
///
/// The contract of C, for `pointer`.
#[inline(always)]
#[track_caller]
unsafe fn arg<'a, T>(pointer: *const T, name: &'static str) -> Result<&'a T> {
    // SAFETY: passed on to the caller.
    match unsafe { pointer.as_ref() } {
        Some(object) => Ok(object),
        None => Err(is_null(name)),
    }
}

/// The object that an optional pointer points to, or `None` for NULL.
///
/// # Safety
///
/// The contract of C, for `pointer`.
#[inline(always)]
unsafe fn optional<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: passed on to the caller.
    unsafe { pointer.as_ref() }
}

/// A required string.
///
/// # Safety
///
/// The contract of C, for `pointer`.
#[track_caller]
unsafe fn string(pointer: *const c_char, name: &'static str) -> Result<CallerStr> {
    match NonNull::new(pointer.cast_mut()) {
        // SAFETY: passed on to the caller.
        Some(string) => Ok(unsafe { CallerStr::new(string) }),
        None => Err(is_null(name)),
    }
}

/// The first `wanted` of `len` required bytes.
///
/// # Safety
///
/// `pointer` must be NULL or point to `len` bytes that nobody writes until the function returns.
#[track_caller]
unsafe fn bytes<'a>(
    pointer: *const c_void,
    len: usize,
    wanted: usize,
    name: &'static str,
) -> Result<&'a [u8]> {
    if pointer.is_null() {
        return Err(is_null(name));
    }
    // SAFETY: passed on to the caller.
    Ok(unsafe { slice::from_raw_parts(pointer.cast::<u8>(), len.min(wanted)) })
}

/// Private data in its C form. The bytes still belong to the library.
fn private_data(data: &[u8]) -> rpma_conn_private_data {
    rpma_conn_private_data {
        ptr: match data {
            [] => ptr::null_mut(),
            data => data.as_ptr().cast_mut().cast::<c_void>(),
        },
        // Its length had 8 bits when it arrived.
        len: u8::try_from(data.len()).unwrap_or(u8::MAX),
    }
}

/// An output parameter: a pointer that the function writes one value to.
struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    fn set(&self, value: T) {
        // SAFETY: valid for writing, by the contract of `out`.
        unsafe { self.0.write(value) }
    }
}

/// A required output parameter.
///
/// # Safety
///
/// `pointer` must be NULL or valid for writing until the function returns.
#[track_caller]
unsafe fn out<T>(pointer: *mut T, name: &'static str) -> Result<Out<T>> {
    match NonNull::new(pointer) {
        Some(pointer) => Ok(Out(pointer)),
        None => Err(is_null(name)),
    }
}

/// An optional output parameter.
///
/// # Safety
///
/// As for `out`.
#[inline(always)]
unsafe fn optional_out<T>(pointer: *mut T) -> Option<Out<T>> {
    NonNull::new(pointer).map(Out)
}

/// Takes the object behind a handle and sets the handle to NULL; `None` when it is NULL already.
///
/// # Safety
///
/// The contract of C, for `handle` and for what it points to.
#[inline(always)]
unsafe fn take<T>(handle: *mut *mut T) -> Result<Option<Box<T>>> {
    // SAFETY: the contract of C. The object was made by `Slot::fill`, which leaves what a box would, and is
    // taken once: the handle is NULL now.
    unsafe { Ok(take_raw(handle)?.map(|object| Box::from_raw(object.as_ptr()))) }
}

/// The same, as a pointer.
///
/// # Safety
///
/// The contract of C, for `handle`.
#[inline(always)]
unsafe fn take_raw<T>(handle: *mut *mut T) -> Result<Option<NonNull<T>>> {
    let mut handle = NonNull::new(handle).ok_or_else(|| is_null("the pointer to the object"))?;
    // SAFETY: `handle` points to a handle, by the contract.
    let object = std::mem::replace(unsafe { handle.as_mut() }, ptr::null_mut());
    Ok(NonNull::new(object))
}

/// Memory for one `T`, allocated before there is a value for it: a box whose allocation may fail.
struct Slot<T>(NonNull<T>);

impl<T> Slot<T> {
    const LAYOUT: Layout = {
        assert!(size_of::<T>() > 0);
        Layout::new::<T>()
    };

    #[inline(always)]
    fn allocate() -> Result<Self> {
        // SAFETY: the size is not 0.
        let memory = unsafe { alloc::alloc(Self::LAYOUT) };
        match NonNull::new(memory.cast::<T>()) {
            Some(memory) => Ok(Self(memory)),
            None => Err(Error::new(Failure::OutOfMemory)),
        }
    }

    /// A box with the value.
    #[inline(always)]
    fn fill(self, value: T) -> Box<T> {
        let object = self.fill_with(value);
        // SAFETY: allocated by `allocate` as a box of `T` is, and filled.
        unsafe { Box::from_raw(object.as_ptr()) }
    }

    /// The same for a value of another type that fits into the memory.
    #[inline(always)]
    fn fill_with<V>(self, value: V) -> NonNull<V> {
        const {
            assert!(size_of::<V>() <= size_of::<T>());
            assert!(align_of::<V>() <= align_of::<T>());
        }
        let memory = ManuallyDrop::new(self).0.cast::<V>();
        // SAFETY: memory for this type, which nobody else knows of yet.
        unsafe { memory.write(value) };
        memory
    }

    /// Takes a value out again, and the memory that it was in.
    ///
    /// # Safety
    ///
    /// `value` must come from `fill_with` of a slot for `T`, and nobody may use it any more.
    #[inline(always)]
    unsafe fn take_out<V>(value: NonNull<V>) -> (V, Self) {
        // SAFETY: the contract of this function.
        (unsafe { value.read() }, Self(value.cast()))
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        // SAFETY: allocated by `allocate` with this layout; `fill` does not come here.
        unsafe { alloc::dealloc(self.0.as_ptr().cast::<u8>(), Self::LAYOUT) };
    }
}
