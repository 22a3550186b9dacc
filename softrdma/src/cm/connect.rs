// SPDX-License-Identifier: BSD-3-Clause

//! How a connection comes about: asking and answering.

use std::sync::{Arc, Weak};

use super::door;
use super::event::{Event, Kind, reason};
use super::handshake::Handshake;
use super::id::{Id, Inner, Phase};
use super::room::{MOST_REQUESTS, Unused};
use crate::instrument::inject;
use crate::os::socket::Socket;
use crate::qp::attributes::Attributes;
use crate::qp::link::{Side, Start};
use crate::qp::{Qp, Setup, State};
use crate::types::limits::{
    ANY_READS, MAX_READS, REJECT_PRIVATE_DATA, REPLY_PRIVATE_DATA, REQUEST_PRIVATE_DATA,
};
use crate::wire::{Frame, Greeting, Hello, Params};
use crate::{Errno, Result};

/// What the program says of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    pub(crate) params: Params,
    pub(crate) private_data: Vec<u8>,
}

impl Id {
    // --- A client --------------------------------------------------------------------------------

    pub(crate) fn connect(&self, mut offer: Offer) -> Result<()> {
        self.made.touch();
        let mut inner = self.inner.lock();
        if inner.phase != Phase::RouteResolved || offer.private_data.len() > REQUEST_PRIVATE_DATA {
            return Err(libc::EINVAL);
        }
        let remote = inner.remote.ok_or(libc::EINVAL)?;
        if inject::is_armed() && self.is_not_to_connect(&mut inner) {
            return Ok(());
        }
        let (socket, is_new) = match inner.socket.take() {
            Some(socket) => (socket, false),
            None => {
                let socket = Socket::stream(&remote)?;
                if let (true, Some(local)) = (inner.source_was_given, inner.local) {
                    socket.bind(&local, false)?;
                }
                (socket, true)
            }
        };
        if let Some(qp) = &inner.qp {
            offer.params.qp_num = qp.number;
        }
        offer.params = with_reads(offer.params, MAX_READS, MAX_READS);
        inner.offered = offer.params;
        let outcome = if is_new {
            socket.connect_new(&remote)
        } else {
            socket.connect(&remote)
        };
        let local = socket.local_addr().ok();
        inner.local = local.or(inner.local);
        let hello = Hello {
            greeting: Greeting::Request,
            params: offer.params,
            invitation: None,
            private_data: offer.private_data,
        };
        inner.phase = Phase::Connecting;
        match outcome {
            Ok(()) | Err(libc::ECONNREFUSED) => {
                let me = Weak::clone(&self.me);
                let asked = Handshake::ask(socket, me, (local, remote), outcome.is_err(), &hello);
                if asked.is_err() {
                    // Nobody was asked, so the program may try again.
                    inner.phase = Phase::RouteResolved;
                }
                inner.handshake = Some(asked?);
                self.start_timer(&mut inner, Self::answer_timeout(), |id, inner| {
                    id.unreachable(inner);
                });
            }
            // The program hears of it as of a failure that comes later.
            Err(errno) => self.connect_failed_locked(&mut inner, errno),
        }
        Ok(())
    }

    /// The request is on its way.
    pub(super) fn asked(&self) {
        let mut inner = self.inner.lock();
        // That it is still connecting is one more attempt: then it may have another port.
        let local = inner.handshake.as_ref().and_then(|handshake| {
            let ends = handshake.ends().map(|(local, _)| local);
            ends.or_else(|| handshake.with_socket(|socket| socket.local_addr().ok())?)
        });
        inner.local = local.or(inner.local);
    }

    pub(super) fn connect_failed(&self, errno: Errno) {
        let handshake = {
            let mut inner = self.inner.lock();
            self.connect_failed_locked(&mut inner, errno);
            inner.handshake.take()
        };
        if let Some(handshake) = handshake {
            handshake.abandon();
        }
    }

    fn connect_failed_locked(&self, inner: &mut Inner, errno: Errno) {
        if inner.phase != Phase::Connecting {
            return;
        }
        match errno {
            libc::ECONNREFUSED => self.refused_locked(inner, reason::INVALID_SERVICE, Vec::new()),
            libc::ECONNRESET | libc::EPIPE => {
                self.refused_locked(inner, reason::CONSUMER, Vec::new());
            }
            _ => self.unreachable(inner),
        }
    }

    pub(super) fn unreachable(&self, inner: &mut Inner) {
        if inner.phase == Phase::Connecting {
            inner.phase = Phase::Over;
            // The I/O thread has it too, and would look at a socket that failed over and over.
            if let Some(handshake) = inner.handshake.take() {
                handshake.abandon();
            }
            Self::stop_timer(inner);
            self.post(inner, Kind::Unreachable, -libc::ETIMEDOUT);
        }
    }

    pub(super) fn post_rejection(&self, inner: &Inner, why: u8, private_data: Vec<u8>) {
        self.post_with(inner, |me| {
            Event::new(me, Kind::Rejected, i32::from(why))
                .with_data(private_data, REJECT_PRIVATE_DATA)
        });
    }

    pub(super) fn refused_locked(&self, inner: &mut Inner, why: u8, private_data: Vec<u8>) {
        if inner.phase == Phase::Connecting {
            inner.phase = Phase::Over;
            Self::stop_timer(inner);
            self.post_rejection(inner, why, private_data);
        }
    }

    pub(super) fn refused(&self, why: u8, private_data: Vec<u8>) {
        let mut inner = self.inner.lock();
        inner.handshake = None;
        self.refused_locked(&mut inner, why, private_data);
    }

    /// The server has accepted. The connection is used as soon as the program has taken the event.
    pub(super) fn replied(&self, mut hello: Hello) {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Connecting {
            return;
        }
        Self::stop_timer(&mut inner);
        inner.phase = Phase::Replied;
        let private_data = std::mem::take(&mut hello.private_data);
        let params = seen_from_the_other_side(hello.params);
        inner.hello = Some(hello);
        self.post_with(&inner, |me| Event {
            params,
            ..Event::new(me, Kind::ConnectResponse, 0).with_data(private_data, REPLY_PRIVATE_DATA)
        });
    }

    /// Whether the program has a queue pair on it: then the connection is established when it takes the
    /// reply, otherwise when it says so.
    pub(crate) fn has_qp(&self) -> bool {
        self.inner.lock().qp.is_some()
    }

    /// The program has taken the reply. If it cannot be used, the server hears of it.
    pub(crate) fn establish(&self) -> Result<()> {
        self.made.touch();
        if self.inner.lock().phase != Phase::Replied {
            return Err(libc::EINVAL);
        }
        self.use_reply().inspect_err(|&errno| {
            let mut inner = self.inner.lock();
            if errno == libc::EINVAL && inner.phase == Phase::Replied {
                // The program's own queue pair is not ready, and may be later.
                return;
            }
            inner.phase = Phase::Over;
            inner.connection = None;
            let handshake = inner.handshake.take();
            drop(inner);
            if let Some(handshake) = handshake {
                handshake.abandon();
            }
        })?;
        if inject::is_armed() {
            self.suffer();
        }
        Ok(())
    }

    fn use_reply(&self) -> Result<()> {
        let number = self.inner.lock().offered.qp_num;
        let qp = self.qp_for_the_connection(number)?;
        if qp.state() == State::Error {
            // The program has disconnected meanwhile.
            return Err(libc::EPERM);
        }
        let (handshake, hello, own) = {
            let mut inner = self.inner.lock();
            let handshake = inner.handshake.take().ok_or(libc::EINVAL)?;
            let hello = inner.hello.take().ok_or(libc::EINVAL)?;
            inner.connection = Some(Arc::clone(&qp));
            inner.phase = Phase::Connected;
            (handshake, hello, inner.offered)
        };
        let socket = handshake.take_watched().ok_or(libc::ECONNRESET)?;
        let ends = handshake.ends();
        let local = hello
            .invitation
            .zip(ends)
            .and_then(|(invitation, (client, server))| {
                door::knock(invitation, client, server).ok()
            });
        let peer = Params {
            retry_count: own.retry_count,
            ..hello.params
        };
        qp.connect(Start {
            socket,
            owner: Some(Weak::clone(&self.me) as _),
            attributes: Attributes::of_connection(
                self.path(),
                &peer,
                peer.responder_resources,
                peer.initiator_depth,
            ),
            peer,
            first: Frame::Use.encode().to_vec(),
            is_within_host: ends.is_some_and(|(own, peer)| door::is_same_host(own, peer)),
            local,
            side: Side::Client,
        })
    }

    /// The program's queue pair, or one that only keeps the connection.
    fn qp_for_the_connection(&self, number: u32) -> Result<Arc<Qp>> {
        let qp = self.qp_or_own(number)?;
        match qp {
            Some(qp) => Ok(qp),
            None => Qp::new(Setup::default(), State::Init),
        }
    }

    // --- A server --------------------------------------------------------------------------------

    /// A request has come in for a listening identifier.
    pub(super) fn incoming(self: &Arc<Self>, handshake: &Arc<Handshake>, mut hello: Hello) {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Listening || inner.queued.len() >= MOST_REQUESTS {
            drop(inner);
            return handshake.reject(reason::CONSUMER, &[]);
        }
        let child = Self::new(Arc::clone(&inner.channel));
        handshake.hand_over(&child);
        let private_data = std::mem::take(&mut hello.private_data);
        let params = seen_from_the_other_side(hello.params);
        {
            let mut made = child.inner.lock();
            made.phase = Phase::Requested;
            (made.local, made.remote) = handshake.ends().unzip();
            made.handshake = Some(Arc::clone(handshake));
            made.hello = Some(hello);
        }
        let mut event = Event::new(child, Kind::ConnectRequest, 0)
            .with_data(private_data, REQUEST_PRIVATE_DATA);
        event.listen = Some(Arc::clone(self));
        event.params = params;
        inner.queued.push_back(event);
        self.announce(&mut inner);
    }

    /// How many requests the program has not taken.
    pub(super) fn requests(self: &Arc<Self>) -> usize {
        let mut inner = self.inner.lock();
        inner
            .queued
            .retain(|event| event.id.inner.lock().phase == Phase::Requested);
        inner.queued.len() + self.announced(&inner)
    }

    fn announced(self: &Arc<Self>, inner: &Inner) -> usize {
        inner.channel.count(|event| {
            event
                .listen
                .as_ref()
                .is_some_and(|listen| Arc::ptr_eq(listen, self))
        })
    }

    /// As many requests as the backlog allows are for the program to see.
    fn announce(self: &Arc<Self>, inner: &mut Inner) {
        let mut waiting = self.announced(inner);
        while waiting < inner.backlog {
            let Some(event) = inner.queued.pop_front() else {
                return;
            };
            // The program never hears of a client that has given up by now.
            if event.id.inner.lock().phase == Phase::Requested {
                inner.channel.push(event);
                waiting += 1;
            }
        }
    }

    /// The program has taken a request: there is room for the next.
    pub(crate) fn request_taken(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        if !inner.queued.is_empty() {
            self.announce(&mut inner);
        }
        if let Some(listener) = &inner.listener {
            listener.request_taken();
        }
    }

    /// The client has gone before it was answered. The program finds out when it answers.
    pub(super) fn client_gone(&self) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Requested {
            inner.phase = Phase::Over;
            inner.handshake = None;
        }
    }

    pub(crate) fn accept(&self, mut offer: Offer) -> Result<()> {
        self.made.touch();
        if offer.private_data.len() > REPLY_PRIVATE_DATA {
            // As the kernel does it: an accept that fails is a rejection.
            let _ = self.reject(&[]);
            return Err(libc::EINVAL);
        }
        let qp = self.qp_for_the_connection(offer.params.qp_num)?;
        let is_within_host;
        let (handshake, hello, answer) = {
            let mut inner = self.inner.lock();
            if inner.phase != Phase::Requested {
                return Err(libc::EINVAL);
            }
            if inject::is_armed() {
                if let Some(handshake) = self.is_not_to_accept(&mut inner) {
                    drop(inner);
                    handshake.reject(reason::CONSUMER, &[]);
                    return Ok(());
                }
            }
            let handshake = inner.handshake.take().ok_or(libc::EINVAL)?;
            let hello = inner.hello.take().ok_or(libc::EINVAL)?;
            inner.connection = Some(Arc::clone(&qp));
            inner.phase = Phase::Accepted;
            inner.unused = Some(Unused::new());
            self.expect_use(&mut inner);
            offer.params.qp_num = qp.number;
            let wanted = hello.params;
            offer.params = with_reads(
                offer.params,
                wanted.initiator_depth.min(MAX_READS),
                wanted.responder_resources.min(MAX_READS),
            );
            let (invitation, expected) = door::invite(&qp, inner.remote, inner.local).unzip();
            inner.expected = expected;
            let answer = Hello {
                greeting: Greeting::Reply,
                params: offer.params,
                invitation,
                private_data: offer.private_data,
            };
            let ends = inner.local.zip(inner.remote);
            is_within_host = ends.is_some_and(|(own, peer)| door::is_same_host(own, peer));
            (handshake, hello, answer)
        };
        let own = answer.params;
        let Some(socket) = handshake.take_watched() else {
            let mut inner = self.inner.lock();
            Self::stop_timer(&mut inner);
            inner.phase = Phase::Over;
            inner.unused = None;
            inner.connection = None;
            return Err(libc::EINVAL);
        };
        qp.connect(Start {
            socket,
            owner: Some(Weak::clone(&self.me) as _),
            attributes: Attributes::of_connection(
                self.path(),
                &hello.params,
                own.initiator_depth,
                own.responder_resources,
            ),
            peer: hello.params,
            first: answer.encode().to_vec(),
            is_within_host,
            local: None,
            side: Side::Server,
        })
        .inspect_err(|_| {
            let mut inner = self.inner.lock();
            Self::stop_timer(&mut inner);
            inner.phase = Phase::Over;
            inner.unused = None;
            inner.connection = None;
        })
    }

    pub(crate) fn reject(&self, private_data: &[u8]) -> Result<()> {
        self.made.touch();
        self.reject_for(reason::CONSUMER, private_data)
    }

    pub(crate) fn reject_for(&self, why: u8, private_data: &[u8]) -> Result<()> {
        if private_data.len() > REJECT_PRIVATE_DATA {
            return Err(libc::EINVAL);
        }
        let handshake = {
            let mut inner = self.inner.lock();
            if inner.phase != Phase::Requested {
                return Err(libc::EINVAL);
            }
            inner.phase = Phase::Over;
            inner.handshake.take()
        };
        if let Some(handshake) = handshake {
            handshake.reject(why, private_data);
        }
        Ok(())
    }
}

/// Who wants as many reads as there may be gets this many.
fn with_reads(params: Params, most_answered: u8, most_asked_for: u8) -> Params {
    let of = |wanted, most| if wanted == ANY_READS { most } else { wanted };
    Params {
        responder_resources: of(params.responder_resources, most_answered),
        initiator_depth: of(params.initiator_depth, most_asked_for),
        ..params
    }
}

/// What one side takes, the other may send.
fn seen_from_the_other_side(params: Params) -> Params {
    Params {
        responder_resources: params.initiator_depth,
        initiator_depth: params.responder_resources,
        ..params
    }
}
