// SPDX-License-Identifier: BSD-3-Clause

//! What a thread of the program waits for in a call that blocks: the descriptor of its channel, and sockets that
//! announce what the channel may have an event of.
//!
//! The kernel wakes one of those that wait for a socket in this way (`EPOLLEXCLUSIVE`): the first in the order in which
//! they were added that has a thread waiting. So when the set of the I/O thread is behind this one, the I/O thread wakes
//! only while no thread waits here.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::epoll::{EXCLUSIVE, READABLE};
use super::fd::Fd;
use super::signals::{self, Pending};
use super::{cancel, check, child, errno, owned, signal_mask};
use crate::Result;

/// As `pthread_cleanup_push` of C uses it.
#[repr(C)]
struct Cleanup {
    routine: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
    cancel_type: c_int,
    previous: *mut Cleanup,
}

unsafe extern "C" {
    fn _pthread_cleanup_push(
        place: *mut Cleanup,
        routine: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
    );
    fn _pthread_cleanup_pop(place: *mut Cleanup, execute: c_int);
}

// A cancellation point: see `sem_wait` in `semaphore`.
#[cfg(not(panic = "unwind"))]
use libc::epoll_pwait;
#[cfg(panic = "unwind")]
unsafe extern "C-unwind" {
    fn epoll_pwait(
        epoll: c_int,
        events: *mut libc::epoll_event,
        most: c_int,
        timeout: c_int,
        mask: *const libc::sigset_t,
    ) -> c_int;
}

#[derive(Debug)]
pub(crate) struct WaitSet {
    fd: Fd,
    /// The descriptor of the channel.
    readiness: RawFd,
    /// Not this process's any more.
    is_abandoned: AtomicBool,
}

/// How many sockets one wait finds. The thread may have a small stack.
const MOST: usize = 4;
/// So much is added to what each socket is known by: a set of the program, which may have got the number of this one,
/// has other things.
const TAG: u64 = 0x736f_6674 << 32;
/// The channel has this one.
const READINESS: u64 = TAG | u32::MAX as u64;

/// The thread's signals, which are blocked until this goes: their handlers must not run while it has locks. It has what
/// the thread handled before.
pub(crate) struct Blocked(libc::sigset_t);

impl Blocked {
    pub(crate) fn begin() -> Self {
        let all = signal_mask::asynchronous();
        Self(signal_mask::change_mask(libc::SIG_BLOCK, Some(&all)))
    }

    /// What has come meanwhile.
    pub(crate) fn pending(&self) -> Pending {
        signals::pending_but_for(&self.0)
    }

    /// The thread handles its signals again. A handler may leave this library (`siglongjmp`): then `otherwise` is called
    /// first.
    pub(crate) fn end(self, otherwise: &dyn Fn()) {
        let mask = &raw const self.0;
        with_cleanup(
            &Cancelled {
                mask,
                then: otherwise,
            },
            || self.restore(),
        );
    }

    fn restore(&self) {
        signal_mask::change_mask(libc::SIG_SETMASK, Some(&self.0));
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.restore();
    }
}

/// What a wait has found.
pub(crate) struct Found {
    sockets: [u32; MOST],
    count: usize,
    /// The channel is readable.
    pub(crate) is_readable: bool,
    /// There is something in the set that was not put there.
    pub(crate) is_foreign: bool,
    pub(crate) has_timed_out: bool,
}

impl Found {
    pub(crate) fn sockets(&self) -> impl Iterator<Item = u32> + '_ {
        self.sockets.iter().copied().take(self.count)
    }
}

/// What is done when the thread is cancelled, or a signal handler leaves this library.
struct Cancelled<'a> {
    mask: *const libc::sigset_t,
    then: &'a dyn Fn(),
}

unsafe extern "C" fn cancelled(argument: *mut c_void) {
    // SAFETY: of `wait`, whose frame is still there.
    unsafe {
        let cancelled = &*argument.cast::<Cancelled<'_>>();
        (cancelled.then)();
        signal_mask::change_mask(libc::SIG_SETMASK, Some(&*cancelled.mask));
    }
}

/// Calls `body`, in which the stack may be unwound. The callers hold no lock, and leave nothing to be dropped then.
fn with_cleanup<T>(cleanup: &Cancelled<'_>, body: impl FnOnce() -> T) -> T {
    let mut place = MaybeUninit::<Cleanup>::uninit();
    // SAFETY: places that live through the calls, which are made in pairs.
    unsafe {
        let argument = ptr::from_ref(cleanup).cast_mut().cast();
        _pthread_cleanup_push(place.as_mut_ptr(), cancelled, argument);
        let done = body();
        _pthread_cleanup_pop(place.as_mut_ptr(), 0);
        done
    }
}

impl WaitSet {
    /// With the descriptor of a channel.
    pub(crate) fn new(readiness: RawFd) -> Result<Self> {
        // SAFETY: no pointers.
        let fd = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let new = Self {
            fd: Fd::new(fd),
            readiness,
            is_abandoned: AtomicBool::new(false),
        };
        child::opened(new.fd.raw());
        new.control(libc::EPOLL_CTL_ADD, readiness, READINESS, READABLE)?;
        Ok(new)
    }

    fn control(&self, how: c_int, fd: RawFd, token: u64, interest: u32) -> Result<()> {
        let mut event = libc::epoll_event {
            events: interest,
            u64: token,
        };
        // SAFETY: the event lives through the call.
        check(unsafe { libc::epoll_ctl(self.fd.raw(), how, fd, &raw mut event) }).map(|_| ())
    }

    /// Watches a socket, behind those sets that watch it already.
    pub(crate) fn add(&self, socket: RawFd, token: u32) -> Result<()> {
        let token = TAG | u64::from(token);
        self.control(libc::EPOLL_CTL_ADD, socket, token, READABLE | EXCLUSIVE)
    }

    /// It does not any more. The kernel finds by itself whether it has watched the file that has this number now.
    pub(crate) fn remove(&self, socket: RawFd) {
        // It may have been closed, which has removed it.
        let _ = self.control(libc::EPOLL_CTL_DEL, socket, 0, 0);
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.raw()
    }

    /// Whether it is still what it was: it watches the descriptor of the channel.
    pub(crate) fn is_there(&self) -> bool {
        let same = self.control(libc::EPOLL_CTL_MOD, self.readiness, READINESS, READABLE);
        same.is_ok()
    }

    /// After a fork, the number means nothing to this process any more.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        // What cannot be told from a set of the program stays open.
        if self.is_abandoned.load(Ordering::Relaxed) || !self.is_there() {
            self.fd.forget();
        }
        child::closing(self.fd.raw());
    }
}

/// Waits with a set, which is named by its number, since a thread that is cancelled never gives back what it has.
/// Signal handlers run meanwhile, and not afterwards, unless `blocked` goes; all of them have run, and nothing was
/// found, when this fails with `EINTR`. A thread that is cancelled calls `then`.
pub(crate) fn wait(
    set: RawFd,
    timeout_ms: c_int,
    blocked: &mut Option<Blocked>,
    then: &dyn Fn(),
) -> Result<Found> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
    let mask = &raw const blocked.get_or_insert_with(Blocked::begin).0;
    let found = with_cleanup(&Cancelled { mask, then }, || {
        let wait = || {
            // SAFETY: room for as many events, and a set that lives through the call.
            unsafe { epoll_pwait(set, events.as_mut_ptr(), MOST as c_int, timeout_ms, mask) }
        };
        usize::try_from(cancel::while_waiting(wait)).map_err(|_| errno())
    })?;
    let mut seen = Found {
        sockets: [0; MOST],
        count: 0,
        is_readable: false,
        is_foreign: false,
        has_timed_out: found == 0,
    };
    for event in events.iter().take(found) {
        let token = event.u64;
        match token {
            READINESS => seen.is_readable = true,
            _ if token & (u64::from(u32::MAX) << 32) == TAG => {
                seen.sockets[seen.count] = token as u32;
                seen.count += 1;
            }
            _ => seen.is_foreign = true,
        }
    }
    Ok(seen)
}
