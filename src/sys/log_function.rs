// SPDX-License-Identifier: BSD-3-Clause

//! The log function of the C program.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicPtr, Ordering};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicPtr, Ordering};

/// The C type of a log function, `rpma_log_function *`.
pub(crate) type RawLogFunction = unsafe extern "C" fn(
    level: c_int,
    file_name: *const c_char,
    line_no: c_int,
    function_name: *const c_char,
    message_format: *const c_char,
    ...
);

/// The same, or NULL.
pub(crate) type RawLogFunctionOrNull = Option<RawLogFunction>;

/// A log function of the C program.
#[derive(Clone, Copy)]
pub(crate) struct LogFunction(RawLogFunction);

impl LogFunction {
    /// # Safety
    ///
    /// `function` must be callable from any thread for as long as it is set.
    pub(crate) unsafe fn new(function: RawLogFunction) -> Self {
        Self(function)
    }

    pub(crate) fn call(
        self,
        level: c_int,
        file: &CStr,
        line: c_int,
        function: &'static CStr,
        text: &CStr,
    ) {
        // SAFETY: callable by the contract of `new`; the format takes one C string.
        unsafe {
            (self.0)(
                level,
                file.as_ptr(),
                line,
                function.as_ptr(),
                c"%s".as_ptr(),
                text.as_ptr(),
            );
        }
    }
}

/// A place for a log function that threads may change and read at any time.
///
/// Storing releases and loading acquires: what a thread wrote before it set its function is visible to the
/// thread that calls the function.
struct LogFunctionCell(AtomicPtr<()>);

impl LogFunctionCell {
    #[cfg(not(all(loom, test)))]
    const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    // The model checker's atomics are not made at compile time.
    #[cfg(all(loom, test))]
    fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    fn store(&self, function: Option<LogFunction>) {
        let raw = function.map_or(ptr::null_mut(), |function| function.0 as *mut ());
        self.0.store(raw, Ordering::Release);
    }

    fn load(&self) -> Option<LogFunction> {
        let raw = self.0.load(Ordering::Acquire);
        if raw.is_null() {
            return None;
        }
        // SAFETY: what is not NULL was stored by `store`, from a function pointer of this type.
        Some(LogFunction(unsafe {
            std::mem::transmute::<*mut (), RawLogFunction>(raw)
        }))
    }
}

/// The function set by `rpma_log_set_function`, if any.
#[cfg(not(all(loom, test)))]
static USER_FUNCTION: LogFunctionCell = LogFunctionCell::new();

/// Sends messages to `function`, or to the default function for `None`.
#[cfg(not(all(loom, test)))]
pub(crate) fn set(function: Option<LogFunction>) {
    USER_FUNCTION.store(function);
}

/// The function that messages go to, or `None` for the default one.
#[cfg(not(all(loom, test)))]
pub(crate) fn current() -> Option<LogFunction> {
    USER_FUNCTION.load()
}

// Under the model checker, each test has a cell of its own, and the library only the default function.
#[cfg(all(loom, test))]
pub(crate) fn set(_: Option<LogFunction>) {}
#[cfg(all(loom, test))]
pub(crate) fn current() -> Option<LogFunction> {
    None
}

#[cfg(all(loom, test))]
mod model {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use loom::thread;

    use super::*;

    // Never called: the model only asks which function is there. A variadic function cannot be defined in
    // Rust, so one of the C library lends its address.
    fn function() -> LogFunction {
        // SAFETY: a function pointer of another type, which is not called.
        LogFunction(unsafe {
            std::mem::transmute::<*const (), RawLogFunction>(libc::abort as *const ())
        })
    }

    /// A thread that loads the function also sees what was written before it was set.
    #[test]
    fn a_function_is_seen_with_what_was_written_before_it_was_set() {
        loom::model(|| {
            let shared = Arc::new((LogFunctionCell::new(), AtomicU32::new(0)));
            let setter = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.1.store(1, Relaxed);
                    shared.0.store(Some(function()));
                })
            };
            if shared.0.load().is_some() {
                assert_eq!(shared.1.load(Relaxed), 1);
            }
            assert!(setter.join().is_ok());
            assert!(shared.0.load().is_some());
        });
    }

    /// Changing it back and forth never yields anything but one of the two.
    #[test]
    fn setting_and_clearing_leaves_one_of_both() {
        loom::model(|| {
            let cell = Arc::new(LogFunctionCell::new());
            let clearer = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || cell.store(None))
            };
            cell.store(Some(function()));
            if let Some(found) = cell.load() {
                assert!(std::ptr::fn_addr_eq(found.0, function().0));
            }
            assert!(clearer.join().is_ok());
        });
    }
}
