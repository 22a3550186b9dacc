// SPDX-License-Identifier: BSD-3-Clause

//! What a program may import from the two libraries and gets no answer from here.
//!
//! The real libraries stay loaded, since the program names them. Nothing of them must be reached with
//! objects of this one, so their other functions are here too: they fail, and say so once.

use std::collections::HashSet;
use std::ffi::{c_int, c_void};

use parking_lot::Mutex;
use rdma_sys as sys;

use super::set_errno;

/// Tells, once, that something is not there.
pub(super) fn say(what: &'static str) {
    static SAID: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    if SAID.lock().get_or_insert_with(HashSet::new).insert(what) {
        eprintln!("softrdma: {what}: not supported by this user-space fabric");
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

    rdma_get_remote_ece: Minus1 => c_int;
    rdma_join_multicast: Minus1 => c_int;
    rdma_join_multicast_ex: Minus1 => c_int;
    rdma_leave_multicast: Minus1 => c_int;
    rdma_reject_ece: Minus1 => c_int;
    rdma_set_local_ece: Minus1 => c_int;

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

// The inline functions for memory windows call these without asking whether they are there.

pub(super) unsafe extern "C" fn alloc_mw(
    _pd: *mut sys::ibv_pd,
    _kind: sys::ibv_mw_type::Type,
) -> *mut sys::ibv_mw {
    say("ibv_alloc_mw");
    <*mut sys::ibv_mw>::failed()
}

pub(super) unsafe extern "C" fn bind_mw(
    _qp: *mut sys::ibv_qp,
    _mw: *mut sys::ibv_mw,
    _bind: *mut sys::ibv_mw_bind,
) -> c_int {
    say("ibv_bind_mw");
    Code::failed()
}

pub(super) unsafe extern "C" fn dealloc_mw(_mw: *mut sys::ibv_mw) -> c_int {
    Code::failed()
}
