// SPDX-License-Identifier: BSD-3-Clause

//! Posting and polling: the functions behind the inline ones of `<infiniband/verbs.h>`.

use std::ffi::c_int;

use rdma_sys as sys;

use super::cq::CqHandle;
use super::flags::{completion, send};
use super::qp::QpHandle;
use super::srq::SrqHandle;
use super::unsupported::not_there;
use super::{code, handle, number_in, object, quick_call, set_errno, shows, zeroed};
use crate::Result;
use crate::instrument::live::Kind;
use crate::instrument::{Args, names};
use crate::objects::mr::Mr;
use crate::os::memory;
use crate::types::completion::{Completion, Status};
use crate::types::region::Range;
use crate::types::work::{Data, InChunks, Operation, Progress, Receive, Request, Scatter};

pub(super) fn range(sge: &sys::ibv_sge) -> Range {
    Range {
        addr: sge.addr,
        length: sge.length,
        key: sge.lkey,
    }
}

/// # Safety
/// A list of so many.
unsafe fn list<'a>(list: *const sys::ibv_sge, count: c_int) -> Result<&'a [sys::ibv_sge]> {
    let count = usize::try_from(count).map_err(|_| libc::EINVAL)?;
    if count == 0 {
        return Ok(&[]);
    }
    if list.is_null() || count > crate::types::limits::MAX_SGE as usize {
        return Err(libc::EINVAL);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(list, count) })
}

pub(super) fn scatter(sges: &[sys::ibv_sge]) -> Scatter {
    match sges {
        [] => Scatter::None,
        [one] => Scatter::One(range(one)),
        many => Scatter::Many(many.iter().map(range).collect()),
    }
}

/// Takes inline data.
///
/// # Safety
/// The ranges are readable.
pub(super) unsafe fn take_inline(
    ranges: impl Iterator<Item = (u64, usize)> + Clone,
    most: u32,
) -> Result<Data> {
    let mut length = 0usize;
    for (_, part) in ranges.clone() {
        length = length.checked_add(part).ok_or(libc::EINVAL)?;
    }
    if length > most as usize {
        return Err(libc::EINVAL);
    }
    let mut bytes = Vec::with_capacity(length);
    for (addr, part) in ranges {
        // SAFETY: the caller's promise.
        unsafe { memory::append_inline(&mut bytes, addr, part) };
    }
    Ok(Data::Inline(bytes.into_boxed_slice()))
}

/// # Safety
/// A request of the program.
unsafe fn request(qp: &QpHandle, wr: &sys::ibv_send_wr) -> Result<Request> {
    use sys::ibv_wr_opcode as op;
    // SAFETY: the request's list.
    let sges = unsafe { list(wr.sg_list, wr.num_sge) }?;
    // A read has no data to take along.
    let is_inline = wr.send_flags & send::INLINE != 0 && wr.opcode != op::IBV_WR_RDMA_READ;
    let data = if is_inline {
        let ranges = sges.iter().map(|sge| (sge.addr, sge.length as usize));
        // SAFETY: the program's own memory.
        unsafe { take_inline(ranges, qp.engine.setup.caps.max_inline) }?
    } else {
        Data::Memory(scatter(sges))
    };
    let remote = || {
        // SAFETY: the opcode says that this is the one in use.
        let rdma = unsafe { wr.wr.rdma };
        Range {
            addr: rdma.remote_addr,
            // Set when it is sent.
            length: 0,
            key: rdma.rkey,
        }
    };
    let (operation, with_imm) = match wr.opcode {
        op::IBV_WR_SEND => (Operation::Send, false),
        op::IBV_WR_SEND_WITH_IMM => (Operation::Send, true),
        op::IBV_WR_RDMA_WRITE => (Operation::Write { to: remote() }, false),
        op::IBV_WR_RDMA_WRITE_WITH_IMM => (Operation::Write { to: remote() }, true),
        op::IBV_WR_RDMA_READ => (Operation::Read { from: remote() }, false),
        op::IBV_WR_ATOMIC_CMP_AND_SWP | op::IBV_WR_ATOMIC_FETCH_AND_ADD => {
            return Err(not_there("atomic operations other than atomic write"));
        }
        op::IBV_WR_SEND_WITH_INV
        | op::IBV_WR_LOCAL_INV
        | op::IBV_WR_BIND_MW
        | op::IBV_WR_TSO
        | op::IBV_WR_DRIVER1 => return Err(not_there("work requests of this opcode")),
        _ => return Err(libc::EINVAL),
    };
    let imm = with_imm.then(|| {
        // SAFETY: the opcode says that this is the one in use.
        u32::from_be(unsafe { wr.imm_data_invalidated_rkey_union.imm_data })
    });
    Ok(Request {
        wr_id: wr.wr_id,
        operation,
        data,
        imm,
        signaled: wr.send_flags & send::SIGNALED != 0,
        solicited: wr.send_flags & send::SOLICITED != 0,
        fence: wr.send_flags & send::FENCE != 0,
        placed: false,
        chunks: InChunks::default(),
        progress: Progress::Waiting,
    })
}

/// Which part of which region of this process a request names.
pub(super) fn trace_place(args: &mut Args, range: &Range) {
    let Some(mr) = Mr::find(range.key) else {
        args.text("mr", "unknown");
        return;
    };
    // Not by what the program has of it, which another thread may just be giving back.
    args.object("mr", Some(number_in(&mr.trace_number, Kind::Mr)));
    match range.offset_in(&mr) {
        Some(offset) => args.num("offset", offset),
        None => args.text("offset", "outside"),
    }
}

/// Where in its page a remote address is: which region is meant only the other side knows.
pub(super) fn trace_remote(args: &mut Args, addr: u64) {
    const PAGE: u64 = 4096;
    args.flags("remote_page_offset", addr % PAGE);
}

/// The length, and where the data is: inline data is anywhere, so that is shown by what it is.
///
/// # Safety
/// Inline data is readable.
unsafe fn trace_data(args: &mut Args, sges: &[sys::ibv_sge], is_inline: bool) {
    let length: u64 = sges.iter().map(|sge| u64::from(sge.length)).sum();
    args.num("num_sge", sges.len() as i128);
    args.num("length", length);
    if is_inline {
        let ranges = sges.iter().map(|sge| (sge.addr, sge.length as usize));
        // SAFETY: the caller's promise.
        let data = unsafe { take_inline(ranges, crate::types::limits::MAX_INLINE) };
        if let Ok(Data::Inline(bytes)) = data {
            args.bytes("data", &bytes);
        }
        return;
    }
    for sge in sges {
        trace_place(args, &range(sge));
    }
}

/// # Safety
/// A queue pair, and a chain of requests.
unsafe fn trace_sends(args: &mut Args, qp: *const sys::ibv_qp, first: *const sys::ibv_send_wr) {
    use sys::ibv_wr_opcode as op;
    // SAFETY: the caller's promise.
    unsafe { object(args, qp) };
    let mut wr = first;
    // SAFETY: the caller's promise.
    while let Some(request) = unsafe { wr.as_ref() } {
        // SAFETY: the request's list.
        let sges = unsafe { list(request.sg_list, request.num_sge) }.unwrap_or(&[]);
        args.wr_id(request.wr_id);
        args.one_of("opcode", u64::from(request.opcode), names::WR_OPCODE);
        args.bits(
            "send_flags",
            u64::from(request.send_flags),
            names::SEND_FLAGS,
        );
        let is_inline =
            request.send_flags & send::INLINE != 0 && request.opcode != op::IBV_WR_RDMA_READ;
        // SAFETY: the program's own memory.
        unsafe { trace_data(args, sges, is_inline) };
        if matches!(
            request.opcode,
            op::IBV_WR_RDMA_WRITE | op::IBV_WR_RDMA_WRITE_WITH_IMM | op::IBV_WR_RDMA_READ
        ) {
            // SAFETY: the opcode says that this is the one in use.
            trace_remote(args, unsafe { request.wr.rdma.remote_addr });
        }
        if matches!(
            request.opcode,
            op::IBV_WR_SEND_WITH_IMM | op::IBV_WR_RDMA_WRITE_WITH_IMM
        ) {
            // SAFETY: the opcode says that this is the one in use.
            let imm = unsafe { request.imm_data_invalidated_rkey_union.imm_data };
            args.flags("imm_data", u64::from(u32::from_be(imm)));
        }
        wr = request.next;
    }
}

pub(super) unsafe extern "C" fn post_send(
    qp: *mut sys::ibv_qp,
    wr: *mut sys::ibv_send_wr,
    bad: *mut *mut sys::ibv_send_wr,
) -> c_int {
    let mut next = wr;
    let result = quick_call(
        "ibv_post_send",
        // SAFETY: the program's chain.
        |args| unsafe { trace_sends(args, qp, wr) },
        || {
            // SAFETY: a queue pair of the program.
            let found: &QpHandle = unsafe { handle(qp) }?;
            let mut posting = found.engine.posting();
            // SAFETY: the program's chain.
            while let Some(wr) = unsafe { next.as_ref() } {
                // SAFETY: as above.
                posting.add(unsafe { request(found, wr) }?)?;
                next = wr.next;
            }
            Ok(())
        },
    );
    if result.is_err() && !bad.is_null() {
        // SAFETY: the program's place.
        unsafe { bad.write(next) };
    }
    code(result)
}

/// # Safety
/// A request of the program.
unsafe fn receive(wr: &sys::ibv_recv_wr) -> Result<Receive> {
    Ok(Receive {
        wr_id: wr.wr_id,
        // SAFETY: the request's list.
        into: scatter(unsafe { list(wr.sg_list, wr.num_sge) }?),
    })
}

/// # Safety
/// A chain of requests.
unsafe fn trace_receives(args: &mut Args, mut wr: *const sys::ibv_recv_wr) {
    // SAFETY: the caller's promise.
    while let Some(request) = unsafe { wr.as_ref() } {
        // SAFETY: the request's list.
        let sges = unsafe { list(request.sg_list, request.num_sge) }.unwrap_or(&[]);
        args.wr_id(request.wr_id);
        // SAFETY: nothing of it is inline.
        unsafe { trace_data(args, sges, false) };
        wr = request.next;
    }
}

/// # Safety
/// A queue, a chain of requests for it, and a place for the one that fails.
unsafe fn post_receives<C: super::Object>(
    name: &'static str,
    queue: *const C,
    wr: *mut sys::ibv_recv_wr,
    bad: *mut *mut sys::ibv_recv_wr,
    post: impl Fn(Receive) -> Result<()>,
) -> c_int {
    let mut next = wr;
    let result = quick_call(
        name,
        // SAFETY: the caller's promise.
        |args| unsafe {
            object(args, queue);
            trace_receives(args, wr);
        },
        || {
            // SAFETY: the caller's promise.
            while let Some(wr) = unsafe { next.as_ref() } {
                // SAFETY: as above.
                post(unsafe { receive(wr) }?)?;
                next = wr.next;
            }
            Ok(())
        },
    );
    if result.is_err() && !bad.is_null() {
        // SAFETY: the caller's promise.
        unsafe { bad.write(next) };
    }
    code(result)
}

pub(super) unsafe extern "C" fn post_recv(
    qp: *mut sys::ibv_qp,
    wr: *mut sys::ibv_recv_wr,
    bad: *mut *mut sys::ibv_recv_wr,
) -> c_int {
    let post = |receive| {
        // SAFETY: a queue pair of the program.
        let found: &QpHandle = unsafe { handle(qp) }?;
        found.engine.post_receive(receive)
    };
    // SAFETY: the program's.
    unsafe { post_receives("ibv_post_recv", qp, wr, bad, post) }
}

pub(super) unsafe extern "C" fn post_srq_recv(
    srq: *mut sys::ibv_srq,
    wr: *mut sys::ibv_recv_wr,
    bad: *mut *mut sys::ibv_recv_wr,
) -> c_int {
    let post = |receive: Receive| {
        // SAFETY: a queue of the program.
        let found: &SrqHandle = unsafe { handle(srq) }?;
        if receive.into.ranges().len() > found.engine.max_sge as usize {
            return Err(libc::EINVAL);
        }
        found.engine.post(receive)
    };
    // SAFETY: the program's.
    unsafe { post_receives("ibv_post_srq_recv", srq, wr, bad, post) }
}

// --- Completions -------------------------------------------------------------------------------------

fn to_abi(completion: &Completion) -> sys::ibv_wc {
    // SAFETY: plain data.
    let mut wc: sys::ibv_wc = unsafe { zeroed() };
    wc.wr_id = completion.wr_id;
    wc.status = completion.status as sys::ibv_wc_status::Type;
    wc.qp_num = completion.qp_num;
    // Of a failed one nothing else is valid.
    if completion.status == Status::Success {
        wc.opcode = completion.opcode as sys::ibv_wc_opcode::Type;
        wc.byte_len = completion.byte_len;
        if completion.received {
            wc.wc_flags |= completion::GRH;
        }
        if let Some(imm) = completion.imm {
            wc.wc_flags |= completion::WITH_IMM;
            wc.imm_data_invalidated_rkey_union.imm_data = imm.to_be();
        }
    }
    wc
}

/// # Safety
/// `count` completions.
unsafe fn trace_completions(line: &mut Args, wc: *const sys::ibv_wc, count: usize) {
    for i in 0..count {
        // SAFETY: the caller's promise.
        let wc = unsafe { &*wc.add(i) };
        line.wr_id(wc.wr_id);
        line.one_of("status", u64::from(wc.status), names::WC_STATUS);
        if wc.status != 0 {
            continue;
        }
        line.one_of("opcode", u64::from(wc.opcode), names::WC_OPCODE);
        line.num("byte_len", wc.byte_len);
        if wc.wc_flags & completion::WITH_IMM != 0 {
            // SAFETY: the flag says that this is the one in use.
            let imm = unsafe { wc.imm_data_invalidated_rkey_union.imm_data };
            line.flags("imm_data", u64::from(u32::from_be(imm)));
        }
    }
}

pub(super) unsafe extern "C" fn poll_cq(
    cq: *mut sys::ibv_cq,
    most: c_int,
    wc: *mut sys::ibv_wc,
) -> c_int {
    let result = super::quick_poll(
        "ibv_poll_cq",
        // SAFETY: the program's.
        unsafe { shows(cq) },
        || {
            // SAFETY: a queue of the program.
            let found: &CqHandle = unsafe { handle(cq) }?;
            let most = usize::try_from(most).map_err(|_| libc::EINVAL)?;
            let mut to = wc;
            found.engine.poll(most, |completion| {
                // SAFETY: the program has room for `most`.
                unsafe {
                    to.write(to_abi(&completion));
                    to = to.add(1);
                }
            })
        },
        |&count, line| {
            // SAFETY: so many were written.
            unsafe { trace_completions(line, wc, count) };
            count > 0
        },
    );
    match result {
        Ok(count) => c_int::try_from(count).unwrap_or(c_int::MAX),
        Err(errno) => {
            set_errno(errno);
            -1
        }
    }
}

pub(super) unsafe extern "C" fn req_notify_cq(
    cq: *mut sys::ibv_cq,
    solicited_only: c_int,
) -> c_int {
    code(quick_call(
        "ibv_req_notify_cq",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, cq) };
            args.num("solicited_only", solicited_only);
        },
        || {
            // SAFETY: a queue of the program.
            let found: &CqHandle = unsafe { handle(cq) }?;
            found.engine.arm(solicited_only != 0);
            Ok(())
        },
    ))
}
