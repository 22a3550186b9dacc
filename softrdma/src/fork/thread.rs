// SPDX-License-Identifier: BSD-3-Clause

//! The I/O thread during a fork, and after one until it is decided who goes on.

use std::os::fd::RawFd;
use std::sync::{self, Condvar, PoisonError};
use std::time::{Duration, Instant};

use super::{FORK, take_back_locked};
use crate::io::fork_state::{self, OFFERED};
use crate::io::{self, Io};
use crate::os::handover::{End, wait_for};

/// How long an offer stands when something comes in on a connection.
const WHEN_NEEDED: Duration = Duration::from_secs(1);
/// How long it stands when clients come of which both programs have been told.
const WHEN_TOLD: Duration = Duration::from_secs(5);
/// How long it stands otherwise.
const AT_MOST: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Parking {
    asked: bool,
    parked: bool,
}

/// Not one of those that know which threads wait: the child has none of them.
static PARKING: sync::Mutex<Parking> = sync::Mutex::new(Parking {
    asked: false,
    parked: false,
});
static CHANGED: Condvar = Condvar::new();

/// On the I/O thread, which touches nothing meanwhile: waits until a fork is over and who goes on is decided.
pub(super) fn wait() {
    let Some(io) = io::get() else { return };
    let mut needed_until = None;
    while fork_state::concerns_thread() {
        park();
        wait_for_decision(io, &mut needed_until);
    }
}

fn locked<T>(mutex: &sync::Mutex<T>) -> sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn park() {
    let mut parking = locked(&PARKING);
    while parking.asked {
        parking.parked = true;
        CHANGED.notify_all();
        parking = CHANGED
            .wait(parking)
            .unwrap_or_else(PoisonError::into_inner);
    }
    parking.parked = false;
}

fn wait_for_decision(io: &Io, needed_until: &mut Option<Instant>) {
    const PAUSE: Duration = Duration::from_millis(100);
    // Whoever has it decides, or forks.
    let Some(mut fork) = FORK.try_lock() else {
        std::thread::yield_now();
        return;
    };
    if fork_state::state() != OFFERED {
        return;
    }
    let now = Instant::now();
    let at_most = fork.since.map(|since| since + AT_MOST);
    let until = needed_until.iter().copied().chain(at_most).min();
    if fork.lifelines.is_empty() || until.is_none_or(|until| until <= now) {
        return take_back_locked(&mut fork);
    }
    let mut fds = vec![io.epoll().wake_raw()];
    fds.extend(fork.lifelines.iter().map(End::raw));
    let watches_sockets = needed_until.is_none();
    if watches_sockets {
        fds.push(io.epoll().raw());
    }
    drop(fork);
    let left = until.map_or(PAUSE, |until| until - now);
    let ready = wait_for(&fds, left.as_millis() as i32 + 1);
    let was_woken = ready.first() == Some(&true);
    let _ = io.epoll().clear();
    // What wakes the thread is watched along with the sockets.
    if watches_sockets && !was_woken && ready.last() == Some(&true) {
        let most = if io.announce() {
            WHEN_TOLD
        } else {
            WHEN_NEEDED
        };
        *needed_until = Some(Instant::now() + most);
    }
    let Some(mut fork) = FORK.try_lock() else {
        return;
    };
    if fork_state::state() == OFFERED {
        // Those that have hung up.
        let ended: Vec<RawFd> = fds
            .iter()
            .zip(&ready)
            .skip(1)
            .filter_map(|(&fd, &ready)| ready.then_some(fd))
            .collect();
        fork.lifelines
            .retain(|lifeline| !ended.contains(&lifeline.raw()));
    }
}

/// Whether the thread touches nothing from now on.
pub(super) fn quiet(io: &Io, until: Instant) -> bool {
    let mut parking = locked(&PARKING);
    parking.asked = true;
    fork_state::quiet_thread(true);
    io.wake();
    while !parking.parked {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        parking = CHANGED
            .wait_timeout(parking, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    true
}

pub(super) fn let_go_on() {
    let mut parking = locked(&PARKING);
    parking.asked = false;
    fork_state::quiet_thread(false);
    CHANGED.notify_all();
}

/// In a child, which has no such thread yet.
pub(super) fn forget() {
    if let Ok(mut parking) = PARKING.try_lock() {
        parking.asked = false;
        parking.parked = false;
    }
    fork_state::quiet_thread(false);
}
