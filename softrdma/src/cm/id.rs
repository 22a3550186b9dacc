// SPDX-License-Identifier: BSD-3-Clause

//! Identifiers of the connection manager: what a socket is to TCP.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::door::Expected;
use super::end::End;
use super::event::{Event, EventChannel, Kind, reason};
use super::handshake::Handshake;
use super::listen::Listener;
use super::room::Unused;
use crate::Result;
use crate::instrument::inject::Planned;
use crate::io::fork_state::Made;
use crate::io::{self, Timer};
use crate::objects::channel::Unacknowledged;
use crate::os::held::Locks;
use crate::os::socket::{self, Socket};
use crate::qp::Qp;
use crate::qp::attributes::{ACK_TIMEOUT, AddressVector, Path};
use crate::wire::{Hello, Params};

#[derive(Debug)]
pub(crate) struct Id {
    /// The address of what the program has of it.
    pub(crate) handle: AtomicUsize,
    pub(crate) unacknowledged: Unacknowledged,
    pub(super) me: Weak<Id>,
    pub(super) made: Made,
    pub(super) inner: Mutex<Inner>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    Bound,
    AddrResolved,
    RouteResolved,
    Listening,
    /// A client that has asked.
    Connecting,
    /// A client whose program has not yet taken the reply.
    Replied,
    /// A server whose program has to answer.
    Requested,
    /// A server whose client has not yet taken the reply.
    Accepted,
    Connected,
    /// There will be no connection.
    Over,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) channel: Arc<EventChannel>,
    pub(super) phase: Phase,
    /// The program has destroyed it: there are no events and no timers any more.
    destroyed: bool,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    /// The program asked for this source address.
    pub(super) source_was_given: bool,
    only_v6: bool,
    /// Options of the program.
    traffic_class: u8,
    ack_timeout: Option<u8>,
    /// The program has said that its client uses the connection, before that was heard of the client.
    pub(super) notified: bool,
    /// Bound, and not in use yet.
    pub(super) socket: Option<Socket>,
    pub(super) listener: Option<Arc<Listener>>,
    pub(super) backlog: usize,
    /// Requests that wait until the program has taken one of those before them.
    pub(super) queued: VecDeque<Event>,
    pub(super) handshake: Option<Arc<Handshake>>,
    /// The program's queue pair.
    pub(super) qp: Option<Arc<Qp>>,
    /// The queue pair that has the connection; it may outlive the program's.
    pub(super) connection: Option<Arc<Qp>>,
    /// The client has not used it yet.
    pub(super) unused: Option<Unused>,
    /// The client is on this host, perhaps, and was invited to share memory.
    pub(super) expected: Option<Expected>,
    pub(super) end: End,
    pub(super) timer: Option<Timer>,
    /// How many timers there have been: a number for each.
    timers: u64,
    /// What the peer has sent, and what this side offers.
    pub(super) hello: Option<Hello>,
    pub(super) offered: Params,
    /// The faults that are to be injected.
    pub(super) planned: Planned,
}

impl Inner {
    pub(super) fn path(&self) -> Path {
        Path {
            address: self
                .remote
                .map(|peer| AddressVector::to(peer.ip(), self.traffic_class))
                .unwrap_or_default(),
            ack_timeout: self.ack_timeout.unwrap_or(ACK_TIMEOUT),
        }
    }
}

impl Id {
    pub(crate) fn new(channel: Arc<EventChannel>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            handle: AtomicUsize::new(0),
            unacknowledged: Unacknowledged::default(),
            me: Weak::clone(me),
            made: Made::now(),
            inner: Mutex::new(Inner {
                channel,
                phase: Phase::Idle,
                destroyed: false,
                local: None,
                remote: None,
                source_was_given: false,
                only_v6: false,
                traffic_class: 0,
                ack_timeout: None,
                notified: false,
                socket: None,
                listener: None,
                backlog: 0,
                queued: VecDeque::new(),
                handshake: None,
                qp: None,
                connection: None,
                unused: None,
                expected: None,
                end: End::default(),
                timer: None,
                timers: 0,
                hello: None,
                offered: Params::default(),
                planned: Planned::default(),
            }),
        })
    }

    /// Before a fork, with its listening socket and the channel that is to be held later.
    pub(crate) fn hold(
        self: &Arc<Self>,
        locks: &mut Locks,
        listeners: &mut Vec<(RawFd, Arc<EventChannel>)>,
        channels: &mut Vec<Arc<EventChannel>>,
    ) -> bool {
        locks.hold_and(
            self,
            |id| &id.inner,
            |inner| {
                channels.push(Arc::clone(&inner.channel));
                if let Some(listener) = &inner.listener {
                    listeners.push((listener.socket().raw(), Arc::clone(&inner.channel)));
                }
            },
        )
    }

    pub(super) fn channel(&self) -> Arc<EventChannel> {
        Arc::clone(&self.inner.lock().channel)
    }

    pub(crate) fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let inner = self.inner.lock();
        (inner.local, inner.remote)
    }

    pub(crate) fn set_only_v6(&self, only_v6: bool) -> Result<()> {
        let mut inner = self.inner.lock();
        match inner.phase {
            Phase::Idle => inner.only_v6 = only_v6,
            // Its port is taken by now.
            Phase::Bound => {}
            _ => return Err(libc::EINVAL),
        }
        Ok(())
    }

    pub(crate) fn set_traffic_class(&self, class: u8) {
        self.inner.lock().traffic_class = class;
    }

    /// For the queue pair of the connection to be made.
    pub(crate) fn set_ack_timeout(&self, timeout: u8) -> Result<()> {
        const LONGEST: u8 = 31;
        if timeout > LONGEST {
            return Err(libc::EINVAL);
        }
        self.inner.lock().ack_timeout = Some(timeout);
        Ok(())
    }

    pub(crate) fn path(&self) -> Path {
        self.inner.lock().path()
    }

    /// A port is never kept by connections that are over, so there is nothing to reuse.
    pub(crate) fn set_reuse(&self, reuse: bool) -> Result<()> {
        match self.inner.lock().phase {
            Phase::Idle => Ok(()),
            Phase::Listening => Err(libc::EINVAL),
            _ if reuse => Ok(()),
            _ => Err(libc::EINVAL),
        }
    }

    pub(super) fn post(&self, inner: &Inner, kind: Kind, status: i32) {
        self.post_with(inner, |me| Event::new(me, kind, status));
    }

    /// Every event of this identifier but connect requests. An identifier that the program has destroyed
    /// has none: whoever was waiting for its lock meanwhile comes too late.
    pub(super) fn post_with(&self, inner: &Inner, event: impl FnOnce(Arc<Self>) -> Event) {
        if inner.destroyed {
            return;
        }
        if let Some(me) = self.me.upgrade() {
            inner.channel.push(event(me));
        }
    }

    // --- Addresses -------------------------------------------------------------------------------

    pub(crate) fn bind(&self, to: SocketAddr) -> Result<()> {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Idle {
            return Err(libc::EINVAL);
        }
        Self::bind_locked(&mut inner, to)
    }

    fn bind_locked(inner: &mut Inner, to: SocketAddr) -> Result<()> {
        let socket = Socket::stream(&to)?;
        socket.bind(&to, inner.only_v6)?;
        inner.local = Some(socket.local_addr()?);
        inner.source_was_given = true;
        inner.socket = Some(socket);
        inner.phase = Phase::Bound;
        Ok(())
    }

    /// Finds the source address for a destination. The event follows at once.
    pub(crate) fn resolve_addr(&self, from: Option<SocketAddr>, to: SocketAddr) -> Result<()> {
        self.made.touch();
        let mut inner = self.inner.lock();
        match inner.phase {
            Phase::Idle => {}
            Phase::Bound if from.is_none() => {}
            Phase::Bound if from.map(|from| from.ip()) == inner.local.map(|local| local.ip()) => {}
            _ => return Err(libc::EINVAL),
        }
        let given = from.or(inner.local);
        if given.is_some_and(|given| given.is_ipv4() != to.is_ipv4()) {
            return Err(libc::EINVAL);
        }
        let source = socket::source_for(given.as_ref(), &to)?;
        let mut port = given.map_or(0, |given| given.port());
        let asked_for = from.filter(|from| from.port() != 0 || !from.ip().is_unspecified());
        if let (Some(from), None) = (asked_for, &inner.socket) {
            // The source that the program asks for is its own from now on.
            Self::bind_locked(&mut inner, from)?;
            port = inner.local.map_or(0, |local| local.port());
        }
        let scope = match to {
            SocketAddr::V6(to) => to.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        let mut local = SocketAddr::new(source, port);
        if let SocketAddr::V6(local) = &mut local {
            local.set_scope_id(scope);
        }
        inner.local = Some(local);
        inner.remote = Some(to);
        inner.phase = Phase::AddrResolved;
        self.post(&inner, Kind::AddrResolved, 0);
        Ok(())
    }

    pub(crate) fn resolve_route(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::AddrResolved {
            return Err(libc::EINVAL);
        }
        inner.phase = Phase::RouteResolved;
        self.post(&inner, Kind::RouteResolved, 0);
        Ok(())
    }

    /// `backlog` requests may wait for the program; 0: as many as the system likes.
    pub(crate) fn listen(&self, backlog: usize) -> Result<()> {
        self.made.touch();
        const MOST: usize = 1024;
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Idle {
            Self::bind_locked(
                &mut inner,
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            )?;
        }
        if inner.phase != Phase::Bound {
            return Err(libc::EINVAL);
        }
        let socket = inner.socket.take().ok_or(libc::EINVAL)?;
        inner.backlog = if backlog == 0 {
            MOST
        } else {
            backlog.min(MOST)
        };
        let listener = Listener::new(socket, Weak::clone(&self.me))?;
        inner.local = listener.socket().local_addr().ok().or(inner.local);
        inner.listener = Some(listener);
        inner.phase = Phase::Listening;
        Ok(())
    }

    // --- Queue pairs -----------------------------------------------------------------------------

    pub(crate) fn set_qp(&self, qp: Option<Arc<Qp>>) {
        self.inner.lock().qp = qp;
    }

    // --- Events ----------------------------------------------------------------------------------

    /// From now on the events go to another channel, those that wait as well.
    pub(crate) fn migrate(self: &Arc<Self>, channel: Arc<EventChannel>) {
        self.made.touch();
        {
            let mut inner = self.inner.lock();
            let before = std::mem::replace(&mut inner.channel, channel);
            if !Arc::ptr_eq(&before, &inner.channel) {
                for event in before.withdraw(|event| Arc::ptr_eq(event.owner(), self)) {
                    inner.channel.push(event);
                }
            }
        }
        self.unacknowledged.wait_for_none("an rdma_cm_id");
    }

    // --- Timers ----------------------------------------------------------------------------------

    pub(super) fn start_timer(
        &self,
        inner: &mut Inner,
        delay: Duration,
        job: impl FnOnce(&Self, &mut Inner) + Send + 'static,
    ) {
        let Some(io) = io::get() else { return };
        Self::stop_timer(inner);
        if inner.destroyed {
            return;
        }
        inner.timers += 1;
        let number = inner.timers;
        let me = Weak::clone(&self.me);
        inner.timer = Some(io.after(delay, move || {
            if let Some(id) = me.upgrade() {
                id.timer_is_over(number, job);
            }
        }));
    }

    /// The time of this timer has come. It may have been stopped while this waited for the lock, and
    /// another one started.
    fn timer_is_over(&self, number: u64, job: impl FnOnce(&Self, &mut Inner)) {
        let mut inner = self.inner.lock();
        if inner.timer.is_some() && inner.timers == number {
            inner.timer = None;
            job(self, &mut inner);
        }
    }

    pub(super) fn stop_timer(inner: &mut Inner) {
        if let (Some(timer), Some(io)) = (inner.timer.take(), io::get()) {
            io.cancel(timer);
        }
    }

    // --- The end of an identifier ----------------------------------------------------------------

    /// Ends what it has under way. The program has acknowledged its events when this returns.
    pub(crate) fn destroy(self: &Arc<Self>) {
        self.made.touch();
        let (listener, handshake, connection, phase, channel, queued) = {
            let mut inner = self.inner.lock();
            Self::stop_timer(&mut inner);
            inner.destroyed = true;
            inner.socket = None;
            inner.unused = None;
            inner.expected = None;
            inner.qp = None;
            let phase = std::mem::replace(&mut inner.phase, Phase::Over);
            (
                inner.listener.take(),
                inner.handshake.take(),
                inner.connection.take(),
                phase,
                Arc::clone(&inner.channel),
                std::mem::take(&mut inner.queued),
            )
        };
        if let Some(listener) = listener {
            listener.close();
        }
        if let Some(handshake) = handshake {
            if phase == Phase::Requested {
                handshake.reject(reason::CONSUMER, &[]);
            } else {
                handshake.abandon();
            }
        }
        if let Some(connection) = connection {
            connection.close();
        }
        let mine = |event: &Event| {
            Arc::ptr_eq(&event.id, self)
                || event
                    .listen
                    .as_ref()
                    .is_some_and(|listen| Arc::ptr_eq(listen, self))
        };
        for event in channel.withdraw(mine).into_iter().chain(queued) {
            // Requests that the program has not seen.
            if !Arc::ptr_eq(&event.id, self) {
                event.id.destroy();
            }
        }
        self.unacknowledged.wait_for_none("an rdma_cm_id");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qp::owner::ConnectionOwner as _;

    const LONG: Duration = Duration::from_secs(3600);

    fn new() -> Result<(Arc<EventChannel>, Arc<Id>)> {
        let channel = Arc::new(EventChannel::new()?);
        Ok((Arc::clone(&channel), Id::new(channel)))
    }

    fn say_it_is_over(id: &Id, inner: &mut Inner) {
        id.post(inner, Kind::TimewaitExit, 0);
    }

    #[test]
    fn a_timer_that_waited_for_the_lock_of_a_destroyed_identifier_does_nothing() -> Result<()> {
        io::start()?;
        let (channel, id) = new()?;
        id.start_timer(&mut id.inner.lock(), LONG, say_it_is_over);
        id.destroy();
        // The I/O thread had taken the timer's job before, and has the lock only now.
        id.timer_is_over(1, say_it_is_over);
        assert_eq!(channel.count(|_| true), 0);
        Ok(())
    }

    #[test]
    fn a_timer_that_was_replaced_does_nothing() -> Result<()> {
        io::start()?;
        let (channel, id) = new()?;
        id.start_timer(&mut id.inner.lock(), LONG, say_it_is_over);
        id.start_timer(&mut id.inner.lock(), LONG, say_it_is_over);
        id.timer_is_over(1, say_it_is_over);
        assert_eq!(channel.count(|_| true), 0);
        id.timer_is_over(2, say_it_is_over);
        assert_eq!(channel.count(|_| true), 1);
        Ok(())
    }

    #[test]
    fn a_destroyed_identifier_has_neither_events_nor_timers() -> Result<()> {
        io::start()?;
        let (channel, id) = new()?;
        id.destroy();
        // The queue pair of its connection, which was waiting for the lock.
        {
            let mut inner = id.inner.lock();
            inner.end.sent = true;
            id.answered(&mut inner);
            assert!(inner.timer.is_none());
        }
        id.connection_lost();
        assert_eq!(channel.count(|_| true), 0);
        Ok(())
    }
}
