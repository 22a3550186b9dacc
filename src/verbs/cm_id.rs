// SPDX-License-Identifier: BSD-3-Clause

//! Identifiers of the connection manager, which correspond to sockets.

use std::ffi::{c_int, c_void};
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};

use rdma_sys as sys;

use super::qp::{MAX_INLINE_DATA, MAX_SGE, Qp};
use super::{AddrInfo, Context, EventChannel, IbvCq, IbvSrq, PdRef, Result, check, check_object};

/// An identifier of the connection manager. Its queue pair, if any, is destroyed before it.
pub(crate) struct CmId(NonNull<sys::rdma_cm_id>);

// SAFETY: CM calls may be made on an id from any thread.
unsafe impl Send for CmId {}
// SAFETY: as above.
unsafe impl Sync for CmId {}

/// The attributes of a new queue pair.
pub(crate) struct QpInit<'a> {
    pub(crate) pd: PdRef,
    pub(crate) send_cq: &'a IbvCq,
    pub(crate) recv_cq: &'a IbvCq,
    pub(crate) srq: Option<&'a IbvSrq>,
    pub(crate) max_send_wr: u32,
    pub(crate) max_recv_wr: u32,
    /// Operations that need the extended interface of the queue pair.
    pub(crate) native_atomic_write: bool,
    pub(crate) native_flush: bool,
}

/// The parameters of a connection: the maximum of each, and the private data of the caller.
#[derive(Clone, Copy)]
pub(crate) struct ConnParam {
    /// Memory of the caller; NULL for none.
    private_data: *const c_void,
    private_data_len: u8,
}

/// `RDMA_MAX_RESP_RES` and `RDMA_MAX_INIT_DEPTH`: as many as the devices of both sides support.
const MAX_OUTSTANDING_READS: u8 = u8::MAX;
/// Without limit if the remote side has posted no receive, otherwise the maximum.
const RETRY_COUNT: u8 = 7;

impl ConnParam {
    pub(crate) const NO_PRIVATE_DATA: Self = Self {
        private_data: ptr::null(),
        private_data_len: 0,
    };

    /// Parameters with private data of the caller. They hold a pointer and not a reference, because the memory is
    /// read when the connection manager is called, and other calls come before that.
    ///
    /// # Safety
    ///
    /// `data` must be valid for reading `len` bytes until the parameters have been used.
    pub(crate) unsafe fn new(data: NonNull<c_void>, len: u8) -> Self {
        Self {
            private_data: data.as_ptr(),
            private_data_len: len,
        }
    }

    fn to_raw(self) -> sys::rdma_conn_param {
        // SAFETY: the struct is plain data, for which zeros are valid.
        let mut raw: sys::rdma_conn_param = unsafe { mem::zeroed() };
        raw.private_data = self.private_data;
        raw.private_data_len = self.private_data_len;
        raw.responder_resources = MAX_OUTSTANDING_READS;
        raw.initiator_depth = MAX_OUTSTANDING_READS;
        raw.flow_control = 1;
        raw.retry_count = RETRY_COUNT;
        raw.rnr_retry_count = RETRY_COUNT;
        raw
    }
}

/// Whether the errno can mean that libibverbs, its provider or the kernel does not know the native operations.
/// If EINVAL has another reason, creating the queue pair without these operations fails, too.
fn is_refusal(errno: c_int) -> bool {
    matches!(errno, libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL)
}

impl CmId {
    pub(super) fn from_raw(raw: NonNull<sys::rdma_cm_id>) -> Self {
        Self(raw)
    }

    fn as_ptr(&self) -> *mut sys::rdma_cm_id {
        self.0.as_ptr()
    }

    /// `rdma_create_id` in the TCP port space: synchronous without a channel
    pub(crate) fn create(channel: Option<&EventChannel>) -> Result<Self> {
        let mut id = ptr::null_mut();
        // SAFETY: the channel is open and outlives the id by the order of handles.
        check("rdma_create_id", unsafe {
            sys::rdma_create_id(
                channel.map_or(ptr::null_mut(), EventChannel::as_ptr),
                &raw mut id,
                ptr::null_mut(),
                sys::rdma_port_space::RDMA_PS_TCP,
            )
        })?;
        check_object("rdma_create_id", id).map(Self)
    }

    /// The device that the id is bound to, if it is.
    pub(crate) fn context(&self) -> Option<Context> {
        // SAFETY: the id exists as long as `self`; librdmacm opened the device and keeps it open
        // for the life of the process.
        unsafe { Context::from_raw((*self.0.as_ptr()).verbs) }
    }

    /// `rdma_bind_addr` to the source of a passive lookup
    pub(crate) fn bind(&self, to: &AddrInfo) -> Result<()> {
        // SAFETY: the id exists, the address belongs to the lookup.
        check("rdma_bind_addr", unsafe {
            sys::rdma_bind_addr(self.as_ptr(), to.src())
        })
    }

    /// `rdma_resolve_addr` of the destination of an active lookup
    pub(crate) fn resolve_addr(&self, to: &AddrInfo, timeout_ms: c_int) -> Result<()> {
        // SAFETY: the id exists, the addresses belong to the lookup.
        check("rdma_resolve_addr", unsafe {
            sys::rdma_resolve_addr(self.as_ptr(), to.src(), to.dst(), timeout_ms)
        })
    }

    /// `rdma_resolve_route`
    pub(crate) fn resolve_route(&self, timeout_ms: c_int) -> Result<()> {
        // SAFETY: the id exists.
        check("rdma_resolve_route", unsafe {
            sys::rdma_resolve_route(self.as_ptr(), timeout_ms)
        })
    }

    /// `rdma_listen`
    pub(crate) fn listen(&self, backlog: c_int) -> Result<()> {
        // SAFETY: the id exists.
        check("rdma_listen", unsafe {
            sys::rdma_listen(self.as_ptr(), backlog)
        })
    }

    /// `rdma_migrate_id` to a channel, or back to synchronous operation
    pub(crate) fn migrate(&self, channel: Option<&EventChannel>) -> Result<()> {
        // SAFETY: the id exists, the channel is open and outlives it by the order of handles.
        check("rdma_migrate_id", unsafe {
            sys::rdma_migrate_id(
                self.as_ptr(),
                channel.map_or(ptr::null_mut(), EventChannel::as_ptr),
            )
        })
    }

    /// `rdma_create_qp_ex` for an RC queue pair without `sq_sig_all`: each request decides whether it is signaled
    #[inline(always)]
    pub(crate) fn create_qp(&self, init: &QpInit<'_>) -> Result<Qp> {
        // SAFETY: the struct is plain data, for which zeros are valid.
        let mut raw: sys::ibv_qp_init_attr_ex = unsafe { mem::zeroed() };
        raw.send_cq = init.send_cq.as_ptr();
        raw.recv_cq = init.recv_cq.as_ptr();
        raw.srq = init.srq.map_or(ptr::null_mut(), IbvSrq::as_ptr);
        raw.cap.max_send_wr = init.max_send_wr;
        raw.cap.max_recv_wr = init.max_recv_wr;
        raw.cap.max_send_sge = MAX_SGE;
        raw.cap.max_recv_sge = MAX_SGE;
        raw.cap.max_inline_data = MAX_INLINE_DATA;
        raw.qp_type = sys::ibv_qp_type::IBV_QPT_RC;
        raw.sq_sig_all = 0;
        raw.pd = init.pd.as_ptr();
        // The kernel may report operations that an older libibverbs does not know. The queue pair is then made
        // without them. Flush is newer than atomic write, so it is dropped first.
        let mut atomic_write = init.native_atomic_write;
        let mut flush = init.native_flush;
        loop {
            raw.comp_mask = sys::ibv_qp_init_attr_mask::IBV_QP_INIT_ATTR_PD.0;
            raw.send_ops_flags = super::qp::native_ops(atomic_write, flush);
            if raw.send_ops_flags != 0 {
                raw.comp_mask |= sys::ibv_qp_init_attr_mask::IBV_QP_INIT_ATTR_SEND_OPS_FLAGS.0;
            }
            // The requested sizes: the call overwrites them with the actual ones.
            let cap = raw.cap;
            // SAFETY: the id exists, and all that the attributes point to outlives the queue pair by
            // the order of handles.
            let created = check("rdma_create_qp_ex", unsafe {
                sys::rdma_create_qp_ex(self.as_ptr(), &raw mut raw)
            });
            match created {
                Ok(()) => break,
                Err(failed) if (atomic_write || flush) && is_refusal(failed.errno) => {
                    atomic_write = atomic_write && flush;
                    flush = false;
                    raw.cap = cap;
                }
                Err(failed) => return Err(failed),
            }
        }
        // SAFETY: the call has set the id's queue pair.
        let qp = check_object("rdma_create_qp_ex", unsafe { (*self.0.as_ptr()).qp })?;
        let (atomic_write, flush) = super::qp::has_functions(qp, atomic_write, flush);
        Ok(Qp::from_raw(self.0, qp, atomic_write, flush))
    }

    /// `rdma_connect`
    pub(crate) fn connect(&self, param: ConnParam) -> Result<()> {
        let mut raw = param.to_raw();
        // SAFETY: the id exists, the private data is valid by the contract of `ConnParam::new`.
        check("rdma_connect", unsafe {
            sys::rdma_connect(self.as_ptr(), &raw mut raw)
        })
    }

    /// `rdma_accept`
    pub(crate) fn accept(&self, param: ConnParam) -> Result<()> {
        let mut raw = param.to_raw();
        // SAFETY: the id exists, the private data is valid by the contract of `ConnParam::new`.
        check("rdma_accept", unsafe {
            sys::rdma_accept(self.as_ptr(), &raw mut raw)
        })
    }

    /// `rdma_reject` without private data
    pub(crate) fn reject(&self) -> Result<()> {
        // SAFETY: the id exists.
        check("rdma_reject", unsafe {
            sys::rdma_reject(self.as_ptr(), ptr::null(), 0)
        })
    }

    /// `rdma_disconnect`
    pub(crate) fn disconnect(&self) -> Result<()> {
        // SAFETY: the id exists.
        check("rdma_disconnect", unsafe {
            sys::rdma_disconnect(self.as_ptr())
        })
    }

    /// `rdma_destroy_id`
    pub(crate) fn destroy(self) -> Result<()> {
        let id = ManuallyDrop::new(self);
        // SAFETY: owned, and given back once: `self` is gone. Its queue pair went before it, by the
        // order of handles.
        check("rdma_destroy_id", unsafe {
            sys::rdma_destroy_id(id.as_ptr())
        })
    }
}

impl Drop for CmId {
    fn drop(&mut self) {
        // SAFETY: as in `destroy`, which does not come here.
        unsafe { sys::rdma_destroy_id(self.as_ptr()) };
    }
}
