// SPDX-License-Identifier: BSD-3-Clause

//! librpma's functions, wrapped: objects that delete themselves, and errors instead of codes.
//!
//! Only functions that release 1.2.0 of the original has are declared; `build.rs` lets no other be linked.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdma_sys::{ibv_context, ibv_wc};

use crate::memory::Mapping;

/// What is declared in `librpma.h`.
mod ffi {
    use super::*;

    macro_rules! opaque {
        ($($name:ident)*) => {
            $(
                #[repr(C)]
                #[derive(Debug)]
                pub struct $name { _opaque: [u8; 0] }
            )*
        };
    }
    opaque! { rpma_peer rpma_peer_cfg rpma_mr_local rpma_mr_remote rpma_conn_cfg rpma_conn_req rpma_conn rpma_ep rpma_cq }

    #[repr(C)]
    pub struct rpma_conn_private_data {
        pub ptr: *mut c_void,
        pub len: u8,
    }

    unsafe extern "C" {
        pub fn rpma_err_2str(ret: c_int) -> *const c_char;
        pub fn rpma_log_set_threshold(threshold: c_uint, level: c_int) -> c_int;
        pub fn rpma_utils_get_ibv_context(
            addr: *const c_char,
            kind: c_uint,
            context: *mut *mut ibv_context,
        ) -> c_int;
        pub fn rpma_utils_ibv_context_is_odp_capable(
            context: *mut ibv_context,
            capable: *mut c_int,
        ) -> c_int;
        pub fn rpma_peer_cfg_new(cfg: *mut *mut rpma_peer_cfg) -> c_int;
        pub fn rpma_peer_cfg_delete(cfg: *mut *mut rpma_peer_cfg) -> c_int;
        pub fn rpma_peer_cfg_set_direct_write_to_pmem(
            cfg: *mut rpma_peer_cfg,
            supported: bool,
        ) -> c_int;
        pub fn rpma_peer_cfg_get_direct_write_to_pmem(
            cfg: *const rpma_peer_cfg,
            supported: *mut bool,
        ) -> c_int;
        pub fn rpma_peer_cfg_get_descriptor(
            cfg: *const rpma_peer_cfg,
            descriptor: *mut c_void,
        ) -> c_int;
        pub fn rpma_peer_cfg_get_descriptor_size(
            cfg: *const rpma_peer_cfg,
            size: *mut usize,
        ) -> c_int;
        pub fn rpma_peer_cfg_from_descriptor(
            descriptor: *const c_void,
            size: usize,
            cfg: *mut *mut rpma_peer_cfg,
        ) -> c_int;
        pub fn rpma_peer_new(context: *mut ibv_context, peer: *mut *mut rpma_peer) -> c_int;
        pub fn rpma_peer_delete(peer: *mut *mut rpma_peer) -> c_int;
        pub fn rpma_mr_reg(
            peer: *mut rpma_peer,
            start: *mut c_void,
            size: usize,
            usage: c_int,
            region: *mut *mut rpma_mr_local,
        ) -> c_int;
        pub fn rpma_mr_dereg(region: *mut *mut rpma_mr_local) -> c_int;
        pub fn rpma_mr_get_descriptor(
            region: *const rpma_mr_local,
            descriptor: *mut c_void,
        ) -> c_int;
        pub fn rpma_mr_get_descriptor_size(region: *const rpma_mr_local, size: *mut usize)
        -> c_int;
        pub fn rpma_mr_remote_from_descriptor(
            descriptor: *const c_void,
            size: usize,
            region: *mut *mut rpma_mr_remote,
        ) -> c_int;
        pub fn rpma_mr_remote_get_size(region: *const rpma_mr_remote, size: *mut usize) -> c_int;
        pub fn rpma_mr_remote_delete(region: *mut *mut rpma_mr_remote) -> c_int;
        pub fn rpma_conn_cfg_new(cfg: *mut *mut rpma_conn_cfg) -> c_int;
        pub fn rpma_conn_cfg_delete(cfg: *mut *mut rpma_conn_cfg) -> c_int;
        pub fn rpma_conn_cfg_set_timeout(cfg: *mut rpma_conn_cfg, ms: c_int) -> c_int;
        pub fn rpma_conn_cfg_set_cq_size(cfg: *mut rpma_conn_cfg, size: u32) -> c_int;
        pub fn rpma_conn_cfg_set_sq_size(cfg: *mut rpma_conn_cfg, size: u32) -> c_int;
        pub fn rpma_conn_cfg_set_rq_size(cfg: *mut rpma_conn_cfg, size: u32) -> c_int;
        pub fn rpma_conn_req_new(
            peer: *mut rpma_peer,
            addr: *const c_char,
            port: *const c_char,
            cfg: *const rpma_conn_cfg,
            request: *mut *mut rpma_conn_req,
        ) -> c_int;
        pub fn rpma_conn_req_delete(request: *mut *mut rpma_conn_req) -> c_int;
        pub fn rpma_conn_req_recv(
            request: *mut rpma_conn_req,
            to: *mut rpma_mr_local,
            offset: usize,
            len: usize,
            context: *const c_void,
        ) -> c_int;
        pub fn rpma_conn_req_connect(
            request: *mut *mut rpma_conn_req,
            data: *const rpma_conn_private_data,
            connection: *mut *mut rpma_conn,
        ) -> c_int;
        pub fn rpma_conn_req_get_private_data(
            request: *const rpma_conn_req,
            data: *mut rpma_conn_private_data,
        ) -> c_int;
        pub fn rpma_ep_listen(
            peer: *mut rpma_peer,
            addr: *const c_char,
            port: *const c_char,
            endpoint: *mut *mut rpma_ep,
        ) -> c_int;
        pub fn rpma_ep_shutdown(endpoint: *mut *mut rpma_ep) -> c_int;
        pub fn rpma_ep_get_fd(endpoint: *const rpma_ep, fd: *mut c_int) -> c_int;
        pub fn rpma_ep_next_conn_req(
            endpoint: *mut rpma_ep,
            cfg: *const rpma_conn_cfg,
            request: *mut *mut rpma_conn_req,
        ) -> c_int;
        pub fn rpma_conn_get_event_fd(connection: *const rpma_conn, fd: *mut c_int) -> c_int;
        pub fn rpma_conn_next_event(connection: *mut rpma_conn, event: *mut c_int) -> c_int;
        pub fn rpma_conn_get_private_data(
            connection: *const rpma_conn,
            data: *mut rpma_conn_private_data,
        ) -> c_int;
        pub fn rpma_conn_apply_remote_peer_cfg(
            connection: *mut rpma_conn,
            cfg: *const rpma_peer_cfg,
        ) -> c_int;
        pub fn rpma_conn_get_cq(connection: *const rpma_conn, cq: *mut *mut rpma_cq) -> c_int;
        pub fn rpma_conn_disconnect(connection: *mut rpma_conn) -> c_int;
        pub fn rpma_conn_delete(connection: *mut *mut rpma_conn) -> c_int;
        pub fn rpma_read(
            connection: *mut rpma_conn,
            to: *mut rpma_mr_local,
            to_offset: usize,
            from: *const rpma_mr_remote,
            from_offset: usize,
            len: usize,
            flags: c_int,
            context: *const c_void,
        ) -> c_int;
        pub fn rpma_write(
            connection: *mut rpma_conn,
            to: *mut rpma_mr_remote,
            to_offset: usize,
            from: *const rpma_mr_local,
            from_offset: usize,
            len: usize,
            flags: c_int,
            context: *const c_void,
        ) -> c_int;
        pub fn rpma_atomic_write(
            connection: *mut rpma_conn,
            to: *mut rpma_mr_remote,
            to_offset: usize,
            from: *const c_char,
            flags: c_int,
            context: *const c_void,
        ) -> c_int;
        pub fn rpma_flush(
            connection: *mut rpma_conn,
            to: *mut rpma_mr_remote,
            to_offset: usize,
            len: usize,
            kind: c_uint,
            flags: c_int,
            context: *const c_void,
        ) -> c_int;
        pub fn rpma_send(
            connection: *mut rpma_conn,
            from: *const rpma_mr_local,
            offset: usize,
            len: usize,
            flags: c_int,
            context: *const c_void,
        ) -> c_int;
        pub fn rpma_recv(
            connection: *mut rpma_conn,
            to: *mut rpma_mr_local,
            offset: usize,
            len: usize,
            context: *const c_void,
        ) -> c_int;
        pub fn rpma_cq_get_fd(cq: *const rpma_cq, fd: *mut c_int) -> c_int;
        pub fn rpma_cq_wait(cq: *mut rpma_cq) -> c_int;
        pub fn rpma_cq_get_wc(
            cq: *mut rpma_cq,
            most: c_int,
            completions: *mut ibv_wc,
            got: *mut c_int,
        ) -> c_int;
    }
}

const E_PROVIDER: c_int = -100_002;
const E_NO_COMPLETION: c_int = -100_005;
const E_NO_EVENT: c_int = -100_006;

/// `RPMA_MR_USAGE_*`
pub mod usage {
    #![allow(missing_docs)]

    use std::ffi::c_int;

    pub const READ_SRC: c_int = 1 << 0;
    pub const READ_DST: c_int = 1 << 1;
    pub const WRITE_SRC: c_int = 1 << 2;
    pub const WRITE_DST: c_int = 1 << 3;
    pub const FLUSH_TYPE_VISIBILITY: c_int = 1 << 4;
    pub const FLUSH_TYPE_PERSISTENT: c_int = 1 << 5;
    pub const SEND: c_int = 1 << 6;
    pub const RECV: c_int = 1 << 7;
}

/// When an operation completes with a completion that can be polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Notify {
    /// `RPMA_F_COMPLETION_ON_ERROR`
    OnError = 1,
    /// `RPMA_F_COMPLETION_ALWAYS`
    Always = 3,
}

/// `enum rpma_flush_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FlushType {
    /// The data survives a power failure.
    Persistent = 0,
    /// The data is visible to the processors of the server.
    Visibility = 1,
}

/// A function of librpma failed.
#[derive(Debug)]
pub struct Failure {
    call: &'static str,
    code: c_int,
    errno: Option<io::Error>,
}

impl Failure {
    /// The errno of the call of libibverbs or librdmacm that failed, if that is the reason.
    pub fn errno(&self) -> Option<c_int> {
        self.errno.as_ref().and_then(io::Error::raw_os_error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: the function takes any number and returns a constant string.
        let text = unsafe { CStr::from_ptr(ffi::rpma_err_2str(self.code)) };
        write!(f, "{}: {}", self.call, text.to_string_lossy())?;
        match &self.errno {
            Some(error) => write!(f, " ({error})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// What the functions of this module return.
pub type Result<T> = std::result::Result<T, Failure>;

fn check(call: &'static str, code: c_int) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    let errno = (code == E_PROVIDER).then(io::Error::last_os_error);
    Err(Failure { call, code, errno })
}

fn object<T>(call: &'static str, code: c_int, object: *mut T) -> Result<NonNull<T>> {
    check(call, code)?;
    NonNull::new(object).ok_or(Failure {
        call,
        code: -100_000,
        errno: None,
    })
}

fn c_string(call: &'static str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Failure {
        call,
        code: -100_004,
        errno: None,
    })
}

/// Whether librpma logs what fails, to syslog.
pub fn log(on: bool) {
    const THRESHOLD: c_uint = 0;
    let level = if on { 2 } else { -1 };
    // SAFETY: plain values. Both are valid, so it cannot fail.
    unsafe {
        ffi::rpma_log_set_threshold(THRESHOLD, level);
    }
}

/// The path of the librpma in use, and whether it is this project's.
pub fn library() -> (Option<String>, bool) {
    // SAFETY: dladdr takes any address and fills the struct if it returns another value than 0; dlsym takes a
    // string. This project's library has functions that the original 1.2.0 had no longer.
    unsafe {
        let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
        let found = libc::dladdr(ffi::rpma_err_2str as *const c_void, info.as_mut_ptr());
        let name = info.assume_init().dli_fname;
        let path = (found != 0 && !name.is_null())
            .then(|| CStr::from_ptr(name).to_string_lossy().into_owned());
        let own = !libc::dlsym(libc::RTLD_DEFAULT, c"rpma_write_atomic".as_ptr()).is_null();
        (path, own)
    }
}

/// An open device. librdmacm keeps it open as long as the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context(NonNull<ibv_context>);

// SAFETY: a context may be used on any thread, and is never closed.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// The device that has an address of this machine.
    pub fn local(addr: &str) -> Result<Self> {
        Self::find(addr, 0)
    }

    /// The device through which an address is reached.
    pub fn remote(addr: &str) -> Result<Self> {
        Self::find(addr, 1)
    }

    fn find(addr: &str, kind: c_uint) -> Result<Self> {
        const CALL: &str = "rpma_utils_get_ibv_context";
        let addr = c_string(CALL, addr)?;
        let mut context = ptr::null_mut();
        // SAFETY: a string, a valid kind and room for the result.
        let code = unsafe { ffi::rpma_utils_get_ibv_context(addr.as_ptr(), kind, &mut context) };
        object(CALL, code, context).map(Self)
    }

    /// A context that the caller has opened and keeps open.
    ///
    /// # Safety
    ///
    /// It must be open, and stay so as long as this object or one that was made with it is in use.
    pub unsafe fn from_raw(context: NonNull<ibv_context>) -> Self {
        Self(context)
    }

    /// For functions of libibverbs.
    pub fn as_ptr(self) -> *mut ibv_context {
        self.0.as_ptr()
    }

    /// Whether the device supports on-demand paging as librpma needs it.
    pub fn is_odp_capable(self) -> Result<bool> {
        let mut capable = 0;
        // SAFETY: an open device and room for the result.
        let code =
            unsafe { ffi::rpma_utils_ibv_context_is_odp_capable(self.as_ptr(), &mut capable) };
        check("rpma_utils_ibv_context_is_odp_capable", code)?;
        Ok(capable != 0)
    }
}

/// Declares an object that is deleted when dropped. A failure of that cannot be helped.
macro_rules! owned {
    ($(#[$doc:meta])* $name:ident { $pointer:ident: $raw:ty, delete: $delete:ident $(, $field:ident: $type:ty)* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            $pointer: NonNull<$raw>,
            $($field: $type,)*
        }

        // SAFETY: librpma's objects may be used on any thread. What only one thread at a time may do takes &mut.
        unsafe impl Send for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                let mut pointer = self.$pointer.as_ptr();
                // SAFETY: the object is this one's own, and what it needs is dropped after it.
                unsafe {
                    ffi::$delete(&mut pointer);
                }
            }
        }
    };
}

owned! {
    /// `struct rpma_peer`
    Peer { raw: ffi::rpma_peer, delete: rpma_peer_delete }
}

// SAFETY: endpoints and requests are made of it on one thread at a time: `Endpoint::listen` and `Request::new` are
// called by the main thread alone.
unsafe impl Sync for Peer {}

impl Peer {
    /// `rpma_peer_new`
    pub fn new(context: Context) -> Result<Arc<Self>> {
        let mut peer = ptr::null_mut();
        // SAFETY: an open device and room for the result.
        let code = unsafe { ffi::rpma_peer_new(context.as_ptr(), &mut peer) };
        Ok(Arc::new(Self {
            raw: object("rpma_peer_new", code, peer)?,
        }))
    }
}

owned! {
    /// `struct rpma_mr_local`: registered memory, which stays mapped as long as it is registered
    Region { raw: ffi::rpma_mr_local, delete: rpma_mr_dereg, mapping: Arc<Mapping>, _peer: Arc<Peer> }
}

// SAFETY: its functions may be called on several threads at once.
unsafe impl Sync for Region {}

impl Region {
    /// `rpma_mr_reg`
    pub fn new(peer: &Arc<Peer>, mapping: Arc<Mapping>, usage: c_int) -> Result<Self> {
        let mut region = ptr::null_mut();
        // SAFETY: the memory is mapped as long as the region exists, which owns a part of it.
        let code = unsafe {
            ffi::rpma_mr_reg(
                peer.raw.as_ptr(),
                mapping.as_ptr().cast(),
                mapping.len(),
                usage,
                &mut region,
            )
        };
        Ok(Self {
            raw: object("rpma_mr_reg", code, region)?,
            mapping,
            _peer: Arc::clone(peer),
        })
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Never: librpma registers no empty region.
    pub fn is_empty(&self) -> bool {
        self.mapping.is_empty()
    }

    /// What another machine needs to use it.
    pub fn descriptor(&self) -> Result<Vec<u8>> {
        let mut size = 0;
        // SAFETY: a region and room for the result.
        check("rpma_mr_get_descriptor_size", unsafe {
            ffi::rpma_mr_get_descriptor_size(self.raw.as_ptr(), &mut size)
        })?;
        let mut descriptor = vec![0u8; size];
        // SAFETY: there is room for as many bytes as the library asked for.
        check("rpma_mr_get_descriptor", unsafe {
            ffi::rpma_mr_get_descriptor(self.raw.as_ptr(), descriptor.as_mut_ptr().cast())
        })?;
        Ok(descriptor)
    }
}

owned! {
    /// `struct rpma_mr_remote`
    RemoteRegion { raw: ffi::rpma_mr_remote, delete: rpma_mr_remote_delete }
}

impl RemoteRegion {
    /// `rpma_mr_remote_from_descriptor`
    pub fn from_descriptor(descriptor: &[u8]) -> Result<Self> {
        let mut region = ptr::null_mut();
        // SAFETY: the bytes and their number, and room for the result.
        let code = unsafe {
            ffi::rpma_mr_remote_from_descriptor(
                descriptor.as_ptr().cast(),
                descriptor.len(),
                &mut region,
            )
        };
        Ok(Self {
            raw: object("rpma_mr_remote_from_descriptor", code, region)?,
        })
    }

    /// `rpma_mr_remote_get_size`
    pub fn len(&self) -> Result<usize> {
        let mut size = 0;
        // SAFETY: a region and room for the result.
        check("rpma_mr_remote_get_size", unsafe {
            ffi::rpma_mr_remote_get_size(self.raw.as_ptr(), &mut size)
        })?;
        Ok(size)
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
}

owned! {
    /// `struct rpma_peer_cfg`
    PeerCfg { raw: ffi::rpma_peer_cfg, delete: rpma_peer_cfg_delete }
}

impl PeerCfg {
    /// A configuration that says whether what is written from outside goes to persistent memory directly.
    pub fn new(direct_write: bool) -> Result<Self> {
        let mut cfg = ptr::null_mut();
        // SAFETY: room for the result.
        let code = unsafe { ffi::rpma_peer_cfg_new(&mut cfg) };
        let cfg = Self {
            raw: object("rpma_peer_cfg_new", code, cfg)?,
        };
        // SAFETY: a configuration.
        check("rpma_peer_cfg_set_direct_write_to_pmem", unsafe {
            ffi::rpma_peer_cfg_set_direct_write_to_pmem(cfg.raw.as_ptr(), direct_write)
        })?;
        Ok(cfg)
    }

    /// `rpma_peer_cfg_from_descriptor`
    pub fn from_descriptor(descriptor: &[u8]) -> Result<Self> {
        let mut cfg = ptr::null_mut();
        // SAFETY: the bytes and their number, and room for the result.
        let code = unsafe {
            ffi::rpma_peer_cfg_from_descriptor(
                descriptor.as_ptr().cast(),
                descriptor.len(),
                &mut cfg,
            )
        };
        Ok(Self {
            raw: object("rpma_peer_cfg_from_descriptor", code, cfg)?,
        })
    }

    /// What another machine needs to know it.
    pub fn descriptor(&self) -> Result<Vec<u8>> {
        let mut size = 0;
        // SAFETY: a configuration and room for the result.
        check("rpma_peer_cfg_get_descriptor_size", unsafe {
            ffi::rpma_peer_cfg_get_descriptor_size(self.raw.as_ptr(), &mut size)
        })?;
        let mut descriptor = vec![0u8; size];
        // SAFETY: there is room for as many bytes as the library asked for.
        check("rpma_peer_cfg_get_descriptor", unsafe {
            ffi::rpma_peer_cfg_get_descriptor(self.raw.as_ptr(), descriptor.as_mut_ptr().cast())
        })?;
        Ok(descriptor)
    }

    /// `rpma_peer_cfg_get_direct_write_to_pmem`
    pub fn direct_write(&self) -> Result<bool> {
        let mut supported = false;
        // SAFETY: a configuration and room for the result.
        check("rpma_peer_cfg_get_direct_write_to_pmem", unsafe {
            ffi::rpma_peer_cfg_get_direct_write_to_pmem(self.raw.as_ptr(), &mut supported)
        })?;
        Ok(supported)
    }
}

owned! {
    /// `struct rpma_conn_cfg`
    ConnCfg { raw: ffi::rpma_conn_cfg, delete: rpma_conn_cfg_delete }
}

impl ConnCfg {
    /// Queues of these sizes: completions, requests to send, receives.
    pub fn new(cq: u32, sq: u32, rq: u32, timeout_ms: c_int) -> Result<Self> {
        let mut cfg = ptr::null_mut();
        // SAFETY: room for the result.
        let code = unsafe { ffi::rpma_conn_cfg_new(&mut cfg) };
        let cfg = Self {
            raw: object("rpma_conn_cfg_new", code, cfg)?,
        };
        let raw = cfg.raw.as_ptr();
        // SAFETY: a configuration, here and below.
        check("rpma_conn_cfg_set_cq_size", unsafe {
            ffi::rpma_conn_cfg_set_cq_size(raw, cq)
        })?;
        // SAFETY: as above.
        check("rpma_conn_cfg_set_sq_size", unsafe {
            ffi::rpma_conn_cfg_set_sq_size(raw, sq)
        })?;
        // SAFETY: as above.
        check("rpma_conn_cfg_set_rq_size", unsafe {
            ffi::rpma_conn_cfg_set_rq_size(raw, rq)
        })?;
        // SAFETY: as above.
        check("rpma_conn_cfg_set_timeout", unsafe {
            ffi::rpma_conn_cfg_set_timeout(raw, timeout_ms)
        })?;
        Ok(cfg)
    }
}

owned! {
    /// `struct rpma_ep`
    Endpoint { raw: ffi::rpma_ep, delete: rpma_ep_shutdown, peer: Arc<Peer> }
}

impl Endpoint {
    /// `rpma_ep_listen`
    pub fn listen(peer: &Arc<Peer>, addr: &str, port: u16) -> Result<Self> {
        const CALL: &str = "rpma_ep_listen";
        let (addr, port) = (c_string(CALL, addr)?, c_string(CALL, &port.to_string())?);
        let mut endpoint = ptr::null_mut();
        // SAFETY: a peer, strings and room for the result.
        let code = unsafe {
            ffi::rpma_ep_listen(
                peer.raw.as_ptr(),
                addr.as_ptr(),
                port.as_ptr(),
                &mut endpoint,
            )
        };
        Ok(Self {
            raw: object(CALL, code, endpoint)?,
            peer: Arc::clone(peer),
        })
    }

    /// Readable when there is a request.
    pub fn fd(&self) -> Result<c_int> {
        let mut fd = -1;
        // SAFETY: an endpoint and room for the result.
        check("rpma_ep_get_fd", unsafe {
            ffi::rpma_ep_get_fd(self.raw.as_ptr(), &mut fd)
        })?;
        Ok(fd)
    }

    /// `rpma_ep_next_conn_req`
    pub fn next(&mut self, cfg: &ConnCfg) -> Result<Request> {
        let mut request = ptr::null_mut();
        // SAFETY: an endpoint, a configuration and room for the result.
        let code = unsafe {
            ffi::rpma_ep_next_conn_req(self.raw.as_ptr(), cfg.raw.as_ptr(), &mut request)
        };
        Ok(Request {
            raw: object("rpma_ep_next_conn_req", code, request)?,
            regions: Vec::new(),
            peer: Arc::clone(&self.peer),
        })
    }
}

owned! {
    /// `struct rpma_conn_req`
    Request { raw: ffi::rpma_conn_req, delete: rpma_conn_req_delete, regions: Vec<Arc<Region>>, peer: Arc<Peer> }
}

impl Request {
    /// `rpma_conn_req_new`
    pub fn new(peer: &Arc<Peer>, addr: &str, port: u16, cfg: &ConnCfg) -> Result<Self> {
        const CALL: &str = "rpma_conn_req_new";
        let (addr, port) = (c_string(CALL, addr)?, c_string(CALL, &port.to_string())?);
        let mut request = ptr::null_mut();
        // SAFETY: a peer, strings, a configuration and room for the result.
        let code = unsafe {
            ffi::rpma_conn_req_new(
                peer.raw.as_ptr(),
                addr.as_ptr(),
                port.as_ptr(),
                cfg.raw.as_ptr(),
                &mut request,
            )
        };
        Ok(Self {
            raw: object(CALL, code, request)?,
            regions: Vec::new(),
            peer: Arc::clone(peer),
        })
    }

    /// What the client sent with its request.
    pub fn private_data(&self) -> Result<Vec<u8>> {
        let mut data = ffi::rpma_conn_private_data {
            ptr: ptr::null_mut(),
            len: 0,
        };
        // SAFETY: a request and room for the result.
        check("rpma_conn_req_get_private_data", unsafe {
            ffi::rpma_conn_req_get_private_data(self.raw.as_ptr(), &mut data)
        })?;
        // SAFETY: the data lives as long as the request.
        Ok(unsafe { copy(&data) })
    }

    /// Posts a receive before the connection exists.
    pub fn recv(
        &mut self,
        to: &Arc<Region>,
        offset: usize,
        len: usize,
        context: usize,
    ) -> Result<()> {
        // SAFETY: a request and a region, which lives as long as the connection: it is kept below.
        let code = unsafe {
            ffi::rpma_conn_req_recv(
                self.raw.as_ptr(),
                to.raw.as_ptr(),
                offset,
                len,
                ptr::without_provenance(context),
            )
        };
        check("rpma_conn_req_recv", code)?;
        if !self.regions.iter().any(|region| Arc::ptr_eq(region, to)) {
            self.regions.push(Arc::clone(to));
        }
        Ok(())
    }

    /// `rpma_conn_req_connect`. The connection keeps `region`, which its operations use, for as long as it exists.
    pub fn connect(self, data: &[u8], region: Option<&Arc<Region>>) -> Result<Conn> {
        const CALL: &str = "rpma_conn_req_connect";
        let Ok(len) = u8::try_from(data.len()) else {
            return Err(Failure {
                call: CALL,
                code: -100_004,
                errno: None,
            });
        };
        let data = ffi::rpma_conn_private_data {
            ptr: data.as_ptr().cast_mut().cast(),
            len,
        };
        let data = if len == 0 {
            ptr::null()
        } else {
            &raw const data
        };
        let peer = Arc::clone(&self.peer);
        let mut regions = self.regions.clone();
        regions.extend(region.map(Arc::clone));
        // The call takes the request, whatever comes of it.
        let mut request = std::mem::ManuallyDrop::new(self);
        let mut raw = request.raw.as_ptr();
        let mut connection = ptr::null_mut();
        // SAFETY: a request, private data that may be read during the call, and room for the result.
        let code = unsafe { ffi::rpma_conn_req_connect(&mut raw, data, &mut connection) };
        // SAFETY: neither is used or dropped again.
        unsafe {
            ptr::drop_in_place(&mut request.regions);
            ptr::drop_in_place(&mut request.peer);
        }
        Ok(Conn {
            raw: object(CALL, code, connection)?,
            regions,
            _peer: peer,
        })
    }
}

/// # Safety
///
/// The data must be valid.
unsafe fn copy(data: &ffi::rpma_conn_private_data) -> Vec<u8> {
    if data.ptr.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data.ptr.cast::<u8>(), data.len.into()) }.to_vec()
}

/// `enum rpma_conn_event`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The connection is there.
    Established,
    /// It was closed, or the other process is gone.
    Closed,
    /// It was lost.
    Lost,
    /// Nobody listens, or the server refused.
    Rejected,
    /// The server does not answer.
    Unreachable,
    /// None of these.
    Unknown,
}

owned! {
    /// `struct rpma_conn`. The regions that its operations name live as long as it does.
    Conn { raw: ffi::rpma_conn, delete: rpma_conn_delete, regions: Vec<Arc<Region>>, _peer: Arc<Peer> }
}

impl Conn {
    /// Readable when there is an event.
    pub fn event_fd(&self) -> Result<c_int> {
        let mut fd = -1;
        // SAFETY: a connection and room for the result.
        check("rpma_conn_get_event_fd", unsafe {
            ffi::rpma_conn_get_event_fd(self.raw.as_ptr(), &mut fd)
        })?;
        Ok(fd)
    }

    /// The next event; none if the descriptor is non-blocking and there is none.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        let mut event = -1;
        // SAFETY: a connection and room for the result.
        let code = unsafe { ffi::rpma_conn_next_event(self.raw.as_ptr(), &mut event) };
        if code == E_NO_EVENT {
            return Ok(None);
        }
        check("rpma_conn_next_event", code)?;
        Ok(Some(match event {
            0 => Event::Established,
            1 => Event::Closed,
            2 => Event::Lost,
            3 => Event::Rejected,
            4 => Event::Unreachable,
            _ => Event::Unknown,
        }))
    }

    /// What the other side sent when the connection was made.
    pub fn private_data(&self) -> Result<Vec<u8>> {
        let mut data = ffi::rpma_conn_private_data {
            ptr: ptr::null_mut(),
            len: 0,
        };
        // SAFETY: a connection and room for the result.
        check("rpma_conn_get_private_data", unsafe {
            ffi::rpma_conn_get_private_data(self.raw.as_ptr(), &mut data)
        })?;
        // SAFETY: the data lives as long as the connection.
        Ok(unsafe { copy(&data) })
    }

    /// `rpma_conn_apply_remote_peer_cfg`
    pub fn apply(&mut self, cfg: &PeerCfg) -> Result<()> {
        // SAFETY: a connection and a configuration.
        check("rpma_conn_apply_remote_peer_cfg", unsafe {
            ffi::rpma_conn_apply_remote_peer_cfg(self.raw.as_ptr(), cfg.raw.as_ptr())
        })
    }

    /// Its completion queue.
    pub fn cq(&self) -> Result<Cq<'_>> {
        let mut cq = ptr::null_mut();
        // SAFETY: a connection and room for the result.
        let code = unsafe { ffi::rpma_conn_get_cq(self.raw.as_ptr(), &mut cq) };
        Ok(Cq {
            raw: object("rpma_conn_get_cq", code, cq)?,
            _conn: PhantomData,
        })
    }

    /// `rpma_conn_disconnect`
    pub fn disconnect(&mut self) -> Result<()> {
        // SAFETY: a connection.
        check("rpma_conn_disconnect", unsafe {
            ffi::rpma_conn_disconnect(self.raw.as_ptr())
        })
    }

    /// The region that was given when it was made.
    fn region(&self) -> *mut ffi::rpma_mr_local {
        self.regions
            .last()
            .map_or(ptr::null_mut(), |region| region.raw.as_ptr())
    }

    /// `rpma_read` into the connection's region
    #[inline]
    pub fn read(
        &self,
        to: usize,
        source: &RemoteRegion,
        from: usize,
        len: usize,
        context: usize,
    ) -> Result<()> {
        let context = ptr::without_provenance(context);
        // SAFETY: a connection and regions; the local one lives as long as the connection.
        check("rpma_read", unsafe {
            let (connection, source) = (self.raw.as_ptr(), source.raw.as_ptr());
            ffi::rpma_read(
                connection,
                self.region(),
                to,
                source,
                from,
                len,
                Notify::Always as c_int,
                context,
            )
        })
    }

    /// `rpma_write` from the connection's region
    #[inline]
    pub fn write(
        &self,
        target: &RemoteRegion,
        to: usize,
        from: usize,
        len: usize,
        notify: Notify,
        context: usize,
    ) -> Result<()> {
        let context = ptr::without_provenance(context);
        // SAFETY: a connection and regions; the local one lives as long as the connection.
        check("rpma_write", unsafe {
            let (connection, target) = (self.raw.as_ptr(), target.raw.as_ptr());
            ffi::rpma_write(
                connection,
                target,
                to,
                self.region(),
                from,
                len,
                notify as c_int,
                context,
            )
        })
    }

    /// `rpma_atomic_write`
    #[inline]
    pub fn atomic_write(
        &self,
        target: &RemoteRegion,
        to: usize,
        from: &[u8; 8],
        context: usize,
    ) -> Result<()> {
        let context = ptr::without_provenance(context);
        // SAFETY: a connection, a region and eight bytes, which the call copies.
        check("rpma_atomic_write", unsafe {
            let (connection, target) = (self.raw.as_ptr(), target.raw.as_ptr());
            ffi::rpma_atomic_write(
                connection,
                target,
                to,
                from.as_ptr().cast(),
                Notify::Always as c_int,
                context,
            )
        })
    }

    /// `rpma_flush`
    #[inline]
    pub fn flush(
        &self,
        target: &RemoteRegion,
        offset: usize,
        len: usize,
        kind: FlushType,
        context: usize,
    ) -> Result<()> {
        let context = ptr::without_provenance(context);
        // SAFETY: a connection and a region.
        check("rpma_flush", unsafe {
            let (connection, target) = (self.raw.as_ptr(), target.raw.as_ptr());
            ffi::rpma_flush(
                connection,
                target,
                offset,
                len,
                kind as c_uint,
                Notify::Always as c_int,
                context,
            )
        })
    }

    /// `rpma_send` from the connection's region
    #[inline]
    pub fn send(&self, from: usize, len: usize, context: usize) -> Result<()> {
        let context = ptr::without_provenance(context);
        // SAFETY: a connection and its region, which lives as long as it does.
        check("rpma_send", unsafe {
            ffi::rpma_send(
                self.raw.as_ptr(),
                self.region(),
                from,
                len,
                Notify::Always as c_int,
                context,
            )
        })
    }

    /// `rpma_recv` into the connection's region
    pub fn recv(&self, to: usize, len: usize, context: usize) -> Result<()> {
        let context = ptr::without_provenance(context);
        // SAFETY: a connection and its region, which lives as long as it does.
        check("rpma_recv", unsafe {
            ffi::rpma_recv(self.raw.as_ptr(), self.region(), to, len, context)
        })
    }
}

/// `struct rpma_cq`: belongs to a connection
#[derive(Clone, Copy, Debug)]
pub struct Cq<'a> {
    raw: NonNull<ffi::rpma_cq>,
    _conn: PhantomData<&'a Conn>,
}

impl Cq<'_> {
    /// Readable when [`wait`](Self::wait) would return.
    pub fn fd(self) -> Result<c_int> {
        let mut fd = -1;
        // SAFETY: a queue and room for the result.
        check("rpma_cq_get_fd", unsafe {
            ffi::rpma_cq_get_fd(self.raw.as_ptr(), &mut fd)
        })?;
        Ok(fd)
    }

    /// Waits for completions. With a non-blocking descriptor, whether there was an event.
    pub fn wait(self) -> Result<bool> {
        // SAFETY: a queue.
        match unsafe { ffi::rpma_cq_wait(self.raw.as_ptr()) } {
            E_NO_COMPLETION => Ok(false),
            code => check("rpma_cq_wait", code).map(|()| true),
        }
    }

    /// Takes completions: how many.
    #[inline]
    pub fn take(self, completions: &mut [MaybeUninit<ibv_wc>]) -> Result<usize> {
        let most = c_int::try_from(completions.len()).unwrap_or(c_int::MAX);
        let mut got = 0;
        // SAFETY: a queue and room for as many completions as are asked for.
        let code = unsafe {
            ffi::rpma_cq_get_wc(
                self.raw.as_ptr(),
                most,
                completions.as_mut_ptr().cast(),
                &mut got,
            )
        };
        match code {
            E_NO_COMPLETION => Ok(0),
            code => check("rpma_cq_get_wc", code).map(|()| usize::try_from(got).unwrap_or(0)),
        }
    }
}
