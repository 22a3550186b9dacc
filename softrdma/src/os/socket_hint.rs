// SPDX-License-Identifier: BSD-3-Clause

//! Which of many sockets have input: with one system call, and without the locks of their connections.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::sys;

/// What a program that polls many connections sees of one on TCP without locking it.
#[derive(Debug)]
pub(crate) struct SocketHint {
    /// -1: the connection does not read from the socket any more.
    number: AtomicI32,
    /// This side has something to do, even if nothing has come.
    owes: AtomicBool,
}

// Relaxed everywhere: who takes the hint locks the connection afterwards, and finds out what is so.
impl SocketHint {
    pub(crate) fn new(number: RawFd) -> Self {
        Self {
            number: AtomicI32::new(number),
            owes: AtomicBool::new(false),
        }
    }

    pub(crate) fn owe(&self, owes: bool) {
        // Mostly it does not change: then no other processor has to read it anew.
        if self.owes.load(Ordering::Relaxed) != owes {
            self.owes.store(owes, Ordering::Relaxed);
        }
    }

    pub(crate) fn close(&self) {
        self.number.store(-1, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.number.load(Ordering::Relaxed) < 0
    }
}

/// How many sockets one call is about.
pub(crate) const MOST: usize = 64;

/// Sockets to ask about, each with the place of its connection in a list.
pub(crate) struct Sockets {
    entries: [libc::pollfd; MOST],
    places: [usize; MOST],
    count: usize,
}

impl Sockets {
    pub(crate) fn new() -> Self {
        let nothing = libc::pollfd {
            fd: -1,
            events: libc::POLLIN,
            revents: 0,
        };
        Self {
            entries: [nothing; MOST],
            places: [0; MOST],
            count: 0,
        }
    }

    /// Adds a socket, if there is room for one more.
    pub(crate) fn add(&mut self, hint: &SocketHint, place: usize) {
        if let (Some(entry), Some(of)) = (
            self.entries.get_mut(self.count),
            self.places.get_mut(self.count),
        ) {
            entry.fd = hint.number.load(Ordering::Relaxed);
            // Where something is to be done, the kernel need not be asked.
            entry.revents = if hint.owes.load(Ordering::Relaxed) {
                entry.fd = -1;
                libc::POLLIN
            } else {
                0
            };
            *of = place;
            self.count += 1;
        }
    }

    /// The places of those that have input, have ended, or owe something. Descriptors that the program has closed or
    /// replaced count as well, if at all: the thread that reads from them finds out.
    pub(crate) fn ready(&mut self) -> impl Iterator<Item = usize> + '_ {
        let (entries, places) = (&mut self.entries[..self.count], &self.places[..self.count]);
        let mut owes = [false; MOST];
        for (owes, entry) in owes.iter_mut().zip(entries.iter()) {
            *owes = entry.revents != 0;
        }
        if sys::poll_all_now(entries) < 0 {
            // All may have something.
            owes = [true; MOST];
        }
        let ready = entries.iter().zip(places).zip(owes);
        ready.filter_map(|((entry, place), owes)| (owes || entry.revents != 0).then_some(*place))
    }
}
