// SPDX-License-Identifier: BSD-3-Clause

//! Locks that are held over a `fork`, so that what they guard is whole in the child, and free.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

/// The lock of an object, as long as this exists.
struct Held<O, T: 'static> {
    // Field order is drop order.
    _guard: MutexGuard<'static, T>,
    _owner: Arc<O>,
}

/// Locks, each once. None is waited for longer than this long.
pub(crate) struct Locks {
    until: Instant,
    held: Vec<Box<dyn Any>>,
    /// By their addresses.
    known: HashSet<usize>,
}

impl Locks {
    pub(crate) fn until(until: Instant) -> Self {
        Self {
            until,
            held: Vec::new(),
            known: HashSet::new(),
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.until
    }

    /// Whether it is held now.
    pub(crate) fn hold<O: 'static, T: 'static>(
        &mut self,
        owner: &Arc<O>,
        mutex: impl FnOnce(&O) -> &Mutex<T>,
    ) -> bool {
        self.hold_and(owner, mutex, |_| ())
    }

    /// As `hold`, with a look at what it guards, if it is not held already.
    pub(crate) fn hold_and<O: 'static, T: 'static>(
        &mut self,
        owner: &Arc<O>,
        mutex: impl FnOnce(&O) -> &Mutex<T>,
        look: impl FnOnce(&T),
    ) -> bool {
        let mutex = mutex(owner);
        if !self.known.insert((&raw const *mutex).addr()) {
            return true;
        }
        let Some(guard) = mutex.try_lock_until(self.until) else {
            return false;
        };
        look(&guard);
        // SAFETY: the owner keeps the mutex where it is, and goes after the guard.
        let guard =
            unsafe { std::mem::transmute::<MutexGuard<'_, T>, MutexGuard<'static, T>>(guard) };
        self.keep(Held {
            _guard: guard,
            _owner: Arc::clone(owner),
        })
    }

    /// As `hold`, for a lock of the process.
    pub(crate) fn hold_static<T: 'static>(&mut self, mutex: &'static Mutex<T>) -> bool {
        match mutex.try_lock_until(self.until) {
            Some(guard) => self.keep(guard),
            None => false,
        }
    }

    /// A lock that is held for as long as this exists.
    pub(crate) fn keep(&mut self, guard: impl Any) -> bool {
        self.held.push(Box::new(guard));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lock_is_held_once_and_released_at_the_end() {
        let (one, other) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
        let mut locks = Locks::until(Instant::now() + Duration::from_secs(10));
        assert!(locks.hold(&one, |one| one));
        assert!(locks.hold(&one, |one| one));
        assert!(one.is_locked());
        let taken = other.lock();
        let mut hurried = Locks::until(Instant::now());
        assert!(!hurried.hold(&other, |other| other));
        drop(taken);
        drop(locks);
        assert!(!one.is_locked());
    }
}
