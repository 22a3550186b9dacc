// SPDX-License-Identifier: BSD-3-Clause

//! The C edge: the 89 functions of `<librpma.h>`, which is generated from here.
//!
//! A function here turns pointers into references, calls the method that does the work, and turns
//! the result into a code. The helpers below do so.
//!
//! # Safety
//!
//! What C must keep to is the same for all functions, and is what the `SAFETY` comments call *the contract of
//! C*:
//!
//! - A pointer is NULL or points to what its type says, aligned and valid until the function returns. A
//!   parameter that is not `const` may be written to.
//! - A handle was made by this library and is not deleted yet. No handle is deleted while another thread uses
//!   it, nor before the handles that were made from it.
//! - A string ends with a NUL, and stays allocated until the function returns.
//! - Functions whose description says so are called by one thread at a time for one object.
//!
//! A pointer becomes a reference when it is needed, and no such reference lives across a call that can block,
//! but for the handle that the function works on: the program may change a configuration, or the bytes of a
//! string, while a function waits.

// Said above, for all functions.
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

// The order of the header.
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

/// What an operation of the hot path posts, in one constant: a failure passes on one pointer.
struct Post {
    function: &'static CStr,
    call: &'static str,
}

impl Post {
    /// The end of a public function that has posted a request.
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

/// A function that makes a handle. `args` checks the arguments; then memory for the handle is
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

/// A function that deletes a handle, if there is one: it becomes NULL, and every release is tried.
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

/// What a required pointer points to.
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

/// What a pointer that may be NULL points to.
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

/// Required bytes: `len` of them, of which the first `wanted` are looked at.
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

/// Private data as C sees it, which stays the library's.
fn private_data(data: &[u8]) -> rpma_conn_private_data {
    rpma_conn_private_data {
        ptr: match data {
            [] => ptr::null_mut(),
            data => data.as_ptr().cast_mut().cast::<c_void>(),
        },
        // It came with a length of 8 bits.
        len: u8::try_from(data.len()).unwrap_or(u8::MAX),
    }
}

/// A pointer that the function writes one value to.
struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    fn set(&self, value: T) {
        // SAFETY: valid for writing, by the contract of `out`.
        unsafe { self.0.write(value) }
    }
}

/// A required pointer to write to.
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

/// A pointer to write to that may be NULL.
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
