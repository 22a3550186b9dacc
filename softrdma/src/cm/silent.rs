// SPDX-License-Identifier: BSD-3-Clause

//! Those who have connected to a listener of this process and said nothing yet.
//!
//! A client sends its request as soon as it is connected. Whoever does not is no client, or a slow one.
//! Such sockets must not use up the descriptors of the process, nor keep clients out. So there are only
//! so many; when there are too many, the oldest one goes, unless it has just come: then the next ones
//! wait with the kernel. And none stays for long.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::handshake::Handshake;
use crate::os::held::Locks;

/// How long one may be silent when there are as many as there may be.
const WHEN_CROWDED: Duration = Duration::from_millis(500);
/// How long it may be otherwise.
pub(super) const AT_MOST: Duration = Duration::from_secs(10);

struct Silent {
    since: Instant,
    handshake: Weak<Handshake>,
}

/// The oldest is the first.
static ALL: Mutex<VecDeque<Silent>> = Mutex::new(VecDeque::new());

/// Before a fork.
pub(crate) fn hold(locks: &mut Locks) -> bool {
    locks.hold_static(&ALL)
}

pub(super) fn enter(handshake: &Arc<Handshake>) {
    ALL.lock().push_back(Silent {
        since: Instant::now(),
        handshake: Arc::downgrade(handshake),
    });
}

pub(super) fn leave(handshake: &Handshake) {
    ALL.lock()
        .retain(|silent| !std::ptr::eq(silent.handshake.as_ptr(), handshake));
}

/// All of them, without the lock: they leave when something is done with them.
pub(super) fn all() -> Vec<Arc<Handshake>> {
    let all = ALL.lock();
    all.iter()
        .filter_map(|silent| silent.handshake.upgrade())
        .collect()
}

/// Whether there may be one more of this many. If not, there may be soon.
pub(super) fn make_room(most: usize) -> bool {
    if ALL.lock().len() < most {
        return true;
    }
    // Some may have spoken by now, and nobody has listened.
    for handshake in all() {
        handshake.listen_once_more();
    }
    loop {
        let oldest = {
            let mut all = ALL.lock();
            all.retain(|silent| silent.handshake.strong_count() > 0);
            match all.front() {
                Some(oldest) if all.len() >= most => {
                    if oldest.since.elapsed() < WHEN_CROWDED {
                        return false;
                    }
                    oldest.handshake.upgrade()
                }
                _ => return true,
            }
        };
        if let Some(oldest) = oldest {
            oldest.give_up();
        }
    }
}
