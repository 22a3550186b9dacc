// SPDX-License-Identifier: BSD-3-Clause

//! Identifiers of the connection manager.

use std::ffi::{c_int, c_void};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdma_sys as sys;

use super::cm_event::{ChannelHandle, complete, new_channel};
use super::cm_qp::Template;
use super::unsupported::not_there;
use super::{call, call_new, context, hand_out, handle, minus_one, no_args, object, pointer};
use super::{cm_event, set_errno, shows, take_back, zeroed};
use crate::Result;
use crate::cm::id::Id;
use crate::instrument::live::Kind;
use crate::instrument::names;
use crate::os::addr::RawAddr;

#[repr(C)]
pub(super) struct IdHandle {
    pub(super) abi: sys::rdma_cm_id,
    pub(super) engine: Arc<Id>,
    /// Calls wait for their events, which come on a channel of its own.
    pub(super) sync: AtomicBool,
    /// What the connections of a listening endpoint get.
    pub(super) template: Mutex<Option<Template>>,
}

impl super::Handle for IdHandle {
    const KIND: Kind = Kind::CmId;
}

impl super::Object for sys::rdma_cm_id {
    const NAME: &'static str = "id";
    type Handle = IdHandle;
}

/// The address behind a pointer of the program.
///
/// # Safety
/// NULL, or an address of the family that it says.
pub(super) unsafe fn address(of: *const libc::sockaddr) -> Result<SocketAddr> {
    if of.is_null() {
        return Err(libc::EINVAL);
    }
    let mut raw = RawAddr::empty();
    // SAFETY: the caller's promise.
    let length = match i32::from(unsafe { (*of).sa_family }) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return Err(libc::EINVAL),
    };
    // SAFETY: an address of that family is so long; there is room for any.
    unsafe {
        std::ptr::copy_nonoverlapping(of.cast::<u8>(), (&raw mut raw.storage).cast(), length);
    }
    raw.to_addr()
}

/// Makes the program's side of an identifier.
pub(super) fn new_handle(
    engine: Arc<Id>,
    channel: *mut sys::rdma_event_channel,
    id_context: *mut c_void,
    sync: bool,
) -> *mut sys::rdma_cm_id {
    // SAFETY: plain data and pointers.
    let mut abi: sys::rdma_cm_id = unsafe { zeroed() };
    abi.channel = channel;
    abi.context = id_context;
    abi.ps = sys::rdma_port_space::RDMA_PS_TCP;
    abi.qp_type = sys::ibv_qp_type::IBV_QPT_RC;
    hand_out(
        IdHandle {
            abi,
            engine,
            sync: AtomicBool::new(sync),
            template: Mutex::new(None),
        },
        |id| Some(&id.engine.handle),
    )
    .cast()
}

/// Brings the fields that programs read up to date.
///
/// # Safety
/// An identifier of the program.
pub(super) unsafe fn refresh(id: *mut sys::rdma_cm_id) -> Result<()> {
    // SAFETY: the caller's promise.
    let found: &IdHandle = unsafe { handle(id) }?;
    let (local, remote) = found.engine.addresses();
    let bound_to_device = local.is_some_and(|local| !local.ip().is_unspecified());
    let for_cm = context::for_cm()?;
    // SAFETY: the program's struct; the fields are set by calls on it, which the program does not make
    // from two threads at once.
    unsafe {
        let route = &mut (*id).route.addr;
        if let Some(local) = local {
            route.src_addr_union.src_storage = RawAddr::from_addr(&local).storage;
        }
        if let Some(remote) = remote {
            route.dst_addr_union.dst_storage = RawAddr::from_addr(&remote).storage;
        }
        if bound_to_device {
            (*id).verbs = for_cm.context;
            (*id).port_num = 1;
            if (*id).pd.is_null() {
                (*id).pd = for_cm.pd;
            }
        }
    }
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_create_id(
    channel: *mut sys::rdma_event_channel,
    to: *mut *mut sys::rdma_cm_id,
    id_context: *mut c_void,
    space: sys::rdma_port_space::Type,
) -> c_int {
    let made = call_new(
        "rdma_create_id",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, channel) };
            args.one_of("ps", u64::from(space), names::PORT_SPACE);
        },
        || {
            if space != sys::rdma_port_space::RDMA_PS_TCP {
                return Err(not_there("port spaces other than RDMA_PS_TCP"));
            }
            // SAFETY: the program's.
            let id = unsafe { create(channel, id_context) }?;
            // SAFETY: the program's place.
            unsafe { to.write(id) };
            Ok(id)
        },
    );
    minus_one(made.map(|_| ()))
}

/// # Safety
/// NULL, or a channel of the program.
pub(super) unsafe fn create(
    channel: *mut sys::rdma_event_channel,
    id_context: *mut c_void,
) -> Result<*mut sys::rdma_cm_id> {
    let sync = channel.is_null();
    let channel = if sync { new_channel()? } else { channel };
    // SAFETY: the caller's promise, or just made.
    let events: &ChannelHandle = unsafe { handle(channel) }?;
    let engine = Id::new(Arc::clone(&events.engine));
    Ok(new_handle(engine, channel, id_context, sync))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_destroy_id(id: *mut sys::rdma_cm_id) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    minus_one(call("rdma_destroy_id", args, || {
        // SAFETY: the program's.
        unsafe { destroy(id) }
    }))
}

/// # Safety
/// An identifier of the program that nobody uses any more.
pub(super) unsafe fn destroy(id: *mut sys::rdma_cm_id) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe {
        let found: &IdHandle = handle(id)?;
        cm_event::acknowledge_kept(id);
        found.engine.destroy();
        if found.sync.load(Ordering::Relaxed) {
            take_back::<_, ChannelHandle>((*id).channel);
        }
        take_back::<_, IdHandle>(id);
    }
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_migrate_id(
    id: *mut sys::rdma_cm_id,
    channel: *mut sys::rdma_event_channel,
) -> c_int {
    minus_one(call(
        "rdma_migrate_id",
        // SAFETY: the program's.
        |args| unsafe {
            object(args, id);
            object(args, channel);
        },
        || {
            // SAFETY: the program's.
            unsafe { migrate(id, channel) }
        },
    ))
}

/// # Safety
/// Both the program's; the channel may be NULL.
pub(super) unsafe fn migrate(
    id: *mut sys::rdma_cm_id,
    channel: *mut sys::rdma_event_channel,
) -> Result<()> {
    // SAFETY: the caller's promise.
    let found: &IdHandle = unsafe { handle(id) }?;
    let was_sync = found.sync.load(Ordering::Relaxed);
    let sync = channel.is_null();
    if sync && was_sync {
        return Err(libc::EINVAL);
    }
    let channel = if sync { new_channel()? } else { channel };
    // SAFETY: the caller's promise, or just made.
    let events: &ChannelHandle = unsafe { handle(channel) }?;
    // SAFETY: the caller's promise. The event that a synchronous identifier keeps goes with its channel.
    let before = unsafe {
        if was_sync {
            cm_event::acknowledge_kept(id);
        }
        std::mem::replace(&mut (*id).channel, channel)
    };
    found.sync.store(sync, Ordering::Relaxed);
    found.engine.migrate(Arc::clone(&events.engine));
    if was_sync {
        // SAFETY: made for this identifier, which has left it.
        unsafe { take_back::<_, ChannelHandle>(before) };
    }
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_bind_addr(id: *mut sys::rdma_cm_id, to: *mut libc::sockaddr) -> c_int {
    // SAFETY: the program's.
    let args = unsafe { shows(id) };
    minus_one(call("rdma_bind_addr", args, || {
        // SAFETY: the program's.
        unsafe { bind(id, to) }
    }))
}

/// # Safety
/// The program's.
pub(super) unsafe fn bind(id: *mut sys::rdma_cm_id, to: *mut libc::sockaddr) -> Result<()> {
    // SAFETY: the caller's promise.
    let found: &IdHandle = unsafe { handle(id) }?;
    // SAFETY: the caller's promise.
    found.engine.bind(unsafe { address(to) }?)?;
    // SAFETY: the caller's promise.
    unsafe { refresh(id) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn rdma_resolve_addr(
    id: *mut sys::rdma_cm_id,
    from: *mut libc::sockaddr,
    to: *mut libc::sockaddr,
    timeout_ms: c_int,
) -> c_int {
    minus_one(call(
        "rdma_resolve_addr",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, id) };
            args.num("src", u8::from(!from.is_null()));
            args.num("timeout_ms", timeout_ms);
        },
        || {
            // SAFETY: the program's.
            unsafe { resolve(id, from, to) }
        },
    ))
}

/// # Safety
/// The program's; `from` may be NULL.
pub(super) unsafe fn resolve(
    id: *mut sys::rdma_cm_id,
    from: *mut libc::sockaddr,
    to: *mut libc::sockaddr,
) -> Result<()> {
    // SAFETY: the caller's promise.
    let found: &IdHandle = unsafe { handle(id) }?;
    let from = if from.is_null() {
        None
    } else {
        // SAFETY: the caller's promise.
        Some(unsafe { address(from) }?)
    };
    // SAFETY: the caller's promise.
    found.engine.resolve_addr(from, unsafe { address(to) }?)?;
    // SAFETY: the caller's promise.
    unsafe { complete(id) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn rdma_resolve_route(
    id: *mut sys::rdma_cm_id,
    timeout_ms: c_int,
) -> c_int {
    minus_one(call(
        "rdma_resolve_route",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, id) };
            args.num("timeout_ms", timeout_ms);
        },
        || {
            // SAFETY: the program's.
            let found: &IdHandle = unsafe { handle(id) }?;
            found.engine.resolve_route()?;
            // SAFETY: the program's.
            unsafe { complete(id) }
        },
    ))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_listen(id: *mut sys::rdma_cm_id, backlog: c_int) -> c_int {
    minus_one(call(
        "rdma_listen",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, id) };
            args.num("backlog", backlog);
        },
        || {
            // SAFETY: the program's.
            let found: &IdHandle = unsafe { handle(id) }?;
            found.engine.listen(usize::try_from(backlog).unwrap_or(0))?;
            // SAFETY: the program's.
            unsafe { refresh(id) }
        },
    ))
}

// --- What an identifier says -------------------------------------------------------------------------

fn port(address: Option<SocketAddr>) -> u16 {
    address.map_or(0, |address| address.port().to_be())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_get_src_port(id: *mut sys::rdma_cm_id) -> u16 {
    // SAFETY: the program's.
    unsafe { handle::<_, IdHandle>(id) }.map_or(0, |found| port(found.engine.addresses().0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_get_dst_port(id: *mut sys::rdma_cm_id) -> u16 {
    // SAFETY: the program's.
    unsafe { handle::<_, IdHandle>(id) }.map_or(0, |found| port(found.engine.addresses().1))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_set_option(
    id: *mut sys::rdma_cm_id,
    level: c_int,
    option: c_int,
    value: *mut c_void,
    length: usize,
) -> c_int {
    const ID: c_int = 0;
    const TOS: c_int = 0;
    const REUSEADDR: c_int = 1;
    const AFONLY: c_int = 2;
    const ACK_TIMEOUT: c_int = 3;
    const IB: c_int = 1;
    const PATH: c_int = 1;
    minus_one(call(
        "rdma_set_option",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, id) };
            args.num("level", level);
            args.num("optname", option);
        },
        || {
            // SAFETY: the program's.
            let found: &IdHandle = unsafe { handle(id) }?;
            if value.is_null() && length > 0 {
                return Err(libc::EFAULT);
            }
            let is_of = |size| -> Result<()> {
                if length == size {
                    Ok(())
                } else {
                    Err(libc::EINVAL)
                }
            };
            let switch = || -> Result<bool> {
                is_of(size_of::<c_int>())?;
                // SAFETY: the program says that it is an int.
                Ok(unsafe { value.cast::<c_int>().read_unaligned() } != 0)
            };
            let byte = || -> Result<u8> {
                is_of(size_of::<u8>())?;
                // SAFETY: the program says that it is a byte.
                Ok(unsafe { value.cast::<u8>().read() })
            };
            match (level, option) {
                (ID, TOS) => {
                    found.engine.set_traffic_class(byte()?);
                    Ok(())
                }
                (ID, ACK_TIMEOUT) => found.engine.set_ack_timeout(byte()?),
                (ID, REUSEADDR) => found.engine.set_reuse(switch()?),
                (ID, AFONLY) => found.engine.set_only_v6(switch()?),
                (IB, PATH) if !is_list_of_paths(length) => Err(libc::EINVAL),
                _ => Err(libc::ENOSYS),
            }
        },
    ))
}

/// Whether there may be one or more `struct ibv_path_data` in so many bytes.
fn is_list_of_paths(length: usize) -> bool {
    const PATH_DATA: usize = 72;
    length > 0 && length % PATH_DATA == 0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_get_devices(count: *mut c_int) -> *mut *mut sys::ibv_context {
    pointer(call("rdma_get_devices", no_args, || {
        let list = Box::leak(Box::new([
            context::for_cm()?.context,
            std::ptr::null_mut::<sys::ibv_context>(),
        ]));
        if !count.is_null() {
            // SAFETY: the program's.
            unsafe { *count = 1 };
        }
        Ok(list.as_mut_ptr())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rdma_free_devices(list: *mut *mut sys::ibv_context) {
    if list.is_null() {
        set_errno(libc::EINVAL);
        return;
    }
    // SAFETY: a list of the function above.
    drop(unsafe { Box::from_raw(list.cast::<[*mut sys::ibv_context; 2]>()) });
}
