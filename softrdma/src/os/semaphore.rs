// SPDX-License-Identifier: BSD-3-Clause

//! Semaphores of this process, for threads of the program that wait for an event.

use std::cell::UnsafeCell;

use super::{cancel, errno};
use crate::Result;

// A cancellation point: cancelling the thread unwinds its stack from here. Where panics abort, the compiler makes a
// call that may unwind abort as well; one of which it does not know that is unwound as C is.
#[cfg(not(panic = "unwind"))]
use libc::sem_wait;
#[cfg(panic = "unwind")]
unsafe extern "C-unwind" {
    fn sem_wait(semaphore: *mut libc::sem_t) -> libc::c_int;
}

/// It has an address of its own, which never changes: the kernel wakes threads by it.
pub(crate) struct Semaphore(Box<UnsafeCell<libc::sem_t>>);

// SAFETY: every function here may be called from several threads at once.
unsafe impl Send for Semaphore {}
// SAFETY: as above.
unsafe impl Sync for Semaphore {}

impl std::fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Semaphore")
    }
}

impl Semaphore {
    pub(crate) fn new() -> Self {
        // SAFETY: plain data, for which zeros are valid; initialised below before anything else is done with it.
        let new = Self(Box::new(UnsafeCell::new(unsafe { std::mem::zeroed() })));
        // SAFETY: the address stays. It fails only for values that are too large.
        unsafe { libc::sem_init(new.0.get(), 0, 0) };
        new
    }

    /// Adds one. A waiting thread takes it.
    pub(crate) fn post(&self) {
        // SAFETY: initialised by `new`. It fails only at the largest value.
        unsafe { libc::sem_post(self.0.get()) };
    }

    /// Takes one if there is one. No system call.
    pub(crate) fn try_take(&self) -> bool {
        // SAFETY: initialised by `new`.
        unsafe { libc::sem_trywait(self.0.get()) == 0 }
    }

    /// Takes one, and waits for it. A signal handler interrupts it as a read of a device (`EINTR`, unless the
    /// handler was installed with `SA_RESTART`). A thread that is cancelled while it waits has taken none.
    pub(crate) fn take(&self) -> Result<()> {
        // SAFETY: initialised by `new`. The callers hold no lock, and leave nothing to be dropped, when the stack
        // is unwound from here.
        if cancel::while_waiting(|| unsafe { sem_wait(self.0.get()) }) == 0 {
            Ok(())
        } else {
            Err(errno())
        }
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and nobody waits: a waiting thread has a reference.
        unsafe { libc::sem_destroy(self.0.get()) };
    }
}
