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
use crate::Result;
use crate::io::{self, Source, Timer, Token};
use crate::os::epoll::{HANG_UP, Interest, READABLE, WRITABLE};
use crate::os::held::Locks;
use crate::os::memory::Span;
use crate::os::socket::{Socket, would_block};
use crate::wire::{Greeting, HELLO, Hello, Params};

#[derive(Debug)]
pub(crate) struct Handshake {
    token: Token,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: Option<Socket>,
    /// A client's addresses, once it is connected: its own and that of the server.
    ends: Option<(SocketAddr, SocketAddr)>,
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
    fn new(io: &io::Io, socket: Socket, stage: Stage) -> Arc<Self> {
        Arc::new(Self {
            token: io.token(),
            inner: Mutex::new(Inner {
                socket: Some(socket),
                ends: None,
                stage,
                buffer: [0; HELLO],
                have: 0,
                timer: None,
            }),
        })
    }

    /// A client: sends its hello when the socket is connected. The first attempt to connect has been
    /// made, and may have been refused.
    pub(crate) fn ask(
        socket: Socket,
        id: Weak<Id>,
        to: SocketAddr,
        refused: bool,
        hello: &Hello,
    ) -> Result<Arc<Self>> {
        let io = io::start()?;
        let fd = socket.raw();
        let stage = Stage::Connecting {
            id,
            to,
            hello: Box::new(hello.encode()),
            refusals: Refusals::none(),
        };
        let handshake = Self::new(io, socket, stage);
        if !(refused && handshake.attempt_later()) {
            let source = Arc::clone(&handshake);
            io.watch(fd, handshake.token, WRITABLE, source)?;
        }
        Ok(handshake)
    }

    /// A server: waits for a hello.
    pub(super) fn serve(socket: Socket, listen: Weak<Id>) {
        let Ok(io) = io::start() else { return };
        let fd = socket.raw();
        let handshake = Self::new(io, socket, Stage::Serving { listen });
        let source = Arc::clone(&handshake);
        if io.watch(fd, handshake.token, READABLE, source).is_err() {
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
        self.requested(&listen);
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
    pub(crate) fn take_socket(&self) -> Option<Socket> {
        let (socket, timer) = {
            let mut inner = self.inner.lock();
            inner.stage = Stage::Over;
            (inner.socket.take()?, inner.timer.take())
        };
        if let Some(io) = io::get() {
            if let Some(timer) = timer {
                io.cancel(timer);
            }
            io.forget(socket.raw(), self.token);
        }
        Some(socket)
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

    fn receive(inner: &mut Inner) -> Received {
        let Inner {
            socket,
            buffer,
            have,
            ..
        } = inner;
        let Some(socket) = socket else {
            return Received::Nothing;
        };
        match socket.receive(&[Span::from_mut(&mut buffer[*have..])]) {
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

    /// Nothing is expected from the other end but that it goes.
    fn watch_for_the_end(&self, inner: &Inner, interest: Interest) {
        if let (Some(socket), Some(io)) = (&inner.socket, io::get()) {
            io.change(socket.raw(), self.token, interest);
        }
    }

    /// Connects once more, unless this handshake is over.
    fn attempt(self: &Arc<Self>) -> Result<()> {
        let inner = self.inner.lock();
        let (Stage::Connecting { to, .. }, Some(socket)) = (&inner.stage, &inner.socket) else {
            return Ok(());
        };
        let io = io::start()?;
        socket.connect_again(to)?;
        // Not before: a socket that is not connecting has hung up.
        let source = Arc::clone(self);
        io.watch(socket.raw(), self.token, WRITABLE, source)
    }

    /// Nobody listens. Whether there will be another attempt.
    fn attempt_later(self: &Arc<Self>) -> bool {
        let mut inner = self.inner.lock();
        let Inner {
            stage: Stage::Connecting { refusals, .. },
            socket: Some(socket),
            timer,
            ..
        } = &mut *inner
        else {
            return true;
        };
        let (Some(io), Some(pause)) = (io::get(), refusals.pause(Instant::now())) else {
            return false;
        };
        io.forget(socket.raw(), self.token);
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
            let Some(socket) = &inner.socket else { return };
            let outcome = socket
                .pending_error()
                .and_then(|()| socket.refuse_itself())
                .and_then(|ends| socket.send(&[Span::from_slice(hello)]).map(|_| ends));
            inner.ends = outcome.ok().flatten();
            if outcome.is_ok() {
                inner.stage = Stage::Asked {
                    id: Weak::clone(id),
                };
                self.watch_for_the_end(&inner, READABLE);
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
            let received = Self::receive(&mut inner);
            if matches!(received, Received::Hello(_) | Received::End) {
                // What follows waits until the program has taken the event.
                self.watch_for_the_end(&inner, 0);
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

    fn requested(self: &Arc<Self>, listen: &Weak<Id>) {
        let received = Self::receive(&mut self.inner.lock());
        match received {
            Received::Nothing => {}
            Received::Hello(hello) if hello.greeting == Greeting::Request => {
                self.no_longer_silent();
                match listen.upgrade() {
                    Some(listen) => listen.incoming(self, hello),
                    None => self.reject(reason::CONSUMER, &[]),
                }
            }
            _ => self.give_up(),
        }
    }

    /// From now on it is the child's. Addresses of the connection: local, peer.
    pub(super) fn hand_over(&self, child: &Arc<Id>) {
        let mut inner = self.inner.lock();
        inner.stage = Stage::Requested {
            id: Arc::downgrade(child),
        };
        self.watch_for_the_end(&inner, HANG_UP);
    }

    /// A client's addresses, once it is connected: its own and that of the server.
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
            Now::Requested(listen) => self.requested(&listen),
            Now::ClientGone(id) => {
                self.abandon();
                if let Some(id) = id.upgrade() {
                    id.client_gone();
                }
            }
            // A client's peer is gone before the program has taken the reply: that is found out then.
            Now::Over if seen & HANG_UP != 0 => {
                if let Some(io) = io::get() {
                    self.with_socket(|socket| io.forget(socket.raw(), self.token));
                }
            }
            Now::Over | Now::Nothing => {}
        }
    }

    fn watch_again(self: Arc<Self>, io: &io::Io, token: Token) {
        let watched = {
            let inner = self.inner.lock();
            let interest = match &inner.stage {
                Stage::Connecting { .. } => WRITABLE,
                Stage::Asked { .. } | Stage::Serving { .. } => READABLE,
                Stage::Requested { .. } => HANG_UP,
                Stage::Over => 0,
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
