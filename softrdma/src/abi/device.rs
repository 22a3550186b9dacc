// SPDX-License-Identifier: BSD-3-Clause

//! The device, of which there is one, and what it says of itself.

use std::ffi::{c_char, c_int};
use std::mem;
use std::sync::OnceLock;

use rdma_sys as sys;

use super::flags::device;
use super::{call, code, minus_one, no_args, pointer, set_errno, zeroed};
use crate::instrument;
use crate::types::limits;

const NAME: &[u8] = b"softrdma0";
/// In network byte order, as a locally administered EUI-64.
const GUID: [u8; 8] = [0x02, 0x73, 0x6f, 0x66, 0x74, 0x72, 0x64, 0x6d];
/// That of the kernel's rxe. Programs take 0 for a device that could not be asked.
const VENDOR: u32 = 0xff_ffff;
const VENDOR_PART: u32 = 1;
const DEFAULT_PKEY: u16 = 0xffff;
const IBV_LINK_LAYER_ETHERNET: u8 = 2;
const GID_TYPE_ROCE_V2: u32 = 2;

struct Device(*mut sys::ibv_device);
// SAFETY: it is never changed.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

pub(super) fn device() -> *mut sys::ibv_device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE
        .get_or_init(|| {
            // SAFETY: plain data.
            let mut device: sys::ibv_device = unsafe { zeroed() };
            device.node_type = sys::ibv_node_type::IBV_NODE_CA;
            device.transport_type = sys::ibv_transport_type::IBV_TRANSPORT_IB;
            for (to, from) in device.name.iter_mut().zip(NAME) {
                *to = *from as c_char;
            }
            for (to, from) in device.dev_name.iter_mut().zip(b"uverbs0") {
                *to = *from as c_char;
            }
            // Programs that are linked with a driver's library ask it whether this is a device of its own.
            // It looks at what libibverbs has behind the struct.
            #[repr(C)]
            struct WithBehind {
                device: sys::ibv_device,
                behind: [u8; 256],
            }
            let behind = [0; 256];
            Device(Box::into_raw(Box::new(WithBehind { device, behind })).cast())
        })
        .0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_get_device_list(count: *mut c_int) -> *mut *mut sys::ibv_device {
    pointer(call("ibv_get_device_list", no_args, || {
        let list = Box::leak(Box::new([device(), std::ptr::null_mut()]));
        if !count.is_null() {
            // SAFETY: the program's.
            unsafe { *count = 1 };
        }
        Ok(list.as_mut_ptr())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_free_device_list(list: *mut *mut sys::ibv_device) {
    if !list.is_null() {
        // SAFETY: a list of the function above.
        drop(unsafe { Box::from_raw(list.cast::<[*mut sys::ibv_device; 2]>()) });
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_get_device_name(device: *mut sys::ibv_device) -> *const c_char {
    if device.is_null() {
        return std::ptr::null();
    }
    // SAFETY: the device, which always exists.
    unsafe { (&raw const (*device).name).cast() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_get_device_index(_device: *mut sys::ibv_device) -> c_int {
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_get_device_guid(_device: *mut sys::ibv_device) -> u64 {
    u64::from_ne_bytes(GUID)
}

fn fill_device(attr: &mut sys::ibv_device_attr) {
    // SAFETY: plain data.
    *attr = unsafe { zeroed() };
    for (to, from) in attr
        .fw_ver
        .iter_mut()
        .zip(env!("CARGO_PKG_VERSION").bytes())
    {
        *to = from as c_char;
    }
    attr.node_guid = u64::from_ne_bytes(GUID);
    attr.sys_image_guid = u64::from_ne_bytes(GUID);
    attr.max_mr_size = u64::MAX;
    attr.page_size_cap = 0xffff_f000;
    attr.vendor_id = VENDOR;
    attr.vendor_part_id = VENDOR_PART;
    attr.hw_ver = 1;
    attr.max_qp = limits::MAX_QP;
    attr.max_qp_wr = limits::MAX_QP_WR as c_int;
    let flags = sys::ibv_device_cap_flags::IBV_DEVICE_RC_RNR_NAK_GEN
        | sys::ibv_device_cap_flags::IBV_DEVICE_SRQ_RESIZE;
    attr.device_cap_flags = flags.0;
    attr.max_sge = limits::MAX_SGE as c_int;
    attr.max_sge_rd = limits::MAX_SGE as c_int;
    attr.max_cq = limits::MAX_CQ;
    attr.max_cqe = limits::MAX_CQE as c_int;
    attr.max_mr = limits::MAX_MR;
    attr.max_pd = limits::MAX_PD;
    attr.max_qp_rd_atom = c_int::from(limits::MAX_READS);
    attr.max_res_rd_atom = limits::MAX_QP;
    attr.max_qp_init_rd_atom = c_int::from(limits::MAX_READS);
    attr.atomic_cap = sys::ibv_atomic_cap::IBV_ATOMIC_NONE;
    attr.max_srq = limits::MAX_SRQ;
    attr.max_srq_wr = limits::MAX_SRQ_WR as c_int;
    attr.max_srq_sge = limits::MAX_SRQ_SGE as c_int;
    attr.max_pkeys = 1;
    attr.local_ca_ack_delay = 15;
    attr.phys_port_cnt = 1;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_device(
    _context: *mut sys::ibv_context,
    attr: *mut sys::ibv_device_attr,
) -> c_int {
    code(call("ibv_query_device", no_args, || {
        // SAFETY: the program's.
        fill_device(unsafe { attr.as_mut() }.ok_or(libc::EINVAL)?);
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn query_device_ex(
    _context: *mut sys::ibv_context,
    input: *const sys::ibv_query_device_ex_input,
    attr: *mut sys::ibv_device_attr_ex,
    size: usize,
) -> c_int {
    code(call("ibv_query_device_ex", no_args, || {
        // SAFETY: the program's, or NULL.
        if unsafe { input.as_ref() }.is_some_and(|input| input.comp_mask != 0) {
            return Err(libc::EINVAL);
        }
        if attr.is_null() || size < mem::size_of::<sys::ibv_device_attr>() {
            return Err(libc::EINVAL);
        }
        // SAFETY: plain data.
        let mut full: sys::ibv_device_attr_ex = unsafe { zeroed() };
        fill_device(&mut full.orig_attr);
        let caps = instrument::caps();
        full.device_cap_flags_ex = u64::from(full.orig_attr.device_cap_flags);
        if caps.flush {
            full.device_cap_flags_ex |= device::FLUSH_GLOBAL | device::FLUSH_PERSISTENT;
        }
        if caps.atomic_write {
            full.device_cap_flags_ex |= device::ATOMIC_WRITE;
        }
        if caps.odp {
            use sys::ibv_odp_transport_cap_bits as odp;
            full.odp_caps.general_caps = u64::from(sys::ibv_odp_general_caps::IBV_ODP_SUPPORT.0);
            full.odp_caps.per_transport_caps.rc_odp_caps = (odp::IBV_ODP_SUPPORT_SEND
                | odp::IBV_ODP_SUPPORT_RECV
                | odp::IBV_ODP_SUPPORT_WRITE
                | odp::IBV_ODP_SUPPORT_READ
                | odp::IBV_ODP_SUPPORT_SRQ_RECV)
                .0;
        }
        full.phys_port_cnt_ex = 1;
        let size = size.min(mem::size_of_val(&full));
        // SAFETY: the program has room for `size` bytes, and there are as many.
        unsafe {
            std::ptr::copy_nonoverlapping((&raw const full).cast::<u8>(), attr.cast::<u8>(), size);
        }
        Ok(())
    }))
}

// --- The port ----------------------------------------------------------------------------------------

fn fill_port(attr: &mut sys::ibv_port_attr) {
    attr.state = sys::ibv_port_state::IBV_PORT_ACTIVE;
    attr.max_mtu = sys::ibv_mtu::IBV_MTU_4096;
    attr.active_mtu = sys::ibv_mtu::IBV_MTU_4096;
    attr.gid_tbl_len = 1;
    attr.port_cap_flags = sys::ibv_port_cap_flags::IBV_PORT_CM_SUP.0
        | sys::ibv_port_cap_flags::IBV_PORT_IP_BASED_GIDS.0;
    attr.max_msg_sz = limits::MAX_MESSAGE;
    attr.pkey_tbl_len = 1;
    attr.max_vl_num = 1;
    attr.active_width = 1;
    attr.active_speed = 1;
    attr.phys_state = 5;
    attr.link_layer = IBV_LINK_LAYER_ETHERNET;
}

pub(super) unsafe extern "C" fn query_port_ex(
    _context: *mut sys::ibv_context,
    port: u8,
    attr: *mut sys::ibv_port_attr,
    size: usize,
) -> c_int {
    code(call(
        "ibv_query_port",
        |args| args.num("port_num", port),
        || {
            if port != 1 || attr.is_null() {
                return Err(libc::EINVAL);
            }
            // SAFETY: plain data.
            let mut full: sys::ibv_port_attr = unsafe { zeroed() };
            fill_port(&mut full);
            let size = size.min(mem::size_of_val(&full));
            // SAFETY: the program has room for `size` bytes, and there are as many.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    (&raw const full).cast::<u8>(),
                    attr.cast::<u8>(),
                    size,
                );
            }
            Ok(())
        },
    ))
}

/// Programs of older headers have a shorter struct, without the last three bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_port(
    context: *mut sys::ibv_context,
    port: u8,
    attr: *mut sys::ibv_port_attr,
) -> c_int {
    let size = mem::offset_of!(sys::ibv_port_attr, flags);
    // SAFETY: as for the function that it is.
    unsafe { query_port_ex(context, port, attr, size) }
}

fn gid() -> sys::ibv_gid {
    let mut raw = [0; 16];
    raw[0] = 0xfe;
    raw[1] = 0x80;
    raw[8..].copy_from_slice(&GUID);
    sys::ibv_gid { raw }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_gid(
    _context: *mut sys::ibv_context,
    port: u8,
    index: c_int,
    to: *mut sys::ibv_gid,
) -> c_int {
    minus_one(call("ibv_query_gid", no_args, || {
        if port != 1 || index != 0 || to.is_null() {
            return Err(libc::EINVAL);
        }
        // SAFETY: the program's.
        unsafe { to.write(gid()) };
        Ok(())
    }))
}

fn gid_entry() -> sys::ibv_gid_entry {
    // SAFETY: plain data.
    let mut entry: sys::ibv_gid_entry = unsafe { zeroed() };
    entry.gid = gid();
    entry.port_num = 1;
    entry.gid_type = GID_TYPE_ROCE_V2;
    entry
}

#[unsafe(no_mangle)]
unsafe extern "C" fn _ibv_query_gid_ex(
    _context: *mut sys::ibv_context,
    port: u32,
    index: u32,
    entry: *mut sys::ibv_gid_entry,
    flags: u32,
    size: usize,
) -> c_int {
    code(call("ibv_query_gid_ex", no_args, || {
        if flags != 0 || port != 1 || entry.is_null() {
            return Err(libc::EINVAL);
        }
        if index != 0 {
            return Err(libc::ENODATA);
        }
        let full = gid_entry();
        let size = size.min(mem::size_of_val(&full));
        // SAFETY: the program has room for `size` bytes, and there are as many.
        unsafe {
            std::ptr::copy_nonoverlapping((&raw const full).cast::<u8>(), entry.cast(), size);
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn _ibv_query_gid_table(
    context: *mut sys::ibv_context,
    entries: *mut sys::ibv_gid_entry,
    most: usize,
    flags: u32,
    size: usize,
) -> isize {
    // As the kernel does it: a table that does not fit is an error, not a part of it.
    if most == 0 {
        set_errno(libc::EINVAL);
        return -(libc::EINVAL as isize);
    }
    // SAFETY: as for the function that it is.
    match unsafe { _ibv_query_gid_ex(context, 1, 0, entries, flags, size) } {
        0 => 1,
        errno => -(errno as isize),
    }
}

/// Not in the headers, but `ibv_devinfo` uses it: 1 for a GID of RoCE v2.
#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_gid_type(
    _context: *mut sys::ibv_context,
    port: u8,
    index: u32,
    to: *mut c_int,
) -> c_int {
    const SYSFS_ROCE_V2: c_int = 1;
    minus_one(call("ibv_query_gid_type", no_args, || {
        if port != 1 || index != 0 || to.is_null() {
            return Err(libc::EINVAL);
        }
        // SAFETY: the program's.
        unsafe { to.write(SYSFS_ROCE_V2) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_query_pkey(
    _context: *mut sys::ibv_context,
    port: u8,
    index: c_int,
    to: *mut u16,
) -> c_int {
    minus_one(call("ibv_query_pkey", no_args, || {
        if port != 1 || index != 0 || to.is_null() {
            return Err(libc::EINVAL);
        }
        // SAFETY: the program's.
        unsafe { to.write(DEFAULT_PKEY.to_be()) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_get_pkey_index(
    _context: *mut sys::ibv_context,
    port: u8,
    pkey: u16,
) -> c_int {
    if port == 1 && pkey == DEFAULT_PKEY.to_be() {
        0
    } else {
        set_errno(libc::EINVAL);
        -1
    }
}

/// There is no device in /sys: nothing to read. (`ibv_devinfo` asks for the board's name.)
#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_read_sysfs_file(
    _dir: *const c_char,
    _file: *const c_char,
    _to: *mut c_char,
    _size: usize,
) -> c_int {
    set_errno(libc::ENOENT);
    -1
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_get_sysfs_path() -> *const c_char {
    c"/sys".as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_fork_init() -> c_int {
    code(call("ibv_fork_init", no_args, || Ok(())))
}

/// Memory is never pinned, so children and their memory need no care.
#[unsafe(no_mangle)]
unsafe extern "C" fn ibv_is_fork_initialized() -> c_int {
    const IBV_FORK_UNNEEDED: c_int = 2;
    IBV_FORK_UNNEEDED
}
