// SPDX-License-Identifier: BSD-3-Clause

//! How sockets go from a process to its child, when nobody knows yet whether they will.
//!
//! The parent puts copies of them into a queue, which its children share. Whoever takes the token of this
//! *handover* has the sockets. When that is the parent, it empties the queue, and there are no copies any more.

use std::mem;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::child::put_at;
use super::fd::Fd;
use super::{check, check_size, owned, sys};
use crate::Result;

/// Sockets that one of several processes may take, by the numbers that they have in all of them.
#[derive(Debug)]
pub(crate) struct Handover {
    /// A semaphore of one.
    token: Fd,
    queue: Fd,
    numbers: Vec<RawFd>,
}

/// How many descriptors go in one message. The kernel's limit is 253.
const AT_ONCE: usize = 250;
const MOST_BYTES: u32 = (AT_ONCE * mem::size_of::<RawFd>()) as u32;

/// What comes with a message, aligned as its header has to be.
#[repr(align(8))]
struct Room([u8; 1024]);

impl Handover {
    /// Fails when the system does not let so many be on their way (`ETOOMANYREFS` in `unix(7)`).
    pub(crate) fn of(numbers: &[RawFd]) -> Result<Self> {
        let kind = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE;
        // SAFETY: no pointers.
        let token = Fd::new(owned(unsafe { libc::eventfd(1, kind) })?);
        let (queue, sender) = local_pair()?;
        for some in numbers.chunks(AT_ONCE) {
            send(&sender, some)?;
        }
        Ok(Self {
            token,
            queue,
            numbers: numbers.to_vec(),
        })
    }

    pub(crate) fn numbers(&self) -> &[RawFd] {
        &self.numbers
    }

    /// Whether they belong to this process from now on. That is so in one process.
    pub(crate) fn take(&self) -> bool {
        let mut value = 0u64;
        // SAFETY: eight bytes that live through the call.
        let taken = unsafe { sys::read(self.token.raw(), (&raw mut value).cast(), 8) };
        taken == 8
    }

    /// After `take`: puts each at its number. One that cannot be received stays a socket whose other end is gone.
    pub(crate) fn receive(&self) {
        for numbers in self.numbers.chunks(AT_ONCE) {
            let Ok(received) = receive(&self.queue) else {
                return;
            };
            for (fd, &number) in received.iter().zip(numbers) {
                // The number is in use, so it is below the limit.
                let _ = put_at(fd.as_raw_fd(), number);
            }
        }
    }

    /// After `take`: this process has them already.
    pub(crate) fn discard(&self) {
        while receive(&self.queue).is_ok() {}
    }
}

/// Two local sockets that are connected with each other.
fn local_pair() -> Result<(Fd, Fd)> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let mut fds = [-1; 2];
    // SAFETY: room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    Ok((Fd::new(owned(fds[0])?), Fd::new(owned(fds[1])?)))
}

/// A socket whose other end is gone, which stands for sockets of another process.
#[derive(Debug)]
pub(crate) struct DeadEnd(Fd);

impl DeadEnd {
    pub(crate) fn new() -> Result<Self> {
        let (one, _gone) = local_pair()?;
        Ok(Self(one))
    }

    /// From now on the numbers mean this one.
    pub(crate) fn put_at(&self, numbers: &[RawFd]) {
        self.0.stands_for_dead();
        for &number in numbers {
            // It is in use, so it is below the limit.
            let _ = put_at(self.0.raw(), number);
        }
    }
}

/// Calls with a message of one byte and room for descriptors.
fn with_message<T>(use_it: impl FnOnce(&mut libc::msghdr) -> T) -> T {
    let mut byte = 0u8;
    let mut range = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut room = Room([0; 1024]);
    // SAFETY: plain data, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut range;
    message.msg_iovlen = 1;
    message.msg_control = room.0.as_mut_ptr().cast();
    // SAFETY: computes a size, which the room has.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(MOST_BYTES) } as _;
    use_it(&mut message)
}

fn send(to: &Fd, fds: &[RawFd]) -> Result<()> {
    with_message(|message| {
        // SAFETY: the message has room for so many descriptors behind its header, both written here.
        unsafe {
            let bytes = mem::size_of_val(fds) as u32;
            message.msg_controllen = libc::CMSG_SPACE(bytes) as _;
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(bytes) as _;
            let to = libc::CMSG_DATA(header);
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast(), to, bytes as usize);
        }
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: a message of ranges that live through the call.
        check_size(unsafe { sys::sendmsg(to.raw(), message, flags) }).map(|_| ())
    })
}

/// The descriptors of the next message. Fails at the end.
fn receive(from: &Fd) -> Result<Vec<OwnedFd>> {
    with_message(|message| {
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        // SAFETY: a message of ranges that live through the call; the kernel has filled in what is looked at
        // afterwards, and made the descriptors for the caller alone.
        unsafe {
            if check_size(sys::recvmsg(from.raw(), message, flags))? == 0 {
                return Err(libc::ENODATA);
            }
            let header = libc::CMSG_FIRSTHDR(message);
            if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
                return Err(libc::EBADMSG);
            }
            let bytes = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
            let first = libc::CMSG_DATA(header).cast::<RawFd>();
            (0..bytes / mem::size_of::<RawFd>())
                .map(|at| owned(first.add(at).read_unaligned()))
                .collect()
        }
    })
}

/// Tells a parent of the end of its child, which has the other end, and so have the child's own children.
#[derive(Debug)]
pub(crate) struct Lifeline {
    watched: Fd,
    held: Fd,
}

/// One end of it.
#[derive(Debug)]
pub(crate) struct End(Fd);

impl End {
    pub(crate) fn raw(&self) -> RawFd {
        self.0.raw()
    }
}

impl Lifeline {
    pub(crate) fn new() -> Result<Self> {
        let mut fds = [-1; 2];
        // SAFETY: room for two descriptors.
        check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
        Ok(Self {
            watched: Fd::new(owned(fds[0])?),
            held: Fd::new(owned(fds[1])?),
        })
    }

    /// In the parent: hangs up (`poll`) when the child ends, executes another program or has decided.
    pub(crate) fn watched(self) -> End {
        End(self.watched)
    }

    /// In the child: to be kept until then.
    pub(crate) fn held(self) -> End {
        End(self.held)
    }
}

/// Waits until one of the descriptors is ready, `timeout_ms` at most. Which ones are.
pub(crate) fn wait_for(fds: &[RawFd], timeout_ms: i32) -> Vec<bool> {
    let entry = |&fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polled: Vec<_> = fds.iter().map(entry).collect();
    let timeout = libc::timespec {
        tv_sec: (timeout_ms / 1000).into(),
        tv_nsec: (timeout_ms % 1000 * 1_000_000).into(),
    };
    let timeout = if timeout_ms < 0 {
        std::ptr::null()
    } else {
        &raw const timeout
    };
    // No cancellation point, unlike `poll`.
    // SAFETY: so many entries, which live through the call, as the time does.
    unsafe {
        let no_signals = std::ptr::null::<libc::sigset_t>();
        let n = polled.len();
        libc::syscall(
            libc::SYS_ppoll,
            polled.as_mut_ptr(),
            n,
            timeout,
            no_signals,
            8usize,
        );
    }
    polled.iter().map(|fd| fd.revents != 0).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::memory::Span;
    use super::super::socket::Socket;
    use super::*;

    #[test]
    fn one_of_all_that_share_a_handover_gets_the_sockets() {
        let pairs: Vec<_> = (0..300).map(|_| Socket::pair().unwrap()).collect();
        let numbers: Vec<_> = pairs.iter().map(|(one, _)| one.raw()).collect();
        let handover = Handover::of(&numbers).unwrap();
        DeadEnd::new().unwrap().put_at(&numbers);
        let received = |socket: &Socket| {
            let mut byte = [0];
            socket
                .receive(&[Span::from_mut(&mut byte)])
                .map(|n| (n, byte[0]))
        };
        assert!(pairs.iter().all(|(one, _)| received(one) == Ok((0, 0))));
        assert!(handover.take());
        assert!(!handover.take());
        handover.receive();
        for (at, (one, other)) in pairs.iter().enumerate() {
            assert_eq!(received(one), Err(libc::EAGAIN));
            assert_eq!(one.send(&[Span::from_slice(&[at as u8])]), Ok(1));
            assert_eq!(received(other), Ok((1, at as u8)));
        }
    }

    #[test]
    fn what_is_discarded_has_no_copies() {
        let (one, other) = Socket::pair().unwrap();
        let handover = Handover::of(&[one.raw()]).unwrap();
        assert!(handover.take());
        drop(one);
        let mut byte = [0];
        let mut end = || other.receive(&[Span::from_mut(&mut byte)]);
        assert_eq!(end(), Err(libc::EAGAIN));
        handover.discard();
        assert_eq!(end(), Ok(0));
    }

    #[test]
    fn a_lifeline_tells_of_the_end() {
        let lifeline = Lifeline::new().unwrap();
        let Lifeline { watched, held } = lifeline;
        assert_eq!(wait_for(&[watched.raw()], 0), [false]);
        drop(held);
        assert_eq!(wait_for(&[watched.raw()], -1), [true]);
    }
}
