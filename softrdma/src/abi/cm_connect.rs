// SPDX-License-Identifier: BSD-3-Clause

//! Connecting, answering, disconnecting.

use std::ffi::{c_int, c_void};

use rdma_sys as sys;

use super::cm::{IdHandle, refresh};
use super::cm_event::complete;
use super::qp::QpHandle;
use super::unsupported::not_there;
use super::{call, handle, minus_one, object, shows, trace_private_data};
use crate::Result;
use crate::cm::connect::Offer;
use crate::cm::event::reason;
use crate::instrument::Args;
use crate::types::limits::{ANY_READS, MAX_READS};
use crate::wire::Params;

/// # Safety
/// NULL, or parameters of the program.
unsafe fn offer(param: *const sys::rdma_conn_param) -> Result<Offer> {
    // SAFETY: the caller's promise.
    let Some(param) = (unsafe { param.as_ref() }) else {
        return Ok(Offer {
            params: Params {
                responder_resources: ANY_READS,
                initiator_depth: ANY_READS,
                retry_count: 7,
                rnr_retry_count: 7,
                ..Params::default()
            },
            private_data: Vec::new(),
        });
    };
    let reads = |wanted: u8| match wanted {
        ANY_READS => Ok(wanted),
        wanted if wanted > MAX_READS => Err(libc::EINVAL),
        wanted => Ok(wanted),
    };
    let length = usize::from(param.private_data_len);
    let private_data = if length == 0 || param.private_data.is_null() {
        Vec::new()
    } else {
        // SAFETY: the program says that there are so many bytes.
        unsafe { std::slice::from_raw_parts(param.private_data.cast::<u8>(), length) }.to_vec()
    };
    Ok(Offer {
        params: Params {
            responder_resources: reads(param.responder_resources)?,
            initiator_depth: reads(param.initiator_depth)?,
            flow_control: param.flow_control,
            retry_count: param.retry_count,
            rnr_retry_count: param.rnr_retry_count,
            srq: param.srq,
            qp_num: param.qp_num,
        },
        private_data,
    })
}

/// # Safety
/// NULL, or parameters of the program.
unsafe fn trace_param(args: &mut Args, param: *const sys::rdma_conn_param) {
    // SAFETY: the caller's promise.
    if let Some(param) = unsafe { param.as_ref() } {
        // SAFETY: the program says that there are so many bytes.
        unsafe { trace_private_data(args, param.private_data, param.private_data_len) };
        args.num("responder_resources", param.responder_resources);
        args.num("initiator_depth", param.initiator_depth);
        args.num("flow_control", param.flow_control);
        args.num("retry_count", param.retry_count);
        args.num("rnr_retry_count", param.rnr_retry_count);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn rdma_connect(
    id: *mut sys::rdma_cm_id,
    param: *mut sys::rdma_conn_param,
) -> c_int {
    minus_one(call(
        "rdma_connect",
        // SAFETY: the program's.
        |args| unsafe {
            object(args, id);
            trace_param(args, param);
        },
        || {
            // SAFETY: the program's.
            let found: &IdHandle = unsafe { handle(id) }?;
            // SAFETY: the program's.
            found.engine.connect(unsafe { offer(param) }?)?;
            // SAFETY: the program's.
            unsafe {
                refresh(id)?;
                complete(id)
            }
        },
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn rdma_accept(
    id: *mut sys::rdma_cm_id,
    param: *mut sys::rdma_conn_param,
) -> c_int {
    minus_one(call(
        "rdma_accept",
        // SAFETY: the program's.
        |args| unsafe {
            object(args, id);
            trace_param(args, param);
        },
        || {
            // SAFETY: the program's.
            let found: &IdHandle = unsafe { handle(id) }?;
            // SAFETY: the program's.
            found.engine.accept(unsafe { offer(param) }?)?;
            // SAFETY: the program's.
            unsafe { complete(id) }
        },
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_reject(
    id: *mut sys::rdma_cm_id,
    private_data: *const c_void,
    length: u8,
) -> c_int {
    // SAFETY: as this function.
    unsafe { reject_for("rdma_reject", reason::CONSUMER, id, private_data, length) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_reject_ece(
    id: *mut sys::rdma_cm_id,
    private_data: *const c_void,
    length: u8,
) -> c_int {
    // SAFETY: as this function.
    unsafe {
        reject_for(
            "rdma_reject_ece",
            reason::VENDOR_OPTION,
            id,
            private_data,
            length,
        )
    }
}

/// # Safety
/// An identifier of the program, and so many bytes.
unsafe fn reject_for(
    name: &'static str,
    why: u8,
    id: *mut sys::rdma_cm_id,
    private_data: *const c_void,
    length: u8,
) -> c_int {
    minus_one(call(
        name,
        // SAFETY: the program's.
        |args| unsafe {
            object(args, id);
            trace_private_data(args, private_data, length);
        },
        || {
            // SAFETY: the program's.
            let found: &IdHandle = unsafe { handle(id) }?;
            let data = if private_data.is_null() {
                &[]
            } else {
                // SAFETY: the program says that there are so many bytes.
                unsafe {
                    std::slice::from_raw_parts(private_data.cast::<u8>(), usize::from(length))
                }
            };
            found.engine.reject_for(why, data)
        },
    ))
}

// --- Enhanced connection establishment ---------------------------------------------------------------

/// `struct ibv_ece`: options of a vendor, which both sides of a connection agree on. Here there are none.
#[repr(C)]
#[derive(Default)]
struct Ece {
    vendor_id: u32,
    options: u32,
    comp_mask: u32,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_set_local_ece(id: *mut sys::rdma_cm_id, ece: *mut Ece) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    minus_one(call("rdma_set_local_ece", args, || {
        // SAFETY: the program's.
        let (_, ece): (&IdHandle, _) = unsafe { (handle(id)?, ece.as_ref().ok_or(libc::EINVAL)?) };
        // SAFETY: the program's.
        if unsafe { !(*id).qp.is_null() } || ece.comp_mask != 0 {
            return Err(libc::EINVAL);
        }
        if ece.vendor_id != 0 || ece.options != 0 {
            return Err(not_there("rdma_set_local_ece with options"));
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_get_remote_ece(id: *mut sys::rdma_cm_id, ece: *mut Ece) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    minus_one(call("rdma_get_remote_ece", args, || {
        // SAFETY: the program's.
        let _: &IdHandle = unsafe { handle(id) }?;
        // SAFETY: the program's.
        if ece.is_null() || unsafe { !(*id).qp.is_null() } {
            return Err(libc::EINVAL);
        }
        // SAFETY: the program's place.
        unsafe { ece.write(Ece::default()) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn rdma_disconnect(id: *mut sys::rdma_cm_id) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    minus_one(call("rdma_disconnect", args, || {
        // SAFETY: the program's.
        let found: &IdHandle = unsafe { handle(id) }?;
        let disconnected = found.engine.disconnect();
        // SAFETY: the program's.
        unsafe {
            if let Ok(qp) = handle::<_, QpHandle>((*id).qp) {
                (*(*id).qp).state = super::qp::to_abi(qp.engine.state());
            }
            disconnected?;
            complete(id)
        }
    }))
}

/// For a program that has brought its own queue pair into shape.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn rdma_establish(id: *mut sys::rdma_cm_id) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    minus_one(call("rdma_establish", args, || {
        // SAFETY: the program's.
        let found: &IdHandle = unsafe { handle(id) }?;
        // SAFETY: the program's.
        if unsafe { !(*id).qp.is_null() } {
            return Err(libc::EINVAL);
        }
        found.engine.establish()
    }))
}

/// A program that has seen a message says so, in case the client's word of the connection was lost.
#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_notify(id: *mut sys::rdma_cm_id, event: c_int) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    minus_one(call("rdma_notify", args, || {
        // SAFETY: the program's.
        let found: &IdHandle = unsafe { handle(id) }?;
        if event != sys::ibv_event_type::IBV_EVENT_COMM_EST as c_int {
            return Err(libc::EINVAL);
        }
        found.engine.notified_of_use()
    }))
}
