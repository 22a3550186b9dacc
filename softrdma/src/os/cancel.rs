// SPDX-License-Identifier: BSD-3-Clause

//! Threads of the program that are cancelled (`pthread_cancel`).
//!
//! Cancelling a thread unwinds its stack from a cancellation point, and what was locked stays locked. So the calls
//! of the program hold cancellation, but for the moments in which they wait for an event, without a lock. The data
//! path does not pay for that: it contains no cancellation points (see [`super::sys`]).

use std::cell::Cell;
use std::ffi::c_int;

const ENABLE: c_int = 0;
const DISABLE: c_int = 1;

// A thread with asynchronous cancellation ends in this function, when it enables it again. As for `sem_wait` in
// `semaphore`, the compiler must not know where panics abort.
#[cfg(not(panic = "unwind"))]
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    fn pthread_testcancel();
}
#[cfg(panic = "unwind")]
unsafe extern "C-unwind" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    fn pthread_testcancel();
}

fn set(state: c_int) -> c_int {
    let mut before = ENABLE;
    // SAFETY: room for the answer.
    unsafe { pthread_setcancelstate(state, &raw mut before) };
    before
}

thread_local! {
    /// The thread may be cancelled, were it not for a `Hold`.
    static HELD: Cell<bool> = const { Cell::new(false) };
}

/// The thread is not cancelled while this exists.
#[must_use]
pub(crate) struct Hold {
    before: c_int,
}

impl Hold {
    pub(crate) fn new() -> Self {
        let before = set(DISABLE);
        if before == ENABLE {
            HELD.set(true);
        }
        Self { before }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.before == ENABLE {
            HELD.set(false);
            set(ENABLE);
        }
    }
}

/// Waits, and lets the thread be cancelled meanwhile, if the program lets it. The callers have no locks.
pub(crate) fn while_waiting<T>(wait: impl FnOnce() -> T) -> T {
    if !HELD.get() {
        return wait();
    }
    set(ENABLE);
    let done = wait();
    set(DISABLE);
    done
}

/// The thread ends here if it was cancelled, as in a call that waits. The callers have no locks.
pub(crate) fn point() {
    // SAFETY: takes nothing. The callers leave nothing to be dropped when the stack is unwound from here.
    while_waiting(|| unsafe { pthread_testcancel() });
}
