// SPDX-License-Identifier: BSD-3-Clause

//! The operations of a connection: remote memory access, flush and messages. This is the data path: nothing here
//! allocates, locks or formats, unless it fails.
//!
//! Each operation has two functions. `post_…` posts the request without checks: the C edge calls it directly if
//! all pointers are set and the length is valid. The other function checks every argument, reports a wrong one,
//! and supports the special cases, such as a write of 0 bytes without memory regions.

use std::ffi::c_int;

use crate::conn::Conn;
use crate::error::{Error, Failure, Result};
use crate::flush::FlushMethod;
use crate::mr::{self, MrLocal, MrRemote};
use crate::mr_usage::Usage;
use crate::verbs::{FlushKind, Immediate, Notify, PostError, Posted, Remote, SendOp, Sge};

/// The number of bytes of an atomic write, and the alignment of its offset.
pub(crate) const ATOMIC_WRITE_SIZE: usize = 8;
const ATOMIC_WRITE_LENGTH: u32 = ATOMIC_WRITE_SIZE as u32;

/// The bit of `RPMA_F_COMPLETION_ALWAYS` that asks for a completion on success.
pub(crate) const COMPLETION_ON_SUCCESS: c_int = 1 << 1;

const POST_SEND: &str = "ibv_post_send";

/// How an operation completes, from the flags and the context of C.
#[inline(always)]
pub(crate) fn notify(flags: c_int, wr_id: u64) -> Notify {
    Notify {
        signaled: flags & COMPLETION_ON_SUCCESS != 0,
        wr_id,
    }
}

/// The same, with a check of the flags.
pub(crate) fn checked_notify(flags: c_int, wr_id: u64) -> Result<Notify> {
    match flags {
        0 => Err(Error::invalid("no flag is set")),
        flags => Ok(notify(flags, wr_id)),
    }
}

/// The local bytes and the remote address of an operation: `len` bytes of the local region at its offset, and the
/// offset in the remote region. Without regions, offsets and length, the operation moves 0 bytes.
fn local_and_remote(
    local: (Option<&MrLocal>, usize),
    remote: (Option<&MrRemote>, usize),
    len: usize,
) -> Result<(Option<Sge>, Remote)> {
    match (local, remote) {
        ((Some(local), offset), (Some(remote), remote_offset)) => Ok((
            Some(local.sge(offset, mr::length(len)?)),
            remote.at(remote_offset),
        )),
        ((None, 0), (None, 0)) if len == 0 => Ok((None, Remote::default())),
        ((None, _), (None, _)) => Err(Error::invalid("an offset or length without memory regions")),
        _ => Err(Error::invalid(
            "one memory region is NULL and the other is not",
        )),
    }
}

#[cold]
#[track_caller]
fn not_posted(failed: PostError) -> Error {
    failed.of(POST_SEND).into()
}

impl Conn {
    #[inline(always)]
    pub(crate) fn post_read(&self, dst: Option<&Sge>, src: Remote, notify: Notify) -> Posted {
        self.qp().post_send(SendOp::Read(src), dst, notify)
    }

    pub(crate) fn read(
        &self,
        dst: (Option<&MrLocal>, usize),
        src: (Option<&MrRemote>, usize),
        len: usize,
        notify: Notify,
    ) -> Result<()> {
        let (into, from) = local_and_remote(dst, src, len)?;
        self.post_read(into.as_ref(), from, notify)
            .map_err(not_posted)
    }

    #[inline(always)]
    pub(crate) fn post_write(
        &self,
        dst: Remote,
        src: Option<&Sge>,
        immediate: Immediate,
        notify: Notify,
    ) -> Posted {
        self.qp()
            .post_send(SendOp::Write(dst, immediate), src, notify)
    }

    pub(crate) fn write(
        &self,
        dst: (Option<&MrRemote>, usize),
        src: (Option<&MrLocal>, usize),
        len: usize,
        immediate: Immediate,
        notify: Notify,
    ) -> Result<()> {
        let (from, to) = local_and_remote(src, dst, len)?;
        self.post_write(to, from.as_ref(), immediate, notify)
            .map_err(not_posted)
    }

    /// The atomic write of the releases before 1.0: 8 bytes of a registered region.
    pub(crate) fn write_atomic(
        &self,
        dst: &MrRemote,
        dst_offset: usize,
        src: &MrLocal,
        src_offset: usize,
        notify: Notify,
    ) -> Result<()> {
        let to = aligned(dst, dst_offset)?;
        let from = src.sge(src_offset, ATOMIC_WRITE_LENGTH);
        self.qp()
            .post_send_fenced(SendOp::Write(to, None), &from, notify)
            .map_err(not_posted)
    }

    /// Whether the atomic write is emulated, with [`Conn::post_atomic_write`].
    #[inline(always)]
    pub(crate) fn emulates_atomic_write(&self) -> bool {
        !self.qp().has_native_atomic_write()
    }

    /// The emulated atomic write.
    #[inline(always)]
    pub(crate) fn post_atomic_write(
        &self,
        dst: Remote,
        bytes: &[u8; ATOMIC_WRITE_SIZE],
        notify: Notify,
    ) -> Posted {
        self.qp().post_inline_write(dst, bytes, notify)
    }

    pub(crate) fn atomic_write(
        &self,
        dst: &MrRemote,
        dst_offset: usize,
        bytes: &[u8; ATOMIC_WRITE_SIZE],
        notify: Notify,
    ) -> Result<()> {
        let to = aligned(dst, dst_offset)?;
        if self.emulates_atomic_write() {
            return self
                .post_atomic_write(to, bytes, notify)
                .map_err(not_posted);
        }
        self.qp()
            .native_atomic_write(to, bytes, notify)
            .map_err(|failed| failed.of("ibv_wr_atomic_write").into())
    }

    /// The emulated flush: a read at the flushed offset into the buffer `into`.
    #[inline(always)]
    pub(crate) fn post_flush(&self, at: Remote, into: &Sge, notify: Notify) -> Posted {
        self.qp().post_send(SendOp::Read(at), Some(into), notify)
    }

    /// The usage that a region needs for this kind of flush; `None` if the peer configuration of the remote side
    /// does not allow it.
    #[inline(always)]
    pub(crate) fn usage_for_flush(&self, kind: FlushKind) -> Option<Usage> {
        match kind {
            FlushKind::Visibility => Some(Usage::FLUSH_VISIBILITY),
            FlushKind::Persistent if self.direct_write_to_pmem() => Some(Usage::FLUSH_PERSISTENT),
            FlushKind::Persistent => None,
        }
    }

    pub(crate) fn flush(
        &self,
        dst: &MrRemote,
        offset: usize,
        len: usize,
        kind: FlushKind,
        notify: Notify,
    ) -> Result<()> {
        let Some(needed) = self.usage_for_flush(kind) else {
            return Err(Error::new(Failure::NoFlush(
                "the remote peer has not declared direct write to PMem",
            )));
        };
        if !dst.has_usage(needed) {
            return Err(Error::new(Failure::NoFlush(
                "the remote region is not registered for this type of flush",
            )));
        }
        let at = dst.at(offset);
        match self.flush_method() {
            FlushMethod::ReadAfterWrite { into, .. } => {
                self.post_flush(at, into, notify).map_err(not_posted)
            }
            FlushMethod::Native => {
                // The request on the wire has a length of 32 bits, and providers truncate a longer one.
                let length = mr::length(len)?;
                self.qp()
                    .native_flush(at, length, kind, notify)
                    .map_err(|failed| failed.of("ibv_wr_flush").into())
            }
        }
    }

    #[inline(always)]
    pub(crate) fn post_message(
        &self,
        src: Option<&Sge>,
        immediate: Immediate,
        notify: Notify,
    ) -> Posted {
        self.qp().post_send(SendOp::Send(immediate), src, notify)
    }

    pub(crate) fn send(
        &self,
        src: Option<&MrLocal>,
        offset: usize,
        len: usize,
        immediate: Immediate,
        notify: Notify,
    ) -> Result<()> {
        let from = mr::message(src, offset, len)?;
        self.post_message(from.as_ref(), immediate, notify)
            .map_err(not_posted)
    }

    #[inline(always)]
    pub(crate) fn post_recv(&self, dst: Option<&Sge>, wr_id: u64) -> Posted {
        self.qp().post_recv(dst, wr_id)
    }

    pub(crate) fn recv(
        &self,
        dst: Option<&MrLocal>,
        offset: usize,
        len: usize,
        wr_id: u64,
    ) -> Result<()> {
        let into = mr::message(dst, offset, len)?;
        self.post_recv(into.as_ref(), wr_id)
            .map_err(|failed| failed.of("ibv_post_recv").into())
    }
}

#[inline(always)]
pub(crate) fn is_aligned(offset: usize) -> bool {
    offset % ATOMIC_WRITE_SIZE == 0
}

/// The remote address of an atomic write, if its offset is aligned.
fn aligned(dst: &MrRemote, offset: usize) -> Result<Remote> {
    if is_aligned(offset) {
        Ok(dst.at(offset))
    } else {
        Err(Error::invalid("dst_offset is not a multiple of 8"))
    }
}
