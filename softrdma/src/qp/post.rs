// SPDX-License-Identifier: BSD-3-Clause

//! Posting work requests.

use parking_lot::MutexGuard;

use crate::instrument::{pace, strict};
use crate::objects::cq::Cq;
use crate::objects::srq::ReceiveWaiter;
use crate::objects::strict as watch;
use crate::types::completion::Status;
use crate::types::limits;
use crate::{Errno, Result};

use super::respond::Response;
use super::{Inner, Peer, Qp, State};
use crate::types::work::{Data, Operation, Receive, Request};

/// Requests that are being posted: they are sent when it is dropped.
pub(crate) struct Posting<'a> {
    qp: &'a Qp,
    q: MutexGuard<'a, Inner>,
}

impl Qp {
    pub(crate) fn posting(&self) -> Posting<'_> {
        self.load_ahead();
        self.made.touch();
        Posting {
            qp: self,
            q: self.lock(),
        }
    }

    /// Posts a receive. In the error state it is flushed.
    pub(crate) fn post_receive(&self, receive: Receive) -> Result<()> {
        if self.setup.srq.is_some()
            || receive.into.ranges().len() > self.setup.caps.max_recv_sge as usize
        {
            return Err(libc::EINVAL);
        }
        self.made.touch();
        let mut q = self.lock();
        match q.state {
            State::Reset => return Err(libc::EINVAL),
            State::Error => {
                self.complete_receive(&mut q, receive.wr_id, Status::Flushed);
                return Ok(());
            }
            _ => {}
        }
        if q.rq.len() >= limits::queue_room(self.setup.caps.max_recv_wr) {
            return Err(libc::ENOMEM);
        }
        q.rq.try_reserve(1).map_err(|_| libc::ENOMEM)?;
        if strict::is_on() {
            watch::own_receive_posted(self.watched(&q), &receive);
        }
        q.rq.push_back(receive);
        self.receives_changed(&mut q);
        self.go_on_with_a_receive(&mut q);
        Ok(())
    }

    fn go_on_with_a_receive(&self, q: &mut Inner) {
        if q.no_receive && q.state != State::Error {
            q.no_receive = false;
            let seq = q.expected;
            q.responses.push_back(Response::Ready(seq));
            self.send_now(q);
        }
    }
}

impl Posting<'_> {
    /// Adds a request. In the error state it is flushed.
    pub(crate) fn add(&mut self, request: Request) -> Result<()> {
        self.make_room(std::slice::from_ref(&request))?;
        self.take(request);
        Ok(())
    }

    /// Adds all of these, or none.
    pub(crate) fn add_all(&mut self, requests: &[Request]) -> Result<()> {
        self.make_room(requests)?;
        for request in requests {
            self.take(request.clone());
        }
        Ok(())
    }

    fn make_room(&mut self, requests: &[Request]) -> Result<()> {
        let q = &mut *self.q;
        if !matches!(q.state, State::ReadyToSend | State::Error) || q.released {
            return Err(libc::EINVAL);
        }
        requests
            .iter()
            .try_for_each(|request| self.check(request))?;
        let q = &mut *self.q;
        if q.state == State::ReadyToSend {
            let room = limits::queue_room(self.qp.setup.caps.max_send_wr);
            if q.sq.len() + requests.len() > room {
                return Err(libc::ENOMEM);
            }
            q.sq.try_reserve(requests.len()).map_err(|_| libc::ENOMEM)?;
        }
        if strict::is_on() {
            watch::may_post(self.qp.watched(q), requests.len(), q.sq.len())?;
        }
        Ok(())
    }

    fn take(&mut self, request: Request) {
        if strict::is_on() {
            self.qp.posted_strictly(&self.q, &request);
        }
        if self.q.state == State::Error {
            self.qp.complete_request(&request, Status::Flushed);
        } else {
            self.q.sq.push_back(request);
            if pace::is_on() {
                self.qp.plan_last_request(&mut self.q);
            }
        }
    }

    fn check(&self, request: &Request) -> Result<(), Errno> {
        let caps = &self.qp.setup.caps;
        let fits = match &request.data {
            Data::Memory(scatter) => scatter.ranges().len() <= caps.max_send_sge as usize,
            // What an atomic write stores is not counted.
            Data::Inline(bytes) => {
                bytes.len() <= caps.max_inline as usize
                    || matches!(request.operation, Operation::AtomicWrite { .. })
            }
        };
        if fits { Ok(()) } else { Err(libc::EINVAL) }
    }
}

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        if self.q.peer == Peer::Gone {
            self.qp.fail_for_the_peer(&mut self.q);
        }
        if !self.qp.execute(&mut self.q, Cq::push_at_post) {
            self.qp.send_now(&mut self.q);
        }
    }
}

impl ReceiveWaiter for Qp {
    fn receive_posted(&self) {
        let mut q = self.lock();
        self.go_on_with_a_receive(&mut q);
    }
}
