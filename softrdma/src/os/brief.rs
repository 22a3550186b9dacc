// SPDX-License-Identifier: BSD-3-Clause

//! Locks that are held for the time of a few system calls.
//!
//! Before it sleeps, a thread that waits for a lock of `parking_lot` calls `sched_yield`. Since Linux 6.6 this costs it
//! the rest of its time slice. Where the program's threads poll on all processors, it runs again when one of these has
//! used up its own: milliseconds later. So it is tried for a while first, and not for ever: its owner may
//! be waiting for this processor.

use parking_lot::{Mutex, MutexGuard};

/// About as long as it takes to send something over TCP.
const TRIES: usize = 1000;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    soon(|| mutex.try_lock()).unwrap_or_else(|| mutex.lock())
}

fn soon<T>(mut get: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..TRIES {
        let got = get();
        if got.is_some() {
            return got;
        }
        std::hint::spin_loop();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_for_a_while_and_not_for_ever() {
        let mut tries = 0;
        let then = soon(|| {
            tries += 1;
            (tries > TRIES / 2).then_some(())
        });
        assert_eq!((then, tries), (Some(()), TRIES / 2 + 1));
        tries = 0;
        let never = soon(|| {
            tries += 1;
            None::<()>
        });
        assert_eq!((never, tries), (None, TRIES));
    }

    #[test]
    fn a_lock_that_is_held_for_longer_is_waited_for() {
        let mutex = Mutex::new(1);
        std::thread::scope(|scope| {
            let mut held = mutex.lock();
            let other = scope.spawn(|| *lock(&mutex));
            // The other thread may come earlier or later: in either case it sees this.
            *held = 2;
            drop(held);
            assert!(matches!(other.join(), Ok(2)));
        });
    }
}
