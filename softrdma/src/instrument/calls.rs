// SPDX-License-Identifier: BSD-3-Clause

//! The calls that can be traced and made to fail.

use std::ffi::c_int;
use std::fmt;

use libc::{
    EADDRNOTAVAIL, EBUSY, ECONNREFUSED, EHOSTUNREACH, EINVAL, EIO, EMFILE, ENETUNREACH, ENODEV,
    ENOMEM, ENOTCONN, EOPNOTSUPP, EPERM,
};

use super::errno::Errno;

/// A function of libibverbs or librdmacm, or a system call of this library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// Whether and how it can fail.
    pub kind: Kind,
}

/// Whether and how a call can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It can fail; this is the default error.
    Fails(c_int),
    /// As above, but it does not count for `any`: how often programs poll depends on timing, and a program
    /// waits for ever after an event that it could not acknowledge. System calls do not count either.
    OnlyByName(c_int),
    /// It returns nothing, so it cannot fail.
    Void,
}

/// A line of `softrdma calls`: the name, and how the call can fail.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match self.kind {
            Kind::Fails(errno) => write!(f, "{name} {}", Errno(errno)),
            Kind::OnlyByName(errno) => {
                write!(f, "{name} {} (not counted as one of any)", Errno(errno))
            }
            Kind::Void => write!(f, "{name} (cannot fail)"),
        }
    }
}

const fn fails(name: &'static str, errno: c_int) -> Call {
    Call {
        name,
        kind: Kind::Fails(errno),
    }
}

const fn only_by_name(name: &'static str, errno: c_int) -> Call {
    Call {
        name,
        kind: Kind::OnlyByName(errno),
    }
}

const fn void(name: &'static str) -> Call {
    Call {
        name,
        kind: Kind::Void,
    }
}

/// All calls, in alphabetical order.
pub const CALLS: &[Call] = &[
    void("ibv_ack_async_event"),
    void("ibv_ack_cq_events"),
    fails("ibv_advise_mr", EOPNOTSUPP),
    fails("ibv_alloc_pd", ENOMEM),
    fails("ibv_close_device", EIO),
    fails("ibv_create_comp_channel", EMFILE),
    fails("ibv_create_cq", ENOMEM),
    fails("ibv_create_cq_ex", ENOMEM),
    fails("ibv_create_qp", ENOMEM),
    fails("ibv_create_qp_ex", ENOMEM),
    fails("ibv_create_srq", ENOMEM),
    fails("ibv_create_srq_ex", ENOMEM),
    fails("ibv_dealloc_pd", EBUSY),
    fails("ibv_dereg_mr", EBUSY),
    fails("ibv_destroy_comp_channel", EBUSY),
    fails("ibv_destroy_cq", EBUSY),
    fails("ibv_destroy_qp", EBUSY),
    fails("ibv_destroy_srq", EBUSY),
    fails("ibv_fork_init", EINVAL),
    fails("ibv_get_async_event", EIO),
    fails("ibv_get_cq_event", EIO),
    fails("ibv_get_device_list", ENOMEM),
    fails("ibv_modify_cq", EIO),
    fails("ibv_modify_qp", EIO),
    fails("ibv_modify_srq", EIO),
    fails("ibv_open_device", ENODEV),
    only_by_name("ibv_poll_cq", EIO),
    fails("ibv_post_recv", ENOMEM),
    fails("ibv_post_send", ENOMEM),
    fails("ibv_post_srq_recv", ENOMEM),
    fails("ibv_query_device", EIO),
    fails("ibv_query_device_ex", EIO),
    fails("ibv_query_gid", EIO),
    fails("ibv_query_gid_ex", EIO),
    fails("ibv_query_gid_type", EIO),
    fails("ibv_query_pkey", EIO),
    fails("ibv_query_port", EIO),
    fails("ibv_query_qp", EIO),
    fails("ibv_query_srq", EIO),
    fails("ibv_reg_mr", ENOMEM),
    fails("ibv_reg_mr_iova", ENOMEM),
    fails("ibv_reg_mr_iova2", ENOMEM),
    fails("ibv_req_notify_cq", EIO),
    fails("ibv_rereg_mr", ENOMEM),
    fails("ibv_resize_cq", ENOMEM),
    void("ibv_wr_abort"),
    void("ibv_wr_atomic_write"),
    fails("ibv_wr_complete", ENOMEM),
    void("ibv_wr_flush"),
    void("ibv_wr_rdma_read"),
    void("ibv_wr_rdma_write"),
    void("ibv_wr_rdma_write_imm"),
    void("ibv_wr_send"),
    void("ibv_wr_send_imm"),
    only_by_name("process_vm_readv", EPERM),
    fails("rdma_accept", EINVAL),
    only_by_name("rdma_ack_cm_event", EINVAL),
    fails("rdma_bind_addr", EADDRNOTAVAIL),
    fails("rdma_connect", ECONNREFUSED),
    fails("rdma_create_ep", ENOMEM),
    fails("rdma_create_event_channel", EMFILE),
    fails("rdma_create_id", ENOMEM),
    fails("rdma_create_qp", ENOMEM),
    fails("rdma_create_qp_ex", ENOMEM),
    fails("rdma_create_srq", ENOMEM),
    fails("rdma_create_srq_ex", ENOMEM),
    void("rdma_destroy_ep"),
    void("rdma_destroy_event_channel"),
    fails("rdma_destroy_id", EIO),
    void("rdma_destroy_qp"),
    void("rdma_destroy_srq"),
    fails("rdma_disconnect", ENOTCONN),
    fails("rdma_establish", ENOTCONN),
    void("rdma_freeaddrinfo"),
    fails("rdma_get_cm_event", EIO),
    fails("rdma_get_devices", ENOMEM),
    fails("rdma_get_remote_ece", EINVAL),
    fails("rdma_get_request", EIO),
    fails("rdma_getaddrinfo", ENODEV),
    fails("rdma_init_qp_attr", EINVAL),
    fails("rdma_listen", EIO),
    fails("rdma_migrate_id", ENOMEM),
    fails("rdma_notify", EIO),
    fails("rdma_reject", ENOTCONN),
    fails("rdma_reject_ece", ENOTCONN),
    fails("rdma_resolve_addr", ENETUNREACH),
    fails("rdma_resolve_route", EHOSTUNREACH),
    fails("rdma_set_local_ece", EOPNOTSUPP),
    fails("rdma_set_option", EIO),
];

/// The call of this name.
pub fn find(name: &str) -> Option<&'static Call> {
    CALLS
        .binary_search_by(|call| call.name.cmp(name))
        .ok()
        .and_then(|index| CALLS.get(index))
}

/// The call with the most similar name, if any is similar enough.
pub fn similar(name: &str) -> Option<&'static Call> {
    let allowed = name.len() / 3;
    CALLS
        .iter()
        .map(|call| (distance(name, call.name), call))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, call)| call)
}

/// The edit distance (Levenshtein) between two texts.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, above) in b.bytes().zip(row.iter_mut().skip(1)) {
            let here = (left + 1)
                .min(*above + 1)
                .min(diagonal + usize::from(x != y));
            diagonal = std::mem::replace(above, here);
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
