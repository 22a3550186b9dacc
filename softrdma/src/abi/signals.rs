// SPDX-License-Identifier: BSD-3-Clause

//! `sigaction` and its relatives, in front of the C library's: the program shares the signals of a fault with
//! this library, and sees only what is its own (`os::signals`). All other signals go to the C library. And what changes
//! the mask of a thread, so that this library knows whether it blocks these signals.

use std::ffi::{c_int, c_void};
use std::mem;

use crate::os::signals::{self, Next};

type Handler = libc::sighandler_t;
const ERROR: Handler = libc::SIG_ERR;

unsafe fn action(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    // SAFETY: null or the program's action.
    let new = unsafe { new.as_ref() };
    match signals::action(signal, new) {
        Ok(before) => {
            if !old.is_null() {
                // SAFETY: the program's room for one.
                unsafe { old.write(before) };
            }
            0
        }
        Err(errno) => {
            super::set_errno(errno);
            -1
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: as this function.
    unsafe { action(signal, new, old) }
}

/// The other name of it, which some libraries use.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: as this function.
    unsafe { action(signal, new, old) }
}

static SIGNAL: Next = Next::new(c"signal");
static BSD_SIGNAL: Next = Next::new(c"bsd_signal");
static SSIGNAL: Next = Next::new(c"ssignal");
static SYSV_SIGNAL: Next = Next::new(c"sysv_signal");
static OTHER_SYSV_SIGNAL: Next = Next::new(c"__sysv_signal");

#[used]
#[unsafe(link_section = ".init_array")]
static FIND_NEXT: extern "C" fn() = {
    extern "C" fn at_load() {
        let all = [
            &LONGJMP,
            &OTHER_LONGJMP,
            &SIGLONGJMP,
            &CHECKED_LONGJMP,
            &signals::REAL,
            &SIGNAL,
            &BSD_SIGNAL,
            &SSIGNAL,
            &SYSV_SIGNAL,
            &OTHER_SYSV_SIGNAL,
        ];
        for next in all {
            next.get();
        }
    }
    at_load
};

/// `signal` and what else sets a handler alone, with these flags.
fn set(of_the_c_library: &Next, signal: c_int, handler: Handler, flags: c_int) -> Handler {
    if !signals::is_shared(signal) {
        let next = of_the_c_library.get();
        if next.is_null() {
            super::set_errno(libc::ENOSYS);
            return ERROR;
        }
        type Set = unsafe extern "C" fn(c_int, Handler) -> Handler;
        // SAFETY: the C library's function of this name and type, with what the program gives it.
        return unsafe { mem::transmute::<*mut c_void, Set>(next)(signal, handler) };
    }
    if handler == ERROR {
        super::set_errno(libc::EINVAL);
        return ERROR;
    }
    // SAFETY: plain data, for which zeros are valid.
    let mut new: libc::sigaction = unsafe { mem::zeroed() };
    new.sa_sigaction = handler;
    new.sa_flags = flags;
    match signals::action(signal, Some(&new)) {
        Ok(before) => before.sa_sigaction,
        Err(errno) => {
            super::set_errno(errno);
            ERROR
        }
    }
}

const ONCE: c_int = libc::SA_RESETHAND | libc::SA_NODEFER;

#[unsafe(no_mangle)]
extern "C" fn signal(signal: c_int, handler: Handler) -> Handler {
    set(&SIGNAL, signal, handler, libc::SA_RESTART)
}

#[unsafe(no_mangle)]
extern "C" fn bsd_signal(signal: c_int, handler: Handler) -> Handler {
    set(&BSD_SIGNAL, signal, handler, libc::SA_RESTART)
}

#[unsafe(no_mangle)]
extern "C" fn ssignal(signal: c_int, handler: Handler) -> Handler {
    set(&SSIGNAL, signal, handler, libc::SA_RESTART)
}

#[unsafe(no_mangle)]
extern "C" fn sysv_signal(signal: c_int, handler: Handler) -> Handler {
    set(&SYSV_SIGNAL, signal, handler, ONCE)
}

/// What `signal` is where strict standards are asked for.
#[unsafe(no_mangle)]
extern "C" fn __sysv_signal(signal: c_int, handler: Handler) -> Handler {
    set(&OTHER_SYSV_SIGNAL, signal, handler, ONCE)
}

// --- Masks -------------------------------------------------------------------------------------------

unsafe fn change_mask(
    how: c_int,
    set: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> Result<(), c_int> {
    // SAFETY: null or the program's set, and null or room for one.
    unsafe { signals::program_changes_mask(how, set.as_ref(), old.as_mut()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    set: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    // SAFETY: as this function.
    unsafe { change_mask(how, set, old) }.err().unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(
    how: c_int,
    set: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    // SAFETY: as this function.
    match unsafe { change_mask(how, set, old) } {
        Ok(()) => 0,
        Err(errno) => {
            super::set_errno(errno);
            -1
        }
    }
}

/// A place that a program jumps back to.
type Place = *mut c_void;

static LONGJMP: Next = Next::new(c"longjmp");
static OTHER_LONGJMP: Next = Next::new(c"_longjmp");
static SIGLONGJMP: Next = Next::new(c"siglongjmp");
/// What the others are in a program that was compiled with `_FORTIFY_SOURCE`.
static CHECKED_LONGJMP: Next = Next::new(c"__longjmp_chk");

/// Jumps there, with the mask that the thread had there. The C library changes it by itself, and not by the functions
/// above.
///
/// # Safety
/// As `siglongjmp`. The frames of these functions have nothing to be dropped.
unsafe fn jump(of_the_c_library: &Next, to: Place, value: c_int) -> ! {
    signals::mask_changes();
    type Jump = unsafe extern "C" fn(Place, c_int) -> !;
    // SAFETY: a function of this type, or null.
    let found = unsafe { mem::transmute::<*mut c_void, Option<Jump>>(of_the_c_library.get()) };
    match found {
        // SAFETY: the caller's promise.
        Some(found) => unsafe { found(to, value) },
        None => std::process::abort(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn longjmp(to: Place, value: c_int) -> ! {
    // SAFETY: as this function.
    unsafe { jump(&LONGJMP, to, value) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn _longjmp(to: Place, value: c_int) -> ! {
    // SAFETY: as this function.
    unsafe { jump(&OTHER_LONGJMP, to, value) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn siglongjmp(to: Place, value: c_int) -> ! {
    // SAFETY: as this function.
    unsafe { jump(&SIGLONGJMP, to, value) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __longjmp_chk(to: Place, value: c_int) -> ! {
    // SAFETY: as this function.
    unsafe { jump(&CHECKED_LONGJMP, to, value) }
}
