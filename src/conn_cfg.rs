// SPDX-License-Identifier: BSD-3-Clause

//! The configuration of a connection.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crate::error::{Error, Result};
use crate::srq::Srq;
use crate::utils::DEFAULT_TIMEOUT_MS;

const DEFAULT_QUEUE_SIZE: u32 = 10;

// Every field is atomic, because several threads may set and get settings at the same time.
/// The configuration of a connection
pub struct ConnCfg {
    pub(crate) timeout_ms: AtomicI32,
    pub(crate) cq_size: AtomicU32,
    pub(crate) rcq_size: AtomicU32,
    pub(crate) sq_size: AtomicU32,
    pub(crate) rq_size: AtomicU32,
    pub(crate) shared_channel: AtomicBool,
    /// The C program's shared receive queue, or NULL.
    srq: AtomicPtr<Srq>,
}

impl ConnCfg {
    pub(crate) const fn new() -> Self {
        Self {
            timeout_ms: AtomicI32::new(DEFAULT_TIMEOUT_MS),
            cq_size: AtomicU32::new(DEFAULT_QUEUE_SIZE),
            rcq_size: AtomicU32::new(0),
            sq_size: AtomicU32::new(DEFAULT_QUEUE_SIZE),
            rq_size: AtomicU32::new(DEFAULT_QUEUE_SIZE),
            shared_channel: AtomicBool::new(false),
            srq: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// A copy of the current settings, with the queue that [`ConnCfg::srq`] points to.
    #[inline]
    pub(crate) fn settings<'a>(&self, srq: Option<&'a Srq>) -> Settings<'a> {
        Settings {
            cq_size: self.cq_size.load(Ordering::Relaxed),
            rcq_size: self.rcq_size.load(Ordering::Relaxed),
            sq_size: self.sq_size.load(Ordering::Relaxed),
            rq_size: self.rq_size.load(Ordering::Relaxed),
            shared_channel: self.shared_channel.load(Ordering::Relaxed),
            srq,
        }
    }

    /// The store releases and the load acquires, because the thread that loads the pointer uses the queue, which
    /// another thread may have made.
    pub(crate) fn set_srq(&self, srq: *mut Srq) {
        self.srq.store(srq, Ordering::Release);
    }

    /// The C program's shared receive queue, or NULL.
    pub(crate) fn srq(&self) -> *mut Srq {
        self.srq.load(Ordering::Acquire)
    }

    pub(crate) fn set_timeout_ms(&self, timeout_ms: c_int) -> Result<()> {
        if timeout_ms < 0 {
            return Err(Error::invalid("timeout_ms is negative"));
        }
        self.timeout_ms.store(timeout_ms, Ordering::Relaxed);
        Ok(())
    }
}

/// The settings that the queues of a connection are made with.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) cq_size: u32,
    /// 0 means no receive CQ.
    pub(crate) rcq_size: u32,
    pub(crate) sq_size: u32,
    pub(crate) rq_size: u32,
    pub(crate) shared_channel: bool,
    pub(crate) srq: Option<&'a Srq>,
}
