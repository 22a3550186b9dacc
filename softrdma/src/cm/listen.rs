// SPDX-License-Identifier: BSD-3-Clause

//! Listening for connections.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::handshake::Handshake;
use super::id::Id;
use super::silent;
use crate::Result;
use crate::io::{self, Source, Token};
use crate::os::epoll::{Interest, READABLE};
use crate::os::socket::{Socket, would_block};

#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    token: Token,
    id: Weak<Id>,
    closed: Mutex<bool>,
}

/// When there is no room for one more, there may be soon.
const NO_ROOM: Duration = Duration::from_millis(20);

impl Listener {
    pub(crate) fn new(socket: Socket, id: Weak<Id>) -> Result<Arc<Self>> {
        let io = io::start()?;
        socket.listen()?;
        let listener = Arc::new(Self {
            socket,
            token: io.token(),
            id,
            closed: Mutex::new(false),
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
        let mut closed = self.closed.lock();
        *closed = true;
        if let Some(io) = io::get() {
            io.forget(self.socket.raw(), self.token);
        }
        self.socket.shut_down();
        drop(closed);
        for handshake in silent::all() {
            if handshake.is_silent_to(&self.id) {
                handshake.give_up();
            }
        }
    }

    fn pause(self: &Arc<Self>) {
        let Some(io) = io::get() else { return };
        if self.watch_for(io, 0) {
            let listener = Arc::downgrade(self);
            io.after(NO_ROOM, move || {
                if let (Some(io), Some(listener)) = (io::get(), listener.upgrade()) {
                    listener.watch_for(io, READABLE);
                }
            });
        }
    }

    /// Not once it is closed: its descriptor may be another one's then.
    fn watch_for(&self, io: &io::Io, wanted: Interest) -> bool {
        let closed = self.closed.lock();
        if !*closed {
            io.change(self.socket.raw(), self.token, wanted);
        }
        !*closed
    }
}

impl Source for Listener {
    fn ready(self: Arc<Self>, _seen: Interest) {
        loop {
            if !silent::make_room() {
                return self.pause();
            }
            match self.socket.accept() {
                Ok(socket) => Handshake::serve(socket, Weak::clone(&self.id)),
                Err(errno) if would_block(errno) => return,
                Err(libc::ECONNABORTED | libc::EPROTO) => {}
                Err(_) => return self.pause(),
            }
        }
    }
}
