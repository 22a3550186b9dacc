// SPDX-License-Identifier: BSD-3-Clause

//! A connection before it is one: the exchange of hellos.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use super::event::reason;
use super::id::Id;
use super::refusal::Refusals;
use super::silent;
use crate::io::{self, Source, Timer, Token, Watched};
use crate::os::epoll::{HANG_UP, Interest, ONCE, READABLE, WRITABLE};
use crate::os::held::Locks;
use crate::os::memory::Span;
use crate::os::socket::{Socket, would_block};
use crate::wire::{Greeting, HELLO, Hello, Params};
use crate::{Errno, Result};

#[derive(Debug)]
pub(crate) struct Handshake {
    token: Token,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: Option<Socket>,
    /// The addresses of this side and of the other one, once the socket is connected.
    ends: Option<(SocketAddr, SocketAddr)>,
    /// The I/O thread watches the socket.
    is_watched: bool,
    stage: Stage,
    buffer: [u8; HELLO],
    have: usize,
    timer: Option<Timer>,
}

#[derive(Debug)]
enum Stage {
    /// A client whose socket is not connected yet.
    Connecting {
        id: Weak<Id>,
        to: SocketAddr,
        hello: Box<[u8; HELLO]>,
        refusals: Refusals,
        /// The kernel has said so, and does not say it again.
        failed: Option<Errno>,
    },
    /// A client that waits for the answer.
    Asked {
        id: Weak<Id>,
    },
    /// A server that waits for the request.
    Serving {
        listen: Weak<Id>,
    },
    /// The program has to answer the request.
    Requested {
        id: Weak<Id>,
    },
    Over,
}

/// What a hello turned out to be.
enum Received {
    Nothing,
    Hello(Hello),
    /// The end, or what is no hello.
    End,
}

impl Handshake {
    fn new(
        io: &io::Io,
        socket: Socket,
        ends: Option<(SocketAddr, SocketAddr)>,
        stage: Stage,
    ) -> Arc<Self> {
        Arc::new(Self {
            token: io.token(),
            inner: Mutex::new(Inner {
                socket: Some(socket),
                ends,
                is_watched: false,
                stage,
                buffer: [0; HELLO],
                have: 0,
                timer: None,
            }),
        })
    }

    /// A client: sends its hello when the socket is connected. The first attempt to connect from the address `local`
    /// has been made, and may have been refused.
    pub(crate) fn ask(
        socket: Socket,
        id: Weak<Id>,
        (local, to): (Option<SocketAddr>, SocketAddr),
        refused: bool,
        hello: &Hello,
    ) -> Result<Arc<Self>> {
        let io = io::start()?;
        let stage = Stage::Connecting {
            id,
            to,
            hello: Box::new(hello.encode()),
            refusals: Refusals::none(),
            failed: None,
        };
        let handshake = Self::new(io, socket, None, stage);
        if refused && handshake.attempt_later() {
            return Ok(handshake);
        }
        let mut inner = handshake.inner.lock();
        let interest = if !refused && Self::ask_at_once(&mut inner, local) {
            READABLE | ONCE
        } else {
            WRITABLE
        };
        handshake.watch(&mut inner, interest)?;
        drop(inner);
        Ok(handshake)
    }

    /// A server of this host is connected with at once, as a rule. Whether it was asked. Whatever else is found out
    /// when the socket is writable.
    fn ask_at_once(inner: &mut Inner, local: Option<SocketAddr>) -> bool {
        let (
            Stage::Connecting {
                id,
                to,
                hello,
                failed,
                ..
            },
            Some(socket),
        ) = (&mut inner.stage, &inner.socket)
        else {
            return false;
        };
        // This may be a client that is connected with itself, or the peer has another address.
        let is_known = |local: &SocketAddr| local.port() != to.port() && !to.ip().is_unspecified();
        let Some(local) = local.filter(is_known) else {
            return false;
        };
        match socket.send_new(Span::from_slice(&hello[..])) {
            Ok(_) => {
                inner.ends = Some((local, *to));
                inner.stage = Stage::Asked {
                    id: Weak::clone(id),
                };
                true
            }
            Err(errno) => {
                *failed = Some(errno).filter(|&errno| !would_block(errno));
                false
            }
        }
    }

    /// A server: waits for a hello, which has mostly come by now if the client is on this host.
    pub(super) fn serve(socket: Socket, ends: Option<(SocketAddr, SocketAddr)>, listen: Weak<Id>) {
        let Ok(io) = io::start() else { return };
        let stage = Stage::Serving {
            listen: Weak::clone(&listen),
        };
        let handshake = Self::new(io, socket, ends, stage);
        if !handshake.requested(&listen, true) {
            return;
        }
        if handshake
            .watch(&mut handshake.inner.lock(), READABLE)
            .is_err()
        {
            return;
        }
        silent::enter(&handshake);
        let late = Arc::downgrade(&handshake);
        // This is the thread that looks at the socket next, and that the timer runs on.
        handshake.inner.lock().timer = Some(io.after(silent::AT_MOST, move || {
            if let Some(handshake) = late.upgrade() {
                handshake.give_up();
            }
        }));
    }

    /// Its hello may have arrived without having been read.
    pub(super) fn listen_once_more(self: &Arc<Self>) {
        let listen = match &self.inner.lock().stage {
            Stage::Serving { listen } => Weak::clone(listen),
            _ => return,
        };
        self.requested(&listen, false);
    }

    /// One that is silent, and was for too long.
    pub(super) fn give_up(&self) {
        self.no_longer_silent();
        self.abandon();
    }

    pub(super) fn is_silent_to(&self, id: &Weak<Id>) -> bool {
        matches!(&self.inner.lock().stage, Stage::Serving { listen } if listen.ptr_eq(id))
    }

    fn no_longer_silent(&self) {
        silent::leave(self);
        let mut inner = self.inner.lock();
        if matches!(inner.stage, Stage::Serving { .. }) {
            inner.stage = Stage::Over;
        }
        if let (Some(timer), Some(io)) = (inner.timer.take(), io::get()) {
            io.cancel(timer);
        }
    }

    /// Before a fork.
    pub(crate) fn hold(self: &Arc<Self>, locks: &mut Locks) -> bool {
        locks.hold(self, |handshake| &handshake.inner)
    }

    /// The socket belongs to the caller now.
    pub(super) fn take_watched(&self) -> Option<Watched> {
        let (socket, is_watched, timer) = {
            let mut inner = self.inner.lock();
            inner.stage = Stage::Over;
            let socket = inner.socket.take()?;
            (socket, inner.is_watched, inner.timer.take())
        };
        if let (Some(timer), Some(io)) = (timer, io::get()) {
            io.cancel(timer);
        }
        Some(Watched::new(socket, is_watched.then_some(self.token)))
    }

    /// As above, and the I/O thread does not watch it any more.
    fn take_socket(&self) -> Option<Socket> {
        self.take_watched().and_then(Watched::into_socket)
    }

    pub(crate) fn abandon(&self) {
        drop(self.take_socket());
    }

    /// Tells the client that there will be no connection.
    pub(crate) fn reject(&self, why: u8, private_data: &[u8]) {
        let Some(socket) = self.take_socket() else {
            return;
        };
        let hello = Hello {
            greeting: Greeting::Reject(why),
            params: Params::default(),
            invitation: None,
            private_data: private_data.to_vec(),
        };
        // A client that does not receive it sees the end of the connection.
        let _ = socket.send(&[Span::from_slice(&hello.encode())]);
    }

    /// `is_new`: the socket has just been made.
    fn receive(inner: &mut Inner, is_new: bool) -> Received {
        let Inner {
            socket,
            buffer,
            have,
            ..
        } = inner;
        let Some(socket) = socket else {
            return Received::Nothing;
        };
        let room = Span::from_mut(&mut buffer[*have..]);
        let received = if is_new {
            socket.receive_new(room)
        } else {
            socket.receive(&[room])
        };
        match received {
            Ok(0) => Received::End,
            Ok(n) => {
                *have += n;
                if *have < HELLO {
                    return Received::Nothing;
                }
                match Hello::decode(buffer) {
                    Ok(hello) => Received::Hello(hello),
                    Err(_) => Received::End,
                }
            }
            Err(errno) if would_block(errno) => Received::Nothing,
            Err(_) => Received::End,
        }
    }

    /// From now on the I/O thread watches the socket for this.
    fn watch(self: &Arc<Self>, inner: &mut Inner, interest: Interest) -> Result<()> {
        let Some(socket) = &inner.socket else {
            return Ok(());
        };
        let io = io::start()?;
        if inner.is_watched {
            io.change(socket.raw(), self.token, interest);
        } else {
            let source = Arc::clone(self);
            io.watch(socket.raw(), self.token, interest, source)?;
            inner.is_watched = true;
        }
        Ok(())
    }

    /// Connects once more, unless this handshake is over.
    fn attempt(self: &Arc<Self>) -> Result<()> {
        let mut inner = self.inner.lock();
        let (Stage::Connecting { to, .. }, Some(socket)) = (&inner.stage, &inner.socket) else {
            return Ok(());
        };
        socket.connect_again(to)?;
        // Not before: a socket that is not connecting has hung up.
        self.watch(&mut inner, WRITABLE)
    }

    /// Nobody listens. Whether there will be another attempt.
    fn attempt_later(self: &Arc<Self>) -> bool {
        let mut inner = self.inner.lock();
        let Inner {
            stage: Stage::Connecting { refusals, .. },
            socket: Some(socket),
            timer,
            is_watched,
            ..
        } = &mut *inner
        else {
            return true;
        };
        let (Some(io), Some(pause)) = (io::get(), refusals.pause(Instant::now())) else {
            return false;
        };
        if std::mem::take(is_watched) {
            io.forget(socket.raw(), self.token);
        }
        let me = Arc::downgrade(self);
        *timer = Some(io.after(pause, move || {
            if let Some(handshake) = me.upgrade() {
                handshake.attempt_again();
            }
        }));
        true
    }

    fn attempt_again(self: &Arc<Self>) {
        let id = match &self.inner.lock().stage {
            Stage::Connecting { id, .. } => Weak::clone(id),
            _ => return,
        };
        match self.attempt() {
            Err(libc::ECONNREFUSED) if self.attempt_later() => {}
            Err(errno) => {
                if let Some(id) = id.upgrade() {
                    id.connect_failed(errno);
                }
            }
            Ok(()) => {
                if let Some(id) = id.upgrade() {
                    id.asked();
                }
            }
        }
    }

    fn connected(self: &Arc<Self>, id: &Weak<Id>, hello: &[u8; HELLO]) {
        let outcome = {
            let mut inner = self.inner.lock();
            let failed = match &mut inner.stage {
                Stage::Connecting { failed, .. } => failed.take(),
                _ => None,
            };
            let Some(socket) = &inner.socket else { return };
            let outcome = failed
                .map_or_else(|| socket.pending_error(), Err)
                .and_then(|()| socket.refuse_itself())
                .and_then(|ends| socket.send(&[Span::from_slice(hello)]).map(|_| ends));
            inner.ends = outcome.ok().flatten();
            if outcome.is_ok() {
                inner.stage = Stage::Asked {
                    id: Weak::clone(id),
                };
                // It is watched already, so nothing can fail.
                let _ = self.watch(&mut inner, READABLE | ONCE);
            }
            outcome
        };
        if outcome.err() == Some(libc::ECONNREFUSED) && self.attempt_later() {
            return;
        }
        if let Some(id) = id.upgrade() {
            match outcome {
                Ok(_) => id.asked(),
                Err(errno) => id.connect_failed(errno),
            }
        }
    }

    fn answered(self: &Arc<Self>, id: &Weak<Id>) {
        let received = {
            let mut inner = self.inner.lock();
            let received = Self::receive(&mut inner, false);
            if matches!(received, Received::Nothing) {
                // As above.
                let _ = self.watch(&mut inner, READABLE | ONCE);
            } else {
                // What follows waits until the program has taken the event.
                inner.stage = Stage::Over;
            }
            received
        };
        let Some(id) = id.upgrade() else {
            return self.abandon();
        };
        match received {
            Received::Nothing => {}
            Received::Hello(hello) => match hello.greeting {
                Greeting::Reply => id.replied(hello),
                Greeting::Reject(why) => {
                    self.abandon();
                    id.refused(why, hello.private_data);
                }
                Greeting::Request => {
                    self.abandon();
                    id.refused(reason::CONSUMER, Vec::new());
                }
            },
            Received::End => {
                self.abandon();
                id.refused(reason::CONSUMER, Vec::new());
            }
        }
    }

    /// Reads the request. Whether it is still to come.
    fn requested(self: &Arc<Self>, listen: &Weak<Id>, is_new: bool) -> bool {
        let received = Self::receive(&mut self.inner.lock(), is_new);
        match received {
            Received::Nothing => return true,
            Received::Hello(hello) if hello.greeting == Greeting::Request => {
                self.no_longer_silent();
                match listen.upgrade() {
                    Some(listen) => listen.incoming(self, hello),
                    None => self.reject(reason::CONSUMER, &[]),
                }
            }
            _ => self.give_up(),
        }
        false
    }

    /// From now on it is the child's.
    pub(super) fn hand_over(self: &Arc<Self>, child: &Arc<Id>) {
        let mut inner = self.inner.lock();
        inner.stage = Stage::Requested {
            id: Arc::downgrade(child),
        };
        // Nothing is expected from the client but that it goes. Without that, the program finds out when it answers.
        let _ = self.watch(&mut inner, HANG_UP);
    }

    /// The addresses of this side and of the other one, once the socket is connected.
    pub(super) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.inner.lock().ends
    }

    pub(super) fn with_socket<T>(&self, look: impl FnOnce(&Socket) -> T) -> Option<T> {
        self.inner.lock().socket.as_ref().map(look)
    }
}

impl Handshake {
    /// The identifier whose program may be connecting or answering it at this moment.
    pub(crate) fn id(&self) -> Option<Arc<Id>> {
        match &self.inner.lock().stage {
            Stage::Connecting { id, .. } | Stage::Asked { id } | Stage::Requested { id } => {
                id.upgrade()
            }
            Stage::Serving { .. } | Stage::Over => None,
        }
    }
}

impl Source for Handshake {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn lose(self: Arc<Self>) {
        self.ready(READABLE | WRITABLE | HANG_UP);
    }

    fn ready(self: Arc<Self>, seen: Interest) {
        enum Now {
            Connected(Weak<Id>, Box<[u8; HELLO]>),
            Answered(Weak<Id>),
            Requested(Weak<Id>),
            ClientGone(Weak<Id>),
            Over,
            Nothing,
        }
        // Everything is done without the lock.
        let inner = self.inner.lock();
        let now = match &inner.stage {
            Stage::Connecting { id, hello, .. } => Now::Connected(Weak::clone(id), hello.clone()),
            Stage::Asked { id } => Now::Answered(Weak::clone(id)),
            Stage::Serving { listen } => Now::Requested(Weak::clone(listen)),
            Stage::Requested { id } if seen & HANG_UP != 0 => Now::ClientGone(Weak::clone(id)),
            Stage::Requested { .. } => Now::Nothing,
            Stage::Over => Now::Over,
        };
        drop(inner);
        match now {
            Now::Connected(id, hello) => self.connected(&id, &hello),
            Now::Answered(id) => self.answered(&id),
            Now::Requested(listen) => {
                self.requested(&listen, false);
            }
            Now::ClientGone(id) => {
                self.abandon();
                if let Some(id) = id.upgrade() {
                    id.client_gone();
                }
            }
            // A client's peer is gone before the program has taken the reply: that is found out then.
            Now::Over | Now::Nothing => {}
        }
    }

    fn watch_again(self: Arc<Self>, io: &io::Io, token: Token) {
        let watched = {
            let inner = self.inner.lock();
            let interest = match &inner.stage {
                Stage::Connecting { .. } => WRITABLE,
                Stage::Asked { .. } => READABLE | ONCE,
                Stage::Serving { .. } => READABLE,
                Stage::Requested { .. } => HANG_UP,
                Stage::Over => ONCE,
            };
            inner.socket.as_ref().is_some_and(|socket| {
                socket
                    .checked()
                    .is_ok_and(|fd| io.add(fd, token, interest).is_ok())
            })
        };
        if !watched {
            self.ready(READABLE | HANG_UP);
        }
    }
}
