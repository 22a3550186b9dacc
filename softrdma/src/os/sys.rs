// SPDX-License-Identifier: BSD-3-Clause

//! System calls that are cancellation points in the C library, and not here.
//!
//! A thread that is cancelled (`pthread_cancel`) ends inside such a call, and leaves locked what it has locked. The
//! data path calls these under locks, and is too short for [`super::cancel::Hold`].

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

/// # Safety
/// A buffer of this length.
pub(super) unsafe fn read(fd: RawFd, to: *mut c_void, length: usize) -> isize {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_read, fd, to, length) as isize }
}

/// # Safety
/// A buffer of this length.
pub(super) unsafe fn write(fd: RawFd, from: *const c_void, length: usize) -> isize {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_write, fd, from, length) as isize }
}

/// # Safety
/// A buffer of this length.
pub(super) unsafe fn send(fd: RawFd, from: *const c_void, length: usize, flags: c_int) -> isize {
    let nobody = ptr::null::<c_void>();
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_sendto, fd, from, length, flags, nobody, 0) as isize }
}

/// # Safety
/// A message with what it points to.
pub(super) unsafe fn sendmsg(fd: RawFd, message: *const libc::msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_sendmsg, fd, message, flags) as isize }
}

/// # Safety
/// A buffer of this length.
pub(super) unsafe fn recv(fd: RawFd, to: *mut c_void, length: usize, flags: c_int) -> isize {
    let nobody = ptr::null_mut::<c_void>();
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, to, length, flags, nobody, nobody) as isize }
}

/// # Safety
/// A message with what it points to.
pub(super) unsafe fn recvmsg(fd: RawFd, message: *mut libc::msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_recvmsg, fd, message, flags) as isize }
}

/// The next connection, without its address.
pub(super) fn accept(fd: RawFd, flags: c_int) -> c_int {
    // SAFETY: the address is not asked for.
    unsafe { accept_from(fd, ptr::null_mut(), ptr::null_mut(), flags) }
}

/// # Safety
/// Room for an address of this length, or neither.
pub(super) unsafe fn accept_from(
    fd: RawFd,
    from: *mut libc::sockaddr,
    length: *mut libc::socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_accept4, fd, from, length, flags) as c_int }
}

/// # Safety
/// An address of this length.
pub(super) unsafe fn connect(
    fd: RawFd,
    to: *const libc::sockaddr,
    length: libc::socklen_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_connect, fd, to, length) as c_int }
}

/// # Safety
/// Room for as many events.
pub(super) unsafe fn epoll_wait(
    fd: RawFd,
    events: *mut libc::epoll_event,
    most: c_int,
    timeout_ms: c_int,
) -> c_int {
    let mask = ptr::null::<c_void>();
    // SAFETY: the caller's promise; no signal mask.
    unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait,
            fd,
            events,
            most,
            timeout_ms,
            mask,
            8usize,
        ) as c_int
    }
}

/// As above, with a timeout in nanoseconds.
///
/// # Safety
/// Room for as many events.
pub(super) unsafe fn epoll_wait_for(
    fd: RawFd,
    events: *mut libc::epoll_event,
    most: c_int,
    timeout: Duration,
) -> c_int {
    // As the call has it on every processor: 64 bits each.
    let timeout: [i64; 2] = [
        i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        timeout.subsec_nanos().into(),
    ];
    let mask = ptr::null::<c_void>();
    // SAFETY: the caller's promise; the timeout lives through the call; no signal mask.
    unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            fd,
            events,
            most,
            timeout.as_ptr(),
            mask,
            8usize,
        ) as c_int
    }
}

/// What of `events` a descriptor has now, or less than 0.
pub(super) fn poll_now(fd: RawFd, events: i16) -> c_int {
    let mut poll = [libc::pollfd {
        fd,
        events,
        revents: 0,
    }];
    match poll_all_now(&mut poll) {
        -1 => -1,
        _ => c_int::from(poll[0].revents),
    }
}

/// Asks what each of these has now. -1 if the system does not tell.
pub(super) fn poll_all_now(polled: &mut [libc::pollfd]) -> c_int {
    let no_time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mask = ptr::null::<c_void>();
    // SAFETY: entries and a time that live through the call; no signal mask.
    unsafe {
        let (entries, time) = (polled.as_mut_ptr(), &raw const no_time);
        libc::syscall(libc::SYS_ppoll, entries, polled.len(), time, mask, 8usize) as c_int
    }
}

/// # Safety
/// The caller's descriptor, which nobody uses any more.
pub(super) unsafe fn close(fd: RawFd) {
    // SAFETY: the caller's promise.
    #[cfg(not(thread_sanitizer))]
    unsafe {
        libc::syscall(libc::SYS_close, fd)
    };
    // ThreadSanitizer takes the next use of the number for a race if it has not seen this.
    #[cfg(thread_sanitizer)]
    #[allow(clippy::disallowed_methods)]
    // SAFETY: as above.
    unsafe {
        libc::close(fd)
    };
}

/// # Safety
/// A buffer of this length.
pub(super) unsafe fn pread(fd: RawFd, to: *mut c_void, length: usize, at: libc::off_t) -> isize {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_pread64, fd, to, length, at) as isize }
}

/// # Safety
/// A buffer of this length.
pub(super) unsafe fn pwrite(
    fd: RawFd,
    from: *const c_void,
    length: usize,
    at: libc::off_t,
) -> isize {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_pwrite64, fd, from, length, at) as isize }
}
