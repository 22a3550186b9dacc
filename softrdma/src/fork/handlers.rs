// SPDX-License-Identifier: BSD-3-Clause

//! What is done before a fork, and after it in both processes.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::reachable::Reachable;
use super::{FORK, Fork, thread};
use crate::cm::event::EventChannel;
use crate::cm::{door, own_qp, pairs, silent};
use crate::io::fork_state::{self, HEIR, OFFERED, REFUSED, SETTLED};
use crate::io::{self, HeldWork, Io};
use crate::objects::{mr, numbers};
use crate::os::cancel::Hold;
use crate::os::handover::{DeadEnd, Handover, Lifeline};
use crate::os::held::{Guard as _, Locks};
use crate::os::{child, process};

/// One thread forks at a time.
static FORKING: Mutex<()> = Mutex::new(());

/// How long a fork waits for the I/O thread and for locks.
const QUIET: Duration = Duration::from_secs(1);
/// What is held from before a fork until after it.
struct Before {
    /// Of objects and of the process.
    locks: Locks,
    work: Option<HeldWork>,
    /// None if it could not be had.
    fork: Option<MutexGuard<'static, Fork>>,
    state: u8,
    parked: bool,
    /// All locks are held, so all objects are consistent, and a child may use them.
    whole: bool,
    sockets: Vec<RawFd>,
    listeners: Vec<(RawFd, Arc<EventChannel>)>,
    offer: Option<Handover>,
    lifeline: Option<Lifeline>,
    forking: MutexGuard<'static, ()>,
    _uncancelled: Hold,
}

thread_local! {
    static BEFORE: RefCell<Option<Before>> = const { RefCell::new(None) };
}

fn before() -> Option<Before> {
    BEFORE.try_with(|before| before.take()).ok().flatten()
}

pub(super) fn watch() {
    child::watch_forks(prepare, in_parent, in_child);
}

extern "C" fn prepare() {
    let Some(io) = io::get() else { return };
    if fork_state::state() == REFUSED {
        // There is nothing left to close, and its numbers are the program's.
        return;
    }
    let uncancelled = Hold::new();
    child::forks();
    let mut before = Before {
        forking: FORKING.lock(),
        _uncancelled: uncancelled,
        locks: Locks::until(Instant::now() + QUIET),
        work: None,
        fork: None,
        state: SETTLED,
        parked: io.is_running(),
        whole: true,
        sockets: Vec::new(),
        listeners: Vec::new(),
        offer: None,
        lifeline: None,
    };
    if before.parked {
        before.whole = thread::quiet(io, before.locks.deadline());
    }
    before.whole = before.whole && hold_all(io, &mut before);
    before.state = fork_state::state();
    before.sockets = child::sockets();
    super::close_regions(before.locks.deadline());
    if before.whole && !before.sockets.is_empty() {
        before.make_offer();
    }
    // Without it there is no `in_parent` for this thread either.
    let _ = BEFORE.try_with(|place| place.replace(Some(before)));
}

fn hold_all(io: &'static Io, before: &mut Before) -> bool {
    let locks = &mut before.locks;
    let mut reachable = Reachable::of(io);
    if !reachable.hold(locks) {
        return false;
    }
    before.listeners = std::mem::take(&mut reachable.listeners);
    // After those of objects, since a thread that has one of these may decide who goes on.
    before.fork = FORK.try_lock_until(locks.deadline());
    // Those of the process last: whoever holds them takes none of an object.
    if before.fork.is_none() || !io::hold_start(locks) || !own_qp::hold(locks) {
        return false;
    }
    if !silent::hold(locks) || !door::hold(locks) || !mr::hold(locks) {
        return false;
    }
    if !pairs::hold(locks) || !reachable.hold_last(locks) {
        return false;
    }
    if !numbers::hold(locks) || !process::hold(locks) {
        return false;
    }
    before.work = io.hold(locks);
    before.work.is_some()
}

impl Before {
    /// In a child: as that of each lock.
    fn forget_waiters(&self) {
        self.locks.forget_waiters();
        self.forking.forget_waiters();
        if let Some(fork) = &self.fork {
            fork.forget_waiters();
        }
        if let Some(work) = &self.work {
            work.forget_waiters();
        }
    }

    fn make_offer(&mut self) {
        let Some(fork) = &mut self.fork else { return };
        if fork.dead.is_none() {
            fork.dead = DeadEnd::new().ok();
        }
        self.whole = fork.dead.is_some();
        let offers = match self.state {
            SETTLED => self.whole && !fork_state::any_waits(),
            OFFERED => true,
            _ => false,
        };
        if offers {
            self.lifeline = Lifeline::new().ok();
        }
        if self.lifeline.is_some() && self.state == SETTLED {
            self.offer = Handover::of(&self.sockets).ok();
        }
    }
}

extern "C" fn in_parent() {
    let Some(mut before) = before() else { return };
    if let Some(fork) = &mut before.fork {
        if before.state != HEIR {
            fork_state::has_forked();
        }
        if let Some(offer) = before.offer.take() {
            fork.handover = Some(offer);
            fork.since = Some(Instant::now());
            fork_state::set_state(OFFERED);
        }
        if fork_state::state() == OFFERED {
            let lifeline = before.lifeline.take();
            fork.lifelines.extend(lifeline.map(Lifeline::watched));
        } else {
            fork.dead = None;
        }
    }
    if fork_state::state() != OFFERED {
        super::open_regions();
    }
    if before.parked {
        thread::let_go_on();
    }
}

extern "C" fn in_child() {
    let (Some(mut before), Some(io)) = (before(), io::get()) else {
        return;
    };
    fork_state::has_forked();
    thread::forget();
    fork_state::none_waits();
    child::close_private();
    let offer = before.offer.take();
    let lifeline = before.lifeline.take();
    let begun = before.whole && io.begin_anew().is_ok();
    before.forget_waiters();
    let (true, Some(fork), Some(work)) = (begun, &mut before.fork, &mut before.work) else {
        return refuse();
    };
    let own = work.take_out();
    let mut channels = Vec::new();
    if before.sockets.is_empty() && before.state != HEIR {
        // It may be the last owner of something that needs the locks.
        drop(before);
        drop(own);
        return;
    }
    if let Some(offer) = offer {
        fork.handover = Some(offer);
    }
    if before.state != HEIR {
        fork.lifelines.clear();
        fork.tie = lifeline.map(Lifeline::held);
        if fork.tie.is_none() {
            // Nothing was offered, or the parent would not know of it.
            fork.handover = None;
        }
        // What a child that is an heir has made itself is its own; what it was offered is still to be had.
        fork.work = Some(own);
        if fork.handover.is_some() {
            fork.listeners = std::mem::take(&mut before.listeners);
            for (listener, channel) in &fork.listeners {
                channel.watch_too(*listener);
                channels.push(Arc::clone(channel));
            }
        }
    }
    if let Some(dead) = &fork.dead {
        dead.put_at(&before.sockets);
    }
    fork_state::set_state(HEIR);
    // Without their locks.
    drop(before);
    for channel in channels {
        channel.announce_to_event_loop();
    }
}

fn refuse() {
    child::close_sockets();
    fork_state::set_state(REFUSED);
}
