// SPDX-License-Identifier: BSD-3-Clause

//! One end of a connection between two processes of one host and one user: bytes go through shared memory. The socket
//! of the two processes wakes a side that sleeps, and its end is the end of the connection (`pair`).

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::lease::Lease;
use super::mappings::Mapping;
use super::memory::Span;
use super::pair::{Pair, Rung};
use super::process::Process;
use super::reach::Reach;
use super::rings::{RingHint, Rings};
use super::way::Way;
use crate::Result;
use crate::wire::Knock;

/// What each request looks at comes first.
#[repr(C)]
pub(crate) struct Local {
    rings: Rings,
    pair: Arc<Pair>,
    /// Since when the peer has not read on.
    unread_since: Option<Instant>,
    /// How far the peer has read.
    unread: Option<u64>,
    /// Of the slot that the rings are in.
    number: u32,
    /// The connection has failed for both sides.
    failed: bool,
    /// That was not reported yet.
    is_untold: bool,
    /// Another process goes on with it, after a fork.
    is_abandoned: bool,
    /// The peer need not be woken for the end: it knows of it, or never used the memory.
    ends_quietly: bool,
    is_urged: bool,
    /// What is sent next are acknowledgements.
    acks_are_next: bool,
    /// This side is to be woken for acknowledgements.
    wants_acks: bool,
}

/// How long a side that polls leaves something unread, when it runs.
const PATIENCE: Duration = Duration::from_micros(30);

impl Local {
    /// The end of a new connection of the side that makes the memory. `knock` tells the other side of it.
    pub(crate) fn offer(pair: &Arc<Pair>, knock: Knock) -> Result<Self> {
        let (number, rings) = pair.offer(knock)?;
        Ok(Self::new(pair, number, rings))
    }

    /// The other end. Fails if the slot is in use, or there is none; then the client knows that it stays on TCP.
    pub(crate) fn answer(pair: &Arc<Pair>, number: u32) -> Result<Self> {
        match pair.answer(number) {
            Ok(rings) => Ok(Self::new(pair, number, rings)),
            Err(errno) => {
                pair.refuse(number);
                Err(errno)
            }
        }
    }

    fn new(pair: &Arc<Pair>, number: u32, rings: Rings) -> Self {
        Self {
            pair: Arc::clone(pair),
            number,
            rings,
            failed: false,
            is_untold: false,
            is_abandoned: false,
            ends_quietly: false,
            unread: None,
            unread_since: None,
            is_urged: false,
            acks_are_next: false,
            wants_acks: true,
        }
    }

    /// Both ends, in this process.
    #[cfg(test)]
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let (client, server) = Pair::of_this_process()?;
        connect(&client, &server)
    }

    /// Takes the messages that have come, as the I/O thread does.
    #[cfg(test)]
    pub(crate) fn receive_all(&self) -> Result<()> {
        while !matches!(self.pair.receive()?, super::pair::Received::Nothing) {}
        Ok(())
    }

    /// How many were rung on this side of the pair.
    #[cfg(test)]
    pub(crate) fn doorbells(&self) -> usize {
        self.pair.doorbells()
    }

    #[cfg(test)]
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn shared_with(&self) -> &Arc<Pair> {
        &self.pair
    }

    /// The process at the other end, unless it is of another process name space.
    pub(crate) fn process(&self) -> Option<&Process> {
        self.pair.process()
    }

    /// Says that this process can copy from the memory of the peer.
    pub(crate) fn can_copy(&self) {
        self.rings.can_copy();
    }

    /// Whether the peer has said so.
    pub(crate) fn peer_can_copy(&self) -> bool {
        self.rings.peer_can_copy()
    }

    /// From now on `connection` is called when this side is woken.
    pub(crate) fn is_for(&self, connection: Weak<dyn Rung>) {
        self.pair.is_for(self.number, connection);
    }

    /// The connection stays on TCP, as the client is told.
    pub(crate) fn refuse(mut self) {
        self.ends_quietly = true;
        let (pair, number) = (Arc::clone(&self.pair), self.number);
        drop(self);
        pair.refuse(number);
    }

    /// The server goes on here, unless the client has decided for TCP. Whether it does.
    pub(crate) fn decide_for_memory(&self, rest_on_tcp: bool) -> bool {
        self.rings.decide_for_memory(rest_on_tcp)
    }

    /// The server: the client may go on, and is woken if it sleeps.
    pub(crate) fn server_is_ready(&self) {
        self.rings.server_is_ready();
        if self.rings.reader_sleeps() {
            self.pair.ring(self.number);
        }
    }

    /// The client: how the connection goes on, if the server has said that.
    pub(crate) fn decided(&self) -> Option<Way> {
        let decided = self.rings.decided();
        if decided.is_none() && (self.pair.is_refused(self.number) || self.has_ended()) {
            return Some(self.decide_for_tcp());
        }
        decided
    }

    /// The client does not wait for the server any longer. How the connection goes on.
    pub(crate) fn decide_for_tcp(&self) -> Way {
        self.rings.decide_for_tcp()
    }

    /// The peer knows that the connection ends, and finds the end of the memory when it looks.
    pub(crate) fn end_quietly(&mut self) {
        self.ends_quietly = true;
    }

    /// It is another process's, after a fork: the peer is told nothing when this goes.
    pub(crate) fn abandon(&mut self) {
        self.is_abandoned = true;
    }

    fn fail(&mut self) {
        self.shut_down();
        self.is_untold = true;
    }

    /// Whether it has failed since this was asked last.
    pub(crate) fn has_failed(&mut self) -> bool {
        std::mem::take(&mut self.is_untold)
    }

    /// The peer sees the end behind what was sent.
    pub(crate) fn shut_down_sending(&self) {
        if !self.is_abandoned && self.rings.end_writing() {
            self.pair.ring(self.number);
        }
    }

    /// As above, and this side does so too.
    pub(crate) fn shut_down(&mut self) {
        self.failed = true;
        self.shut_down_sending();
    }

    /// As a socket sends: what there is room for, or `EAGAIN`. This side is woken when there is room again.
    pub(crate) fn send(&mut self, own: Span<'_>, program: Span<'_>) -> Result<usize> {
        if self.failed {
            return Err(libc::EPIPE);
        }
        let sent = self.rings.send(own, program);
        let only_acks = std::mem::take(&mut self.acks_are_next);
        if self.rings.reader_sleeps_for(only_acks) {
            self.pair.ring(self.number);
            // It slept, so it does not poll: it reads when it has woken.
            self.unread = self.rings.unread_from();
            self.is_urged = true;
        }
        if matches!(sent, Err(libc::EPROTO | libc::ENOMEM)) {
            self.fail();
        }
        sent
    }

    /// As a socket receives: what there is, `EAGAIN`, or 0 at the end.
    pub(crate) fn receive(&mut self, program: Span<'_>, own: Span<'_>) -> Result<usize> {
        let mut received = self.rings.receive(program, own);
        if received == Err(libc::EAGAIN) && self.has_ended() {
            // What was written before the end comes before it.
            received = self.rings.receive(program, own);
            if received == Err(libc::EAGAIN) {
                return Ok(0);
            }
        }
        if self.rings.writer_waits() {
            self.pair.ring(self.number);
        }
        received
    }

    pub(crate) fn hint(&self) -> &Arc<RingHint> {
        self.rings.hint()
    }

    /// The peer has not read all that was sent, and it may be that it has to be woken for it.
    pub(crate) fn has_unread(&self) -> bool {
        self.rings.unread_from().is_some() && !self.rings.reader_leaves_acks()
    }

    /// This side polls for input, and there is none. A peer that said that it polls too, and does not read, is woken
    /// after a while.
    pub(crate) fn urge(&mut self) {
        let unread = self.rings.unread_from();
        if unread.is_none() || unread != self.unread {
            self.unread = unread;
            self.unread_since = None;
            self.is_urged = false;
        } else if !self.is_urged && !self.rings.reader_leaves_acks() {
            // The time is not looked at for a peer that reads at once.
            let since = *self.unread_since.get_or_insert_with(Instant::now);
            self.is_urged = since.elapsed() > PATIENCE;
            if self.is_urged {
                self.pair.ring(self.number);
            }
        }
    }

    /// Sends the peer the region table of this process (`region_table.rs`), unless it was sent before. If that fails,
    /// the peer sends all its requests to this process.
    pub(crate) fn send_table(&self, table: impl FnOnce() -> Result<OwnedFd>) {
        self.pair.send_table(self.number, table);
    }

    /// How the peer's memory is reached, when it has sent its table.
    pub(crate) fn reach(&self) -> Option<Arc<Reach>> {
        self.pair.reach()
    }

    /// What there is of a region in this entry of the peer's table.
    pub(crate) fn mapping(&self, entry: u32, lease: &Lease<'_>) -> Mapping {
        let which = (entry, lease.generation());
        let terms = &lease.region().terms;
        self.pair.mappings().get(which, &lease.extent(), terms)
    }

    /// Asks the peer for the file under a region, for `mapping`. Whether that could be done.
    pub(crate) fn ask_for_mapping(&self, reach: &Reach, entry: u32, lease: &Lease<'_>) -> bool {
        let Some(proof) = reach.proof() else {
            return false;
        };
        self.pair.ask(reach.table(), proof, entry, lease)
    }

    /// The rings, for the words about operations that the initiator executes.
    pub(crate) fn rings(&self) -> &Rings {
        &self.rings
    }

    /// The peer sends nothing more: what is in the ring is all.
    pub(crate) fn has_ended(&self) -> bool {
        self.failed || self.pair.has_ended() || self.rings.writer_has_ended()
    }

    /// From now on this side is woken when something comes. Returns whether there is something already, or the end:
    /// then no doorbell comes for that.
    pub(crate) fn sleep(&self) -> bool {
        self.rings.sleep_for(self.wants_acks) || self.has_ended()
    }

    pub(crate) fn wants_acks(&self) -> bool {
        self.wants_acks
    }

    /// Whether this side is to be woken for acknowledgements, too. True if that was not so until now.
    pub(crate) fn want_acks(&mut self, wants: bool) -> bool {
        std::mem::replace(&mut self.wants_acks, wants) != wants
    }

    /// The next bytes that are sent are acknowledgements, and nothing else.
    pub(crate) fn acks_are_next(&mut self) {
        self.acks_are_next = true;
    }

    /// This side looks by itself whether something comes.
    pub(crate) fn stay_awake(&self) {
        self.rings.stay_awake();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.pair.is_client() && !self.is_abandoned {
            // A server that comes to it later finds the rest on TCP.
            self.decide_for_tcp();
        }
        if !self.is_abandoned && self.pair.leave(self.number, &self.rings) && !self.ends_quietly {
            self.pair.ring(self.number);
        }
    }
}

/// Both ends of a new connection.
#[cfg(test)]
pub(crate) fn connect(client: &Arc<Pair>, server: &Arc<Pair>) -> Result<(Local, Local)> {
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let knock = Knock {
        word: [0; 16],
        ends: crate::wire::Ends::new(at, at),
        slot: 0,
    };
    let local = Local::offer(client, knock)?;
    loop {
        match server.receive()? {
            super::pair::Received::Knock(knock) => {
                return Ok((local, Local::answer(server, knock.slot)?));
            }
            super::pair::Received::Doorbell(_)
            | super::pair::Received::Table
            | super::pair::Received::Ask(..) => {}
            super::pair::Received::Nothing => return Err(libc::EBADMSG),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::os::pair::Received;
    use crate::os::testing::is_readable_within;

    fn ends() -> (Local, Local) {
        Local::pair().unwrap()
    }

    fn receive(end: &mut Local) -> Result<Vec<u8>> {
        let mut bytes = vec![0; 100];
        let n = end.receive(Span::NONE, Span::from_mut(&mut bytes))?;
        bytes.truncate(n);
        Ok(bytes)
    }

    fn is_rung(end: &Local) -> bool {
        match end.pair.receive().unwrap() {
            Received::Doorbell(number) => number == end.number,
            _ => false,
        }
    }

    #[test]
    fn the_bell_rings_for_who_sleeps_and_for_nobody_else() {
        let (mut server, mut client) = ends();
        client.send(Span::from_slice(b"one"), Span::NONE).unwrap();
        assert!(!is_rung(&server));
        assert_eq!(receive(&mut server).unwrap(), b"one");
        assert!(!server.sleep());
        client.send(Span::from_slice(b"two"), Span::NONE).unwrap();
        client.send(Span::from_slice(b"more"), Span::NONE).unwrap();
        assert!(is_rung(&server));
        assert!(!is_rung(&server));
        assert_eq!(receive(&mut server).unwrap(), b"twomore");
        assert_eq!(receive(&mut server), Err(libc::EAGAIN));
    }

    #[test]
    fn what_was_written_before_the_end_comes_before_it() {
        let (mut server, mut client) = ends();
        client.send(Span::from_slice(b"last"), Span::NONE).unwrap();
        assert!(!server.has_ended());
        drop(client);
        assert!(server.sleep());
        assert!(is_rung(&server));
        assert_eq!(receive(&mut server).unwrap(), b"last");
        assert_eq!(receive(&mut server), Ok(Vec::new()));
    }

    /// Waits until this side is woken. Whether it was.
    fn wait(end: &Local) -> bool {
        let socket = end.pair.socket().raw();
        is_readable_within(socket, Duration::from_secs(10)) && is_rung(end)
    }

    #[test]
    fn nobody_sleeps_for_ever() {
        const BYTES: usize = 8 << 20;
        let (mut server, mut client) = ends();
        let sender = std::thread::spawn(move || {
            let mut left = BYTES;
            let bytes = [3; 997];
            while left > 0 {
                let next = &bytes[..left.min(1 + left % bytes.len())];
                match client.send(Span::from_slice(next), Span::NONE) {
                    Ok(n) => left -= n,
                    Err(errno) => {
                        assert_eq!(errno, libc::EAGAIN);
                        assert!(wait(&client), "no word of room");
                    }
                }
            }
        });
        let mut left = BYTES;
        while left > 0 {
            match receive(&mut server) {
                Ok(bytes) => left -= bytes.len(),
                Err(errno) => {
                    assert_eq!(errno, libc::EAGAIN);
                    if !server.sleep() {
                        assert!(wait(&server), "no word of bytes");
                    }
                }
            }
        }
        sender.join().unwrap();
    }
}
