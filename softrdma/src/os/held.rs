// SPDX-License-Identifier: BSD-3-Clause

//! Locks that are held over a `fork`, so that what they guard is whole in the child, and free.

use std::collections::HashSet;
use std::ptr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard, RwLockWriteGuard};
use parking_lot_core::DEFAULT_UNPARK_TOKEN;

/// What holds a lock.
pub(crate) trait Guard {
    /// In a child, before the lock is released: the threads that waited for it are those of the parent. One of them
    /// would be given the lock, and keep it for ever.
    fn forget_waiters(&self);
}

fn forget_waiters_at(key: usize) {
    // SAFETY: threads wait at the address of a lock, and look at it once more when they are woken for nothing.
    unsafe { parking_lot_core::unpark_all(key, DEFAULT_UNPARK_TOKEN) };
}

impl<T> Guard for MutexGuard<'_, T> {
    fn forget_waiters(&self) {
        // SAFETY: it stays locked.
        forget_waiters_at(ptr::from_ref(unsafe { MutexGuard::mutex(self).raw() }).addr());
    }
}

impl<T> Guard for RwLockWriteGuard<'_, T> {
    fn forget_waiters(&self) {
        // SAFETY: it stays locked.
        let at = ptr::from_ref(unsafe { RwLockWriteGuard::rwlock(self).raw() }).addr();
        forget_waiters_at(at);
        // Where the one waits that is the next writer.
        forget_waiters_at(at + 1);
    }
}

/// The lock of an object, as long as this exists.
struct Held<O, T: 'static> {
    // Field order is drop order.
    guard: MutexGuard<'static, T>,
    _owner: Arc<O>,
}

impl<O, T> Guard for Held<O, T> {
    fn forget_waiters(&self) {
        self.guard.forget_waiters();
    }
}

/// Locks, each once. None is waited for longer than this long.
pub(crate) struct Locks {
    until: Instant,
    held: Vec<Box<dyn Guard>>,
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
            guard,
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
    pub(crate) fn keep(&mut self, guard: impl Guard + 'static) -> bool {
        self.held.push(Box::new(guard));
        true
    }

    /// As that of each of them.
    pub(crate) fn forget_waiters(&self) {
        for guard in &self.held {
            guard.forget_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot_core::FilterOp;

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

    /// Whether a thread waits for the lock.
    fn is_waited_for<T>(mutex: &Mutex<T>) -> bool {
        let mut waits = false;
        // SAFETY: the address of a lock; nobody is woken.
        unsafe {
            let key = ptr::from_ref(mutex.raw()).addr();
            parking_lot_core::unpark_filter(
                key,
                |_| {
                    waits = true;
                    FilterOp::Stop
                },
                |_| DEFAULT_UNPARK_TOKEN,
            );
        }
        waits
    }

    #[test]
    fn a_child_can_have_a_lock_that_a_thread_of_its_parent_waits_for() {
        static LOCK: Mutex<()> = Mutex::new(());
        let mut locks = Locks::until(Instant::now() + Duration::from_secs(10));
        assert!(locks.hold_static(&LOCK));
        let waits = std::thread::spawn(|| drop(LOCK.lock()));
        while !is_waited_for(&LOCK) {
            std::thread::yield_now();
        }
        // SAFETY: a fork without the handlers of this library. The child calls what its copies of locks allow, and
        // ends.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if child == 0 {
            locks.forget_waiters();
            drop(locks);
            let is_free = !LOCK.is_locked();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if is_free { 0 } else { 1 }) };
        }
        drop(locks);
        assert!(waits.join().is_ok());
        let mut status = -1;
        // SAFETY: room for the status.
        let ended = unsafe { libc::waitpid(child as i32, &raw mut status, 0) };
        assert_eq!((i64::from(ended), status), (child, 0));
    }
}
