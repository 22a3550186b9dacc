// SPDX-License-Identifier: BSD-3-Clause

//! What this process and another one of the same host and user share for all connections in one direction: a local
//! socket, and memory with a slot for each connection.
//!
//! A message on the socket is a doorbell, which names a slot, or brings a connection (`wire::Knock`). Only the side
//! that has connected the socket brings connections, and makes the memory. Doorbells take as long with many
//! connections as with one. The end of the socket is that of all the connections: the other process is gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::arena::Arena;
use super::cancel::Hold;
use super::discard::Foreign;
use super::door::Neighbour;
use super::held::Locks;
use super::lease::Lease;
use super::mapper::{self, Questioner};
use super::mappings::Mappings;
use super::memory::Span;
use super::passing;
use super::process::Process;
use super::reach::Reach;
use super::region_table::PeerTable;
use super::rings::{self, Rings};
use super::slot_set::SlotSet;
use super::socket::{Socket, would_block};
use crate::wire::{ASK, Ask, KNOCK, Knock};
use crate::{Errno, Result};

/// The connection that a doorbell is for.
pub(crate) trait Rung: Send + Sync {
    /// Something has come, there is room again, or the other side is gone.
    fn rung(self: Arc<Self>, by: ServedBy);
}

/// The thread that serves a connection: it takes doorbells, and copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServedBy {
    IoThread,
    /// One of the program, which polls or waits for an event. It must not wait for the peer's memory, or anything else:
    /// the I/O thread may, since another one takes over then.
    Program,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It makes the memory and brings connections.
    Client,
    Server,
}

pub(crate) struct Pair {
    side: Side,
    socket: Socket,
    /// The process that made the other end. None if it is of another process name space.
    process: Option<Arc<Process>>,
    shared: Mutex<Shared>,
    /// There are messages for which the socket had no room.
    is_congested: AtomicBool,
    ended: AtomicBool,
    /// What the I/O thread knows it by.
    number: OnceLock<u32>,
    /// How many wait sets watch the socket.
    wait_sets: AtomicUsize,
    attend: OnceLock<Box<dyn Fn() + Send + Sync>>,
    tidy_up: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The other side was sent the table of this process, or cannot be.
    has_sent_table: AtomicBool,
    /// Regions of the other side that this one has mapped.
    mappings: Arc<Mappings>,
    #[cfg(test)]
    doorbells: AtomicUsize,
}

#[derive(Default)]
struct Shared {
    arena: Arena,
    /// By the numbers of their slots. None as long as nobody waits for the doorbell.
    connections: BTreeMap<u32, Option<Weak<dyn Rung>>>,
    /// Those that the server wants to stay on TCP.
    refused: BTreeSet<u32>,
    /// The table of the other side has come: how its memory is reached, if it is.
    reach: Option<Option<Arc<Reach>>>,
    /// Messages for which the socket had no room, in order.
    unsent: VecDeque<Message>,
    /// Doorbells for which it had none. They are sent after these messages, each once. There is room for those of all
    /// connections.
    unsent_doorbells: SlotSet,
    /// `tidy_up` was called, or what came of that goes on.
    is_tidied_up: bool,
    /// How often in a row there was no connection, and none was made meanwhile.
    quiet: u32,
}

enum Message {
    /// A doorbell, and the table of this process.
    Table(u32, OwnedFd),
    Knock([u8; KNOCK], Option<OwnedFd>),
    /// The connection with this slot stays on TCP.
    Refusal(u32),
}

impl Shared {
    fn has_unsent(&self) -> bool {
        !self.unsent.is_empty() || !self.unsent_doorbells.is_empty()
    }
}

/// When there is more memory to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TidyAgain {
    /// When another connection has ended.
    No,
    /// Soon: it is done in parts.
    Soon,
    /// After a while, if it is still not in use.
    Later,
    /// When the other side has ended its connections, too.
    Rarely,
    /// There has been no connection for a while: both sides are to let go of all.
    Over,
}

/// How often in a row there is no connection before this side lets go of all.
const MOST_QUIET: u32 = 3;

/// What the other process has sent.
pub(crate) enum Received {
    Nothing,
    Doorbell(u32),
    /// Its region table: all connections may have waited for it.
    Table,
    /// Which file is under a region, and where the answer goes.
    Ask(Ask, Foreign),
    Knock(Knock),
}

const DOORBELL: usize = 4;
/// In the number that a doorbell of the server has: this connection stays on TCP.
const REFUSED: u32 = 1 << 31;
/// The channels of more wait sets are told of what comes by the I/O thread.
const MOST_WAIT_SETS: usize = 4;
/// How many messages of a server wait for room at most: nobody else sends it so many knocks at a time.
const MOST_UNSENT: usize = 1024;

/// Whether a message may be sent later. A lack of memory for a message does not end the connections.
fn comes_later(errno: Errno) -> bool {
    would_block(errno) || matches!(errno, libc::ENOBUFS | libc::ENOMEM | libc::ETOOMANYREFS)
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Pair {
    pub(crate) fn new(side: Side, neighbour: Neighbour) -> Arc<Self> {
        Arc::new(Self {
            side,
            socket: neighbour.socket,
            process: neighbour.process,
            shared: Mutex::default(),
            is_congested: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            number: OnceLock::new(),
            wait_sets: AtomicUsize::new(0),
            attend: OnceLock::new(),
            tidy_up: OnceLock::new(),
            has_sent_table: AtomicBool::new(false),
            mappings: Arc::default(),
            #[cfg(test)]
            doorbells: Default::default(),
        })
    }

    /// Before a fork.
    pub(crate) fn hold(self: &Arc<Self>, locks: &mut Locks) -> bool {
        locks.hold(self, |pair| &pair.shared)
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn process(&self) -> Option<&Process> {
        self.process.as_deref()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// From now on this is called, perhaps with the lock of a connection held, when the socket has no room
    /// (`has_unsent`) or has failed (`has_ended`).
    pub(crate) fn on_trouble(&self, attend: impl Fn() + Send + Sync + 'static) {
        let _ = self.attend.set(Box::new(attend));
    }

    /// From now on this is called, perhaps with the lock of a connection held, when `give_back` should be called after a
    /// while. That is so from the beginning.
    pub(crate) fn on_spare_memory(&self, tidy_up: impl Fn() + Send + Sync + 'static) {
        if self.side == Side::Client {
            self.shared.lock().is_tidied_up = true;
            self.tidy_up.get_or_init(|| Box::new(tidy_up))();
        }
    }

    /// What the I/O thread knows it by from now on.
    pub(crate) fn is_served_as(&self, number: u32) {
        let _ = self.number.set(number);
    }

    /// None as long as the I/O thread does not look after it.
    pub(crate) fn number(&self) -> Option<u32> {
        self.number.get().copied()
    }

    /// One more wait set is about to watch the socket. False if there are enough: each doorbell passes all of them.
    pub(crate) fn is_heard_by_one_more(&self) -> bool {
        let one_more = |sets| (sets < MOST_WAIT_SETS).then_some(sets + 1);
        // Relaxed: nothing follows from it but how long doorbells take.
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        self.wait_sets
            .fetch_update(order.0, order.1, one_more)
            .is_ok()
    }

    /// One of them does not any more.
    pub(crate) fn is_heard_by_one_less(&self) {
        self.wait_sets.fetch_sub(1, Ordering::Relaxed);
    }

    fn trouble(&self) {
        if let Some(attend) = self.attend.get() {
            attend();
        }
    }

    // --- Connections -----------------------------------------------------------------------------

    /// The end of a new connection of the side that makes the memory. `knock` tells the other side of it.
    pub(super) fn offer(&self, mut knock: Knock) -> Result<(u32, Rings)> {
        let mut shared = self.shared.lock();
        if self.has_ended() {
            return Err(libc::EPIPE);
        }
        shared.quiet = 0;
        let highest = shared.arena.highest_next();
        shared.unsent_doorbells.make_room(highest)?;
        let (number, slot, fd) = shared.arena.take(rings::are_left_by_peer)?;
        let rings = Rings::new(slot);
        shared.connections.insert(number, None);
        knock.slot = number;
        // Messages keep their order: those that wait for room are sent before this one.
        let failed = self.post(&mut shared, Message::Knock(knock.encode(), fd));
        drop(shared);
        if failed {
            self.fail();
            self.leave(number, &rings);
            return Err(libc::EPIPE);
        }
        Ok((number, rings))
    }

    /// The other end. Fails if the slot is in use, or there is none.
    pub(super) fn answer(&self, number: u32) -> Result<Rings> {
        let mut shared = self.shared.lock();
        let slot = shared.arena.slot(number).ok_or(libc::EINVAL)?;
        if shared.connections.contains_key(&number) {
            return Err(libc::EINVAL);
        }
        shared.unsent_doorbells.make_room(number)?;
        shared.connections.insert(number, None);
        Ok(Rings::other_end(slot))
    }

    pub(super) fn is_for(&self, number: u32, connection: Weak<dyn Rung>) {
        if let Some(place) = self.shared.lock().connections.get_mut(&number) {
            *place = Some(connection);
        }
    }

    pub(super) fn is_client(&self) -> bool {
        self.side == Side::Client
    }

    /// The client is told that this connection of its stays on TCP. One that knocks and does not read what it is told
    /// is not listened to any more.
    pub(super) fn refuse(&self, number: u32) {
        let mut shared = self.shared.lock();
        let is_full = shared.unsent.len() >= MOST_UNSENT;
        if is_full || self.post(&mut shared, Message::Refusal(number)) {
            drop(shared);
            self.fail();
        }
    }

    /// Whether the server has said so.
    pub(super) fn is_refused(&self, number: u32) -> bool {
        self.shared.lock().refused.contains(&number)
    }

    /// The connection that a doorbell is for.
    pub(crate) fn connection(&self, number: u32) -> Option<Arc<dyn Rung>> {
        let shared = self.shared.lock();
        shared.connections.get(&number)?.as_ref()?.upgrade()
    }

    /// The other process is gone, or its messages cannot be received any more. Returns all connections, which have to
    /// be told.
    pub(crate) fn end(&self) -> Vec<Arc<dyn Rung>> {
        self.ended.store(true, Ordering::Release);
        self.socket.shut_down();
        // Descriptors are closed here, which is a cancellation point.
        let _uncancelled = Hold::new();
        let unsent = std::mem::take(&mut self.shared.lock().unsent);
        drop(unsent);
        self.connections()
    }

    pub(crate) fn connections(&self) -> Vec<Arc<dyn Rung>> {
        let shared = self.shared.lock();
        let connections = shared.connections.values().flatten();
        connections.filter_map(Weak::upgrade).collect()
    }

    /// This side of a connection is gone. Returns whether the other side still has to be told.
    pub(super) fn leave(&self, number: u32, rings: &Rings) -> bool {
        let mut shared = self.shared.lock();
        shared.connections.remove(&number);
        shared.refused.remove(&number);
        // Only now: afterwards the other side may use the slot again.
        let is_there = rings.leave();
        if self.side == Side::Client {
            shared.arena.leave(number);
            if !std::mem::replace(&mut shared.is_tidied_up, true) {
                drop(shared);
                if let Some(tidy_up) = self.tidy_up.get() {
                    tidy_up();
                }
            }
        }
        is_there
    }

    /// Gives back memory of connections that have ended, if it was not in use since this was called last. So
    /// connections that are made and end in turn go on with the memory that there is.
    pub(crate) fn give_back(&self) -> TidyAgain {
        let (slots, numbers, is_all) = {
            let mut shared = self.shared.lock();
            let (numbers, is_all) = shared.arena.take_idle(rings::are_left_by_peer);
            let slots = numbers
                .iter()
                .filter_map(|number| shared.arena.slot(*number));
            (slots.collect::<Vec<_>>(), numbers, is_all)
        };
        // Not under the lock: it may take a while.
        for slot in &slots {
            slot.give_all_back();
        }
        let mut shared = self.shared.lock();
        shared.arena.gave_back(numbers);
        if self.has_ended() {
            return TidyAgain::No;
        }
        if !is_all {
            return TidyAgain::Soon;
        }
        if shared.connections.is_empty() && !shared.has_unsent() {
            shared.quiet += 1;
            if shared.quiet >= MOST_QUIET {
                // Under the lock: nobody makes a connection any more.
                self.ended.store(true, Ordering::Release);
                return TidyAgain::Over;
            }
            return TidyAgain::Later;
        }
        shared.quiet = 0;
        if shared.arena.has_free() {
            return TidyAgain::Later;
        }
        // Without connections nobody has it looked again, when what is unsent has gone.
        if shared.arena.has_left() || shared.connections.is_empty() {
            return TidyAgain::Rarely;
        }
        shared.is_tidied_up = false;
        TidyAgain::No
    }

    // --- Messages --------------------------------------------------------------------------------

    /// Rings the doorbell of a connection: the other side looks at it.
    pub(super) fn ring(&self, number: u32) {
        if self.has_ended() {
            return;
        }
        #[cfg(test)]
        self.doorbells.fetch_add(1, Ordering::Relaxed);
        if !self.is_congested.load(Ordering::Acquire) {
            match self.socket.send(&[Span::from_slice(&number.to_le_bytes())]) {
                Ok(_) => return,
                Err(errno) if comes_later(errno) => {}
                Err(_) => return self.fail(),
            }
        }
        let failed = {
            let mut shared = self.shared.lock();
            let others_wait = shared.has_unsent();
            shared.unsent_doorbells.insert(number);
            !others_wait && self.send_unsent(&mut shared).is_err()
        };
        if failed {
            self.fail();
        }
    }

    /// Sends the other side the table of this process, once.
    pub(super) fn send_table(&self, number: u32, table: impl FnOnce() -> Result<OwnedFd>) {
        if self.process.is_none() || self.has_sent_table.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Ok(table) = table() {
            let failed = self.post(&mut self.shared.lock(), Message::Table(number, table));
            if failed {
                self.fail();
            }
        }
    }

    /// How the memory of the other side is reached, when it has sent its table.
    pub(super) fn reach(&self) -> Option<Arc<Reach>> {
        self.shared.lock().reach.clone().flatten()
    }

    pub(super) fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// Asks the other side for the file under a region of its table, unless that was done. Whether it is known now
    /// what there is of the region.
    pub(super) fn ask(&self, table: &PeerTable, proof: u64, entry: u32, lease: &Lease<'_>) -> bool {
        let (region, generation) = (*lease.region(), lease.generation());
        self.mappings
            .forget_gone(|entry, generation| table.describes(entry, generation));
        if !self.mappings.ask(entry, generation) {
            return false;
        }
        let ask = Ask {
            table: table.number(),
            entry,
            generation,
            key: region.key,
            proof,
        };
        let questioner = Questioner {
            mappings: Arc::downgrade(&self.mappings),
            own: table.own(),
            region: lease.extent(),
            terms: region.terms,
        };
        let asked = mapper::ask(questioner, &ask, |fd| {
            if self.has_ended() || self.has_unsent() {
                return Err(libc::EAGAIN);
            }
            passing::send(self.socket.checked()?, &ask.encode(), Some(fd))
        });
        if asked.is_err() {
            self.mappings.is_answered(entry, generation);
        }
        asked.is_ok()
    }

    /// Sends a message behind those that wait. Whether the socket has failed.
    fn post(&self, shared: &mut Shared, message: Message) -> bool {
        let others_wait = shared.has_unsent();
        shared.unsent.push_back(message);
        !others_wait && self.send_unsent(shared).is_err()
    }

    /// Whether all has been sent.
    fn send_unsent(&self, shared: &mut Shared) -> Result<bool> {
        while shared.has_unsent() {
            match self.send_next(shared) {
                Ok(()) => {}
                Err(errno) if comes_later(errno) => {
                    if !self.is_congested.swap(true, Ordering::AcqRel) {
                        self.trouble();
                    }
                    return Ok(false);
                }
                Err(errno) => return Err(errno),
            }
        }
        self.is_congested.store(false, Ordering::Release);
        Ok(true)
    }

    /// Sends one of those that wait, which waits no longer then.
    fn send_next(&self, shared: &mut Shared) -> Result<()> {
        match shared.unsent.front() {
            Some(Message::Table(number, fd)) => self.send_with(&number.to_le_bytes(), fd)?,
            Some(Message::Knock(knock, Some(fd))) => self.send_with(knock, fd)?,
            Some(Message::Knock(knock, None)) => {
                self.socket.send(&[Span::from_slice(knock)])?;
            }
            Some(Message::Refusal(number)) => {
                let bytes = (number | REFUSED).to_le_bytes();
                self.socket.send(&[Span::from_slice(&bytes)])?;
            }
            None => {
                if let Some(number) = shared.unsent_doorbells.next() {
                    let bytes = number.to_le_bytes();
                    self.socket.send(&[Span::from_slice(&bytes)])?;
                    shared.unsent_doorbells.remove(number);
                }
                return Ok(());
            }
        }
        shared.unsent.pop_front();
        Ok(())
    }

    /// Sends a message with a descriptor: without it when too many of this user's descriptors are on their way, since
    /// that may last, and the socket would be writable all the time. The other side does without it.
    fn send_with(&self, message: &[u8], fd: &OwnedFd) -> Result<()> {
        match self.socket.send_with_descriptor(message, fd) {
            Err(libc::ETOOMANYREFS) => self.socket.send(&[Span::from_slice(message)]).map(|_| ()),
            sent => sent,
        }
    }

    /// There are messages for which the socket had no room.
    pub(crate) fn has_unsent(&self) -> bool {
        self.is_congested.load(Ordering::Acquire)
    }

    /// There is room in the socket again. Whether all has been sent.
    pub(crate) fn go_on_sending(&self) -> Result<bool> {
        self.send_unsent(&mut self.shared.lock())
    }

    /// The socket is of no use any more: the program may have closed it.
    fn fail(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.socket.shut_down();
            self.trouble();
        }
    }

    /// The next message. Fails at the end of the socket, and for a malformed message.
    pub(crate) fn receive(&self) -> Result<Received> {
        let mut bytes = [0; KNOCK];
        let mut received = self.socket.receive_message(&mut bytes);
        if matches!(received, Err(libc::ECONNRESET)) {
            // The other process has ended, and has left messages unread. Its own come nevertheless, before the end.
            received = self.socket.receive_message(&mut bytes);
        }
        let (n, memory) = match received {
            Err(errno) if would_block(errno) => return Ok(Received::Nothing),
            received => received?,
        };
        match (n, memory) {
            (DOORBELL, None) => {
                let number = bytes.first_chunk().ok_or(libc::EBADMSG)?;
                let number = u32::from_le_bytes(*number);
                if !self.is_client() || number & REFUSED == 0 {
                    return Ok(Received::Doorbell(number));
                }
                let number = number & !REFUSED;
                let mut shared = self.shared.lock();
                if shared.connections.contains_key(&number) {
                    shared.refused.insert(number);
                }
                Ok(Received::Doorbell(number))
            }
            (DOORBELL, Some(table)) => {
                let reach = match &self.process {
                    Some(process) => Reach::of(process, &table).ok(),
                    None => None,
                };
                match self.shared.lock().reach.replace(reach) {
                    None => Ok(Received::Table),
                    // It comes once.
                    Some(_) => Err(libc::EBADMSG),
                }
            }
            (ASK, Some(socket)) => {
                let ask = Ask::decode(&bytes[..ASK]).map_err(|_| libc::EBADMSG)?;
                if socket.is_local_socket() {
                    Ok(Received::Ask(ask, socket))
                } else {
                    Err(libc::EBADMSG)
                }
            }
            // This process has no descriptor left for the socket.
            (ASK, None) => Ok(Received::Nothing),
            (KNOCK, memory) if self.side == Side::Server => {
                let knock = Knock::decode(&bytes).map_err(|_| libc::EBADMSG)?;
                let mut shared = self.shared.lock();
                shared.arena.follow(knock.slot, memory.as_deref())?;
                drop(shared);
                Ok(Received::Knock(knock))
            }
            _ => Err(libc::EBADMSG),
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let mappings = std::mem::take(&mut self.mappings);
        if !mappings.are_none() {
            drop(mappings);
            mapper::mappings_are_gone();
        }
    }
}

#[cfg(test)]
impl Pair {
    /// Both ends.
    pub(crate) fn of_this_process() -> Result<(Arc<Self>, Arc<Self>)> {
        let (one, other) = Socket::pair_of(libc::SOCK_SEQPACKET)?;
        let client = Self::new(Side::Client, Neighbour::of(one)?);
        Ok((client, Self::new(Side::Server, Neighbour::of(other)?)))
    }

    /// Whether the words of this slot are in memory.
    pub(super) fn has_memory(&self, number: u32) -> bool {
        let slot = self.shared.lock().arena.slot(number);
        slot.is_some_and(|slot| {
            let mut is_there = 0;
            // SAFETY: the first page of the slot, and room for what is said of it.
            let told = unsafe { libc::mincore(slot.words().as_ptr().cast(), 1, &raw mut is_there) };
            told == 0 && is_there & 1 != 0
        })
    }

    pub(super) fn doorbells(&self) -> usize {
        self.doorbells.load(Ordering::Relaxed)
    }
}
