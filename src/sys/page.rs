// SPDX-License-Identifier: BSD-3-Clause

//! One page of anonymous shared memory.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::CallError;

/// An anonymous, shared mapping of one page, which stays until the process ends. It is shared, so that the device
/// and the process use the same page after a fork. It is not part of the heap, because `ibv_fork_init` removes
/// whole pages of registered memory from a child process.
pub(crate) struct SharedPage(NonNull<c_void>);

// SAFETY: the page is plain memory; nothing here depends on the thread that mapped it.
unsafe impl Send for SharedPage {}
// SAFETY: a shared reference gives nothing but the address.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    /// The call that fails when there is no memory.
    pub(crate) const MAP: &'static str = "mmap";

    pub(crate) fn map() -> Result<Self, CallError> {
        // SAFETY: sysconf takes any number.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let size = usize::try_from(size).map_err(|_| CallError::last("sysconf"))?;
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => Ok(Self(start)),
            _ => Err(CallError::last(Self::MAP)),
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}
