// SPDX-License-Identifier: BSD-3-Clause

//! Address look-up, on top of the C library's.

use std::ffi::{c_char, c_int};

use rdma_sys as sys;

use super::{call, set_errno, zeroed};
use crate::instrument::live::Kind;
use crate::instrument::names;
use crate::os::addr::RawAddr;

const RAI_PASSIVE: c_int = 1;
const RAI_NUMERICHOST: c_int = 2;

/// What is handed out: the addresses that its pointers lead to stand behind it.
#[repr(C)]
struct Info {
    abi: sys::rdma_addrinfo,
    src: RawAddr,
    dst: RawAddr,
}

impl super::Handle for Info {
    const KIND: Kind = Kind::AddrInfo;
}

/// # Safety
/// NULL, or an address of so many bytes.
unsafe fn copy(from: *const libc::sockaddr, length: libc::socklen_t) -> Option<RawAddr> {
    let mut raw = RawAddr::empty();
    if from.is_null() || length == 0 || length > raw.length {
        return None;
    }
    // SAFETY: the caller's promise, and there is room.
    unsafe {
        std::ptr::copy_nonoverlapping(
            from.cast::<u8>(),
            (&raw mut raw.storage).cast(),
            length as usize,
        );
    }
    raw.length = length;
    Some(raw)
}

/// The first address of a name, or what `getaddrinfo` says of it.
///
/// # Safety
/// NULL or C strings.
unsafe fn look_up(
    node: *const c_char,
    service: *const c_char,
    flags: c_int,
    family: c_int,
) -> Result<RawAddr, c_int> {
    // SAFETY: plain data and pointers.
    let mut hints: libc::addrinfo = unsafe { zeroed() };
    if flags & RAI_PASSIVE != 0 {
        hints.ai_flags |= libc::AI_PASSIVE;
    }
    if flags & RAI_NUMERICHOST != 0 {
        hints.ai_flags |= libc::AI_NUMERICHOST;
    }
    hints.ai_family = family;
    hints.ai_socktype = libc::SOCK_STREAM;
    hints.ai_protocol = libc::IPPROTO_TCP;
    let mut found = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    let returned = unsafe { libc::getaddrinfo(node, service, &raw const hints, &raw mut found) };
    if returned != 0 {
        return Err(returned);
    }
    // SAFETY: a list that was just made, of one at least.
    unsafe {
        let first = copy((*found).ai_addr, (*found).ai_addrlen);
        libc::freeaddrinfo(found);
        first.ok_or(libc::EAI_FAMILY)
    }
}

/// The addresses that the program has given, and those of the names. What the resolver has failed with goes to
/// `resolver`.
///
/// # Safety
///
/// Strings, or NULL; the addresses of `hints` are as long as it says.
unsafe fn resolve(
    node: *const c_char,
    service: *const c_char,
    hints: Option<&sys::rdma_addrinfo>,
    resolver: &mut c_int,
) -> Result<(Option<RawAddr>, Option<RawAddr>), c_int> {
    let mut src = None;
    let mut dst = None;
    if let Some(hints) = hints {
        // SAFETY: the program's.
        unsafe {
            src = copy(hints.ai_src_addr, hints.ai_src_len);
            dst = copy(hints.ai_dst_addr, hints.ai_dst_len);
        }
    }
    if node.is_null() && service.is_null() {
        return Ok((src, dst));
    }
    let flags = hints.map_or(0, |hints| hints.ai_flags);
    let family = hints.map_or(0, |hints| hints.ai_family);
    // SAFETY: the program's.
    match unsafe { look_up(node, service, flags, family) } {
        Ok(found) if flags & RAI_PASSIVE != 0 => src = Some(found),
        Ok(found) => dst = Some(found),
        Err(libc::EAI_SYSTEM) => return Err(crate::os::errno()),
        Err(code) => {
            *resolver = code;
            return Err(libc::EADDRNOTAVAIL);
        }
    }
    Ok((src, dst))
}

/// The answer, as the program gets it.
fn info_of(
    hints: Option<&sys::rdma_addrinfo>,
    src: Option<RawAddr>,
    dst: Option<RawAddr>,
) -> *mut sys::rdma_addrinfo {
    let given = |field: fn(&sys::rdma_addrinfo) -> c_int| hints.map_or(0, field);
    let first = src.or(dst);
    let info = Info {
        // SAFETY: plain data and pointers.
        abi: unsafe { zeroed() },
        src: src.unwrap_or_else(RawAddr::empty),
        dst: dst.unwrap_or_else(RawAddr::empty),
    };
    let raw = super::hand_out(info, |_| None);
    // SAFETY: just made; the addresses do not move any more.
    unsafe {
        let abi = &mut (*raw).abi;
        abi.ai_flags = given(|hints| hints.ai_flags);
        abi.ai_family = first.map_or(0, |first| c_int::from(first.storage.ss_family));
        abi.ai_qp_type = match given(|hints| hints.ai_qp_type) {
            0 => sys::ibv_qp_type::IBV_QPT_RC as i32,
            given => given,
        };
        abi.ai_port_space = match given(|hints| hints.ai_port_space) {
            0 => sys::rdma_port_space::RDMA_PS_TCP as i32,
            given => given,
        };
        if src.is_some() {
            abi.ai_src_len = (*raw).src.length;
            abi.ai_src_addr = (&raw mut (*raw).src.storage).cast();
        }
        if dst.is_some() {
            abi.ai_dst_len = (*raw).dst.length;
            abi.ai_dst_addr = (&raw mut (*raw).dst.storage).cast();
        }
    }
    raw.cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const sys::rdma_addrinfo,
    to: *mut *mut sys::rdma_addrinfo,
) -> c_int {
    // SAFETY: the program's, or NULL.
    let hints = unsafe { hints.as_ref() };
    let mut resolver = 0;
    let result = call(
        "rdma_getaddrinfo",
        |args| {
            args.num("node", u8::from(!node.is_null()));
            args.num("service", u8::from(!service.is_null()));
            if let Some(hints) = hints {
                args.flags("ai_flags", u64::from(hints.ai_flags as u32));
                args.num("ai_family", hints.ai_family);
                let qp_type = u64::from(hints.ai_qp_type as u32);
                args.one_of("ai_qp_type", qp_type, names::QP_TYPE);
                let space = u64::from(hints.ai_port_space as u32);
                args.one_of("ai_port_space", space, names::PORT_SPACE);
            }
        },
        || {
            if to.is_null() || (node.is_null() && service.is_null() && hints.is_none()) {
                return Err(libc::EINVAL);
            }
            // SAFETY: the program's.
            unsafe {
                let (src, dst) = resolve(node, service, hints, &mut resolver)?;
                to.write(info_of(hints, src, dst));
            }
            Ok(())
        },
    );
    match result {
        Ok(()) => 0,
        Err(_) if resolver != 0 => resolver,
        Err(errno) => {
            set_errno(errno);
            -1
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_freeaddrinfo(info: *mut sys::rdma_addrinfo) {
    let _ = call("rdma_freeaddrinfo", super::no_args, || {
        let mut next = info;
        while !next.is_null() {
            // SAFETY: a list of the function above.
            unsafe {
                let this = next;
                next = (*this).ai_next;
                super::take_back::<_, Info>(this);
            }
        }
        Ok(())
    });
}
