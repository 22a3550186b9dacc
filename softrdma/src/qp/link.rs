// SPDX-License-Identifier: BSD-3-Clause

//! A queue pair's end of a connection: what is on its way in and out, and how it ends.

use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::Result;
use crate::instrument::inject;
use crate::io::fork_state::Made;
use crate::io::{self, Io, Timer, Watched};
use crate::objects::cq::{Cq, Listening};
use crate::objects::mr::Grant;
use crate::os::local::Local;
use crate::os::pair::Rung;
use crate::os::process::Process;
use crate::os::way::Way;
use crate::types::limits::MAX_READS;
use crate::types::region::GenerationRef;
use crate::wire::Params;

use super::attributes::Attributes;
use super::complete::Cause;
use super::direct::Direct;
use super::guard::ServedRead;
use super::owner::ConnectionOwner;
use super::path::{Paths, Stream};
use super::pulling::{Puller, Source};
use super::receive::Rx;
use super::respond::Response;
use super::transmit::ROOM;
use super::vanished::{Watch, host_timeout};
use super::{Inner, Peer, Qp, State};

/// How many bytes of a link posting a request takes.
pub(super) const HOT: usize = offset_of!(Link, paths) + 96;

/// In this order for the cache, as `Qp` says.
#[repr(C)]
pub(super) struct Link {
    pub(super) direct: Direct,
    made: Made,
    /// The client has still to say how it uses the connection.
    pub(super) awaits_use: bool,
    /// The peer may say, in the shared memory, that it can copy from this process.
    awaits_can_copy: bool,
    pub(super) peer: Puller,
    pub(super) tx: Tx,
    pub(super) paths: Paths,
    pub(super) rx: Rx,
    pub(super) source: Source,
    /// The last reads whose data the peer was to copy. The peer has no more than this number under way.
    served_reads: VecDeque<(ServedRead, GenerationRef)>,
    pub(super) watch: Watch,
    /// Of a client that does not know yet how the connection goes on.
    undecided: Option<Undecided>,
    /// Who waits for an event of the connection listens to the peer.
    pub(super) listening: [Option<Listening>; 2],
}

/// What is being sent.
#[derive(Default)]
#[repr(C)]
pub(super) struct Tx {
    /// Whole frames, or the header of the one whose body follows.
    pub(super) staged: Vec<u8>,
    pub(super) sent: usize,
    /// There is no room on the way to the peer.
    pub(super) blocked: bool,
    /// Nothing can be sent any more.
    pub(super) broken: bool,
    /// What is staged is the last that goes over TCP.
    pub(super) leaves_tcp: bool,
    /// Something was staged besides what a connection begins with.
    pub(super) has_frames: bool,
    /// What is staged are acknowledgements, and nothing else.
    pub(super) only_acks: bool,
    /// Whose turn it was last.
    pub(super) last_was_response: bool,
    pub(super) body: Option<Body>,
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

    /// Where the next frame goes. Its memory is allocated with the first one.
    pub(super) fn staging(&mut self) -> &mut Vec<u8> {
        if self.staged.capacity() == 0 {
            self.staged.reserve(ROOM);
        }
        self.has_frames = true;
        self.only_acks = false;
        &mut self.staged
    }

    /// So many bytes have gone.
    pub(super) fn advance(&mut self, n: usize) {
        let of_staged = n.min(self.staged.len() - self.sent);
        self.sent += of_staged;
        if let Some(body) = &mut self.body {
            body.done += (n - of_staged) as u64;
        }
        let body_is_done = self
            .body
            .as_ref()
            .is_none_or(|body| body.done >= body.length);
        if self.sent == self.staged.len() && body_is_done {
            self.staged.clear();
            self.sent = 0;
            self.body = None;
        }
    }

    pub(super) fn stop(&mut self) {
        self.staged.clear();
        self.sent = 0;
        self.body = None;
        self.blocked = false;
        self.broken = true;
    }
}

/// How long a client waits for the server to say how the connection goes on. A server that has no descriptor left hears
/// no client.
const LONGEST_UNDECIDED: Duration = Duration::from_secs(4);

/// The end of that time.
pub(super) struct Undecided(Timer);

impl Undecided {
    fn new(io: &Io, qp: &Qp) -> Self {
        let qp = Weak::clone(&qp.me);
        Self(io.after(LONGEST_UNDECIDED, move || {
            if let Some(qp) = qp.upgrade() {
                let mut q = qp.inner.lock();
                qp.end_waiting(&mut q);
                qp.send_now(&mut q);
            }
        }))
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        if let Some(io) = io::get() {
            io.cancel(self.0);
        }
    }
}

impl Link {
    pub(super) fn new(paths: Paths) -> Self {
        Self {
            paths,
            rx: Rx::new(),
            tx: Tx::default(),
            source: Source::default(),
            peer: Puller::default(),
            served_reads: VecDeque::new(),
            watch: Watch::default(),
            awaits_use: false,
            awaits_can_copy: false,
            direct: Direct::default(),
            undecided: None,
            listening: [None, None],
            made: Made::now(),
        }
    }

    /// A client does not decide for TCP after a while.
    #[cfg(test)]
    pub(super) fn wait_for_ever(&mut self) {
        self.undecided = None;
    }

    /// The data of this read was sent by reference, from a region of this generation.
    pub(super) fn may_come_in_band(&mut self, read: ServedRead, region: GenerationRef) {
        if self.served_reads.len() >= usize::from(MAX_READS) {
            self.served_reads.pop_front();
        }
        self.served_reads.push_back((read, region));
    }

    /// The generation of the region of this read, if its data may be sent once more.
    pub(super) fn take_served_read(&mut self, read: ServedRead) -> Option<GenerationRef> {
        let mut served = self.served_reads.iter();
        let position = served.position(|(served, _)| *served == read)?;
        let (_, region) = self.served_reads.remove(position)?;
        Some(region)
    }

    /// Whether the peer copies from this process. It knows the one that made the connection.
    pub(super) fn peer_pulls(&mut self) -> bool {
        let local = self.paths.local_stream().filter(|_| self.awaits_can_copy);
        if local.is_some_and(|local| local.peer_can_copy()) {
            self.awaits_can_copy = false;
            self.peer = Puller::that(true);
        }
        self.peer.pulls && !self.made.is_inherited()
    }

    /// Whether this process has the connection, and not one that it has forked or that has forked it.
    pub(super) fn is_own(&self) -> bool {
        self.made.is_own()
    }

    /// Ends sending in the middle of a frame, which the peer sees as the end of the connection.
    pub(super) fn abort_sending(&mut self) {
        self.tx.stop();
        self.paths.shut_down_sending();
    }
}

/// What a connection begins with.
pub(crate) struct Start {
    pub(crate) socket: Watched,
    pub(crate) owner: Option<Weak<dyn ConnectionOwner>>,
    /// What the peer has said of itself.
    pub(crate) peer: Params,
    /// What the queue pair is told, unless the program has told it itself.
    pub(crate) attributes: Attributes,
    /// What has to be sent first.
    pub(crate) first: Vec<u8>,
    /// Both ends are on this host, which does not vanish.
    pub(crate) is_within_host: bool,
    /// A client's end of the way within the host, which it has offered to the server.
    pub(crate) local: Option<Local>,
    pub(crate) side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Qp {
    /// The connection is there: it belongs to this queue pair from now on.
    pub(crate) fn connect(self: &Arc<Self>, start: Start) -> Result<()> {
        let io = io::start()?;
        let mut q = self.inner.lock();
        if q.link.is_some() {
            return Err(libc::EISCONN);
        }
        let (socket, token) = start.socket.into_parts().ok_or(libc::ENOTCONN)?;
        let mut link = Link::new(Paths::new(Stream::Socket(socket), start.local));
        link.tx.staging().extend_from_slice(&start.first);
        link.tx.has_frames = false;
        link.awaits_use = start.side == Side::Server;
        if link.paths.is_undecided() {
            link.undecided = Some(Undecided::new(io, self));
        } else if start.side == Side::Client {
            link.paths.use_tcp();
        }
        link.paths
            .start_watching(io, Arc::clone(self) as _, token)?;
        q.owner = start.owner;
        self.is_rung_for(&mut link);
        q.peer_params = start.peer;
        if q.state == State::Init {
            q.attributes = start.attributes;
        }
        if let (Some(socket), false) = (link.paths.tcp_to_send(), start.is_within_host) {
            socket.end_without_its_host(host_timeout(&q.attributes));
        }
        if q.state != State::Error {
            q.state = State::ReadyToSend;
        }
        q.link = Some(link);
        self.send_now(&mut q);
        Ok(())
    }

    /// From now on this is called when the peer rings, by the I/O thread or who waits for an event of it.
    fn is_rung_for(&self, link: &mut Link) {
        let paths = &mut link.paths;
        paths.is_rung_for(Weak::clone(&self.me) as Weak<dyn Rung>);
        let Some(local) = paths.local() else { return };
        let listen = |cq: &Arc<Cq>| cq.listen_to(local.shared_with());
        let queues = [&self.setup.send_cq, &self.setup.recv_cq];
        link.listening = queues.map(|cq| cq.as_ref().and_then(listen));
    }

    /// The client of this connection, a process of this host and user, shares memory with this one, and has taken the
    /// reply.
    pub(crate) fn meet(&self, local: Local) {
        if let Some(local) = self.go_on_in_memory(local) {
            local.refuse();
        }
    }

    /// Returns the memory if the connection stays on TCP: it was used there, or the client did not wait.
    fn go_on_in_memory(&self, local: Local) -> Option<Local> {
        let mut q = self.inner.lock();
        let q = &mut *q;
        let Some(link) = &mut q.link else {
            return Some(local);
        };
        let is_unused = link.awaits_use && !link.rx.has_input() && !link.paths.has_local();
        let rest_on_tcp = link.tx.has_frames || !link.tx.is_idle();
        if !is_unused || link.tx.broken || !local.decide_for_memory(rest_on_tcp) {
            return Some(local);
        }
        link.paths.enter(local);
        self.is_rung_for(link);
        link.paths.receive_locally();
        if rest_on_tcp {
            q.responses.push_back(Response::ChangesOver);
        } else {
            link.paths.send_locally();
            link.tx.staged = Vec::new();
        }
        self.share_memory(q);
        self.is_in_use(q);
        self.send_now(q);
        None
    }

    /// The client uses the connection.
    pub(super) fn is_in_use(&self, q: &mut Inner) {
        if let Some(link) = &mut q.link {
            link.awaits_use = false;
        }
        self.update_grant(q);
        if let Some(local) = q.link.as_ref().and_then(|link| link.paths.local()) {
            local.server_is_ready();
        }
        if let Some(owner) = q.owner() {
            owner.client_uses_connection();
            if inject::is_armed() {
                self.suffer_locked(q, owner.as_ref(), owner.take_planned());
            }
        }
    }

    /// Whether it is known which way the connection goes on. A client does not send, nor read, before it is.
    pub(super) fn knows_its_way(&self, q: &mut Inner) -> bool {
        match &q.link {
            Some(link) if link.paths.is_undecided() => self.take_decision(q, true),
            _ => true,
        }
    }

    /// What is to be sent now cannot wait until the server has said how the connection goes on.
    fn end_waiting(&self, q: &mut Inner) {
        if q.link
            .as_ref()
            .is_some_and(|link| link.paths.is_undecided())
        {
            self.take_decision(q, false);
        }
    }

    fn take_decision(&self, q: &mut Inner, waits: bool) -> bool {
        let Some(link) = &mut q.link else { return true };
        let Some(way) = link.paths.take_decision(waits) else {
            return false;
        };
        link.undecided = None;
        match way {
            Way::Tcp => {
                link.direct = Direct::default();
                link.paths.use_tcp();
                // No doorbell comes for it.
                link.listening = [None, None];
            }
            Way::Here { .. } => {
                // The server knows that the connection is used.
                link.tx.staged = Vec::new();
                self.share_memory(q);
            }
        }
        true
    }

    /// Goes on with the way within the host. The peer may copy from this process, but it is not believed to be
    /// able to: that is for each side to find out.
    fn share_memory(&self, q: &mut Inner) {
        let Some(link) = &mut q.link else { return };
        link.awaits_can_copy = true;
        link.source = Source::of(
            link.paths
                .local_stream()
                .and_then(|local| local.process())
                .filter(|process| process.may_pull())
                .inspect(|process| process.prepare_for_copies())
                .map(Process::pid),
        );
        Self::offer_table(link);
        self.take_table(q);
        let Some(link) = &mut q.link else { return };
        if link.source.process().is_some() {
            if let Some(local) = link.paths.local_stream() {
                local.can_copy();
            }
        }
    }

    /// The other end is gone, or sends what is no protocol.
    pub(super) fn lost(&self, q: &mut Inner) {
        io::look_after_descriptors();
        self.cut_off(q);
        if let Some(owner) = q.owner() {
            owner.connection_lost();
        }
        if q.peer != Peer::Gone {
            q.peer = Peer::Gone;
            self.fail_for_the_peer(q);
        }
    }

    /// Nothing is sent or received any more.
    pub(super) fn cut_off(&self, q: &mut Inner) {
        self.revoke(q);
        if let Some(link) = &mut q.link {
            link.paths.stop_watching();
            link.tx.stop();
        }
        self.put_back_the_receive_in_transit(q);
        if let Some(mut link) = q.link.take() {
            link.rx = Rx::new();
            link.paths.shut_down();
        }
        q.responses.clear();
    }

    /// The client has never used the connection.
    pub(crate) fn abandon(&self) {
        let mut q = self.inner.lock();
        if q.link.is_some() {
            self.lost(&mut q);
        }
    }

    /// The connection ends with its identifier.
    pub(crate) fn close(&self) {
        self.made.touch();
        let mut q = self.inner.lock();
        self.end_waiting(&mut q);
        self.transmit(&mut q);
        self.revoke(&mut q);
        // Both sides have disconnected, and this one has said all there is to say.
        let is_known = q.disconnected && q.peer == Peer::Left && q.responses.is_empty();
        if let Some(mut link) = q.link.take() {
            if is_known && link.tx.is_idle() {
                link.paths.end_quietly();
            }
            link.paths.stop_watching();
        }
        q.responses.clear();
    }

    /// The program disconnects: the queue pair is in error from now on, and the peer hears of it.
    pub(crate) fn disconnect(&self, peer_was_first: bool) {
        self.made.touch();
        let mut q = self.inner.lock();
        self.read_unread_acks(&mut q);
        self.enter_error(&mut q, Cause::Local);
        if q.disconnected {
            return;
        }
        q.disconnected = true;
        q.responses.push_back(if peer_was_first {
            Response::Disconnected
        } else {
            Response::Disconnect
        });
        self.end_waiting(&mut q);
        // It is not a completion that the program waits for now.
        self.driver.leave_polling_mode();
        self.send_now(&mut q);
    }
}
