// SPDX-License-Identifier: BSD-3-Clause

//! What becomes of a process's objects when it forks.
//!
//! Both processes have copies of all objects, but a connection or a listener can be served by one process only.
//! Which one that is turns out after the fork: a daemon's parent exits, a server's child executes another program,
//! or does something that has nothing to do with RDMA. So at a fork the sockets are *offered* (`os/handover.rs`):
//! - The parent takes them back with its next call, when all its children have ended or executed another
//!   program, or when something comes in and nobody has cared for a while. Until then its I/O thread touches none.
//! - A child takes all of them with its first call on an object that it has inherited and that may need them.
//!   From then on it serves them with a thread of its own. For the parent, and for any other child, these
//!   connections have ended then.
//!
//! A child that comes too late, or to which nothing could be offered, finds that they have ended. Everything else
//! (contexts, protection domains, regions, queues) is memory, of which each process has its copy.
//!
//! The handlers below quiet the I/O thread, and hold the locks of the process and of the objects that have
//! sockets, so that the child's copies are consistent. When that is not possible within a time, a child cannot use
//! anything.

mod handlers;
mod reachable;
mod thread;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cm::event::EventChannel;
use crate::cm::{door, pairs};
use crate::io::fork_state::{self, HEIR, Handlers, OFFERED, SETTLED};
use crate::io::{self, Io, Work};
use crate::os::cancel::Hold;
use crate::os::handover::{DeadEnd, End, Handover};
use crate::os::region_table::RegionTable;

/// When the library is loaded: the layers below call this one.
pub(crate) fn install() {
    fork_state::install(Handlers {
        watch: handlers::watch,
        take_back,
        take_over,
        wait_on_thread: thread::wait,
    });
}

#[derive(Debug)]
struct Fork {
    handover: Option<Handover>,
    /// What stands for a socket of another process.
    dead: Option<DeadEnd>,
    /// A parent's, of children that may take what was offered.
    lifelines: Vec<End>,
    /// A child's, as long as it may.
    tie: Option<End>,
    since: Option<Instant>,
    /// What a child has inherited.
    work: Option<Work>,
    /// Listening sockets, and the channels that watch them for it.
    listeners: Vec<(RawFd, Arc<EventChannel>)>,
}

static FORK: Mutex<Fork> = Mutex::new(Fork {
    handover: None,
    dead: None,
    lifelines: Vec::new(),
    tie: None,
    since: None,
    work: None,
    listeners: Vec::new(),
});

// --- Memory that peers access by themselves ----------------------------------------------------------

/// While it is not decided which process goes on, peers must not access the memory of either by themselves.
fn close_regions(until: Instant) {
    const BETWEEN: Duration = Duration::from_micros(20);
    if let Some(table) = RegionTable::known() {
        table.close();
        while table.has_leases() && Instant::now() < until {
            std::thread::sleep(BETWEEN);
        }
    }
}

fn open_regions() {
    if let Some(table) = RegionTable::known() {
        table.open();
    }
}

// --- Deciding ----------------------------------------------------------------------------------------

/// The parent goes on.
fn take_back() {
    let _uncancelled = Hold::new();
    let mut fork = FORK.lock();
    if fork_state::state() == OFFERED {
        take_back_locked(&mut fork);
    }
}

fn take_back_locked(fork: &mut Fork) {
    let mut lost = false;
    if let Some(handover) = fork.handover.take() {
        if handover.take() {
            handover.discard();
        } else {
            lost = true;
            stop_watching(handover.numbers());
            if let Some(dead) = &fork.dead {
                dead.put_at(handover.numbers());
            }
            fork_state::all_is_lost();
        }
    }
    fork.dead = None;
    fork.lifelines.clear();
    fork_state::set_state(SETTLED);
    if let Some(io) = io::get() {
        io.wake();
    }
    if lost {
        // Peers must not write to this memory any more for connections that the child has.
        io::later(|| {
            Io::lose_all();
            // Clients who are invited would find the child there.
            door::forget();
            open_regions();
        });
    } else {
        open_regions();
    }
}

/// While the numbers still mean the sockets that the child has: the set would go on telling of them afterwards, and the
/// I/O thread would never wait while there is something that the child has not read.
fn stop_watching(sockets: &[RawFd]) {
    if let Some(io) = io::get() {
        for socket in sockets {
            io.remove(*socket);
        }
    }
}

/// The child goes on, if nobody else does.
fn take_over() {
    let _uncancelled = Hold::new();
    let listeners = {
        let mut fork = FORK.lock();
        if fork_state::state() != HEIR {
            return;
        }
        let handover = fork.handover.take();
        let mine = handover.as_ref().is_some_and(Handover::take);
        let listeners = std::mem::take(&mut fork.listeners);
        if let (true, Some(handover)) = (mine, &handover) {
            handover.receive();
            fork_state::all_is_inherited();
        } else {
            fork_state::all_is_lost();
        }
        if let (Some(io), Some(work)) = (io::get(), fork.work.take()) {
            io.put_back(work, mine);
        }
        fork.dead = None;
        fork_state::set_state(SETTLED);
        // The parent finds out.
        fork.tie = None;
        if mine {
            door::forget();
            pairs::forget();
            io::later(Io::serve_all);
        } else {
            io::later(Io::lose_all);
        }
        if mine { listeners } else { Vec::new() }
    };
    for (listener, channel) in listeners {
        channel.stop_watching(listener);
    }
    // Without a thread there is no I/O: whoever needs one tries again.
    let _ = io::start();
}
