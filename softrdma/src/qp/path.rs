// SPDX-License-Identifier: BSD-3-Clause

//! The ways that bytes take between both ends of a connection.
//!
//! A connection begins on TCP. When both ends are on one host, the server makes a pair of local sockets,
//! which are much quicker, and the client takes one of them out of the server. Each direction changes
//! over between two frames: after its last one on TCP a side says so, and goes on with the other way.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Result;
use crate::io::{self, Io, Source, Token};
use crate::os::epoll::{HANG_UP, Interest, READABLE, WRITABLE};
use crate::os::memory::Span;
use crate::os::socket::Socket;

/// Where bytes come from and go to.
pub(super) enum Stream {
    Socket(Socket),
    /// For tests: input from memory; output goes nowhere, or has no room.
    Memory {
        input: VecDeque<u8>,
        has_room: bool,
    },
}

impl Stream {
    fn send(&self, from: &[Span<'_>]) -> Result<usize> {
        match self {
            Self::Socket(socket) => socket.send(from),
            Self::Memory {
                has_room: false, ..
            } => Err(libc::EAGAIN),
            Self::Memory { .. } => Ok(from.iter().map(Span::len).sum()),
        }
    }

    fn receive(&mut self, into: &[Span<'_>]) -> Result<usize> {
        match self {
            Self::Socket(socket) => socket.receive(into),
            Self::Memory { input, .. } => {
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

    fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Socket(socket) => Some(socket),
            Self::Memory { .. } => None,
        }
    }
}

struct Path {
    stream: Stream,
    /// What the I/O thread watches it for, if it does.
    watched: Option<Interest>,
}

impl Path {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            watched: None,
        }
    }

    fn watch(&mut self, io: &Io, token: Token, wanted: Option<Interest>) -> Result<()> {
        let Some(socket) = self.stream.socket() else {
            return Ok(());
        };
        match (self.watched, wanted) {
            (None, Some(wanted)) => io.add(socket.raw(), token, wanted)?,
            (Some(before), Some(wanted)) if before != wanted => {
                io.change(socket.raw(), token, wanted);
            }
            (Some(_), None) => io.remove(socket.raw()),
            _ => {}
        }
        self.watched = wanted;
        Ok(())
    }
}

pub(super) struct Paths {
    /// None once both directions have left it.
    tcp: Option<Path>,
    local: Option<Path>,
    receives_locally: bool,
    sends_locally: bool,
    token: Option<Token>,
}

impl Paths {
    pub(super) fn new(stream: Stream, local: Option<Socket>) -> Self {
        Self {
            tcp: Some(Path::new(stream)),
            local: local.map(|socket| Path::new(Stream::Socket(socket))),
            receives_locally: false,
            sends_locally: false,
            token: None,
        }
    }

    pub(super) fn send(&self, from: &[Span<'_>]) -> Result<usize> {
        let path = if self.sends_locally {
            &self.local
        } else {
            &self.tcp
        };
        path.as_ref().ok_or(libc::ENOTCONN)?.stream.send(from)
    }

    pub(super) fn receive(&mut self, into: &[Span<'_>]) -> Result<usize> {
        let path = if self.receives_locally {
            &mut self.local
        } else {
            &mut self.tcp
        };
        path.as_mut().ok_or(libc::ENOTCONN)?.stream.receive(into)
    }

    // --- Changing over ---------------------------------------------------------------------------

    pub(super) fn has_local(&self) -> bool {
        self.local.is_some()
    }

    /// There will be no local way.
    pub(super) fn give_up_local(&mut self) {
        if !self.receives_locally && !self.sends_locally {
            self.local = None;
        }
    }

    pub(super) fn receive_locally(&mut self) {
        self.receives_locally = self.local.is_some();
    }

    pub(super) fn send_locally(&mut self) {
        self.sends_locally = self.local.is_some();
    }

    // --- Watching --------------------------------------------------------------------------------

    /// From now on the I/O thread calls `source`.
    pub(super) fn start_watching(&mut self, io: &Io, source: Arc<dyn Source>) -> Result<()> {
        let token = io.enter(source);
        self.token = Some(token);
        let started = match &mut self.tcp {
            Some(tcp) => tcp.watch(io, token, Some(READABLE | HANG_UP)),
            None => Ok(()),
        };
        if started.is_err() {
            self.stop_watching();
        }
        started
    }

    /// Watches for input, unless somebody else reads it, and for room if that is wanted. Fails when the
    /// system does not let one more socket be watched.
    pub(super) fn watch(&mut self, input: bool, room: bool) -> Result<()> {
        let (Some(token), Some(io)) = (self.token, io::get()) else {
            return Ok(());
        };
        if self.receives_locally
            && self.sends_locally
            && let Some(mut tcp) = self.tcp.take()
        {
            tcp.watch(io, token, None)?;
        }
        let wanted = |receives: bool, sends: bool| {
            let room = if sends && room { WRITABLE } else { 0 };
            match (receives, input) {
                (true, true) => Some(READABLE | HANG_UP | room),
                // It stays in the set: it will be watched again soon.
                (true, false) => Some(room),
                (false, _) => (room != 0).then_some(room),
            }
        };
        if let Some(tcp) = &mut self.tcp {
            let wanted = wanted(!self.receives_locally, !self.sends_locally);
            tcp.watch(io, token, wanted)?;
        }
        if let Some(local) = &mut self.local {
            let wanted = wanted(self.receives_locally, self.sends_locally);
            local.watch(io, token, wanted)?;
        }
        Ok(())
    }

    pub(super) fn stop_watching(&mut self) {
        let (Some(token), Some(io)) = (self.token.take(), io::get()) else {
            return;
        };
        for path in [&mut self.tcp, &mut self.local].into_iter().flatten() {
            // Nothing is added, so nothing can fail.
            let _ = path.watch(io, token, None);
        }
        io.leave(token);
    }

    fn sockets(&self) -> impl Iterator<Item = &Socket> {
        [&self.tcp, &self.local]
            .into_iter()
            .flatten()
            .filter_map(|path| path.stream.socket())
    }

    /// The peer sees the end, on whichever way it listens.
    pub(super) fn shut_down_sending(&self) {
        self.sockets().for_each(Socket::shut_down_sending);
    }

    pub(super) fn shut_down(&self) {
        self.sockets().for_each(Socket::shut_down);
    }
}
