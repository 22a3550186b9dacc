// SPDX-License-Identifier: BSD-3-Clause

//! Memory regions.

use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ops::{BitOr, BitOrAssign};
use std::ptr::NonNull;

use rdma_sys as sys;

use super::{PdRef, Result, Sge, check_errno};

/// What the device may do with a memory region (`enum ibv_access_flags`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access(c_int);

impl Access {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const LOCAL_WRITE: Self = Self(
        sys::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE
            .0
            .cast_signed(),
    );
    pub(crate) const REMOTE_WRITE: Self = Self(
        sys::ibv_access_flags::IBV_ACCESS_REMOTE_WRITE
            .0
            .cast_signed(),
    );
    pub(crate) const REMOTE_READ: Self = Self(
        sys::ibv_access_flags::IBV_ACCESS_REMOTE_READ
            .0
            .cast_signed(),
    );
    pub(crate) const ON_DEMAND: Self =
        Self(sys::ibv_access_flags::IBV_ACCESS_ON_DEMAND.0.cast_signed());
    pub(crate) const FLUSH_GLOBAL: Self = Self(
        sys::ibv_access_flags::IBV_ACCESS_FLUSH_GLOBAL
            .0
            .cast_signed(),
    );
    pub(crate) const FLUSH_PERSISTENT: Self = Self(
        sys::ibv_access_flags::IBV_ACCESS_FLUSH_PERSISTENT
            .0
            .cast_signed(),
    );

    pub(crate) fn bits(self) -> c_int {
        self.0
    }
}

impl BitOr for Access {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Access {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// A registered memory region.
pub(crate) struct Mr(NonNull<sys::ibv_mr>);

// SAFETY: verbs calls may be made on a memory region from any thread.
unsafe impl Send for Mr {}
// SAFETY: as above.
unsafe impl Sync for Mr {}

impl Mr {
    pub(super) fn from_raw(raw: NonNull<sys::ibv_mr>) -> Self {
        Self(raw)
    }

    /// `ibv_dereg_mr`
    pub(crate) fn destroy(self) -> Result<()> {
        let mr = ManuallyDrop::new(self);
        // SAFETY: owned, and given back once: `self` is gone.
        check_errno("ibv_dereg_mr", unsafe { sys::ibv_dereg_mr(mr.0.as_ptr()) })
    }

    #[inline]
    fn raw(&self) -> &sys::ibv_mr {
        // SAFETY: the region exists as long as `self`, and its fields do not change.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn addr(&self) -> *mut c_void {
        self.raw().addr
    }

    #[inline]
    pub(crate) fn length(&self) -> usize {
        self.raw().length
    }

    pub(crate) fn rkey(&self) -> u32 {
        self.raw().rkey
    }

    pub(crate) fn pd(&self) -> Option<PdRef> {
        NonNull::new(self.raw().pd).map(PdRef::from_raw)
    }

    /// `length` bytes at `offset` of the region. That the range lies in the region is for the
    /// device to check.
    #[inline]
    pub(crate) fn sge(&self, offset: usize, length: u32) -> Sge {
        Sge {
            addr: (self.addr() as u64).wrapping_add(offset as u64),
            length,
            lkey: self.raw().lkey,
        }
    }
}

impl Drop for Mr {
    fn drop(&mut self) {
        // SAFETY: as in `destroy`, which does not come here.
        unsafe { sys::ibv_dereg_mr(self.0.as_ptr()) };
    }
}
