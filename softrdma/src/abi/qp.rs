// SPDX-License-Identifier: BSD-3-Clause

//! Queue pairs.

use std::ffi::c_int;
use std::sync::Arc;

use parking_lot::Mutex;
use rdma_sys as sys;

use super::cq::CqHandle;
use super::flags::qp_init;
use super::mr::PdHandle;
use super::qp_ex::{self, Batch, Functions};
use super::srq::SrqHandle;
use super::unsupported::not_there;
use super::zeroed;
use super::{call, call_new, code, hand_out, handle, object, object_as, pointer, shows, take_back};
use crate::cm::own_qp;
use crate::instrument::live::Kind;
use crate::instrument::{Args, names};
use crate::qp::{Caps, Qp, Setup, State};
use crate::{Result, instrument};

#[repr(C)]
pub(super) struct QpHandle {
    pub(super) abi: Functions,
    pub(super) engine: Arc<Qp>,
    /// It was made for the extended interface.
    pub(super) is_extended: bool,
    /// Requests between `ibv_wr_start` and `ibv_wr_complete`.
    pub(super) batch: Mutex<Batch>,
}

impl super::Handle for QpHandle {
    const KIND: Kind = Kind::Qp;
}

impl super::Object for sys::ibv_qp {
    const NAME: &'static str = "qp";
    type Handle = QpHandle;
}

/// The attributes that both structs of the headers begin with.
pub(super) struct Init {
    pub(super) attr: sys::ibv_qp_init_attr,
    pub(super) send_ops: Option<u64>,
}

impl Init {
    pub(super) fn from_plain(attr: &sys::ibv_qp_init_attr) -> Self {
        Self {
            attr: *attr,
            send_ops: None,
        }
    }

    pub(super) fn from_extended(attr: &sys::ibv_qp_init_attr_ex) -> Result<Self> {
        let has = |field| attr.comp_mask & field != 0;
        // What is there and 0 asks for nothing.
        if attr.comp_mask
            & !(qp_init::PD
                | qp_init::CREATE_FLAGS
                | qp_init::MAX_TSO_HEADER
                | qp_init::SEND_OPS_FLAGS)
            != 0
            || has(qp_init::CREATE_FLAGS) && attr.create_flags != 0
            || has(qp_init::MAX_TSO_HEADER) && attr.max_tso_header != 0
        {
            return Err(not_there(
                "ibv_create_qp_ex with more than a domain and operations",
            ));
        }
        let send_ops =
            (attr.comp_mask & qp_init::SEND_OPS_FLAGS != 0).then_some(attr.send_ops_flags);
        if let Some(ops) = send_ops {
            qp_ex::check(ops)?;
        }
        Ok(Self {
            attr: sys::ibv_qp_init_attr {
                qp_context: attr.qp_context,
                send_cq: attr.send_cq,
                recv_cq: attr.recv_cq,
                srq: attr.srq,
                cap: attr.cap,
                qp_type: attr.qp_type,
                sq_sig_all: attr.sq_sig_all,
            },
            send_ops,
        })
    }

    /// # Safety
    /// What it names is the program's.
    pub(super) unsafe fn trace(&self, args: &mut Args) {
        let cap = &self.attr.cap;
        args.one_of("qp_type", u64::from(self.attr.qp_type), names::QP_TYPE);
        args.num("max_send_wr", cap.max_send_wr);
        args.num("max_recv_wr", cap.max_recv_wr);
        args.num("max_send_sge", cap.max_send_sge);
        args.num("max_recv_sge", cap.max_recv_sge);
        args.num("max_inline_data", cap.max_inline_data);
        args.num("sq_sig_all", self.attr.sq_sig_all);
        // SAFETY: objects of the program.
        unsafe {
            object_as(args, "send_cq", self.attr.send_cq);
            object_as(args, "recv_cq", self.attr.recv_cq);
            object(args, self.attr.srq);
        }
        if let Some(ops) = self.send_ops {
            args.flags("send_ops_flags", ops);
        }
    }
}

/// Makes a queue pair. What it was given is in `init` afterwards.
///
/// # Safety
/// Objects of the program.
pub(super) unsafe fn new(
    pd: *mut sys::ibv_pd,
    init: &mut Init,
    state: State,
) -> Result<*mut sys::ibv_qp> {
    let attr = &mut init.attr;
    if attr.qp_type != sys::ibv_qp_type::IBV_QPT_RC {
        return Err(not_there("queue pairs of other types than IBV_QPT_RC"));
    }
    let caps = Caps {
        max_send_wr: attr.cap.max_send_wr,
        max_recv_wr: attr.cap.max_recv_wr,
        max_send_sge: attr.cap.max_send_sge,
        max_recv_sge: attr.cap.max_recv_sge,
        max_inline: attr.cap.max_inline_data,
    }
    .granted()?;
    // SAFETY: the caller's promise.
    let (domain, send_cq, recv_cq) = unsafe {
        let domain: &PdHandle = handle(pd)?;
        let send_cq: &CqHandle = handle(attr.send_cq)?;
        let recv_cq: &CqHandle = handle(attr.recv_cq)?;
        (domain, send_cq, recv_cq)
    };
    let srq = if attr.srq.is_null() {
        None
    } else {
        // SAFETY: the caller's promise.
        let srq: &SrqHandle = unsafe { handle(attr.srq) }?;
        Some(Arc::clone(&srq.engine))
    };
    let engine = Qp::new(
        Setup {
            pd: Some(Arc::clone(&domain.engine)),
            send_cq: Some(Arc::clone(&send_cq.engine)),
            recv_cq: Some(Arc::clone(&recv_cq.engine)),
            srq,
            caps,
            signal_all: attr.sq_sig_all != 0,
        },
        state,
    )?;
    attr.cap.max_send_sge = caps.max_send_sge;
    attr.cap.max_inline_data = caps.max_inline;

    // SAFETY: plain data, function pointers, and a mutex and a condition of which zeros are valid.
    let mut abi: Functions = unsafe { zeroed() };
    let base = &mut abi.known.qp_base;
    base.context = domain.abi.context;
    base.qp_context = attr.qp_context;
    base.pd = pd;
    base.send_cq = attr.send_cq;
    base.recv_cq = attr.recv_cq;
    base.srq = attr.srq;
    base.handle = engine.number;
    base.qp_num = engine.number;
    base.state = to_abi(state);
    base.qp_type = attr.qp_type;
    if let Some(ops) = init.send_ops {
        qp_ex::fill(&mut abi, ops);
    }
    let raw = hand_out(
        QpHandle {
            abi,
            engine,
            is_extended: init.send_ops.is_some(),
            batch: Mutex::new(Batch::default()),
        },
        |qp| Some(&qp.engine.handle),
    );
    Ok(raw.cast())
}

pub(super) fn to_abi(state: State) -> sys::ibv_qp_state::Type {
    use sys::ibv_qp_state as abi;
    match state {
        State::Reset => abi::IBV_QPS_RESET,
        State::Init => abi::IBV_QPS_INIT,
        State::ReadyToReceive => abi::IBV_QPS_RTR,
        State::ReadyToSend => abi::IBV_QPS_RTS,
        State::Error => abi::IBV_QPS_ERR,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_create_qp(
    pd: *mut sys::ibv_pd,
    attr: *mut sys::ibv_qp_init_attr,
) -> *mut sys::ibv_qp {
    // SAFETY: the program's.
    let Some(attr) = (unsafe { attr.as_mut() }) else {
        return pointer(Err(libc::EINVAL));
    };
    let mut init = Init::from_plain(attr);
    let asked = Init::from_plain(attr);
    pointer(call_new(
        "ibv_create_qp",
        // SAFETY: objects of the program.
        |args| unsafe {
            object(args, pd);
            asked.trace(args);
        },
        || {
            // SAFETY: objects of the program.
            let qp = unsafe { new(pd, &mut init, State::Reset) }?;
            attr.cap = init.attr.cap;
            // SAFETY: just made.
            own_qp::made(&unsafe { handle::<_, QpHandle>(qp) }?.engine);
            Ok(qp)
        },
    ))
}

pub(super) unsafe extern "C" fn create_qp_ex(
    _context: *mut sys::ibv_context,
    attr: *mut sys::ibv_qp_init_attr_ex,
) -> *mut sys::ibv_qp {
    // SAFETY: the program's.
    let Some(attr) = (unsafe { attr.as_mut() }) else {
        return pointer(Err(libc::EINVAL));
    };
    let asked = Init::from_extended(attr);
    let pd = attr.pd;
    pointer(call_new(
        "ibv_create_qp_ex",
        // SAFETY: objects of the program.
        |args| unsafe {
            object(args, pd);
            if let Ok(asked) = &asked {
                asked.trace(args);
            }
        },
        || {
            let mut init = Init::from_extended(attr)?;
            // SAFETY: objects of the program.
            let qp = unsafe { new(attr.pd, &mut init, State::Reset) }?;
            attr.cap = init.attr.cap;
            // SAFETY: just made.
            own_qp::made(&unsafe { handle::<_, QpHandle>(qp) }?.engine);
            Ok(qp)
        },
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_qp_to_qp_ex(qp: *mut sys::ibv_qp) -> *mut sys::ibv_qp_ex {
    // SAFETY: a queue pair of the program.
    match unsafe { handle::<_, QpHandle>(qp) } {
        Ok(found) if found.is_extended => qp.cast(),
        _ => std::ptr::null_mut(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_destroy_qp(qp: *mut sys::ibv_qp) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(qp) };
    code(call("ibv_destroy_qp", args, || {
        // SAFETY: a queue pair of the program.
        unsafe { destroy(qp) }
    }))
}

/// # Safety
/// A queue pair of the program that nobody uses any more.
pub(super) unsafe fn destroy(qp: *mut sys::ibv_qp) -> Result<()> {
    // SAFETY: the caller's promise.
    let found: &QpHandle = unsafe { handle(qp) }?;
    own_qp::gone(found.engine.number);
    found.engine.release();
    // SAFETY: the caller's promise.
    unsafe { take_back::<_, QpHandle>(qp) };
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_qp_data_in_order(
    _qp: *mut sys::ibv_qp,
    _op: c_int,
    _flags: u32,
) -> c_int {
    0
}

/// Whether the device has what a queue pair with these operations needs.
pub(super) fn caps() -> instrument::Caps {
    instrument::caps()
}
