// SPDX-License-Identifier: BSD-3-Clause

//! Shared receive queues.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use crate::Result;
use crate::instrument;
use crate::io;
use crate::objects::channel::Unacknowledged;
use crate::objects::context::{AsyncEvent, AsyncKind, EventSource};
use crate::objects::pd::Pd;
use crate::objects::strict;
use crate::objects::users::Users;
use crate::os::held::Locks;
use crate::types::limits;
use crate::types::work::Receive;

/// A queue pair with a message that has found no receive.
pub(crate) trait ReceiveWaiter: Send + Sync {
    fn receive_posted(&self);
}

#[derive(Debug)]
pub(crate) struct Srq {
    pub(crate) pd: Arc<Pd>,
    pub(crate) handle: AtomicUsize,
    pub(crate) users: Users,
    pub(crate) unacknowledged: Unacknowledged,
    pub(crate) max_sge: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    receives: VecDeque<Receive>,
    size: u32,
    /// An event is wanted when fewer are left; 0 for none.
    limit: u32,
    waiting: Vec<Weak<dyn ReceiveWaiter>>,
}

impl Srq {
    pub(crate) fn new(pd: &Arc<Pd>, size: u32, max_sge: u32, limit: u32) -> Result<Arc<Self>> {
        if size == 0 || size > limits::MAX_SRQ_WR || max_sge > limits::MAX_SRQ_SGE || limit > size {
            return Err(libc::EINVAL);
        }
        pd.users.add();
        Ok(Arc::new(Self {
            pd: Arc::clone(pd),
            handle: AtomicUsize::new(0),
            users: Users::default(),
            unacknowledged: Unacknowledged::default(),
            max_sge,
            inner: Mutex::new(Inner {
                receives: VecDeque::new(),
                size,
                limit,
                waiting: Vec::new(),
            }),
        }))
    }

    /// Before a fork.
    pub(crate) fn hold(self: &Arc<Self>, locks: &mut Locks) -> bool {
        locks.hold(self, |srq| &srq.inner)
    }

    pub(crate) fn destroy(self: &Arc<Self>) -> Result<()> {
        self.users.refuse_if_any()?;
        if instrument::strict::is_on() {
            for receive in &self.inner.lock().receives {
                strict::receive_withdrawn(receive);
            }
        }
        self.pd
            .context
            .events
            .withdraw(|event| event.is_of(self.as_ref()));
        self.unacknowledged.wait_for_none(format_args!(
            "SRQ {:#x}",
            self.handle.load(Ordering::Relaxed)
        ));
        self.pd.users.remove();
        Ok(())
    }

    pub(crate) fn size(&self) -> u32 {
        self.inner.lock().size
    }

    pub(crate) fn limit(&self) -> u32 {
        self.inner.lock().limit
    }

    pub(crate) fn set_limit(&self, limit: u32) -> Result<()> {
        let mut inner = self.inner.lock();
        if limit > inner.size {
            return Err(libc::EINVAL);
        }
        inner.limit = limit;
        Ok(())
    }

    pub(crate) fn resize(&self, size: u32) -> Result<()> {
        let mut inner = self.inner.lock();
        if size == 0
            || size > limits::MAX_SRQ_WR
            || size < inner.limit
            || limits::queue_room(size) < inner.receives.len()
        {
            return Err(libc::EINVAL);
        }
        inner.size = size;
        Ok(())
    }

    /// Posts a receive, and lets a message that waits for one go on.
    pub(crate) fn post(&self, receive: Receive) -> Result<()> {
        let waiting = {
            let mut inner = self.inner.lock();
            if inner.receives.len() >= limits::queue_room(inner.size) {
                return Err(libc::ENOMEM);
            }
            inner.receives.try_reserve(1).map_err(|_| libc::ENOMEM)?;
            if instrument::strict::is_on() {
                strict::receive_posted(Some(&self.pd), &receive);
            }
            inner.receives.push_back(receive);
            std::mem::take(&mut inner.waiting)
        };
        for qp in waiting.iter().filter_map(Weak::upgrade) {
            qp.receive_posted();
        }
        Ok(())
    }

    /// A receive that was taken for a message that did not arrive.
    pub(crate) fn put_back(&self, receive: Receive) {
        if instrument::strict::is_on() {
            strict::receive_put_back(Some(&self.pd), &receive);
        }
        let waiting = {
            let mut inner = self.inner.lock();
            inner.receives.push_front(receive);
            std::mem::take(&mut inner.waiting)
        };
        if !waiting.is_empty() {
            // Later: the queue pair that puts it back is locked.
            io::later(move || {
                for qp in waiting.iter().filter_map(Weak::upgrade) {
                    qp.receive_posted();
                }
            });
        }
    }

    /// The next receive, for a message that has come.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Receive> {
        self.take_from(self.inner.lock())
    }

    fn take_from(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>) -> Option<Receive> {
        let receive = inner.receives.pop_front()?;
        if inner.limit > 0 && inner.receives.len() < inner.limit as usize {
            // One event for each time it is asked for.
            inner.limit = 0;
            drop(inner);
            let event = AsyncEvent::new(AsyncKind::SrqLimitReached, Arc::downgrade(self) as _);
            self.pd.context.events.push(event);
        }
        Some(receive)
    }

    /// The next receive; if there is none, `qp` is told of the next one that is posted.
    pub(crate) fn take_or_wait<Q: ReceiveWaiter + 'static>(
        self: &Arc<Self>,
        qp: &Arc<Q>,
    ) -> Option<Receive> {
        let mut inner = self.inner.lock();
        if !inner.receives.is_empty() {
            return self.take_from(inner);
        }
        let waits =
            |other: &Weak<dyn ReceiveWaiter>| std::ptr::addr_eq(other.as_ptr(), Arc::as_ptr(qp));
        inner.waiting.retain(|other| other.strong_count() > 0);
        if !inner.waiting.iter().any(waits) {
            inner.waiting.push(Arc::downgrade(qp) as _);
        }
        None
    }
}

impl EventSource for Srq {
    fn handle(&self) -> &AtomicUsize {
        &self.handle
    }

    fn async_unacknowledged(&self) -> &Unacknowledged {
        &self.unacknowledged
    }
}
