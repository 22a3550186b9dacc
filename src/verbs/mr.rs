// SPDX-License-Identifier: BSD-3-Clause

//! Memory regions.

use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ops::{BitOr, BitOrAssign};
use std::ptr::NonNull;

use rdma_sys as sys;

use super::{PdRef, Result, Sge, check_errno, check_object};

/// What the device may do with a memory region (`enum ibv_access_flags`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access(c_int);

impl Access {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const LOCAL_WRITE: Self =
        Self(sys::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE.0 as c_int);
    pub(crate) const REMOTE_WRITE: Self =
        Self(sys::ibv_access_flags::IBV_ACCESS_REMOTE_WRITE.0 as c_int);
    pub(crate) const REMOTE_READ: Self =
        Self(sys::ibv_access_flags::IBV_ACCESS_REMOTE_READ.0 as c_int);
    pub(crate) const ON_DEMAND: Self = Self(sys::ibv_access_flags::IBV_ACCESS_ON_DEMAND.0 as c_int);
    pub(crate) const FLUSH_GLOBAL: Self =
        Self(sys::ibv_access_flags::IBV_ACCESS_FLUSH_GLOBAL.0 as c_int);
    pub(crate) const FLUSH_PERSISTENT: Self =
        Self(sys::ibv_access_flags::IBV_ACCESS_FLUSH_PERSISTENT.0 as c_int);

    pub(crate) fn bits(self) -> c_int {
        self.0
    }
}

impl BitOr for Access {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Access {
    #[inline(always)]
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// A registered memory region, with the two fields that every operation needs.
pub(crate) struct Mr {
    raw: NonNull<sys::ibv_mr>,
    addr: u64,
    lkey: u32,
}

// SAFETY: verbs calls may be made on a memory region from any thread.
unsafe impl Send for Mr {}
// SAFETY: as above.
unsafe impl Sync for Mr {}

impl Mr {
    #[inline]
    pub(super) fn from_raw(raw: NonNull<sys::ibv_mr>) -> Self {
        // SAFETY: the region exists, and its fields do not change.
        let (addr, lkey) = unsafe { ((*raw.as_ptr()).addr as u64, (*raw.as_ptr()).lkey) };
        Self { raw, addr, lkey }
    }

    /// `ibv_dereg_mr`
    #[inline]
    pub(crate) fn destroy(self) -> Result<()> {
        let mr = ManuallyDrop::new(self);
        // SAFETY: owned, and given back once: `self` is gone.
        check_errno("ibv_dereg_mr", unsafe {
            sys::ibv_dereg_mr(mr.raw.as_ptr())
        })
    }

    fn raw(&self) -> &sys::ibv_mr {
        // SAFETY: the region exists as long as `self`, and its fields do not change.
        unsafe { self.raw.as_ref() }
    }

    pub(crate) fn addr(&self) -> *mut c_void {
        self.raw().addr
    }

    pub(crate) fn length(&self) -> usize {
        self.raw().length
    }

    pub(crate) fn rkey(&self) -> u32 {
        self.raw().rkey
    }

    pub(crate) fn pd(&self) -> Option<PdRef> {
        NonNull::new(self.raw().pd).map(PdRef::from_raw)
    }

    /// The `length` bytes at `offset` of the region. The device checks the bounds.
    #[inline(always)]
    pub(crate) fn sge(&self, offset: usize, length: u32) -> Sge {
        Sge {
            addr: self.addr.wrapping_add(offset as u64),
            length,
            lkey: self.lkey,
        }
    }
}

impl PdRef {
    /// `ibv_reg_mr`
    ///
    /// The C program owns the memory. The device uses it as long as the region exists.
    #[inline]
    pub(crate) fn reg_mr(self, start: *mut c_void, size: usize, access: Access) -> Result<Mr> {
        // SAFETY: the domain exists by the order of handles. The call checks that the range is
        // mapped; no Rust reference to it is ever made.
        let mr = unsafe { sys::ibv_reg_mr(self.as_ptr(), start, size, access.bits()) };
        check_object("ibv_reg_mr", mr).map(Mr::from_raw)
    }
}

impl Drop for Mr {
    fn drop(&mut self) {
        // SAFETY: as in `destroy`, which does not come here.
        unsafe { sys::ibv_dereg_mr(self.raw.as_ptr()) };
    }
}
