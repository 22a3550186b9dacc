// SPDX-License-Identifier: BSD-3-Clause

//! The same operations without librpma, on the same connection.
//!
//! librpma does not hand out the queue pair. But `ibv_post_send` goes through a function pointer in the device's
//! context: while that leads to a function of this module, the requests that librpma makes are copied, with the
//! queue pair that they are for. Posting the copies is what librpma does, without what it does around it.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Mutex;

use rdma_sys::{
    ibv_ack_cq_events, ibv_context, ibv_get_cq_event, ibv_poll_cq, ibv_post_recv, ibv_post_send,
    ibv_qp, ibv_recv_wr, ibv_req_notify_cq, ibv_send_flags, ibv_send_wr, ibv_sge, ibv_wc,
};

use crate::rpma::Context;

type PostSend = unsafe extern "C" fn(*mut ibv_qp, *mut ibv_send_wr, *mut *mut ibv_send_wr) -> c_int;
type PostRecv = unsafe extern "C" fn(*mut ibv_qp, *mut ibv_recv_wr, *mut *mut ibv_recv_wr) -> c_int;

/// What is being copied, and the functions of the device.
struct Recording {
    post_send: PostSend,
    post_recv: PostRecv,
    requests: Vec<Recorded>,
}

struct Recorded {
    qp: *mut ibv_qp,
    request: Kind,
    sge: Option<ibv_sge>,
    inline: Vec<u8>,
}

enum Kind {
    Send(ibv_send_wr),
    Receive(ibv_recv_wr),
}

// SAFETY: the pointers are only passed on to the device, on whatever thread.
unsafe impl Send for Recorded {}

static RECORDING: Mutex<Option<Recording>> = Mutex::new(None);

unsafe extern "C" fn record_send(
    qp: *mut ibv_qp,
    first: *mut ibv_send_wr,
    bad: *mut *mut ibv_send_wr,
) -> c_int {
    let Ok(mut recording) = RECORDING.lock() else {
        return libc::EINVAL;
    };
    let Some(recording) = recording.as_mut() else {
        return libc::EINVAL;
    };
    let mut at = first;
    while !at.is_null() {
        // SAFETY: librpma's requests, as ibv_post_send takes them: a list, each with its elements.
        unsafe {
            let request = *at;
            let sge = (request.num_sge == 1).then(|| *request.sg_list);
            let inline = match sge {
                Some(sge) if request.send_flags & ibv_send_flags::IBV_SEND_INLINE.0 != 0 => {
                    std::slice::from_raw_parts(
                        ptr::with_exposed_provenance(sge.addr as usize),
                        sge.length as usize,
                    )
                    .to_vec()
                }
                _ => Vec::new(),
            };
            recording.requests.push(Recorded {
                qp,
                request: Kind::Send(request),
                sge,
                inline,
            });
            at = request.next;
        }
    }
    // SAFETY: the arguments are those that the device's function was to get.
    unsafe { (recording.post_send)(qp, first, bad) }
}

unsafe extern "C" fn record_recv(
    qp: *mut ibv_qp,
    first: *mut ibv_recv_wr,
    bad: *mut *mut ibv_recv_wr,
) -> c_int {
    let Ok(mut recording) = RECORDING.lock() else {
        return libc::EINVAL;
    };
    let Some(recording) = recording.as_mut() else {
        return libc::EINVAL;
    };
    let mut at = first;
    while !at.is_null() {
        // SAFETY: as above, for ibv_post_recv.
        unsafe {
            let request = *at;
            let sge = (request.num_sge == 1).then(|| *request.sg_list);
            recording.requests.push(Recorded {
                qp,
                request: Kind::Receive(request),
                sge,
                inline: Vec::new(),
            });
            at = request.next;
        }
    }
    // SAFETY: the arguments are those that the device's function was to get.
    unsafe { (recording.post_recv)(qp, first, bad) }
}

/// Requests of librpma, to be posted again.
pub(super) struct Requests {
    qp: *mut ibv_qp,
    /// For each slot as many as the operation takes.
    all: Box<[Request]>,
    each: usize,
}

struct Request {
    request: Kind,
    sge: ibv_sge,
    inline: Vec<u8>,
}

// SAFETY: a queue pair may be used on any thread; the rest belongs to this object.
unsafe impl Send for Requests {}

/// Copies what librpma posts while `post` runs: `slots` operations of `each` requests. None if it posts otherwise,
/// as it does with native flushes and atomic writes.
///
/// # Safety
///
/// No other thread may post on the device meanwhile, and the connection must live as long as the result.
pub(super) unsafe fn requests<E>(
    context: Context,
    slots: usize,
    each: usize,
    post: impl FnOnce() -> Result<(), E>,
) -> Result<Option<Requests>, E> {
    let context: *mut ibv_context = context.as_ptr();
    // SAFETY: an open device.
    let (post_send, post_recv) = unsafe { ((*context).ops.post_send, (*context).ops.post_recv) };
    let (Some(post_send), Some(post_recv)) = (post_send, post_recv) else {
        return Ok(None);
    };
    if let Ok(mut recording) = RECORDING.lock() {
        *recording = Some(Recording {
            post_send,
            post_recv,
            requests: Vec::new(),
        });
    }
    // SAFETY: nobody else posts on this device, so nobody reads the pointers now.
    unsafe {
        (*context).ops.post_send = Some(record_send as PostSend);
        (*context).ops.post_recv = Some(record_recv as PostRecv);
    }
    let posted = post();
    // SAFETY: as above.
    unsafe {
        (*context).ops.post_send = Some(post_send);
        (*context).ops.post_recv = Some(post_recv);
    }
    let recorded = match RECORDING.lock() {
        Ok(mut recording) => recording
            .take()
            .map_or_else(Vec::new, |recording| recording.requests),
        Err(_) => Vec::new(),
    };
    posted?;

    let Some(qp) = recorded.first().map(|first| first.qp) else {
        return Ok(None);
    };
    if recorded.len() != slots * each || recorded.iter().any(|other| other.qp != qp) {
        return Ok(None);
    }
    let mut all: Box<[Request]> = recorded
        .into_iter()
        .map(|recorded| Request {
            request: recorded.request,
            sge: recorded.sge.unwrap_or(ibv_sge {
                addr: 0,
                length: 0,
                lkey: 0,
            }),
            inline: recorded.inline,
        })
        .collect();
    for request in &mut all {
        match &mut request.request {
            Kind::Send(send) => send.next = ptr::null_mut(),
            Kind::Receive(receive) => receive.next = ptr::null_mut(),
        }
        if !request.inline.is_empty() {
            request.sge.addr = request.inline.as_ptr().expose_provenance() as u64;
        }
    }
    Ok(Some(Requests { qp, all, each }))
}

impl Requests {
    /// Posts the operation of a slot.
    #[inline]
    pub(super) fn post(&mut self, slot: usize) -> io::Result<()> {
        for request in &mut self.all[slot * self.each..][..self.each] {
            // SAFETY: a queue pair that is alive, and a request as librpma made it.
            let failed = unsafe {
                match &mut request.request {
                    Kind::Send(send) => {
                        send.sg_list = &raw mut request.sge;
                        ibv_post_send(self.qp, send, &mut ptr::null_mut())
                    }
                    Kind::Receive(receive) => {
                        receive.sg_list = &raw mut request.sge;
                        ibv_post_recv(self.qp, receive, &mut ptr::null_mut())
                    }
                }
            };
            if failed != 0 {
                return Err(io::Error::from_raw_os_error(failed));
            }
        }
        Ok(())
    }

    /// Takes completions: how many.
    #[inline]
    pub(super) fn take(&mut self, completions: &mut [MaybeUninit<ibv_wc>]) -> io::Result<usize> {
        let most = c_int::try_from(completions.len()).unwrap_or(c_int::MAX);
        // SAFETY: the queue of a queue pair that is alive, and room for as many completions as are asked for.
        let got = unsafe { ibv_poll_cq((*self.qp).send_cq, most, completions.as_mut_ptr().cast()) };
        usize::try_from(got).map_err(|_| io::Error::other("ibv_poll_cq failed"))
    }

    /// Takes an event that says that there are completions, and arms the queue again.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        // SAFETY: the queue of a queue pair that is alive, and room for the results. The event is acknowledged once.
        unsafe {
            let queue = (*self.qp).send_cq;
            let (mut of, mut context) = (ptr::null_mut(), ptr::null_mut());
            if ibv_get_cq_event((*queue).channel, &mut of, &mut context) != 0 {
                let error = io::Error::last_os_error();
                let nothing = error.kind() == io::ErrorKind::WouldBlock;
                return if nothing { Ok(()) } else { Err(error) };
            }
            ibv_ack_cq_events(of, 1);
            match ibv_req_notify_cq(of, 0) {
                0 => Ok(()),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}
