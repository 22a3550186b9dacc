// SPDX-License-Identifier: BSD-3-Clause

//! The extended interface of queue pairs: a request is built by calls, between start and complete.

use std::ffi::{c_int, c_void};

use rdma_sys as sys;

use super::data;
use super::flags::{send, send_ops};
use super::qp::{self, QpHandle};
use super::unsupported::{self, not_there};
use super::{code, handle, object, quick_call, shows};
use crate::Result;
use crate::instrument::{self, names};
use crate::types::region::Range;
use crate::types::work::{Data, InChunks, Operation, Progress, Request, Scatter};

/// The struct of the headers, and room for what newer headers have behind it.
#[repr(C)]
pub(super) struct Functions {
    pub(super) known: sys::ibv_qp_ex,
    more: [usize; 8],
}

/// What was built since `ibv_wr_start`.
#[derive(Default)]
pub(super) struct Batch {
    requests: Vec<Request>,
    failed: Option<crate::Errno>,
}

/// Whether the device has these operations.
pub(super) fn check(wanted: u64) -> Result<()> {
    let caps = qp::caps();
    let mut has = send_ops::ALWAYS;
    if caps.atomic_write {
        has |= send_ops::ATOMIC_WRITE;
    }
    if caps.flush {
        has |= send_ops::FLUSH;
    }
    if wanted & !has == 0 {
        Ok(())
    } else if wanted & !(send_ops::ALWAYS | send_ops::ATOMIC_WRITE | send_ops::FLUSH) != 0 {
        Err(not_there("work requests of this opcode"))
    } else {
        if wanted & send_ops::ATOMIC_WRITE & !has != 0 {
            unsupported::say_disabled("IBV_QP_EX_WITH_ATOMIC_WRITE", "atomic-write");
        }
        if wanted & send_ops::FLUSH & !has != 0 {
            unsupported::say_disabled("IBV_QP_EX_WITH_FLUSH", "flush");
        }
        Err(libc::EOPNOTSUPP)
    }
}

pub(super) fn fill(to: &mut Functions, wanted: u64) {
    let qp = &mut to.known;
    qp.wr_start = Some(wr_start);
    qp.wr_complete = Some(wr_complete);
    qp.wr_abort = Some(wr_abort);
    qp.wr_set_sge = Some(wr_set_sge);
    qp.wr_set_sge_list = Some(wr_set_sge_list);
    qp.wr_set_inline_data = Some(wr_set_inline_data);
    qp.wr_set_inline_data_list = Some(wr_set_inline_data_list);
    let has = |op| wanted & op != 0;
    if has(send_ops::SEND) {
        qp.wr_send = Some(wr_send);
    }
    if has(send_ops::SEND_WITH_IMM) {
        qp.wr_send_imm = Some(wr_send_imm);
    }
    if has(send_ops::RDMA_WRITE) {
        qp.wr_rdma_write = Some(wr_rdma_write);
    }
    if has(send_ops::RDMA_WRITE_WITH_IMM) {
        qp.wr_rdma_write_imm = Some(wr_rdma_write_imm);
    }
    if has(send_ops::RDMA_READ) {
        qp.wr_rdma_read = Some(wr_rdma_read);
    }
    if has(send_ops::ATOMIC_WRITE) {
        qp.wr_atomic_write = Some(wr_atomic_write);
    }
    if has(send_ops::FLUSH) {
        qp.wr_flush = Some(wr_flush);
    }
}

/// The queue pair of an extended one.
///
/// # Safety
/// A queue pair of the program.
unsafe fn of<'a>(qp: *mut sys::ibv_qp_ex) -> Option<&'a QpHandle> {
    // SAFETY: the caller's promise.
    unsafe { handle(qp) }.ok()
}

unsafe extern "C" fn wr_start(qp: *mut sys::ibv_qp_ex) {
    // SAFETY: the program's.
    let Some(found) = (unsafe { of(qp) }) else {
        return;
    };
    // Held until complete or abort: other threads wait.
    let mut batch = found.batch.lock();
    batch.requests.clear();
    batch.failed = None;
    std::mem::forget(batch);
}

/// # Safety
/// Between start and complete, on the thread that started.
unsafe fn batch<'a>(qp: *mut sys::ibv_qp_ex) -> Option<(&'a QpHandle, &'a mut Batch)> {
    // SAFETY: the caller's promise: the lock is held.
    unsafe {
        let found = of(qp)?;
        Some((found, &mut *found.batch.data_ptr()))
    }
}

unsafe fn add(
    name: &'static str,
    qp: *mut sys::ibv_qp_ex,
    operation: Operation,
    imm: Option<u32>,
    data: Data,
) {
    // SAFETY: between start and complete.
    let Some((_, batch)) = (unsafe { batch(qp) }) else {
        return;
    };
    // SAFETY: the program's struct, which it has set for this request.
    let (wr_id, flags) = unsafe { ((*qp).wr_id, (*qp).wr_flags) };
    let _ = quick_call(
        name,
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, qp.cast::<sys::ibv_qp>()) };
            args.wr_id(wr_id);
            args.bits("wr_flags", u64::from(flags), names::SEND_FLAGS);
            if let Some(addr) = remote_addr(operation) {
                data::trace_remote(args, addr);
            }
            if let Some(imm) = imm {
                args.flags("imm_data", u64::from(imm));
            }
            if let Operation::Flush {
                at,
                placement,
                whole_region,
            } = operation
            {
                args.num("length", at.length);
                args.bits("type", u64::from(placement), names::FLUSH_PLACEMENT);
                args.one_of("level", u64::from(whole_region), names::FLUSH_SELECTIVITY);
            }
        },
        || {
            batch.requests.push(Request {
                wr_id,
                operation,
                data,
                imm,
                signaled: flags & send::SIGNALED != 0,
                solicited: flags & send::SOLICITED != 0,
                fence: flags & send::FENCE != 0,
                placed: false,
                chunks: InChunks::default(),
                progress: Progress::Waiting,
            });
            Ok(())
        },
    );
}

fn remote_addr(operation: Operation) -> Option<u64> {
    match operation {
        Operation::Write { to } | Operation::AtomicWrite { to } => Some(to.addr),
        Operation::Read { from } => Some(from.addr),
        Operation::Flush { at, .. } => Some(at.addr),
        Operation::Send => None,
    }
}

fn remote(rkey: u32, addr: u64) -> Range {
    Range {
        addr,
        length: 0,
        key: rkey,
    }
}

const NO_DATA: Data = Data::Memory(Scatter::None);

unsafe extern "C" fn wr_send(qp: *mut sys::ibv_qp_ex) {
    // SAFETY: the program's, started.
    unsafe { add("ibv_wr_send", qp, Operation::Send, None, NO_DATA) };
}

unsafe extern "C" fn wr_send_imm(qp: *mut sys::ibv_qp_ex, imm: u32) {
    let imm = Some(u32::from_be(imm));
    // SAFETY: the program's, started.
    unsafe { add("ibv_wr_send_imm", qp, Operation::Send, imm, NO_DATA) };
}

unsafe extern "C" fn wr_rdma_write(qp: *mut sys::ibv_qp_ex, rkey: u32, addr: u64) {
    let to = remote(rkey, addr);
    // SAFETY: the program's, started.
    unsafe {
        add(
            "ibv_wr_rdma_write",
            qp,
            Operation::Write { to },
            None,
            NO_DATA,
        )
    };
}

unsafe extern "C" fn wr_rdma_write_imm(qp: *mut sys::ibv_qp_ex, rkey: u32, addr: u64, imm: u32) {
    let to = remote(rkey, addr);
    let imm = Some(u32::from_be(imm));
    // SAFETY: the program's, started.
    unsafe {
        add(
            "ibv_wr_rdma_write_imm",
            qp,
            Operation::Write { to },
            imm,
            NO_DATA,
        )
    };
}

unsafe extern "C" fn wr_rdma_read(qp: *mut sys::ibv_qp_ex, rkey: u32, addr: u64) {
    let from = remote(rkey, addr);
    // SAFETY: the program's, started.
    unsafe {
        add(
            "ibv_wr_rdma_read",
            qp,
            Operation::Read { from },
            None,
            NO_DATA,
        )
    };
}

unsafe extern "C" fn wr_atomic_write(
    qp: *mut sys::ibv_qp_ex,
    rkey: u32,
    addr: u64,
    bytes: *const c_void,
) {
    let to = remote(rkey, addr);
    // SAFETY: eight bytes of the program.
    let bytes = unsafe { bytes.cast::<[u8; 8]>().read_unaligned() };
    let data = Data::Inline(Box::new(bytes));
    // SAFETY: the program's, started.
    unsafe {
        add(
            "ibv_wr_atomic_write",
            qp,
            Operation::AtomicWrite { to },
            None,
            data,
        );
    }
}

unsafe extern "C" fn wr_flush(
    qp: *mut sys::ibv_qp_ex,
    rkey: u32,
    addr: u64,
    length: usize,
    placement: u8,
    selectivity: u8,
) {
    let whole_region = selectivity != 0;
    let length = if whole_region { 0 } else { length };
    let operation = Operation::Flush {
        at: Range {
            addr,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            key: rkey,
        },
        placement,
        whole_region,
    };
    // SAFETY: the program's, started.
    unsafe { add("ibv_wr_flush", qp, operation, None, NO_DATA) };
}

/// Whether a request can have such data: that of some stands in the call that adds them.
fn takes(operation: Operation, data: &Data) -> bool {
    match operation {
        Operation::Send | Operation::Write { .. } => true,
        Operation::Read { .. } => matches!(data, Data::Memory(_)),
        Operation::AtomicWrite { .. } | Operation::Flush { .. } => false,
    }
}

/// Sets the data of the request that was added last.
unsafe fn set_data(qp: *mut sys::ibv_qp_ex, data: impl FnOnce(&QpHandle) -> Result<Data>) {
    // SAFETY: between start and complete.
    let Some((found, batch)) = (unsafe { batch(qp) }) else {
        return;
    };
    match (data(found), batch.requests.last_mut()) {
        (Ok(data), Some(request)) if takes(request.operation, &data) => request.data = data,
        (Err(errno), _) => batch.failed = Some(errno),
        (Ok(_), _) => batch.failed = Some(libc::EINVAL),
    }
}

unsafe extern "C" fn wr_set_sge(qp: *mut sys::ibv_qp_ex, lkey: u32, addr: u64, length: u32) {
    let range = Range {
        addr,
        length,
        key: lkey,
    };
    // SAFETY: the program's, started.
    unsafe { set_data(qp, |_| Ok(Data::Memory(Scatter::One(range)))) };
}

unsafe extern "C" fn wr_set_sge_list(
    qp: *mut sys::ibv_qp_ex,
    count: usize,
    list: *const sys::ibv_sge,
) {
    // SAFETY: the program's list, and the queue pair is started.
    unsafe {
        set_data(qp, |_| {
            if count == 0 {
                return Ok(NO_DATA);
            }
            if list.is_null() || count > crate::types::limits::MAX_SGE as usize {
                return Err(libc::EINVAL);
            }
            let sges = std::slice::from_raw_parts(list, count);
            Ok(Data::Memory(data::scatter(sges)))
        });
    }
}

unsafe extern "C" fn wr_set_inline_data(qp: *mut sys::ibv_qp_ex, addr: *mut c_void, length: usize) {
    let one = std::iter::once((addr.expose_provenance() as u64, length));
    // SAFETY: the program's memory, and the queue pair is started.
    unsafe {
        set_data(qp, |found| {
            data::take_inline(one, found.engine.setup.caps.max_inline)
        });
    }
}

unsafe extern "C" fn wr_set_inline_data_list(
    qp: *mut sys::ibv_qp_ex,
    count: usize,
    list: *const sys::ibv_data_buf,
) {
    // SAFETY: the program's list and memory, and the queue pair is started.
    unsafe {
        set_data(qp, |found| {
            if count == 0 {
                return Ok(NO_DATA);
            }
            if list.is_null() {
                return Err(libc::EINVAL);
            }
            let parts = std::slice::from_raw_parts(list, count)
                .iter()
                .map(|part| (part.addr.expose_provenance() as u64, part.length));
            data::take_inline(parts, found.engine.setup.caps.max_inline)
        });
    }
}

unsafe extern "C" fn wr_complete(qp: *mut sys::ibv_qp_ex) -> c_int {
    // SAFETY: between start and complete.
    let Some((found, batch)) = (unsafe { batch(qp) }) else {
        return code(Err(libc::EINVAL));
    };
    let requests = std::mem::take(&mut batch.requests);
    let failed = batch.failed.take();
    // SAFETY: start has locked it, on this thread.
    unsafe { found.batch.force_unlock() };
    code(quick_call(
        "ibv_wr_complete",
        |args| {
            // SAFETY: the program's.
            unsafe { object(args, qp.cast::<sys::ibv_qp>()) };
            for request in &requests {
                args.num("length", request.data.length());
                match &request.data {
                    Data::Inline(bytes) => args.bytes("data", bytes),
                    Data::Memory(scatter) => {
                        for range in scatter.ranges() {
                            data::trace_place(args, range);
                        }
                    }
                }
            }
        },
        || {
            if let Some(errno) = failed {
                return Err(errno);
            }
            found.engine.posting().add_all(&requests)
        },
    ))
}

unsafe extern "C" fn wr_abort(qp: *mut sys::ibv_qp_ex) {
    let _ = instrument::call(
        "ibv_wr_abort",
        // SAFETY: the program's.
        unsafe { shows(qp.cast::<sys::ibv_qp>()) },
        || {
            // SAFETY: between start and abort.
            if let Some((found, batch)) = unsafe { batch(qp) } {
                batch.requests.clear();
                // SAFETY: start has locked it, on this thread.
                unsafe { found.batch.force_unlock() };
            }
            Ok(())
        },
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::super::{hand_out, take_back, zeroed};
    use super::*;
    use crate::objects::context::Context;
    use crate::objects::cq::Cq;
    use crate::objects::pd::Pd;
    use crate::qp::{Caps, Qp, Setup, State};

    /// What a batch of calls returns, and how many requests are in the queue afterwards.
    fn built(build: impl FnOnce(*mut sys::ibv_qp_ex)) -> Result<(c_int, usize)> {
        let context = Context::new()?;
        let cq = Cq::new(&context, 16, None)?;
        let caps = Caps {
            max_send_wr: 3,
            max_send_sge: 1,
            max_inline: 16,
            ..Caps::default()
        };
        let engine = Qp::new(
            Setup {
                pd: Some(Pd::new(&context)),
                send_cq: Some(Arc::clone(&cq)),
                caps,
                ..Setup::default()
            },
            State::ReadyToSend,
        )?;
        // SAFETY: function pointers, of which none is one.
        let mut abi: Functions = unsafe { zeroed() };
        fill(
            &mut abi,
            send_ops::ALWAYS | send_ops::ATOMIC_WRITE | send_ops::FLUSH,
        );
        let qp: *mut sys::ibv_qp_ex = hand_out(
            QpHandle {
                abi,
                engine: Arc::clone(&engine),
                is_extended: true,
                batch: Mutex::new(Batch::default()),
            },
            |_| None,
        )
        .cast();
        // SAFETY: just made.
        let code = unsafe {
            wr_start(qp);
            build(qp);
            wr_complete(qp)
        };
        engine.modify(State::Error)?;
        let mut flushed = 0;
        cq.poll(16, |_| flushed += 1)?;
        engine.release();
        // SAFETY: nobody uses it any more.
        unsafe { take_back::<_, QpHandle>(qp) };
        Ok((code, flushed))
    }

    #[test]
    fn a_batch_is_posted_as_a_whole() -> Result<()> {
        // SAFETY: started, as in all of these.
        let both = built(|qp| unsafe {
            wr_rdma_write(qp, 1, 0);
            wr_set_sge(qp, 1, 0, 8);
            wr_send(qp);
        })?;
        assert_eq!(both, (0, 2));
        Ok(())
    }

    #[test]
    fn a_batch_with_a_bad_call_posts_nothing() -> Result<()> {
        let bytes = [0u8; 17];
        let inline = bytes.as_ptr().cast_mut().cast();
        let bad: [(&str, &dyn Fn(*mut sys::ibv_qp_ex)); 6] = [
            // SAFETY: as above.
            ("data of no request", &|qp| unsafe {
                wr_set_sge(qp, 1, 0, 8);
                wr_send(qp);
            }),
            // SAFETY: as above.
            ("too much inline", &|qp| unsafe {
                wr_send(qp);
                wr_send(qp);
                wr_set_inline_data(qp, inline, 17);
                wr_send(qp);
            }),
            // SAFETY: as above.
            ("too many ranges", &|qp| unsafe {
                let sges = [zeroed::<sys::ibv_sge>(), zeroed::<sys::ibv_sge>()];
                wr_send(qp);
                wr_send(qp);
                wr_set_sge_list(qp, 2, sges.as_ptr());
            }),
            // SAFETY: as above.
            ("a read of inline data", &|qp| unsafe {
                wr_send(qp);
                wr_rdma_read(qp, 1, 0);
                wr_set_inline_data(qp, inline, 8);
            }),
            // SAFETY: as above.
            ("data of an atomic write", &|qp| unsafe {
                wr_atomic_write(qp, 1, 0, inline);
                wr_set_sge(qp, 1, 0, 16);
            }),
            // SAFETY: as above.
            ("data of a flush", &|qp| unsafe {
                wr_flush(qp, 1, 0, 8, 1, 0);
                wr_set_sge(qp, 1, 0, 16);
            }),
        ];
        for (what, build) in bad {
            assert_eq!(built(build)?, (libc::EINVAL, 0), "{what}");
        }
        let full = built(|qp| {
            for _ in 0..4 {
                // SAFETY: as above.
                unsafe { wr_send(qp) };
            }
        })?;
        assert_eq!(full, (libc::ENOMEM, 0));
        Ok(())
    }
}
