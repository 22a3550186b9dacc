// SPDX-License-Identifier: BSD-3-Clause

//! Device contexts and protection domains.

use std::ffi::c_int;
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};

use rdma_sys as sys;

use super::{CompChannel, IbvCq, IbvSrq, Result, check_errno, check_object};

/// The context of an open device. It belongs to librdmacm, or to the C program.
#[derive(Clone, Copy)]
pub(crate) struct Context(NonNull<sys::ibv_context>);

// SAFETY: verbs calls may be made on a context from any thread.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// The optional capabilities of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceCaps {
    /// On-demand paging, for both reads and writes of the RC transport.
    pub(crate) on_demand_paging: bool,
    pub(crate) native_atomic_write: bool,
    /// Native flush, both to global visibility and to persistence.
    pub(crate) native_flush: bool,
}

/// Capability bits of `device_cap_flags_ex`.
const DEVICE_FLUSH: u64 =
    sys::IB_UVERBS_DEVICE_FLUSH_GLOBAL | sys::IB_UVERBS_DEVICE_FLUSH_PERSISTENT;
const DEVICE_ATOMIC_WRITE: u64 = sys::IB_UVERBS_DEVICE_ATOMIC_WRITE;

impl Context {
    /// # Safety
    ///
    /// `raw` must be NULL or the context of a device that stays open while it is used.
    pub(crate) unsafe fn from_raw(raw: *mut sys::ibv_context) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    pub(crate) fn as_ptr(self) -> *mut sys::ibv_context {
        self.0.as_ptr()
    }

    /// `ibv_query_device_ex`
    pub(crate) fn query_caps(self) -> Result<DeviceCaps> {
        // SAFETY: the struct is plain data, for which zeros are valid.
        let mut attr: sys::ibv_device_attr_ex = unsafe { mem::zeroed() };
        // SAFETY: the context is open and the struct valid for writing.
        let returned =
            unsafe { sys::ibv_query_device_ex(self.as_ptr(), ptr::null(), &raw mut attr) };
        check_errno("ibv_query_device_ex", returned)?;

        let flags = attr.device_cap_flags_ex;
        Ok(DeviceCaps {
            on_demand_paging: on_demand_paging(&attr),
            native_atomic_write: flags & DEVICE_ATOMIC_WRITE == DEVICE_ATOMIC_WRITE,
            native_flush: flags & DEVICE_FLUSH == DEVICE_FLUSH,
        })
    }

    /// `ibv_alloc_pd`
    pub(crate) fn alloc_pd(self) -> Result<Pd> {
        crate::sys::errno::set(0);
        // SAFETY: the context is open.
        let pd = unsafe { sys::ibv_alloc_pd(self.as_ptr()) };
        check_object("ibv_alloc_pd", pd).map(|pd| Pd(PdRef(pd)))
    }

    /// `ibv_create_comp_channel`
    #[inline]
    pub(crate) fn create_comp_channel(self) -> Result<CompChannel> {
        // SAFETY: the context is open.
        let channel = unsafe { sys::ibv_create_comp_channel(self.as_ptr()) };
        check_object("ibv_create_comp_channel", channel).map(CompChannel::from_raw)
    }

    /// `ibv_create_cq` with `cqe` entries, whose events go to `channel`
    #[inline]
    pub(crate) fn create_cq(self, cqe: c_int, channel: &CompChannel) -> Result<IbvCq> {
        // SAFETY: context and channel are open; the channel outlives the queue by the order of
        // handles.
        let cq =
            unsafe { sys::ibv_create_cq(self.as_ptr(), cqe, ptr::null_mut(), channel.as_ptr(), 0) };
        check_object("ibv_create_cq", cq).map(IbvCq::from_raw)
    }
}

fn on_demand_paging(attr: &sys::ibv_device_attr_ex) -> bool {
    let supported = sys::ibv_odp_general_caps::IBV_ODP_SUPPORT.0;
    let read_write = sys::ibv_odp_transport_cap_bits::IBV_ODP_SUPPORT_WRITE.0
        | sys::ibv_odp_transport_cap_bits::IBV_ODP_SUPPORT_READ.0;
    let caps = &attr.odp_caps;
    caps.general_caps & u64::from(supported) != 0
        && caps.per_transport_caps.rc_odp_caps & read_write == read_write
}

/// A protection domain.
pub(crate) struct Pd(PdRef);

/// A borrowed protection domain, which exists by the order of handles.
#[derive(Clone, Copy)]
pub(crate) struct PdRef(NonNull<sys::ibv_pd>);

// SAFETY: verbs calls may be made on a protection domain from any thread.
unsafe impl Send for PdRef {}
// SAFETY: as above.
unsafe impl Sync for PdRef {}

impl Pd {
    pub(crate) fn as_ref(&self) -> PdRef {
        self.0
    }

    /// `ibv_dealloc_pd`
    pub(crate) fn destroy(self) -> Result<()> {
        let pd = ManuallyDrop::new(self);
        // SAFETY: owned, and given back once: `self` is gone. With objects left in it, the call
        // fails with EBUSY and changes nothing.
        check_errno("ibv_dealloc_pd", unsafe {
            sys::ibv_dealloc_pd(pd.0.as_ptr())
        })
    }
}

impl Drop for Pd {
    fn drop(&mut self) {
        // SAFETY: as in `destroy`, which does not come here.
        unsafe { sys::ibv_dealloc_pd(self.0.as_ptr()) };
    }
}

impl PdRef {
    pub(super) fn from_raw(raw: NonNull<sys::ibv_pd>) -> Self {
        Self(raw)
    }

    pub(crate) fn as_ptr(self) -> *mut sys::ibv_pd {
        self.0.as_ptr()
    }

    /// The device of the domain.
    #[inline]
    pub(crate) fn context(self) -> Option<Context> {
        // SAFETY: a protection domain points to its context for as long as it exists.
        unsafe { Context::from_raw((*self.as_ptr()).context) }
    }

    /// Whether the device uses iWARP, where the remote side writes the destination of a read.
    #[inline]
    pub(crate) fn is_iwarp(self) -> bool {
        // SAFETY: a protection domain points to its context, and that to its device, for as long as
        // they exist.
        unsafe {
            (*(*(*self.as_ptr()).context).device).transport_type
                == sys::ibv_transport_type::IBV_TRANSPORT_IWARP
        }
    }

    /// `ibv_create_srq` for `max_wr` receives of one SGE each
    pub(crate) fn create_srq(self, max_wr: u32) -> Result<IbvSrq> {
        let mut init = sys::ibv_srq_init_attr {
            srq_context: ptr::null_mut(),
            attr: sys::ibv_srq_attr {
                max_wr,
                max_sge: super::qp::MAX_SGE,
                srq_limit: 0,
            },
        };
        // SAFETY: the domain exists by the order of handles.
        let srq = unsafe { sys::ibv_create_srq(self.as_ptr(), &raw mut init) };
        check_object("ibv_create_srq", srq).map(IbvSrq::from_raw)
    }

    /// `ibv_advise_mr` on one range; EOPNOTSUPP if the device does not support it
    pub(crate) fn advise_mr(self, advice: c_int, flags: u32, range: super::Sge) -> Result<()> {
        // SAFETY: the domain exists by the order of handles, and there is one SGE.
        let returned = unsafe {
            sys::ibv_advise_mr(
                self.as_ptr(),
                advice as u32,
                flags,
                super::Sge::list(Some(&range)),
                1,
            )
        };
        check_errno("ibv_advise_mr", returned)
    }
}
