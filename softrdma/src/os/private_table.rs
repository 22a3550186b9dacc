// SPDX-License-Identifier: BSD-3-Clause

//! How a thread gets a table of descriptors of its own (`private_fd`).

use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use super::mounts::Mounts;
use super::private_fd::{PrivateFd, mount, status};
use super::{check, discard};
use crate::Result;

/// From now on this thread has its own table, with one of the descriptors of the process. Fails on kernels before 5.9.
///
/// The kernel copies the first 64 descriptors in any case, and as many more as there are below that one; and a copy
/// that is closed is one that the process closes. That would end its notification by a message queue (`mq_notify`), so
/// copies of those stay; and the server of a file system is told of it, so this thread does not wait for that.
pub(super) fn separate(keeps: RawFd) -> Result<PrivateFd> {
    const WORD: RawFd = 64;
    if keeps < 0 {
        return Err(libc::EBADF);
    }
    let copied = (keeps / WORD + 1).checked_mul(WORD).ok_or(libc::EBADF)?;
    let flags = libc::CLOSE_RANGE_UNSHARE;
    // SAFETY: no pointers. Nothing is copied from this number on, so nothing is closed.
    let separated = unsafe { libc::syscall(libc::SYS_close_range, copied, u32::MAX, flags) };
    check(separated as i32)?;
    let kept = PrivateFd::of(keeps);
    let mounts = Mounts::read().ok();
    let mut waits = Vec::new();
    for number in copies(copied).filter(|&number| number != keeps) {
        if is_message_queue(number) {
            continue;
        }
        if may_wait_to_close(number, mounts.as_ref()) {
            waits.push(number);
        } else {
            discard::close(number);
        }
    }
    let _ = discard::close_elsewhere(waits);
    take_standard_numbers();
    Ok(kept)
}

/// The numbers of this thread's table below this one that may be in use.
fn copies(end: RawFd) -> impl Iterator<Item = RawFd> {
    let known = PrivateFd::open(c"/proc/thread-self/fd", libc::O_RDONLY | libc::O_DIRECTORY)
        .and_then(|directory| {
            let own = directory.raw();
            let mut numbers = directory.numbers()?;
            numbers.retain(|&number| number != own as u32);
            Ok(numbers)
        });
    let (known, rest) = match known {
        Ok(known) => (known, 0..0),
        Err(_) => (Vec::new(), 0..end),
    };
    let known = known
        .into_iter()
        .filter_map(|number| RawFd::try_from(number).ok());
    known.chain(rest)
}

fn is_message_queue(number: RawFd) -> bool {
    let mut attributes = MaybeUninit::<libc::mq_attr>::zeroed();
    let none = std::ptr::null::<libc::mq_attr>();
    // SAFETY: room for the answer. It is an error for any other descriptor.
    unsafe {
        libc::syscall(
            libc::SYS_mq_getsetattr,
            number,
            none,
            attributes.as_mut_ptr(),
        ) == 0
    }
}

fn may_wait_to_close(number: RawFd, mounts: Option<&Mounts>) -> bool {
    let kind = |answer: &libc::statx| u32::from(answer.stx_mode) & libc::S_IFMT;
    match status(number, c"") {
        Ok(answer) if matches!(kind(&answer), libc::S_IFREG | libc::S_IFDIR) => {
            let is_on_disk =
                |mounts: &Mounts| mount(&answer).is_some_and(|at| mounts.is_on_disk(at));
            !discard::is_memory_file(number) && !mounts.is_some_and(is_on_disk)
        }
        // The program may close it at this moment: then it is the copy that waits.
        Ok(answer) if kind(&answer) == libc::S_IFSOCK => lingers(number),
        // Nothing, or nothing that anybody waits for.
        _ => false,
    }
}

/// Whether the last descriptor of a socket waits until all is sent when it is closed.
fn lingers(number: RawFd) -> bool {
    let mut linger = libc::linger {
        l_onoff: 0,
        l_linger: 0,
    };
    let mut size = size_of_val(&linger) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: room for the answer, of this size.
    let got = unsafe {
        let to = (&raw mut linger).cast();
        libc::getsockopt(number, level, option, to, &raw mut size)
    };
    got == 0 && linger.l_onoff != 0 && linger.l_linger > 0
}

/// What is written to standard error, for example, must not go to a file that gets its number.
fn take_standard_numbers() {
    loop {
        // Nothing can be written to a set of this kind.
        // SAFETY: no pointers.
        let number = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if number > libc::STDERR_FILENO {
            discard::close(number);
        }
        if !(0..=libc::STDERR_FILENO).contains(&number) {
            return;
        }
    }
}
