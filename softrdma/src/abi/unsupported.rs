// SPDX-License-Identifier: BSD-3-Clause

//! What a program may import from the two libraries and gets no answer from here.
//!
//! Nothing of the real libraries must be reached with objects of this one, and this one may be loaded under
//! their names, so their other functions are here too: they fail, and say so once.

use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write as _;

use parking_lot::Mutex;
use rdma_sys as sys;

use super::set_errno;
use crate::Errno;
use crate::os::cancel::Hold;

/// What fails with something that is not there. It is told once.
pub(super) fn not_there(what: &'static str) -> Errno {
    say(what);
    libc::EOPNOTSUPP
}

fn say(what: &'static str) {
    say_once(
        what,
        format_args!("not supported by this user-space fabric"),
    );
}

/// For what an option of the launcher adds to the device.
pub(super) fn say_disabled(what: &'static str, capability: &str) {
    say_once(
        what,
        format_args!("not a capability of the device (softrdma run --caps {capability} adds it)"),
    );
}

fn say_once(what: &'static str, text: std::fmt::Arguments<'_>) {
    static SAID: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    if SAID.lock().insert(what) {
        let _uncancelled = Hold::new();
        // Nobody is there to be told if this fails.
        let _ = writeln!(std::io::stderr(), "softrdma: {what}: {text}");
    }
}

/// The result of a C function that fails.
trait Failed {
    fn failed() -> Self;
}

struct Minus1;
struct Code;

impl Minus1 {
    fn failed() -> c_int {
        set_errno(libc::ENOSYS);
        -1
    }
}

impl Code {
    fn failed() -> c_int {
        set_errno(libc::EOPNOTSUPP);
        libc::EOPNOTSUPP
    }
}

impl<T> Failed for *mut T {
    fn failed() -> Self {
        set_errno(libc::EOPNOTSUPP);
        std::ptr::null_mut()
    }
}

/// Functions that fail. The arguments do not matter: C passes them, and nobody looks.
macro_rules! unsupported {
    ($($name:ident: $how:ty => $returns:ty;)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> $returns {
                say(stringify!($name));
                <$how>::failed()
            }
        )*
    };
}

unsupported! {
    ibv_attach_mcast: Code => c_int;
    ibv_create_ah: *mut c_void => *mut c_void;
    ibv_create_ah_from_wc: *mut c_void => *mut c_void;
    ibv_destroy_ah: Code => c_int;
    ibv_detach_mcast: Code => c_int;
    ibv_import_device: *mut c_void => *mut c_void;
    ibv_import_dm: *mut c_void => *mut c_void;
    ibv_import_mr: *mut c_void => *mut c_void;
    ibv_import_pd: *mut c_void => *mut c_void;
    ibv_init_ah_from_wc: Minus1 => c_int;
    ibv_query_ece: Code => c_int;
    ibv_reg_dmabuf_mr: *mut c_void => *mut c_void;
    ibv_resolve_eth_l2_from_gid: Minus1 => c_int;
    ibv_set_ece: Code => c_int;

    rdma_join_multicast: Minus1 => c_int;
    rdma_join_multicast_ex: Minus1 => c_int;
    rdma_leave_multicast: Minus1 => c_int;
    rdma_query_addrinfo: Minus1 => c_int;
    rdma_resolve_addrinfo: Minus1 => c_int;
    rdma_write_cm_event: Minus1 => c_int;

    raccept: Minus1 => c_int;
    rbind: Minus1 => c_int;
    rclose: Minus1 => c_int;
    rconnect: Minus1 => c_int;
    rfcntl: Minus1 => c_int;
    rgetpeername: Minus1 => c_int;
    rgetsockname: Minus1 => c_int;
    rgetsockopt: Minus1 => c_int;
    rlisten: Minus1 => c_int;
    rpoll: Minus1 => c_int;
    rselect: Minus1 => c_int;
    rsetsockopt: Minus1 => c_int;
    rshutdown: Minus1 => c_int;
    rsocket: Minus1 => c_int;
    riounmap: Minus1 => c_int;
}

// What libibverbs has for its drivers and for librdmacm.
unsupported! {
    _verbs_init_and_alloc_context: *mut c_void => *mut c_void;
    execute_ioctl: Code => c_int;
    ibv_cmd_advise_mr: Code => c_int;
    ibv_cmd_alloc_dm: Code => c_int;
    ibv_cmd_alloc_mw: Code => c_int;
    ibv_cmd_alloc_pd: Code => c_int;
    ibv_cmd_attach_mcast: Code => c_int;
    ibv_cmd_close_xrcd: Code => c_int;
    ibv_cmd_create_ah: Code => c_int;
    ibv_cmd_create_counters: Code => c_int;
    ibv_cmd_create_cq: Code => c_int;
    ibv_cmd_create_cq_ex: Code => c_int;
    ibv_cmd_create_cq_ex2: Code => c_int;
    ibv_cmd_create_flow: Code => c_int;
    ibv_cmd_create_flow_action_esp: Code => c_int;
    ibv_cmd_create_qp: Code => c_int;
    ibv_cmd_create_qp_ex: Code => c_int;
    ibv_cmd_create_qp_ex2: Code => c_int;
    ibv_cmd_create_rwq_ind_table: Code => c_int;
    ibv_cmd_create_srq: Code => c_int;
    ibv_cmd_create_srq_ex: Code => c_int;
    ibv_cmd_create_wq: Code => c_int;
    ibv_cmd_dealloc_mw: Code => c_int;
    ibv_cmd_dealloc_pd: Code => c_int;
    ibv_cmd_dereg_mr: Code => c_int;
    ibv_cmd_destroy_ah: Code => c_int;
    ibv_cmd_destroy_counters: Code => c_int;
    ibv_cmd_destroy_cq: Code => c_int;
    ibv_cmd_destroy_flow: Code => c_int;
    ibv_cmd_destroy_flow_action: Code => c_int;
    ibv_cmd_destroy_qp: Code => c_int;
    ibv_cmd_destroy_rwq_ind_table: Code => c_int;
    ibv_cmd_destroy_srq: Code => c_int;
    ibv_cmd_destroy_wq: Code => c_int;
    ibv_cmd_detach_mcast: Code => c_int;
    ibv_cmd_free_dm: Code => c_int;
    ibv_cmd_get_context: Code => c_int;
    ibv_cmd_modify_cq: Code => c_int;
    ibv_cmd_modify_flow_action_esp: Code => c_int;
    ibv_cmd_modify_qp: Code => c_int;
    ibv_cmd_modify_qp_ex: Code => c_int;
    ibv_cmd_modify_srq: Code => c_int;
    ibv_cmd_modify_wq: Code => c_int;
    ibv_cmd_open_qp: Code => c_int;
    ibv_cmd_open_xrcd: Code => c_int;
    ibv_cmd_poll_cq: Code => c_int;
    ibv_cmd_post_recv: Code => c_int;
    ibv_cmd_post_send: Code => c_int;
    ibv_cmd_post_srq_recv: Code => c_int;
    ibv_cmd_query_context: Code => c_int;
    ibv_cmd_query_device_any: Code => c_int;
    ibv_cmd_query_mr: Code => c_int;
    ibv_cmd_query_port: Code => c_int;
    ibv_cmd_query_qp: Code => c_int;
    ibv_cmd_query_srq: Code => c_int;
    ibv_cmd_read_counters: Code => c_int;
    ibv_cmd_reg_dm_mr: Code => c_int;
    ibv_cmd_reg_dmabuf_mr: Code => c_int;
    ibv_cmd_reg_mr: Code => c_int;
    ibv_cmd_req_notify_cq: Code => c_int;
    ibv_cmd_rereg_mr: Code => c_int;
    ibv_cmd_resize_cq: Code => c_int;
    ibv_read_ibdev_sysfs_file: Minus1 => c_int;
    verbs_init_cq: Code => c_int;
    verbs_open_device: *mut c_void => *mut c_void;
    verbs_set_ops: Code => c_int;
    verbs_uninit_context: Code => c_int;
    ibv_copy_ah_attr_from_kern: Code => c_int;
    ibv_copy_path_rec_from_kern: Code => c_int;
    ibv_copy_path_rec_to_kern: Code => c_int;
    ibv_copy_qp_attr_from_kern: Code => c_int;
}

/// A flag of drivers.
#[unsafe(no_mangle)]
static mut verbs_allow_disassociate_destroy: bool = false;

/// For functions of C that fail in the same way; the result is the errno.
///
/// # Safety
/// A text that exists as long as the library.
#[unsafe(no_mangle)]
unsafe extern "C" fn softrdma_unsupported(call: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let call: &'static CStr = unsafe { CStr::from_ptr(call) };
    say(call.to_str().unwrap_or("a function"));
    Code::failed()
}

/// Those that return a size, or an offset.
macro_rules! unsupported_sizes {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> isize {
                say(stringify!($name));
                set_errno(libc::ENOSYS);
                -1
            }
        )*
    };
}

unsupported_sizes! {
    riomap riowrite rread rreadv rrecv rrecvfrom rrecvmsg rsend rsendmsg rsendto rwrite rwritev
}

macro_rules! nothing_to_do {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> c_int {
                0
            }
        )*
    };
}

// The drivers' libraries, which programs may be linked with, call the last of these when they are loaded.
nothing_to_do! {
    __ioctl_final_num_attrs __verbs_log verbs_register_driver_34
}

// Nothing was imported, and memory needs no care when a process forks.
nothing_to_do! {
    ibv_unimport_dm ibv_unimport_mr ibv_unimport_pd ibv_dofork_range ibv_dontfork_range
}

/// Functions that inline functions of the header find in the context.
macro_rules! in_the_context {
    ($($name:ident($($argument:ty),*) -> $returns:ty, $how:ty;)*) => {
        $(
            pub(super) unsafe extern "C" fn $name($(_: $argument),*) -> $returns {
                say(stringify!($name));
                <$how>::failed()
            }
        )*
    };
}

type Context = *mut sys::ibv_context;

in_the_context! {
    ibv_alloc_dm(Context, *mut sys::ibv_alloc_dm_attr) -> *mut sys::ibv_dm, *mut sys::ibv_dm;
    ibv_alloc_mw(*mut sys::ibv_pd, sys::ibv_mw_type::Type) -> *mut sys::ibv_mw, *mut sys::ibv_mw;
    ibv_alloc_null_mr(*mut sys::ibv_pd) -> *mut sys::ibv_mr, *mut sys::ibv_mr;
    ibv_alloc_parent_domain(Context, *mut sys::ibv_parent_domain_init_attr) -> *mut sys::ibv_pd, *mut sys::ibv_pd;
    ibv_alloc_td(Context, *mut sys::ibv_td_init_attr) -> *mut sys::ibv_td, *mut sys::ibv_td;
    ibv_bind_mw(*mut sys::ibv_qp, *mut sys::ibv_mw, *mut sys::ibv_mw_bind) -> c_int, Code;
    ibv_create_counters(Context, *mut sys::ibv_counters_init_attr)
        -> *mut sys::ibv_counters, *mut sys::ibv_counters;
    ibv_create_flow(*mut sys::ibv_qp, *mut sys::ibv_flow_attr) -> *mut sys::ibv_flow, *mut sys::ibv_flow;
    ibv_create_rwq_ind_table(Context, *mut sys::ibv_rwq_ind_table_init_attr)
        -> *mut sys::ibv_rwq_ind_table, *mut sys::ibv_rwq_ind_table;
    ibv_create_wq(Context, *mut sys::ibv_wq_init_attr) -> *mut sys::ibv_wq, *mut sys::ibv_wq;
    ibv_dealloc_mw(*mut sys::ibv_mw) -> c_int, Code;
    ibv_get_srq_num(*mut sys::ibv_srq, *mut u32) -> c_int, Code;
    ibv_modify_qp_rate_limit(*mut sys::ibv_qp, *mut sys::ibv_qp_rate_limit_attr) -> c_int, Code;
    ibv_open_qp(Context, *mut sys::ibv_qp_open_attr) -> *mut sys::ibv_qp, *mut sys::ibv_qp;
    ibv_open_xrcd(Context, *mut sys::ibv_xrcd_init_attr) -> *mut sys::ibv_xrcd, *mut sys::ibv_xrcd;
    ibv_post_srq_ops(*mut sys::ibv_srq, *mut sys::ibv_ops_wr, *mut *mut sys::ibv_ops_wr) -> c_int, Code;
    ibv_query_rt_values_ex(Context, *mut sys::ibv_values_ex) -> c_int, Code;
}
