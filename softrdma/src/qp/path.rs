// SPDX-License-Identifier: BSD-3-Clause

//! The ways that bytes take between both ends of a connection.
//!
//! A connection begins on TCP. When both ends are processes of one user on one host, they come to share memory
//! (`cm::door`). A client that has offered the memory sends and reads nothing until it is decided that the connection
//! goes on there (`os::way`); if it cannot wait, it decides that it stays on TCP. The server has sent frames on TCP
//! already if its program was quick: then its direction changes over between two frames. After the last one on TCP it
//! says so, and goes on with the memory.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::Result;
use crate::io::fork_state::Made;
use crate::io::{self, Io, Source, Token};
use crate::objects::attached::Hint;
use crate::os::epoll::{HANG_UP, Interest, READABLE, WRITABLE};
use crate::os::local::Local;
use crate::os::memory::Span;
use crate::os::pair::Rung;
use crate::os::process::Process;
use crate::os::rings::RingHint;
use crate::os::socket::Socket;
use crate::os::socket_hint::SocketHint;
use crate::os::way::Way;

/// Where bytes come from and go to.
pub(super) enum Stream {
    Socket(Socket),
    Local(Local),
    /// For tests: input from memory; output goes nowhere, or has no room.
    Memory {
        input: VecDeque<u8>,
        has_room: bool,
    },
}

impl Stream {
    fn send(&mut self, own: Span<'_>, program: Span<'_>) -> Result<usize> {
        match self {
            Self::Socket(socket) if program.len() == 0 => socket.send(&[own]),
            Self::Socket(socket) => match socket.send(&[own, program]) {
                Err(libc::EFAULT) => socket.send_guarded(own, program),
                sent => sent,
            },
            Self::Local(local) => local.send(own, program),
            Self::Memory {
                has_room: false, ..
            } => Err(libc::EAGAIN),
            Self::Memory { .. } => Ok(own.len() + program.len()),
        }
    }

    fn receive(&mut self, program: Span<'_>, own: Span<'_>) -> Result<usize> {
        match self {
            Self::Socket(socket) if program.len() == 0 => socket.receive(&[own]),
            Self::Socket(socket) => match socket.receive(&[program, own]) {
                Err(libc::EFAULT) => socket.receive_guarded(program),
                received => received,
            },
            Self::Local(local) => local.receive(program, own),
            Self::Memory { input, .. } => {
                let mut got = 0;
                for span in [program, own] {
                    let n = span.len().min(input.len());
                    let bytes: Vec<u8> = input.drain(..n).collect();
                    got += span.write(&bytes)?;
                }
                Ok(got)
            }
        }
    }

    fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Socket(socket) => Some(socket),
            // The socket of both processes is watched for all connections.
            Self::Local(_) | Self::Memory { .. } => None,
        }
    }
}

/// What a socket is watched for.
fn interest(input: bool, room: bool) -> Interest {
    let input = if input { READABLE | HANG_UP } else { 0 };
    input | if room { WRITABLE } else { 0 }
}

#[repr(C)]
struct Path {
    stream: Stream,
    /// What the I/O thread watches it for, if it does.
    watched: Option<Interest>,
    /// It does, for whom it belonged to before.
    is_adopted: bool,
}

impl Path {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            watched: None,
            is_adopted: false,
        }
    }

    fn watch(&mut self, io: &Io, token: Token, wanted: Option<Interest>) -> Result<()> {
        let Some(socket) = self.stream.socket() else {
            return Ok(());
        };
        match (self.watched, wanted) {
            (None, Some(wanted)) if std::mem::take(&mut self.is_adopted) => {
                io.adapt(socket, token, wanted)?;
            }
            (None, Some(wanted)) => io.add(socket.checked()?, token, wanted)?,
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

/// In this order for the cache, as `Qp` says.
#[repr(C)]
pub(super) struct Paths {
    made: Made,
    receives_locally: bool,
    sends_locally: bool,
    /// A client that has offered the memory: it sends and reads nothing until it knows whether the server goes on
    /// there.
    is_undecided: bool,
    /// The peer rings when it has written something to the memory: nobody looks there otherwise.
    sleeps: bool,
    /// That there is a link at all is known from here, too: `Option<Link>` is as large as `Link`.
    token: Option<Token>,
    local: Option<Path>,
    /// None once both directions have left it.
    tcp: Option<Path>,
    /// Of the TCP connection, while input comes from there.
    socket_hint: Option<Arc<SocketHint>>,
}

impl Paths {
    pub(super) fn new(stream: Stream, local: Option<Local>) -> Self {
        let number = match &stream {
            Stream::Socket(socket) => Some(socket.raw()),
            Stream::Local(_) | Stream::Memory { .. } => None,
        };
        Self {
            socket_hint: number.map(|number| Arc::new(SocketHint::new(number))),
            tcp: Some(Path::new(stream)),
            is_undecided: local.is_some(),
            local: local.map(|local| Path::new(Stream::Local(local))),
            receives_locally: false,
            sends_locally: false,
            sleeps: false,
            token: None,
            made: Made::now(),
        }
    }

    /// Both directions have come to this way, whatever it is.
    pub(super) fn within_the_host(stream: Stream) -> Self {
        Self {
            socket_hint: None,
            tcp: None,
            local: Some(Path::new(stream)),
            receives_locally: true,
            sends_locally: true,
            is_undecided: false,
            sleeps: false,
            token: None,
            made: Made::now(),
        }
    }

    /// Sends what goes of a buffer of this library, and of the program's memory behind it.
    pub(super) fn send(&mut self, own: Span<'_>, program: Span<'_>) -> Result<usize> {
        if !self.made.is_own() {
            return Err(libc::ECONNRESET);
        }
        let path = if self.sends_locally {
            &mut self.local
        } else {
            &mut self.tcp
        };
        let path = path.as_mut().ok_or(libc::ENOTCONN)?;
        path.stream.send(own, program)
    }

    /// Receives what there is into the program's memory, and what is left into a buffer of this library.
    pub(super) fn receive(&mut self, program: Span<'_>, own: Span<'_>) -> Result<usize> {
        if !self.made.is_own() {
            return Err(libc::ECONNRESET);
        }
        let path = if self.receives_locally {
            &mut self.local
        } else {
            &mut self.tcp
        };
        let path = path.as_mut().ok_or(libc::ENOTCONN)?;
        path.stream.receive(program, own)
    }

    /// Whether the peer's number is still that of the process that the kernel said it is.
    pub(super) fn peer_is_there(&self) -> bool {
        match self.local.as_ref().map(|path| &path.stream) {
            Some(Stream::Local(local)) => local.process().is_some_and(Process::is_there),
            _ => true,
        }
    }

    /// The process at the other end, if it is on this host.
    pub(super) fn peer(&self) -> Option<&Process> {
        match self.local.as_ref().map(|path| &path.stream) {
            Some(Stream::Local(local)) => local.process(),
            _ => None,
        }
    }

    /// The TCP connection, as long as that is where bytes go.
    pub(super) fn tcp_to_send(&self) -> Option<&Socket> {
        match &self.tcp {
            Some(Path {
                stream: Stream::Socket(socket),
                ..
            }) if !self.sends_locally && !self.is_undecided => Some(socket),
            _ => None,
        }
    }

    /// The shared memory, if that is where bytes go.
    pub(super) fn local_to_send(&self) -> Option<&Local> {
        match self.local.as_ref().map(|path| &path.stream) {
            Some(Stream::Local(local)) if self.sends_locally => Some(local),
            _ => None,
        }
    }

    /// The way within the host, whether it is in use yet or not.
    pub(super) fn local(&self) -> Option<&Local> {
        match self.local.as_ref().map(|path| &path.stream) {
            Some(Stream::Local(local)) => Some(local),
            _ => None,
        }
    }

    pub(super) fn local_stream(&mut self) -> Option<&mut Local> {
        match &mut self.local.as_mut()?.stream {
            Stream::Local(local) => Some(local),
            _ => None,
        }
    }

    // --- Changing over ---------------------------------------------------------------------------

    pub(super) fn has_local(&self) -> bool {
        self.local.is_some()
    }

    /// This side, which is not told of the listener's options, is about to send on TCP.
    pub(super) fn use_tcp(&self) {
        if let Some(socket) = self.tcp_to_send() {
            socket.without_delay();
        }
    }

    /// The client has offered a way within the host.
    pub(super) fn enter(&mut self, local: Local) {
        self.local = Some(Path::new(Stream::Local(local)));
    }

    /// Whether this is a client that does not know yet how the connection goes on.
    pub(super) fn is_undecided(&self) -> bool {
        self.is_undecided
    }

    /// How it does, if the server has said that, or if this side does not wait for it any longer. Asked for once.
    pub(super) fn take_decision(&mut self, waits: bool) -> Option<Way> {
        if !self.made.is_own() {
            return None;
        }
        let decided = match self.local() {
            Some(local) if waits => local.decided(),
            Some(local) => Some(local.decide_for_tcp()),
            None => Some(Way::Tcp),
        };
        let way = decided?;
        self.is_undecided = false;
        match way {
            Way::Tcp => self.local = None,
            Way::Here { rest_on_tcp } => {
                self.send_locally();
                if !rest_on_tcp {
                    self.receive_locally();
                }
            }
        }
        Some(way)
    }

    /// Whether what comes in is of the process that the kernel says the peer is.
    pub(super) fn receives_locally(&self) -> bool {
        self.receives_locally
    }

    /// Whether nobody but that process gets what is sent.
    pub(super) fn sends_locally(&self) -> bool {
        self.sends_locally
    }

    pub(super) fn receive_locally(&mut self) {
        self.close_socket_hint();
        self.receives_locally = self.local.is_some();
    }

    pub(super) fn send_locally(&mut self) {
        self.sends_locally = self.local.is_some();
    }

    // --- Watching --------------------------------------------------------------------------------

    /// From now on `connection` is called when the peer rings.
    pub(super) fn is_rung_for(&mut self, connection: Weak<dyn Rung>) {
        if let Some(local) = self.local_stream() {
            local.is_for(connection);
        }
    }

    /// From now on the I/O thread calls `source`. It knows the socket by the token already, if there is one.
    pub(super) fn start_watching(
        &mut self,
        io: &Io,
        source: Arc<dyn Source>,
        token: Option<Token>,
    ) -> Result<()> {
        let is_adopted = token.is_some();
        let token = match token {
            Some(token) => {
                io.adopt(token, source);
                token
            }
            None => io.enter(source),
        };
        self.token = Some(token);
        let started = match &mut self.tcp {
            Some(tcp) => {
                tcp.is_adopted = is_adopted;
                if self.is_undecided {
                    return Ok(());
                }
                tcp.watch(io, token, Some(READABLE | HANG_UP))
            }
            None => Ok(()),
        };
        if started.is_err() {
            self.stop_watching();
        }
        started
    }

    /// Watches for input, unless somebody else reads it, and for room if that is wanted. Whether there is
    /// input of which nothing will tell. Fails when the system does not let one more socket be watched.
    pub(super) fn watch(&mut self, input: bool, room: bool) -> Result<bool> {
        let (Some(token), Some(io)) = (self.token, io::get()) else {
            return Ok(false);
        };
        if self.receives_locally && self.sends_locally {
            if let Some(mut tcp) = self.tcp.take() {
                tcp.watch(io, token, None)?;
            }
        }
        let wanted = |receives: bool, sends: bool| {
            let room = sends && room;
            // One that is read stays in the set, even if somebody else reads it now.
            (receives || room).then(|| interest(receives && input, room))
        };
        if let (Some(tcp), false) = (&mut self.tcp, self.is_undecided) {
            let wanted = wanted(!self.receives_locally, !self.sends_locally);
            tcp.watch(io, token, wanted)?;
        }
        if let Some(local) = &mut self.local {
            let wanted = wanted(self.receives_locally, self.sends_locally);
            local.watch(io, token, wanted)?;
        }
        if self.local_stream().is_some_and(Local::has_failed) {
            return Ok(true);
        }
        let sleeps = (self.receives_locally || self.is_undecided) && input;
        if std::mem::replace(&mut self.sleeps, sleeps) == sleeps {
            return Ok(false);
        }
        let is_undecided = self.is_undecided;
        Ok(match self.local_stream() {
            Some(local) if sleeps => {
                // Before it is looked for the decision: a side that decides after that rings.
                local.sleep() || is_undecided && local.decided().is_some()
            }
            Some(local) => {
                local.stay_awake();
                false
            }
            None => false,
        })
    }

    /// What the I/O thread waited with is gone.
    pub(super) fn is_not_watched(&mut self) {
        for path in [&mut self.tcp, &mut self.local].into_iter().flatten() {
            path.watched = None;
            path.is_adopted = false;
        }
        self.sleeps = false;
    }

    /// What a program that polls needs to see to know whether to look here.
    pub(super) fn input_hint(&self) -> Option<Hint> {
        match (self.ring_hint(), &self.socket_hint) {
            (Some(ring), _) => Some(Hint::Ring(Arc::clone(ring))),
            (None, Some(socket)) if !socket.is_closed() => Some(Hint::Socket(Arc::clone(socket))),
            _ => None,
        }
    }

    /// The same, of a connection whose input comes through shared memory.
    pub(super) fn ring_hint(&self) -> Option<&Arc<RingHint>> {
        match &self.local.as_ref()?.stream {
            Stream::Local(local) if self.receives_locally => Some(local.hint()),
            _ => None,
        }
    }

    /// Whoever polls is to look here, if something is left to do or the peer does not read.
    pub(super) fn owe(&mut self, owes: bool) {
        let sends_locally = self.sends_locally;
        if let Some(hint) = &self.socket_hint {
            hint.owe(owes);
        }
        if let Some(local) = self.local_stream() {
            local
                .hint()
                .owe(owes || (sends_locally && local.has_unread()));
        }
    }

    /// Nothing has come for this side, which looks by itself. Perhaps the peer does not.
    pub(super) fn urge(&mut self) {
        if self.sends_locally {
            if let Some(local) = self.local_stream() {
                local.urge();
            }
        }
    }

    /// The peer does not ring for acknowledgements.
    pub(super) fn leaves_acks_unread(&self) -> bool {
        matches!(&self.local, Some(path) if matches!(&path.stream, Stream::Local(local) if !local.wants_acks()))
    }

    /// Whether the peer is to ring for acknowledgements. Returns whether there is input of which nothing will tell.
    pub(super) fn want_acks(&mut self, wants: bool) -> bool {
        let sleeps = self.sleeps && self.receives_locally;
        self.local_stream()
            .is_some_and(|local| local.want_acks(wants) && sleeps && local.sleep())
    }

    /// What is sent next are acknowledgements, and nothing else.
    pub(super) fn acks_are_next(&mut self) {
        if self.sends_locally {
            if let Some(local) = self.local_stream() {
                local.acks_are_next();
            }
        }
    }

    /// What there was has been read. Whether there is input again, of which nothing will tell.
    pub(super) fn sleep_again(&mut self) -> bool {
        let is_undecided = self.is_undecided;
        self.sleeps
            && self
                .local_stream()
                .is_some_and(|local| local.sleep() || is_undecided && local.decided().is_some())
    }

    pub(super) fn stop_watching(&mut self) {
        let (Some(token), Some(io)) = (self.token.take(), io::get()) else {
            return;
        };
        self.sleeps = false;
        for path in [&mut self.tcp, &mut self.local].into_iter().flatten() {
            // Nothing is added, so nothing can fail.
            let _ = path.watch(io, token, None);
        }
        io.leave(token);
    }

    fn close_socket_hint(&mut self) {
        if let Some(hint) = self.socket_hint.take() {
            hint.close();
        }
    }

    fn sockets(&self) -> impl Iterator<Item = &Socket> {
        [&self.tcp, &self.local]
            .into_iter()
            .flatten()
            .filter_map(|path| path.stream.socket())
    }

    /// The peer sees the end, on whichever way it listens.
    pub(super) fn shut_down_sending(&mut self) {
        self.sockets().for_each(Socket::shut_down_sending);
        if let Some(local) = self.local_of_this_process() {
            local.shut_down_sending();
        }
    }

    pub(super) fn shut_down(&mut self) {
        self.sockets().for_each(Socket::shut_down);
        if let Some(local) = self.local_of_this_process() {
            local.shut_down();
        }
    }

    /// The peer knows of the end: it need not be woken for it.
    pub(super) fn end_quietly(&mut self) {
        if let Some(local) = self.local_stream() {
            local.end_quietly();
        }
    }

    /// The memory, unless another process goes on with it: nothing is to be written there then.
    fn local_of_this_process(&mut self) -> Option<&mut Local> {
        let is_served_here = self.made.is_served_here();
        let local = self.local_stream()?;
        if !is_served_here {
            local.abandon();
        }
        Some(local)
    }
}

impl Drop for Paths {
    fn drop(&mut self) {
        self.close_socket_hint();
        // Its end is told to the peer when it goes.
        self.local_of_this_process();
    }
}
