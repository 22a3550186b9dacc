// SPDX-License-Identifier: BSD-3-Clause

//! Completions in the form of releases 0.9 to 0.11, which did not return `struct ibv_wc`.

use std::ffi::CStr;

use crate::cq::{Cq, no_completion, poll_error};
use crate::error::{Code, Error, Failure, Result};
use crate::log::log;
use crate::verbs::{CompletedOp, Immediate, WorkCompletion, status_text};

/// The operations of `enum rpma_op`, without the flush: in the releases with this interface, every flush was
/// emulated by a read and completed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Op {
    Read = 0,
    Write = 1,
    Send = 3,
    Recv = 4,
    RecvRdmaWithImm = 5,
}

/// A completion. Context and status are always valid.
pub(crate) struct Completion(WorkCompletion);

/// The fields that are valid only if the operation succeeded.
pub(crate) struct Details {
    pub(crate) op: Op,
    pub(crate) byte_len: u32,
    pub(crate) flags: u32,
    pub(crate) immediate: Immediate,
}

impl Completion {
    /// Takes one completion from the queue.
    pub(crate) fn get(function: &'static CStr, cq: &Cq) -> Result<Self> {
        let (got, wc) = cq.verbs_cq().poll_one();
        match got {
            0 => {
                no_completion(function);
                return Err(Error::silent(Code::NoCompletion));
            }
            1 => {}
            _ => return Err(poll_error(got, 1)),
        }
        if !wc.is_success() {
            log!(
                Warning,
                function,
                "operation {:#x} failed: {}",
                wc.wr_id(),
                status_text(wc.status())
            );
        }
        Ok(Self(wc))
    }

    pub(crate) fn op_context(&self) -> u64 {
        self.0.wr_id()
    }

    pub(crate) fn status(&self) -> u32 {
        self.0.status()
    }

    /// The fields of an operation that succeeded; `None` if it failed.
    pub(crate) fn details(&self) -> Result<Option<Details>> {
        if !self.0.is_success() {
            return Ok(None);
        }
        let op = match self.0.op() {
            CompletedOp::Read => Op::Read,
            CompletedOp::Write => Op::Write,
            CompletedOp::Send => Op::Send,
            CompletedOp::Recv => Op::Recv,
            CompletedOp::RecvRdmaWithImm => Op::RecvRdmaWithImm,
            CompletedOp::Other(opcode) => {
                return Err(Error::new(Failure::UnknownOpcode(opcode)));
            }
        };
        Ok(Some(Details {
            op,
            byte_len: self.0.byte_len(),
            flags: self.0.flags(),
            immediate: self.0.immediate(),
        }))
    }
}
