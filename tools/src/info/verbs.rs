// SPDX-License-Identifier: BSD-3-Clause

//! What libibverbs tells of devices.

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;
use std::ptr::{self, NonNull};

use rdma_sys::{
    ibv_context, ibv_device, ibv_device_attr_ex, ibv_gid, ibv_port_attr, ibv_port_state,
    ibv_query_device_ex,
};

use super::{Capabilities, Gid, Port};
use crate::rpma::Context;

// In libibverbs, but not needed by the library.
unsafe extern "C" {
    fn ibv_get_device_list(number: *mut c_int) -> *mut *mut ibv_device;
    fn ibv_free_device_list(list: *mut *mut ibv_device);
    fn ibv_get_device_name(device: *mut ibv_device) -> *const c_char;
    fn ibv_open_device(device: *mut ibv_device) -> *mut ibv_context;
    fn ibv_close_device(context: *mut ibv_context) -> c_int;
    fn ibv_query_port(context: *mut ibv_context, port: u8, attr: *mut ibv_port_attr) -> c_int;
    fn ibv_query_gid(context: *mut ibv_context, port: u8, index: c_int, gid: *mut ibv_gid)
    -> c_int;
}

/// A device that is open as long as this object exists.
pub(super) struct Open {
    pub(super) name: String,
    context: NonNull<ibv_context>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: open, and not used any more.
        unsafe {
            ibv_close_device(self.context.as_ptr());
        }
    }
}

/// All devices, opened; for those that cannot be opened their names and why.
pub(super) fn devices() -> io::Result<Vec<Result<Open, (String, io::Error)>>> {
    let mut number = 0;
    // SAFETY: room for the number.
    let list = unsafe { ibv_get_device_list(&mut number) };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut devices = Vec::new();
    for at in 0..usize::try_from(number).unwrap_or(0) {
        // SAFETY: the list has this many devices, which live as long as it.
        unsafe {
            let device = *list.add(at);
            let name = CStr::from_ptr(ibv_get_device_name(device))
                .to_string_lossy()
                .into_owned();
            devices.push(match NonNull::new(ibv_open_device(device)) {
                Some(context) => Ok(Open { name, context }),
                None => Err((name, io::Error::last_os_error())),
            });
        }
    }
    // SAFETY: devices that are open do not need the list.
    unsafe { ibv_free_device_list(list) };
    Ok(devices)
}

impl Open {
    /// For librpma, as long as this object exists.
    pub(super) fn context(&self) -> Context {
        // SAFETY: open; the callers in this module's parent drop what they make of it first.
        unsafe { Context::from_raw(self.context) }
    }

    /// Its ports.
    pub(super) fn ports(&self) -> Vec<Port> {
        (1..=self
            .attributes()
            .map_or(0, |attr| attr.orig_attr.phys_port_cnt))
            .filter_map(|number| self.port(number))
            .collect()
    }

    fn attributes(&self) -> io::Result<ibv_device_attr_ex> {
        let mut attr = MaybeUninit::<ibv_device_attr_ex>::zeroed();
        // SAFETY: an open device and room for the result.
        match unsafe { ibv_query_device_ex(self.context.as_ptr(), ptr::null(), attr.as_mut_ptr()) }
        {
            // SAFETY: numbers, zero where the device has not set them.
            0 => Ok(unsafe { attr.assume_init() }),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn port_attributes(&self, number: u8) -> Option<ibv_port_attr> {
        let mut attr = MaybeUninit::<ibv_port_attr>::zeroed();
        // SAFETY: an open device and room for the result, of which the function fills the first part.
        let failed = unsafe { ibv_query_port(self.context.as_ptr(), number, attr.as_mut_ptr()) };
        // SAFETY: numbers, zero where the function has not set them.
        (failed == 0).then(|| unsafe { attr.assume_init() })
    }

    fn port(&self, number: u8) -> Option<Port> {
        let attr = self.port_attributes(number)?;
        let state = match attr.state {
            ibv_port_state::IBV_PORT_DOWN => "DOWN",
            ibv_port_state::IBV_PORT_INIT => "INIT",
            ibv_port_state::IBV_PORT_ARMED => "ARMED",
            ibv_port_state::IBV_PORT_ACTIVE => "ACTIVE",
            ibv_port_state::IBV_PORT_ACTIVE_DEFER => "ACTIVE_DEFER",
            _ => "unknown",
        };
        let link_layer = match attr.link_layer {
            1 => "InfiniBand",
            2 => "Ethernet",
            _ => "unknown",
        };
        let mut gids = Vec::new();
        for index in 0..attr.gid_tbl_len {
            let mut gid = ibv_gid { raw: [0; 16] };
            // SAFETY: an open device and room for the result.
            let failed = unsafe { ibv_query_gid(self.context.as_ptr(), number, index, &mut gid) };
            // SAFETY: 16 bytes, whatever they are.
            let gid = Ipv6Addr::from(unsafe { gid.raw });
            if failed == 0 && !gid.is_unspecified() && gid.segments()[4..] != [0; 4] {
                gids.push(Gid {
                    index: index.unsigned_abs(),
                    gid,
                    kind: None,
                    interface: None,
                });
            }
        }
        Some(Port {
            number: number.into(),
            state: state.into(),
            link_layer: link_layer.into(),
            rate: None,
            gids,
        })
    }

    /// What the device can do, but for what librpma has to be asked.
    pub(super) fn capabilities(&self) -> io::Result<Capabilities> {
        let attr = self.attributes()?;
        let has = |flags: u64| attr.device_cap_flags_ex & flags == flags;
        let max_message = (1..=attr.orig_attr.phys_port_cnt)
            .filter_map(|number| self.port_attributes(number))
            .map(|port| port.max_msg_sz.into())
            .max();
        Ok(Capabilities {
            native_atomic_write: has(rdma_sys::IB_UVERBS_DEVICE_ATOMIC_WRITE),
            native_flush: has(rdma_sys::IB_UVERBS_DEVICE_FLUSH_GLOBAL
                | rdma_sys::IB_UVERBS_DEVICE_FLUSH_PERSISTENT),
            max_queue: u64::try_from(attr.orig_attr.max_qp_wr).unwrap_or(0),
            max_completions: u64::try_from(attr.orig_attr.max_cqe).unwrap_or(0),
            max_message: max_message.unwrap_or(0),
            max_region: attr.orig_attr.max_mr_size,
            ..Capabilities::default()
        })
    }
}
