// SPDX-License-Identifier: BSD-3-Clause

//! One page of anonymous shared memory.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::{Result, failed, os};

/// An anonymous, shared mapping of one page: shared, so that a fork does not make the device's
/// writes and the process's view of the page part ways.
pub(crate) struct SharedPage {
    start: NonNull<c_void>,
    size: usize,
}

// SAFETY: the page is plain memory; nothing here depends on the thread that mapped it.
unsafe impl Send for SharedPage {}
// SAFETY: a shared reference gives nothing but the address.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    /// The call that fails for want of memory.
    pub(crate) const MAP: &'static str = "mmap";

    pub(crate) fn map() -> Result<Self> {
        // SAFETY: sysconf takes any number.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let size = usize::try_from(size).map_err(|_| failed("sysconf", os::errno()))?;
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
            Some(start) if start.as_ptr() != libc::MAP_FAILED => Ok(Self { start, size }),
            _ => Err(failed(Self::MAP, os::errno())),
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.start.as_ptr()
    }

    pub(crate) fn unmap(self) -> Result<()> {
        let page = std::mem::ManuallyDrop::new(self);
        // SAFETY: mapped by `map`, and given back once: `self` is gone.
        let returned = unsafe { libc::munmap(page.start.as_ptr(), page.size) };
        super::check("munmap", returned)
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: as in `unmap`, which does not come here.
        unsafe { libc::munmap(self.start.as_ptr(), self.size) };
    }
}
