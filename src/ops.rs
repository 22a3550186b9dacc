// SPDX-License-Identifier: BSD-3-Clause

//! The operations of a connection: remote memory access, flush and messages. This is the hot path:
//! nothing here allocates, locks or formats, unless it fails.
//!
//! All of it is inlined into the C function, and fails with an [`OpError`], which fits into registers:
//! handing larger results from one function to the next would cost as much as the operation itself.

use std::ffi::c_int;

use crate::conn::Conn;
use crate::error::{OpError, OpResult, What};
use crate::flush::{Flush, READ_AFTER_WRITE_SIZE};
use crate::mr::{MrLocal, MrRemote, Usage};
use crate::verbs::{FlushKind, Immediate, Qp, Remote, Request, SendOp, Sge};

/// Bytes of an atomic write, and what its offset is a multiple of.
pub(crate) const ATOMIC_WRITE_SIZE: usize = 8;

/// The bit of `RPMA_F_COMPLETION_ALWAYS` that asks for a completion on success.
const COMPLETION_ON_SUCCESS: c_int = 1 << 1;

/// How an operation completes.
#[derive(Clone, Copy)]
pub(crate) struct Notify {
    signaled: bool,
    wr_id: u64,
}

impl Notify {
    #[inline(always)]
    pub(crate) fn new(flags: c_int, wr_id: u64) -> OpResult<Self> {
        if flags == 0 {
            return Err(OpError::invalid("no flag is set"));
        }
        Ok(Self {
            signaled: flags & COMPLETION_ON_SUCCESS != 0,
            wr_id,
        })
    }

    #[inline(always)]
    fn request(self, op: SendOp, local: Option<Sge>) -> Request {
        Request {
            op,
            local,
            signaled: self.signaled,
            fence: false,
            wr_id: self.wr_id,
        }
    }
}

/// The two ends of an operation: `len` bytes of the local region at its offset, and the place in
/// the remote one. No regions, no offsets and no length: an operation that moves nothing.
#[inline(always)]
fn ends(
    local: (Option<&MrLocal>, usize),
    remote: (Option<&MrRemote>, usize),
    len: usize,
) -> OpResult<(Option<Sge>, Remote)> {
    match (local, remote) {
        ((Some(local), offset), (Some(remote), remote_offset)) => {
            Ok((Some(local.sge(offset, len)?), remote.at(remote_offset)))
        }
        ((None, 0), (None, 0)) if len == 0 => Ok((None, Remote::default())),
        ((None, _), (None, _)) => Err(OpError::invalid(
            "an offset or length without memory regions",
        )),
        _ => Err(OpError::invalid(
            "one memory region is NULL and the other is not",
        )),
    }
}

/// `len` bytes of a region for a message, or nothing at all.
#[inline(always)]
fn message(mr: Option<&MrLocal>, offset: usize, len: usize) -> OpResult<Option<Sge>> {
    match mr {
        Some(mr) => Ok(Some(mr.sge(offset, len)?)),
        None if offset == 0 && len == 0 => Ok(None),
        None => Err(OpError::invalid(
            "an offset or length without a memory region",
        )),
    }
}

/// Posts a receive to a queue pair.
#[inline(always)]
pub(crate) fn recv(
    qp: &Qp,
    dst: Option<&MrLocal>,
    offset: usize,
    len: usize,
    wr_id: u64,
) -> OpResult<()> {
    Ok(qp.post_recv(message(dst, offset, len)?, wr_id)?)
}

impl crate::srq::Srq {
    #[inline(always)]
    pub(crate) fn recv(
        &self,
        dst: Option<&MrLocal>,
        offset: usize,
        len: usize,
        wr_id: u64,
    ) -> OpResult<()> {
        Ok(self.raw().post_recv(message(dst, offset, len)?, wr_id)?)
    }
}

impl Conn {
    #[inline(always)]
    pub(crate) fn read(
        &self,
        dst: (Option<&MrLocal>, usize),
        src: (Option<&MrRemote>, usize),
        len: usize,
        notify: Notify,
    ) -> OpResult<()> {
        let (into, from) = ends(dst, src, len)?;
        let request = notify.request(SendOp::Read(from), into);
        Ok(self.qp().post_send(&request)?)
    }

    #[inline(always)]
    pub(crate) fn write(
        &self,
        dst: (Option<&MrRemote>, usize),
        src: (Option<&MrLocal>, usize),
        len: usize,
        immediate: Immediate,
        notify: Notify,
    ) -> OpResult<()> {
        let (from, to) = ends(src, dst, len)?;
        let request = notify.request(SendOp::Write(to, immediate), from);
        Ok(self.qp().post_send(&request)?)
    }

    /// The atomic write of the releases before 1.0: 8 bytes of a registered region.
    #[inline(always)]
    pub(crate) fn write_atomic(
        &self,
        dst: &MrRemote,
        dst_offset: usize,
        src: &MrLocal,
        src_offset: usize,
        notify: Notify,
    ) -> OpResult<()> {
        let to = aligned(dst, dst_offset)?;
        let from = src.sge(src_offset, ATOMIC_WRITE_SIZE)?;
        let request = Request {
            fence: true,
            ..notify.request(SendOp::Write(to, None), Some(from))
        };
        Ok(self.qp().post_send(&request)?)
    }

    #[inline(always)]
    pub(crate) fn atomic_write(
        &self,
        dst: &MrRemote,
        dst_offset: usize,
        bytes: &[u8; ATOMIC_WRITE_SIZE],
        notify: Notify,
    ) -> OpResult<()> {
        let to = aligned(dst, dst_offset)?;
        let Notify { signaled, wr_id } = notify;
        let qp = self.qp();
        Ok(if qp.has_native_atomic_write() {
            qp.native_atomic_write(to, bytes, signaled, wr_id)
        } else {
            qp.post_inline_write(to, bytes, signaled, wr_id)
        }?)
    }

    #[inline(always)]
    pub(crate) fn flush(
        &self,
        dst: &MrRemote,
        offset: usize,
        len: usize,
        kind: FlushKind,
        notify: Notify,
    ) -> OpResult<()> {
        let needed = match kind {
            FlushKind::Persistent if !self.direct_write_to_pmem() => {
                return Err(cannot_flush(
                    "the remote peer has not declared direct write to PMem",
                ));
            }
            FlushKind::Persistent => Usage::FLUSH_PERSISTENT,
            FlushKind::Visibility => Usage::FLUSH_VISIBILITY,
        };
        if !dst.has_usage(needed) {
            return Err(cannot_flush(
                "the remote region is not registered for this type of flush",
            ));
        }
        let at = dst.at(offset);
        match self.flush_means() {
            Flush::Native => {
                let Notify { signaled, wr_id } = notify;
                // The request on the wire counts its bytes in 32 bits: providers cut what is longer.
                let length = u32::try_from(len).map_err(|_| OpError::new(What::TooLong(len)))?;
                Ok(self.qp().native_flush(at, length, kind, signaled, wr_id)?)
            }
            Flush::ReadAfterWrite { mr, .. } => {
                let into = mr.sge(0, READ_AFTER_WRITE_SIZE)?;
                let request = notify.request(SendOp::Read(at), Some(into));
                Ok(self.qp().post_send(&request)?)
            }
        }
    }

    #[inline(always)]
    pub(crate) fn send(
        &self,
        src: Option<&MrLocal>,
        offset: usize,
        len: usize,
        immediate: Immediate,
        notify: Notify,
    ) -> OpResult<()> {
        let from = message(src, offset, len)?;
        let request = notify.request(SendOp::Send(immediate), from);
        Ok(self.qp().post_send(&request)?)
    }

    #[inline(always)]
    pub(crate) fn recv(
        &self,
        dst: Option<&MrLocal>,
        offset: usize,
        len: usize,
        wr_id: u64,
    ) -> OpResult<()> {
        recv(self.qp(), dst, offset, len, wr_id)
    }
}

/// The place of an atomic write.
#[inline(always)]
fn aligned(dst: &MrRemote, offset: usize) -> OpResult<Remote> {
    if offset.is_multiple_of(ATOMIC_WRITE_SIZE) {
        Ok(dst.at(offset))
    } else {
        Err(OpError::invalid("dst_offset is not a multiple of 8"))
    }
}

#[cold]
#[track_caller]
fn cannot_flush(why: &'static str) -> OpError {
    OpError::new(What::NoFlush(why))
}
