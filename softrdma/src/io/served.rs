// SPDX-License-Identifier: BSD-3-Clause

//! The sockets that this process shares with other ones (`os/pair.rs`), on the I/O thread.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::fork_state::Made;
use super::{Io, Source, Token};
use crate::Result;
use crate::instrument;
use crate::os::discard::Foreign;
use crate::os::epoll::{EXCLUSIVE, Interest, READABLE, WRITABLE};
use crate::os::mapper;
use crate::os::pair::{Pair, Received, ServedBy, TidyAgain};
use crate::os::region_table::RegionTable;
use crate::os::thread;
use crate::wire::{Ask, Knock};

/// The I/O thread looks after the socket from now on. `knocked` is called with each connection that a client brings.
pub(crate) fn serve(
    pair: Arc<Pair>,
    knocked: impl Fn(&Arc<Pair>, &Knock) + Send + Sync + 'static,
) -> Result<()> {
    let io = super::start()?;
    let token = io.token();
    let served = Arc::new(Served {
        pair,
        knocked: Box::new(knocked),
        token,
        made: Made::now(),
    });
    let in_trouble = Arc::downgrade(&served);
    if let Ok(number) = u32::try_from(token.0) {
        served.pair.is_served_as(number);
    }
    served.pair.on_trouble(move || {
        let in_trouble = Weak::clone(&in_trouble);
        super::later(move || {
            if let Some(served) = in_trouble.upgrade() {
                served.attend();
            }
        });
    });
    let spare = Arc::downgrade(&served);
    served
        .pair
        .on_spare_memory(move || tidy_up(Weak::clone(&spare), FIRST_TIDY, FIRST_TIDY));
    let source = Arc::clone(&served);
    // Something may wait for room already.
    let interest = served.interest();
    io.watch(served.pair.socket().raw(), token, interest, source)?;
    served.watch_for_room();
    Ok(())
}

type Knocked = dyn Fn(&Arc<Pair>, &Knock) + Send + Sync;

/// What a pair is to the I/O thread.
pub(crate) struct Served {
    pair: Arc<Pair>,
    knocked: Box<Knocked>,
    token: Token,
    made: Made,
}

impl Served {
    pub(crate) fn pair(&self) -> Arc<Pair> {
        Arc::clone(&self.pair)
    }

    /// Its socket has no room, or has failed.
    fn attend(self: &Arc<Self>) {
        if self.pair.has_ended() {
            self.end(ServedBy::IoThread);
        } else {
            self.watch_behind();
        }
    }

    /// Watches its socket behind all others that do.
    pub(super) fn watch_behind(self: &Arc<Self>) {
        let Some(io) = super::get() else { return };
        let socket = self.pair.socket().raw();
        if io
            .watch_behind(socket, self.token, || self.interest())
            .is_err()
        {
            // Later: callers may have locks.
            let served = Arc::clone(self);
            super::later(move || served.end(ServedBy::IoThread));
        }
    }

    /// After it was added: its socket may have lost its room meanwhile.
    fn watch_for_room(self: &Arc<Self>) {
        if self.pair.has_unsent() {
            self.watch_behind();
        }
    }

    fn interest(&self) -> Interest {
        if self.pair.has_unsent() {
            READABLE | WRITABLE | EXCLUSIVE
        } else {
            READABLE | EXCLUSIVE
        }
    }

    /// Nobody looks after the socket any more.
    fn end(&self, by: ServedBy) {
        if let Some(io) = super::get() {
            // In this order: afterwards nobody watches it again.
            io.leave(self.token);
            io.remove(self.pair.socket().raw());
        }
        end_on(&self.pair, by);
    }

    /// The peer asks for the file under a region.
    fn asked(&self, ask: Ask, socket: Foreign, by: ServedBy) {
        // Strict mode has to find accesses to memory that is not mapped any more.
        if instrument::strict::is_on() || instrument::not_direct() {
            return mapper::refuse(&socket);
        }
        let pair = Arc::as_ptr(&self.pair).addr();
        match by {
            ServedBy::IoThread => mapper::answer(ask, socket, pair, thread::own_tid()),
            ServedBy::Program => super::later(move || {
                mapper::answer(ask, socket, pair, thread::own_tid());
            }),
        }
    }

    /// Reads so many messages at most.
    fn serve_some(self: &Arc<Self>, by: ServedBy, most: usize) -> Left {
        let mut served = (0..most).map(|_| self.serve(by));
        served
            .find(|left| *left != Left::Some)
            .unwrap_or(Left::Some)
    }

    /// Reads one message.
    fn serve(self: &Arc<Self>, by: ServedBy) -> Left {
        match self.pair.receive() {
            Ok(Received::Nothing) => return Left::Nothing,
            Ok(Received::Doorbell(number)) => {
                if let Some(connection) = self.pair.connection(number) {
                    connection.rung(by);
                }
            }
            Ok(Received::Table) => {
                for connection in self.pair.connections() {
                    connection.rung(by);
                }
            }
            Ok(Received::Ask(ask, socket)) => self.asked(ask, socket, by),
            Ok(Received::Knock(knock)) => match by {
                ServedBy::IoThread => (self.knocked)(&self.pair, &knock),
                ServedBy::Program => {
                    let served = Arc::clone(self);
                    super::later(move || (served.knocked)(&served.pair, &knock));
                }
            },
            Err(_) => {
                self.end(by);
                return Left::Ended;
            }
        }
        Left::Some
    }
}

fn find(token: Token) -> Option<Arc<Served>> {
    let source = super::get()?.source(token)?;
    source.into_any().downcast().ok()
}

/// What a socket has after it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// There may be more.
    Some,
    /// The pair has ended, or nobody looks after it any more.
    Ended,
}

/// Reads so many messages at most from the socket of a pair.
pub(super) fn serve_socket(token: Token, by: ServedBy, most: usize) -> Left {
    find(token).map_or(Left::Ended, |served| served.serve_some(by, most))
}

/// The I/O thread looks at the socket of a pair, and watches it behind all others that do.
pub(super) fn watch_behind(token: Token) {
    if let Some(served) = find(token) {
        served.watch_behind();
    }
}

/// For so long memory of connections that have ended is not in use before it is given back.
const FIRST_TIDY: Duration = Duration::from_secs(1);
/// When it is looked for again what the other side has left, the first time and at the latest: it may take as long as
/// the program there likes.
const LAST_TIDY: Duration = Duration::from_secs(8);
/// Between two parts of what is given back, so that others have their turn.
const SOON: Duration = Duration::from_millis(2);

/// `pause` is the one before the parts that are looked at one soon after the other.
fn tidy_up(served: Weak<Served>, after: Duration, pause: Duration) {
    if let Some(io) = super::get() {
        io.after(after, move || {
            let Some(served) = served.upgrade() else {
                return;
            };
            // After a fork, the memory may be a child's.
            if !served.made.is_served_here() {
                return;
            }
            let next = match served.pair.give_back() {
                TidyAgain::No => return,
                TidyAgain::Over => return served.end(ServedBy::IoThread),
                TidyAgain::Soon => return tidy_up(Arc::downgrade(&served), SOON, pause),
                TidyAgain::Later => FIRST_TIDY,
                TidyAgain::Rarely => pause.clamp(FIRST_TIDY / 2, LAST_TIDY / 2) * 2,
            };
            tidy_up(Arc::downgrade(&served), next, next);
        });
    }
}

/// The end of a process is seen a moment after that of its sockets, and connections let go of what they have of it a
/// moment later: looks for that after the first time, and if need be twice as long after that, and so on up to the last.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_secs(3);

fn forget_processes(after: Duration) {
    if let Some(io) = super::get() {
        io.after(after, move || {
            if RegionTable::forget_unused() && after < LAST_LOOK {
                forget_processes(2 * after);
            }
        });
    }
}

/// The connections end.
pub(crate) fn end(pair: &Pair) {
    end_on(pair, ServedBy::IoThread);
}

fn end_on(pair: &Pair, by: ServedBy) {
    for connection in pair.end() {
        connection.rung(by);
    }
    forget_processes(FIRST_LOOK);
}

impl Source for Served {
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn lose(self: Arc<Self>) {
        self.end(ServedBy::IoThread);
    }

    fn ready(self: Arc<Self>, seen: Interest) {
        if seen & WRITABLE != 0 {
            match self.pair.go_on_sending() {
                Ok(true) => self.attend(),
                Ok(false) => {}
                Err(_) => return self.end(ServedBy::IoThread),
            }
        }
        // One message: mostly there is one, and others have their turn.
        self.serve(ServedBy::IoThread);
    }

    fn watch_again(self: Arc<Self>, io: &Io, token: Token) {
        let socket = self.pair.socket();
        let watched = socket
            .checked()
            .and_then(|fd| io.add(fd, token, self.interest()));
        if watched.is_err() {
            self.end(ServedBy::IoThread);
        } else {
            self.watch_for_room();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::os::local::Local;
    use crate::os::memory::Span;
    use crate::wire::Ends;

    #[test]
    fn a_first_message_that_finds_no_room_is_sent_when_there_is_some() -> Result<()> {
        let (client, server) = Pair::of_this_process()?;
        while client.socket().send(&[Span::from_slice(&[0; 4])]).is_ok() {}
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let knock = Knock {
            word: [0; 16],
            ends: Ends::new(at, at),
            slot: 0,
        };
        let _local = Local::offer(&client, knock)?;
        assert!(client.has_unsent());
        serve(client, |_, _| ())?;
        let limit = Instant::now() + Duration::from_secs(20);
        while !matches!(server.receive()?, Received::Knock(_)) {
            assert!(Instant::now() < limit, "it does not come");
            std::thread::yield_now();
        }
        Ok(())
    }

    #[test]
    fn a_thread_that_is_woken_takes_all_doorbells_of_a_socket() -> Result<()> {
        let (client, server) = Pair::of_this_process()?;
        let token = super::super::start()?.token();
        // Nobody else reads from the socket.
        let served = Arc::new(Served {
            pair: Arc::clone(&server),
            knocked: Box::new(|_, _| ()),
            token,
            made: Made::now(),
        });
        let serve = |most| served.serve_some(ServedBy::Program, most);
        let ring = |count: u32| -> Result<()> {
            for number in 0..count {
                client
                    .socket()
                    .send(&[Span::from_slice(&number.to_le_bytes())])?;
            }
            Ok(())
        };
        ring(5)?;
        assert_eq!(serve(16), Left::Nothing);
        ring(5)?;
        // Others have their turn.
        assert_eq!(serve(4), Left::Some);
        assert_eq!(serve(4), Left::Nothing);
        ring(1)?;
        client.end();
        assert_eq!(serve(16), Left::Ended);
        Ok(())
    }
}
