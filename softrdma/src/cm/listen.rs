// SPDX-License-Identifier: BSD-3-Clause

//! Listening for connections.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::handshake::Handshake;
use super::id::Id;
use super::room::{Room, Unused};
use super::silent;
use crate::Result;
use crate::io::{self, Source, Timer, Token};
use crate::os::epoll::{Interest, READABLE};
use crate::os::socket::{Socket, would_block};

#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    /// The address of each connection on this side. None if that differs.
    local: Option<SocketAddr>,
    token: Token,
    id: Weak<Id>,
    state: Mutex<State>,
    /// It waits for the program to take a request.
    full: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// When it looks again for clients.
    timer: Option<Timer>,
}

/// When there is no room for one more, there may be soon.
const NO_ROOM: Duration = Duration::from_millis(20);
/// A client whose host has gone is forgotten after so long, if the program has not answered it by then.
const HOST_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a listener that waits for the program looks whether clients have given up.
const FULL: Duration = Duration::from_secs(1);

impl Listener {
    pub(crate) fn new(socket: Socket, id: Weak<Id>) -> Result<Arc<Self>> {
        let io = io::start()?;
        // Connections that it accepts have the same options.
        socket.end_without_its_host(HOST_TIMEOUT);
        socket.listen()?;
        let local = socket.local_addr().ok();
        let listener = Arc::new(Self {
            socket,
            local: local.filter(|local| !local.ip().is_unspecified()),
            token: io.token(),
            id,
            state: Mutex::default(),
            full: AtomicBool::new(false),
        });
        let source = Arc::clone(&listener);
        io.watch(listener.socket.raw(), listener.token, READABLE, source)?;
        Ok(listener)
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// From now on nobody listens.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        if let Some(io) = io::get() {
            if let Some(timer) = state.timer.take() {
                io.cancel(timer);
            }
            io.forget(self.socket.raw(), self.token);
        }
        self.socket.shut_down();
        drop(state);
        for handshake in silent::all() {
            if handshake.is_silent_to(&self.id) {
                handshake.give_up();
            }
        }
    }

    fn pause(self: &Arc<Self>, time: Duration) {
        let Some(io) = io::get() else { return };
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        io.change(self.socket.raw(), self.token, 0);
        let listener = Arc::downgrade(self);
        let next = io.after(time, move || {
            if let Some(listener) = listener.upgrade() {
                listener.state.lock().timer = None;
                listener.go_on();
            }
        });
        if let Some(before) = state.timer.replace(next) {
            io.cancel(before);
        }
    }

    pub(crate) fn id(&self) -> Option<Arc<Id>> {
        self.id.upgrade()
    }

    /// The program has taken a request.
    pub(super) fn request_taken(&self) {
        if self.full.swap(false, Ordering::AcqRel) {
            self.go_on();
        }
    }

    fn has_room(&self, room: Room) -> bool {
        self.id
            .upgrade()
            .is_none_or(|id| id.requests() < room.requests)
    }

    /// Whether one more can be taken in. If not, it is looked at again later.
    fn make_room(self: &Arc<Self>) -> bool {
        let room = Room::now();
        let Some(room) =
            room.filter(|room| Unused::count() < room.unused && silent::make_room(room.silent))
        else {
            self.pause(NO_ROOM);
            return false;
        };
        if self.has_room(room) {
            return true;
        }
        self.full.store(true, Ordering::Release);
        self.pause(FULL);
        // Looked at once more: the program may just have taken one, and have watched again before the pause.
        if self.has_room(room) {
            self.full.store(false, Ordering::Release);
            self.go_on();
        }
        false
    }

    /// Not once it is closed: its descriptor may be another one's then.
    fn go_on(&self) {
        let state = self.state.lock();
        if let (false, Some(io)) = (state.closed, io::get()) {
            io.change(self.socket.raw(), self.token, READABLE);
        }
    }
}

impl Source for Listener {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn announce(self: Arc<Self>) -> bool {
        if let Some(id) = self.id.upgrade() {
            id.channel().announce();
        }
        true
    }

    fn lose(self: Arc<Self>) {
        let mut state = self.state.lock();
        state.closed = true;
        if let Some(io) = io::get() {
            if let Some(timer) = state.timer.take() {
                io.cancel(timer);
            }
            io.forget(self.socket.raw(), self.token);
        }
        drop(state);
        if let Some(id) = self.id.upgrade() {
            id.channel().lose_listener();
        }
    }

    fn ready(self: Arc<Self>, _seen: Interest) {
        if !self.make_room() {
            return;
        }
        // One at a time: mostly there is one, and others have their turn.
        match self.socket.accept() {
            Ok((socket, client)) => {
                let local = self.local.or_else(|| socket.local_addr().ok());
                Handshake::serve(socket, local.zip(client), Weak::clone(&self.id));
            }
            Err(errno) if would_block(errno) => {}
            Err(libc::ECONNABORTED | libc::EPROTO) => {}
            // The program has closed it.
            Err(libc::EBADF) => {}
            Err(_) => self.pause(NO_ROOM),
        }
    }

    fn watch_again(self: Arc<Self>, io: &io::Io, token: Token) {
        let state = self.state.lock();
        if !state.closed && self.socket.checked().is_ok() {
            // Otherwise nobody listens.
            let _ = io.add(self.socket.raw(), token, READABLE);
        }
    }
}
