// SPDX-License-Identifier: BSD-3-Clause

//! A queue pair's end of a connection: the socket, what is on its way in and out, and who looks after
//! the socket.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::Result;
use crate::cm::id::Id;
use crate::io::{self, Source, Token};
use crate::limits::MAX_READS;
use crate::mr::Grant;
use crate::os::epoll::{HANG_UP, Interest, READABLE, WRITABLE};
use crate::os::memory::Span;
use crate::os::socket::Socket;
use crate::wire::Params;

use super::receive::Rx;
use super::respond::Response;
use super::{Inner, Peer, Qp, State};

pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) rx: Rx,
    pub(super) tx: Tx,
    token: Option<Token>,
    interest: Interest,
    /// The process whose memory can be read, if the peer is on this host.
    pub(super) pull_from: Option<i32>,
    /// The peer can read this process's memory.
    pub(super) peer_pulls: bool,
}

/// Where bytes come from and go to.
pub(super) enum Stream {
    Tcp(Socket),
    /// For tests: input from memory; output goes nowhere.
    Memory(VecDeque<u8>),
}

impl Stream {
    pub(super) fn send(&self, from: &[Span<'_>]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => socket.send(from),
            Self::Memory(_) => Ok(from.iter().map(Span::len).sum()),
        }
    }

    pub(super) fn receive(&mut self, into: &[Span<'_>]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => socket.receive(into),
            Self::Memory(input) => {
                let mut got = 0;
                for span in into {
                    let n = span.len().min(input.len());
                    let bytes: Vec<u8> = input.drain(..n).collect();
                    got += span.write(&bytes);
                }
                Ok(got)
            }
        }
    }

    fn shut_down_sending(&self) {
        if let Self::Tcp(socket) = self {
            socket.shut_down_sending();
        }
    }
}

/// What is being sent.
#[derive(Default)]
pub(super) struct Tx {
    /// Whole frames, or the header of the one whose body follows.
    pub(super) staged: Vec<u8>,
    pub(super) sent: usize,
    pub(super) body: Option<Body>,
    /// The socket is full.
    pub(super) blocked: bool,
    /// Nothing can be sent any more.
    pub(super) broken: bool,
    /// Whose turn it was last.
    pub(super) last_was_response: bool,
}

pub(super) struct Body {
    pub(super) source: BodySource,
    pub(super) done: u64,
    pub(super) length: u64,
}

pub(super) enum BodySource {
    /// The memory of the request of this number.
    Request(u64),
    /// Memory that the peer reads, for its request of this number.
    Region(u64, Grant),
    /// The peer drops it: it only has to be complete.
    Zeros,
}

impl Tx {
    pub(super) fn is_idle(&self) -> bool {
        self.staged.is_empty() && self.body.is_none()
    }

    pub(super) fn stop(&mut self) {
        self.staged.clear();
        self.sent = 0;
        self.body = None;
        self.blocked = false;
        self.broken = true;
    }
}

impl Link {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            rx: Rx::new(),
            tx: Tx::default(),
            token: None,
            interest: 0,
            pull_from: None,
            peer_pulls: false,
        }
    }

    /// Ends sending in the middle of a frame, which the peer sees as the end of the connection.
    pub(super) fn abort_sending(&mut self) {
        self.tx.stop();
        self.stream.shut_down_sending();
    }
}

/// What a connection begins with.
pub(crate) struct Start {
    pub(crate) socket: Socket,
    pub(crate) cm: Weak<Id>,
    /// What the peer has said of itself.
    pub(crate) peer: Params,
    /// What has to be sent first.
    pub(crate) first: Vec<u8>,
    pub(crate) pull_from: Option<i32>,
    pub(crate) peer_pulls: bool,
}

impl Qp {
    /// The connection is there: it belongs to this queue pair from now on.
    pub(crate) fn connect(self: &Arc<Self>, start: Start) -> Result<()> {
        let io = io::start()?;
        let mut q = self.inner.lock();
        if q.link.is_some() {
            return Err(libc::EISCONN);
        }
        let fd = start.socket.raw();
        let mut link = Link::new(Stream::Tcp(start.socket));
        link.tx.staged.reserve(super::transmit::ROOM);
        link.tx.staged.extend_from_slice(&start.first);
        link.pull_from = start.pull_from;
        link.peer_pulls = start.peer_pulls;
        let token = io.token();
        link.token = Some(token);
        link.interest = READABLE | HANG_UP;
        q.cm = start.cm;
        q.peer_params = start.peer;
        q.max_reads = usize::from(start.peer.responder_resources.clamp(1, MAX_READS));
        if q.state != State::Error {
            q.state = State::ReadyToSend;
        }
        q.link = Some(link);
        self.transmit(&mut q);
        io.watch(fd, token, READABLE | HANG_UP, Arc::clone(self) as _)?;
        self.update_interest(&mut q);
        Ok(())
    }

    /// Watches the socket for what is of interest now.
    pub(super) fn update_interest(&self, q: &mut Inner) {
        let napping = self.napping.load(Ordering::Acquire);
        let Some(link) = &mut q.link else { return };
        let (Stream::Tcp(socket), Some(token), Some(io)) = (&link.stream, link.token, io::get())
        else {
            return;
        };
        let mut interest = if napping { 0 } else { READABLE | HANG_UP };
        if link.tx.blocked {
            interest |= WRITABLE;
        }
        if interest != link.interest {
            link.interest = interest;
            io.change(socket.raw(), token, interest);
        }
    }

    /// The socket has nothing more to say.
    fn stop_watching(link: &mut Link) {
        if let (Stream::Tcp(socket), Some(token), Some(io)) =
            (&link.stream, link.token.take(), io::get())
        {
            io.forget(socket.raw(), token);
        }
    }

    /// The other end is gone, or sends what is no protocol.
    pub(super) fn lost(&self, q: &mut Inner) {
        if let Some(link) = &mut q.link {
            Self::stop_watching(link);
            link.tx.stop();
        }
        self.put_back_the_receive_in_transit(q);
        if let Some(mut link) = q.link.take() {
            link.rx = Rx::new();
            if let Stream::Tcp(socket) = &link.stream {
                socket.shut_down();
            }
        }
        q.responses.clear();
        if let Some(id) = q.cm.upgrade() {
            id.connection_lost();
        }
        if q.peer == Peer::Connected {
            q.peer = Peer::Gone;
            self.fail_for_the_peer(q);
        }
    }

    /// The connection ends with its identifier.
    pub(crate) fn close(&self) {
        let mut q = self.inner.lock();
        self.transmit(&mut q);
        if let Some(mut link) = q.link.take() {
            Self::stop_watching(&mut link);
        }
        q.responses.clear();
    }

    /// The program disconnects: the queue pair is in error from now on, and the peer hears of it.
    pub(crate) fn disconnect(&self, peer_was_first: bool) {
        let mut q = self.inner.lock();
        self.enter_error(&mut q, super::complete::Cause::Local);
        if q.disconnected {
            return;
        }
        q.disconnected = true;
        q.responses.push_back(if peer_was_first {
            Response::Disconnected
        } else {
            Response::Disconnect
        });
        self.transmit(&mut q);
        self.update_interest(&mut q);
    }

    // --- Who reads the socket --------------------------------------------------------------------

    /// Reads and writes what goes, on the I/O thread.
    pub(crate) fn progress(&self) {
        let mut q = self.inner.lock();
        if self.is_pulling(&q) && self.pull_some(&mut q).is_err() {
            self.lost(&mut q);
        }
        self.receive(&mut q);
        self.transmit(&mut q);
        self.update_interest(&mut q);
    }

    /// As above, on a thread of the program that has found its completion queue empty. Whether there
    /// was anything.
    pub(crate) fn progress_by_polling(&self) -> bool {
        self.polls.fetch_add(1, Ordering::Relaxed);
        let Some(mut q) = self.inner.try_lock() else {
            return false;
        };
        if q.link.is_none() {
            return false;
        }
        let something = self.receive(&mut q);
        // What the program posts next may take the acknowledgement with it.
        let can_wait = something
            && self.napping.load(Ordering::Acquire)
            && q.link.as_ref().is_some_and(|link| link.tx.is_idle())
            && q.responses.len() == 1
            && matches!(q.responses.front(), Some(Response::Ack(_)));
        if !can_wait {
            self.transmit(&mut q);
        }
        self.update_interest(&mut q);
        something
    }

    pub(crate) fn flush_responses(&self) {
        if let Some(mut q) = self.inner.try_lock() {
            self.transmit(&mut q);
            self.update_interest(&mut q);
        }
    }

    fn waits_for_an_event(&self) -> bool {
        let armed = |cq: &Option<Arc<crate::cq::Cq>>| cq.as_ref().is_some_and(|cq| cq.is_armed());
        armed(&self.setup.send_cq) || armed(&self.setup.recv_cq)
    }

    /// The program has polled since the last time, and waits for no event: it will find out itself.
    fn take_a_nap_if_polled(&self) {
        if self.polls.swap(0, Ordering::Relaxed) == 0 || self.waits_for_an_event() {
            return;
        }
        self.napping.store(true, Ordering::Release);
        // Looked at once more: it may just have been armed.
        if self.waits_for_an_event() {
            self.napping.store(false, Ordering::Release);
            return;
        }
        if !self.listed.swap(true, Ordering::AcqRel)
            && let Some(io) = io::get()
        {
            io.nap(Weak::clone(&self.me));
        }
    }

    /// The program is about to wait for an event.
    pub(crate) fn end_nap(&self) {
        if self.napping.swap(false, Ordering::AcqRel) {
            let mut q = self.inner.lock();
            self.transmit(&mut q);
            self.update_interest(&mut q);
        }
    }

    /// Whether the program goes on polling. If not, the I/O thread has the socket again.
    pub(crate) fn still_naps(&self) -> bool {
        if self.napping.load(Ordering::Acquire) && self.polls.swap(0, Ordering::Relaxed) > 0 {
            self.flush_responses();
            return true;
        }
        self.listed.store(false, Ordering::Release);
        self.napping.store(false, Ordering::Release);
        self.progress();
        false
    }
}

impl Source for Qp {
    fn ready(self: Arc<Self>, _seen: Interest) {
        self.take_a_nap_if_polled();
        self.progress();
    }
}
