// SPDX-License-Identifier: BSD-3-Clause

//! How the two ends of a connection on one host meet, so that they can share memory.
//!
//! A server has a *door*: a local socket with a random name, on which it listens. Its reply to a client of the
//! same host has an invitation: the name of the door, and a random word that is good once and for a while. The
//! client connects to the door, unless it has done so before (`pairs`), and sends the word, the addresses of its TCP
//! connection, and which part of the memory to share is for this connection. Each end learns from the kernel which
//! process the other one is, and goes on only with one of its own user. No third process can interfere:
//! - One that has the TCP connection and passes on what comes, the invitation as well, has two connections with
//!   other addresses than the server expects. The server refuses the client, and all three stay with TCP.
//! - One that connects to the door itself is known as what it is.
//!
//! The name of a door can be seen by every process of the network name space. So it is open to anybody, and keeps
//! only a few that say nothing, for a short time. Whatever fails at the door, the connection stays with TCP.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::pairs;
use crate::instrument;
use crate::io::served;
use crate::io::{self, Io, Source, Timer, Token};
use crate::os::door::{self, Name, Neighbour};
use crate::os::epoll::{Interest, READABLE};
use crate::os::fd;
use crate::os::held::Locks;
use crate::os::local::Local;
use crate::os::own_process;
use crate::os::pair::{Pair, Received, Side};
use crate::os::random;
use crate::os::socket::{Socket, would_block};
use crate::qp::Qp;
use crate::wire::{Ends, Invitation, Knock};
use crate::{Errno, Result};

/// How long an invitation is good.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// When there are more, the oldest one is good no longer.
const MOST_GUESTS: usize = 16 * 1024;
/// How long somebody at the door may say nothing. A client sends its message as soon as it is there.
const AT_MOST: Duration = Duration::from_secs(2);
/// When there are more that say nothing, the oldest one has to go.
const MOST_SILENT: usize = 32;
/// How many are let in at a time, so that the thread's other work has its turn.
const AT_A_TIME: usize = 64;
/// When there is no descriptor for one more, there may be soon.
const NO_ROOM: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Door {
    socket: Socket,
    token: Token,
    name: Name,
    owner: Owner,
    guests: Mutex<Guests>,
    silent: Mutex<VecDeque<Weak<Visitor>>>,
}

/// The process and user that a door belongs to. A process that changes its user, or a child, needs another door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    process: u32,
    user: u32,
}

impl Owner {
    fn now() -> Self {
        Self {
            process: own_process::id(),
            user: door::own_user(),
        }
    }
}

/// The client that an invitation is for.
#[derive(Debug)]
struct Guest {
    /// The later the higher.
    turn: u64,
    until: Instant,
    ends: Ends,
    connection: Weak<Qp>,
}

/// Somebody who is expected, until this goes: an invitation whose client dies before it comes would keep the
/// memory of the queue pair.
#[derive(Debug)]
pub(super) struct Expected {
    door: Weak<Door>,
    word: [u8; 16],
}

impl Drop for Expected {
    fn drop(&mut self) {
        if let Some(door) = self.door.upgrade() {
            // In a child nobody may be left who opens the lock, and its parent's door is not its own.
            if door.owner.process == own_process::id() {
                door.guests.lock().withdraw(&self.word);
            }
        }
    }
}

/// Those whose invitation is good.
#[derive(Debug, Default)]
struct Guests {
    by_word: BTreeMap<[u8; 16], Guest>,
    /// Their words, the oldest first.
    in_turn: BTreeMap<u64, [u8; 16]>,
    next: u64,
    /// Words for the next ones. A child has another door, and so others.
    words: Vec<[u8; 16]>,
}

impl Guests {
    fn new_word(&mut self) -> Result<[u8; 16]> {
        if self.words.is_empty() {
            let bytes: [u8; 256] = random::bytes()?;
            let words = bytes.chunks_exact(16);
            self.words
                .extend(words.filter_map(|word| <[u8; 16]>::try_from(word).ok()));
        }
        self.words.pop().ok_or(libc::EIO)
    }

    fn expect(&mut self, word: [u8; 16], mut guest: Guest, now: Instant) {
        while let Some((&turn, oldest)) = self.in_turn.first_key_value() {
            let is_late = |oldest: &Guest| oldest.until < now;
            if self.in_turn.len() < MOST_GUESTS && !self.by_word.get(oldest).is_some_and(is_late) {
                break;
            }
            self.by_word.remove(oldest);
            self.in_turn.remove(&turn);
        }
        guest.turn = self.next;
        self.next += 1;
        self.in_turn.insert(guest.turn, word);
        self.by_word.insert(word, guest);
    }

    fn withdraw(&mut self, word: &[u8; 16]) -> Option<Guest> {
        let guest = self.by_word.remove(word)?;
        self.in_turn.remove(&guest.turn);
        Some(guest)
    }

    /// The connection of the guest with this invitation, which is good no longer.
    fn recognize(&mut self, knock: &Knock, now: Instant) -> Option<Weak<Qp>> {
        let guest = self.withdraw(&knock.word)?;
        (guest.ends == knock.ends && now <= guest.until).then_some(guest.connection)
    }
}

/// Somebody of the same user who has said nothing yet.
#[derive(Debug)]
struct Visitor {
    door: Weak<Door>,
    token: Token,
    inner: Mutex<Option<(Arc<Pair>, Timer)>>,
}

static DOOR: Mutex<Option<Arc<Door>>> = Mutex::new(None);

/// Before a fork.
pub(crate) fn hold(locks: &mut Locks) -> bool {
    locks.hold_static(&DOOR)
}

/// In a child that goes on with its parent's sockets: whom the parent has invited would find the parent there.
pub(crate) fn forget() {
    let door = DOOR.lock().take();
    if let Some(door) = door {
        door.close();
    }
}

/// Whether the other end is on this host, by its address.
pub(super) fn is_same_host(local: SocketAddr, remote: SocketAddr) -> bool {
    // A listener on the IPv6 wildcard sees the addresses of IPv4 as mapped ones.
    let (local, remote) = (local.ip().to_canonical(), remote.ip().to_canonical());
    local == remote || (local.is_loopback() && remote.is_loopback())
}

/// Whether to share memory with the other end, if it is of the same user.
fn may_share(local: SocketAddr, remote: SocketAddr) -> bool {
    !instrument::socket_only() && is_same_host(local, remote)
}

/// What the client of a connection with these addresses is told, if it may be on this host, and for how long.
pub(super) fn invite(
    connection: &Arc<Qp>,
    client: Option<SocketAddr>,
    server: Option<SocketAddr>,
) -> Option<(Invitation, Expected)> {
    let (client, server) = client.zip(server)?;
    if !may_share(server, client) {
        return None;
    }
    let door = Door::get().ok()?;
    let mut guests = door.guests.lock();
    let word = guests.new_word().ok()?;
    let now = Instant::now();
    let guest = Guest {
        turn: 0,
        until: now + GOOD_FOR,
        ends: Ends::new(client, server),
        connection: Arc::downgrade(connection),
    };
    guests.expect(word, guest, now);
    drop(guests);
    let invitation = Invitation {
        door: door.name,
        word,
    };
    let door = Arc::downgrade(&door);
    Some((invitation, Expected { door, word }))
}

/// A client meets the server that has invited it: from now on the server may share the memory of what is returned.
pub(super) fn knock(
    invitation: Invitation,
    client: SocketAddr,
    server: SocketAddr,
) -> Result<Local> {
    if !may_share(client, server) {
        return Err(libc::EADDRNOTAVAIL);
    }
    let knock = Knock {
        word: invitation.word,
        ends: Ends::new(client, server),
        slot: 0,
    };
    let owner = Owner::now();
    let pair = pairs::with(invitation.door, owner)?;
    match Local::offer(&pair, knock) {
        // It was let go of at this moment, as it had no connection for a while.
        Err(_) if pair.has_ended() => Local::offer(&pairs::with(invitation.door, owner)?, knock),
        offered => offered,
    }
}

impl Door {
    /// The door of this process, which is made when it is needed first.
    fn get() -> Result<Arc<Self>> {
        let mut door = DOOR.lock();
        let owner = Owner::now();
        match &*door {
            Some(door) if door.owner == owner && door.is_there() => Ok(Arc::clone(door)),
            _ => {
                let made = Self::new(owner)?;
                if let Some(before) = door.replace(Arc::clone(&made)) {
                    before.close();
                }
                Ok(made)
            }
        }
    }

    fn new(owner: Owner) -> Result<Arc<Self>> {
        let io = io::start()?;
        let name = random::bytes()?;
        let door = Arc::new(Self {
            socket: door::listen(&name)?,
            token: io.token(),
            name,
            owner,
            guests: Mutex::default(),
            silent: Mutex::default(),
        });
        let source = Arc::clone(&door);
        io.watch(door.socket.raw(), door.token, READABLE, source)?;
        Ok(door)
    }

    /// Whether the program has left its socket alone. It is looked at only when the program has closed another
    /// descriptor of this library: a client that is invited to a door that is gone stays on TCP.
    fn is_there(&self) -> bool {
        !fd::were_ever_meddled_with() || self.socket.checked().is_ok()
    }

    /// Nobody is let in any more.
    fn close(&self) {
        if let Some(io) = io::get() {
            io.forget(self.socket.raw(), self.token);
        }
    }

    /// A client brings a connection. Returns whether there was an invitation for it.
    pub(super) fn admit(&self, pair: &Arc<Pair>, knock: &Knock) -> bool {
        let guest = self.guests.lock().recognize(knock, Instant::now());
        let connection = guest.and_then(|connection| connection.upgrade());
        let Ok(local) = Local::answer(pair, knock.slot) else {
            return false;
        };
        match &connection {
            Some(connection) => connection.meet(local),
            None => local.refuse(),
        }
        connection.is_some()
    }

    /// Receives a message at the door. Returns whether there is none yet.
    fn take_knocks(self: &Arc<Self>, pair: &Arc<Pair>) -> bool {
        match pair.receive() {
            Ok(Received::Nothing) => return true,
            Ok(Received::Knock(knock)) => {
                if self.admit(pair, &knock) && self.serve(pair).is_err() {
                    served::end(pair);
                }
            }
            Ok(Received::Doorbell(_) | Received::Table | Received::Ask(..)) | Err(_) => {}
        }
        false
    }

    fn serve(self: &Arc<Self>, pair: &Arc<Pair>) -> Result<()> {
        let door = Arc::downgrade(self);
        served::serve(Arc::clone(pair), move |pair, knock| match door.upgrade() {
            Some(door) => {
                door.admit(pair, knock);
            }
            None => {
                if let Ok(local) = Local::answer(pair, knock.slot) {
                    local.refuse();
                }
            }
        })
    }

    fn let_in(self: &Arc<Self>, io: &Io, socket: Socket) -> Result<(), Errno> {
        // One of another user is sent away.
        let Ok(neighbour) = Neighbour::of(socket) else {
            return Ok(());
        };
        let pair = Pair::new(Side::Server, neighbour);
        if !self.take_knocks(&pair) {
            return Ok(());
        }
        let visitor = Arc::new(Visitor {
            door: Arc::downgrade(self),
            token: io.token(),
            inner: Mutex::new(None),
        });
        // Under the lock: this is the thread that the timer runs on and that looks at the socket next, but one
        // more visitor may send this one away.
        let mut inner = visitor.inner.lock();
        let source = Arc::clone(&visitor);
        io.watch(pair.socket().raw(), visitor.token, READABLE, source)?;
        let late = Arc::downgrade(&visitor);
        let timer = io.after(AT_MOST, move || {
            if let Some(visitor) = late.upgrade() {
                visitor.send_away();
            }
        });
        *inner = Some((pair, timer));
        drop(inner);
        let oldest = {
            let mut silent = self.silent.lock();
            silent.retain(|visitor| visitor.strong_count() > 0);
            silent.push_back(Arc::downgrade(&visitor));
            (silent.len() > MOST_SILENT).then(|| silent.pop_front())
        };
        if let Some(oldest) = oldest.flatten().and_then(|oldest| oldest.upgrade()) {
            oldest.send_away();
        }
        Ok(())
    }

    fn pause(self: &Arc<Self>, io: &Io) {
        io.change(self.socket.raw(), self.token, 0);
        let door = Arc::downgrade(self);
        io.after(NO_ROOM, move || {
            if let (Some(io), Some(door)) = (io::get(), door.upgrade()) {
                io.change(door.socket.raw(), door.token, READABLE);
            }
        });
    }
}

impl Source for Door {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn ready(self: Arc<Self>, _seen: Interest) {
        let Some(io) = io::get() else { return };
        for _ in 0..AT_A_TIME {
            match door::accept(&self.socket) {
                Ok(socket) => {
                    if self.let_in(io, socket).is_err() {
                        return self.pause(io);
                    }
                }
                Err(errno) if would_block(errno) => return,
                Err(libc::ECONNABORTED) => {}
                Err(libc::EBADF) => return,
                Err(_) => return self.pause(io),
            }
        }
    }

    fn watch_again(self: Arc<Self>, io: &Io, token: Token) {
        if self.socket.checked().is_ok() {
            let _ = io.add(self.socket.raw(), token, READABLE);
        }
    }
}

impl Visitor {
    fn take(&self) -> Option<Arc<Pair>> {
        let (pair, timer) = self.inner.lock().take()?;
        if let Some(io) = io::get() {
            io.cancel(timer);
            io.forget(pair.socket().raw(), self.token);
        }
        Some(pair)
    }

    fn send_away(&self) {
        drop(self.take());
    }
}

impl Source for Visitor {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn ready(self: Arc<Self>, _seen: Interest) {
        // A message comes in one piece: whoever sends something else has to go.
        if let Some((pair, door)) = self.take().zip(self.door.upgrade()) {
            door.take_knocks(&pair);
        }
    }

    fn watch_again(self: Arc<Self>, _: &Io, _: Token) {
        self.send_away();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client_port: u16) -> Ends {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Ends::new(at(client_port), at(7204))
    }

    /// What a knock with this word and port brings, half of the time later that an invitation is good for.
    fn comes(guests: &mut Guests, word: u8, client_port: u16, halves: u32) -> bool {
        let knock = Knock {
            word: [word; 16],
            ends: ends(client_port),
            slot: 0,
        };
        let now = Instant::now() + halves * GOOD_FOR / 2;
        guests.recognize(&knock, now).is_some()
    }

    fn invited(guests: &mut Guests, word: u8) {
        invite(guests, [word; 16], ends(word.into()));
    }

    fn invite(guests: &mut Guests, word: [u8; 16], ends: Ends) {
        let now = Instant::now();
        let guest = Guest {
            turn: 0,
            until: now + GOOD_FOR,
            ends,
            connection: Weak::new(),
        };
        guests.expect(word, guest, now);
    }

    #[test]
    fn an_invitation_is_good_once_for_one_connection_and_for_a_while() {
        let mut guests = Guests::default();
        for word in 1..=4 {
            invited(&mut guests, word);
        }
        assert!(!comes(&mut guests, 9, 9, 0));
        assert!(comes(&mut guests, 1, 1, 1));
        assert!(!comes(&mut guests, 1, 1, 1));
        // Of another connection; then it is used up.
        assert!(!comes(&mut guests, 2, 3, 0));
        assert!(!comes(&mut guests, 2, 2, 0));
        assert!(!comes(&mut guests, 3, 3, 3));
        assert!(comes(&mut guests, 4, 4, 0));
    }

    #[test]
    fn an_invitation_that_is_withdrawn_is_good_no_longer() {
        let mut guests = Guests::default();
        invited(&mut guests, 1);
        invited(&mut guests, 2);
        guests.withdraw(&[1; 16]);
        guests.withdraw(&[3; 16]);
        assert!(!comes(&mut guests, 1, 1, 0));
        assert!(comes(&mut guests, 2, 2, 0));
        assert!(guests.in_turn.is_empty());
    }

    #[test]
    fn invitations_are_bounded() {
        let mut guests = Guests::default();
        invited(&mut guests, 1);
        let word = |number: usize| {
            let mut word = [0; 16];
            word[..8].copy_from_slice(&number.to_le_bytes());
            word
        };
        for number in 0..MOST_GUESTS {
            invite(&mut guests, word(number), ends(2));
        }
        assert_eq!(guests.by_word.len(), MOST_GUESTS);
        assert_eq!(guests.in_turn.len(), MOST_GUESTS);
        assert!(!comes(&mut guests, 1, 1, 0));
        for number in [0, MOST_GUESTS - 1] {
            assert!(guests.withdraw(&word(number)).is_some());
        }
    }
}
