// SPDX-License-Identifier: BSD-3-Clause

//! Address resolution by librdmacm.

use std::ffi::c_int;
use std::mem;
use std::ptr::{self, NonNull};

use rdma_sys as sys;

use crate::sys::{CallError, CallerStr, errno};

/// The side of a connection that an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Passive,
    Active,
}

/// A flag of `<rdma/rdma_cma.h>`. It is a macro, which the bindings leave out.
const RAI_PASSIVE: c_int = 0x0000_0001;

/// The result of `rdma_getaddrinfo`.
pub(crate) struct AddrInfo(NonNull<sys::rdma_addrinfo>);

/// Why `rdma_getaddrinfo` failed.
pub(crate) struct LookupError {
    pub(crate) failed: CallError,
    /// The code of the resolver, if the resolver failed.
    pub(crate) resolver_code: Option<c_int>,
}

impl AddrInfo {
    /// `rdma_getaddrinfo` for an RC queue pair in the TCP port space
    pub(crate) fn get(
        node: CallerStr,
        service: Option<CallerStr>,
        side: Side,
    ) -> std::result::Result<Self, LookupError> {
        // SAFETY: the struct is plain data, for which zeros are valid.
        let mut hints: sys::rdma_addrinfo = unsafe { mem::zeroed() };
        if side == Side::Passive {
            hints.ai_flags = RAI_PASSIVE;
        }
        hints.ai_qp_type = sys::ibv_qp_type::IBV_QPT_RC as c_int;
        hints.ai_port_space = sys::rdma_port_space::RDMA_PS_TCP as c_int;
        let mut found = ptr::null_mut();
        errno::set(0);
        // SAFETY: C strings or NULL, and a valid out-pointer.
        let returned = unsafe {
            sys::rdma_getaddrinfo(
                node.as_ptr(),
                service.map_or(ptr::null(), CallerStr::as_ptr),
                &raw const hints,
                &raw mut found,
            )
        };
        let call = "rdma_getaddrinfo";
        match NonNull::new(found) {
            Some(found) if returned == 0 => Ok(Self(found)),
            // If librdmacm itself fails, it sets errno and returns -1. If the resolver fails, it returns its code.
            _ if returned == 0 || returned == -1 || returned == libc::EAI_SYSTEM => {
                Err(LookupError {
                    failed: CallError::last(call),
                    resolver_code: None,
                })
            }
            _ => Err(LookupError {
                failed: CallError::new(call, 0),
                resolver_code: Some(returned),
            }),
        }
    }

    pub(super) fn src(&self) -> *mut libc::sockaddr {
        // SAFETY: the list exists as long as `self`.
        unsafe { (*self.0.as_ptr()).ai_src_addr }
    }

    pub(super) fn dst(&self) -> *mut libc::sockaddr {
        // SAFETY: as in `src`.
        unsafe { (*self.0.as_ptr()).ai_dst_addr }
    }
}

impl Drop for AddrInfo {
    fn drop(&mut self) {
        // SAFETY: owned, and given back once.
        unsafe { sys::rdma_freeaddrinfo(self.0.as_ptr()) };
    }
}
