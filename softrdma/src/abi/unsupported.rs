// SPDX-License-Identifier: BSD-3-Clause

//! What a program may import from the two libraries and gets no answer from here.
//!
//! The real libraries stay loaded, since the program names them. Nothing of them must be reached with
//! objects of this one, so their other functions are here too: they fail, and say so once.

use std::collections::HashSet;
use std::ffi::{c_int, c_void};
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
    static SAID: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    if SAID.lock().get_or_insert_with(HashSet::new).insert(what) {
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

/// Nothing was imported, and memory needs no care when a process forks.
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
