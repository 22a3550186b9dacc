// SPDX-License-Identifier: BSD-3-Clause

//! Which signals a thread handles.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

/// What a thread causes itself. If one that is blocked comes, the process ends without its handler.
const SYNCHRONOUS: [c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Changes the mask of this thread, without anybody who stands in front of the C library's function. The one before.
pub(crate) fn change_mask(how: c_int, set: Option<&libc::sigset_t>) -> libc::sigset_t {
    let mut old = MaybeUninit::<libc::sigset_t>::zeroed();
    let set = set.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: null or a set, and room for another one, for which zeros are valid; the kernel's is the first
    // eight bytes of it.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, set, old.as_mut_ptr(), 8usize);
        old.assume_init()
    }
}

/// All but those of the C library.
pub(super) fn all() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is written before it is read.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Those of a thread's own faults.
pub(super) fn synchronous() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is written before it is read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in SYNCHRONOUS {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// All others.
pub(super) fn asynchronous() -> libc::sigset_t {
    let mut set = all();
    for signal in SYNCHRONOUS {
        // SAFETY: a set that was written.
        unsafe { libc::sigdelset(&raw mut set, signal) };
    }
    set
}
