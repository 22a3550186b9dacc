// SPDX-License-Identifier: BSD-3-Clause

//! TCP sockets, non-blocking, and the look-up of a source address.

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::addr::{RawAddr, leads_nowhere};
use super::discard::Foreign;
use super::fd::Fd;
use super::memory::Span;
use super::{check, check_size, child, descriptors, owned, passing, sys};
use crate::Result;

#[derive(Debug)]
pub(crate) struct Socket(Fd);

/// How many ranges one call moves.
pub(crate) const MAX_SPANS: usize = 8;
/// How much goes at a time where the kernel does not copy from or to the memory of the program itself.
const GUARDED: usize = 64 * 1024;
/// Of each message that is sent.
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;

fn family(addr: &SocketAddr) -> i32 {
    match addr {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    }
}

impl Socket {
    pub(super) fn new(fd: OwnedFd) -> Self {
        let fd = Fd::new(fd);
        child::socket_opened(fd.raw());
        Self(fd)
    }

    /// The number, for calls that do no harm to a file of the program.
    pub(crate) fn raw(&self) -> RawFd {
        self.0.raw()
    }

    /// The number, if it still means this socket (`EBADF`).
    pub(crate) fn checked(&self) -> Result<RawFd> {
        self.0.checked()
    }

    /// A stream socket for the family of this address.
    pub(crate) fn stream(like: &SocketAddr) -> Result<Self> {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers.
        owned(unsafe { libc::socket(family(like), kind, 0) }).map(Self::new)
    }

    /// Two that are connected with each other, within the host.
    #[cfg(test)]
    pub(crate) fn pair() -> Result<(Self, Self)> {
        Self::pair_of(libc::SOCK_STREAM)
    }

    #[cfg(test)]
    pub(super) fn pair_of(kind: i32) -> Result<(Self, Self)> {
        let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let mut fds = [-1; 2];
        // SAFETY: room for two descriptors.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
        Ok((owned(fds[0]).map(Self::new)?, owned(fds[1]).map(Self::new)?))
    }

    /// Sends a message and a descriptor with it, through a local socket. All of it goes, or nothing.
    pub(crate) fn send_with_descriptor(&self, bytes: &[u8], fd: &OwnedFd) -> Result<()> {
        passing::send(self.checked()?, bytes, Some(fd.as_raw_fd()))
    }

    /// The length of the next message of a local socket, 0 at the end, and the descriptor that came with it, if one
    /// did. `EBADMSG` if there were several, or the message is longer than this.
    pub(crate) fn receive_message(&self, bytes: &mut [u8]) -> Result<(usize, Option<Foreign>)> {
        let (n, fd) = passing::receive(self.checked()?, bytes)?;
        let fd = fd.map(owned).transpose()?;
        Ok((n, fd.map(Foreign::new)))
    }

    /// An option, some of which change by being read.
    fn get(&self, option: i32) -> Result<i32> {
        let mut value = 0;
        let mut length = mem::size_of::<i32>() as libc::socklen_t;
        // SAFETY: an int and its length that live through the call.
        check(unsafe {
            libc::getsockopt(
                self.checked()?,
                libc::SOL_SOCKET,
                option,
                (&raw mut value).cast(),
                &raw mut length,
            )
        })?;
        Ok(value)
    }

    pub(super) fn set(&self, level: i32, option: i32, value: i32) -> Result<()> {
        // SAFETY: an int that lives through the call.
        check(unsafe {
            libc::setsockopt(
                self.raw(),
                level,
                option,
                (&raw const value).cast(),
                mem::size_of::<i32>() as libc::socklen_t,
            )
        })
        .map(|_| ())
    }

    pub(crate) fn without_delay(&self) {
        // Without it, it is only slower.
        let _ = self.set(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    }

    fn try_bind(&self, to: &SocketAddr) -> Result<()> {
        bind(self.raw(), to)
    }

    /// Binds. A port that only connections that are over have used is free; one that another socket is
    /// bound to is not, even if that one does not listen yet. For that `SO_REUSEADDR` must be set on the
    /// connections' sockets (above), and on this one while it binds, but not afterwards.
    pub(crate) fn bind(&self, to: &SocketAddr, only_v6: bool) -> Result<()> {
        if is_of_many(to) {
            return Err(libc::EADDRNOTAVAIL);
        }
        if to.is_ipv6() {
            self.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(only_v6))?;
        }
        match self.try_bind(to) {
            Err(libc::EADDRINUSE) if to.port() != 0 => {
                self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
                match self.try_bind(to) {
                    Err(libc::EADDRINUSE) if conflicts_with_a_wildcard(to) => {
                        Err(libc::EADDRNOTAVAIL)
                    }
                    bound => {
                        bound?;
                        self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 0)
                    }
                }
            }
            other => other,
        }
    }

    /// Listens. The port is looked at once more, so connections that are over must not matter here either. Connections
    /// that are accepted have this socket's options: none keeps another socket from listening on this port when this
    /// one is gone.
    pub(crate) fn listen(&self) -> Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        self.without_delay();
        // SAFETY: no pointers.
        check(unsafe { libc::listen(self.raw(), 4096) }).map(|_| ())
    }

    /// The next connection, if there is one (`EAGAIN`), and the address of its client.
    pub(crate) fn accept(&self) -> Result<(Self, Option<SocketAddr>)> {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let mut from = RawAddr::empty();
        // SAFETY: room for any address, and its length.
        let accepted = owned(unsafe {
            let address = (&raw mut from.storage).cast();
            sys::accept_from(self.checked()?, address, &raw mut from.length, flags)
        })?;
        descriptors::lowest_free_was(accepted.as_raw_fd());
        Ok((Self::new(accepted), from.to_addr().ok()))
    }

    /// Begins to connect. The socket is writable when that is over.
    pub(crate) fn connect(&self, to: &SocketAddr) -> Result<()> {
        self.checked()?;
        self.connect_new(to)
    }

    /// As `connect`, of a socket that the same function has just made: that was its check.
    pub(crate) fn connect_new(&self, to: &SocketAddr) -> Result<()> {
        match connect(self.raw(), to) {
            Ok(()) | Err(libc::EINPROGRESS) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// As `connect`, after a connect that has failed.
    pub(crate) fn connect_again(&self, to: &SocketAddr) -> Result<()> {
        match self.connect(to) {
            // What the first call reports is the end of the attempt before.
            Err(libc::ECONNABORTED) => self.connect(to),
            outcome => outcome,
        }
    }

    /// The error that is pending: what became of a connect.
    pub(crate) fn pending_error(&self) -> Result<()> {
        match self.get(libc::SO_ERROR)? {
            0 => Ok(()),
            errno => Err(errno),
        }
    }

    /// A client whose own port happens to be the one that it asks for is connected with itself: nobody else
    /// listens there. It is not connected afterwards. The addresses of another one: of its own and of its peer.
    pub(crate) fn refuse_itself(&self) -> Result<Option<(SocketAddr, SocketAddr)>> {
        let ends = self.local_addr().ok().zip(self.peer_addr().ok());
        if ends.is_none_or(|(local, peer)| local != peer) {
            return Ok(ends);
        }
        let nothing = libc::sockaddr {
            sa_family: libc::AF_UNSPEC as libc::sa_family_t,
            sa_data: [0; 14],
        };
        let length = mem::size_of::<libc::sockaddr>() as libc::socklen_t;
        // SAFETY: an address and its length.
        check(unsafe { sys::connect(self.checked()?, &raw const nothing, length) })?;
        Err(libc::ECONNREFUSED)
    }

    pub(crate) fn local_addr(&self) -> Result<SocketAddr> {
        local_addr(self.raw())
    }

    pub(crate) fn peer_addr(&self) -> Result<SocketAddr> {
        let mut raw = RawAddr::empty();
        // SAFETY: room for any address, and its length.
        check(unsafe {
            libc::getpeername(
                self.raw(),
                (&raw mut raw.storage).cast(),
                &raw mut raw.length,
            )
        })?;
        raw.to_addr()
    }

    /// Sends from these ranges, as much as goes (`EAGAIN`: nothing).
    pub(crate) fn send(&self, from: &[Span<'_>]) -> Result<usize> {
        if let [one] = from {
            // The plain call takes half as long.
            // SAFETY: a range that stays valid through the call (see `Span`).
            return check_size(unsafe {
                sys::send(self.checked()?, one.as_ptr(), one.len(), FLAGS)
            });
        }
        let mut ranges = [Span::NONE; MAX_SPANS];
        let message = message(from, &mut ranges);
        // SAFETY: a message of ranges that stay valid through the call (see `Span`).
        check_size(unsafe { sys::sendmsg(self.checked()?, &raw const message, FLAGS) })
    }

    /// As `send`, of a socket that the same call of the program has just made or connected: that was its check.
    pub(crate) fn send_new(&self, from: Span<'_>) -> Result<usize> {
        // SAFETY: a range that stays valid through the call (see `Span`).
        check_size(unsafe { sys::send(self.raw(), from.as_ptr(), from.len(), FLAGS) })
    }

    /// As `receive`, of a socket that the same function has just made: that was its check.
    pub(crate) fn receive_new(&self, into: Span<'_>) -> Result<usize> {
        let (at, length) = (into.as_mut_ptr(), into.len());
        // SAFETY: a range that stays valid through the call (see `Span`).
        check_size(unsafe { sys::recv(self.raw(), at, length, libc::MSG_DONTWAIT) })
    }

    /// Receives into these ranges, as much as there is (`EAGAIN`: nothing; 0: the end).
    pub(crate) fn receive(&self, into: &[Span<'_>]) -> Result<usize> {
        if let [one] = into {
            self.checked()?;
            return self.receive_new(*one);
        }
        let mut ranges = [Span::NONE; MAX_SPANS];
        let mut message = message(into, &mut ranges);
        // SAFETY: as above.
        check_size(unsafe { sys::recvmsg(self.checked()?, &raw mut message, libc::MSG_DONTWAIT) })
    }

    /// As `send`, when the kernel cannot read the memory of the program: this library may.
    pub(crate) fn send_guarded(&self, own: Span<'_>, program: Span<'_>) -> Result<usize> {
        let mut bytes = Vec::with_capacity(GUARDED.min(program.len()));
        program.first(GUARDED).append_to(&mut bytes)?;
        self.send(&[own, Span::from_slice(&bytes)])
    }

    /// As `receive`, when the kernel cannot write to the memory of the program. What this library cannot write
    /// either (`EFAULT`) stays in the socket.
    pub(crate) fn receive_guarded(&self, program: Span<'_>) -> Result<usize> {
        let mut bytes = vec![0; GUARDED.min(program.len())];
        let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
        // SAFETY: a buffer of this length.
        let n = check_size(unsafe {
            sys::recv(
                self.checked()?,
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                flags,
            )
        })?;
        program.write(&bytes[..n])?;
        match n {
            0 => Ok(0),
            // As much is there, and nobody else takes it.
            n => self.receive(&[Span::from_mut(&mut bytes[..n])]),
        }
    }

    /// Nothing more will be sent.
    pub(crate) fn shut_down_sending(&self) {
        if let Ok(fd) = self.checked() {
            // SAFETY: no pointers.
            unsafe { libc::shutdown(fd, libc::SHUT_WR) };
        }
    }

    /// Nothing more will be sent or received; a peer that waits for an answer knows it at once.
    pub(crate) fn shut_down(&self) {
        if let Ok(fd) = self.checked() {
            // SAFETY: no pointers.
            unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
        }
    }
}

/// The kernel's connection manager tells a port that is in use for the same address from one that is in
/// use for another one, when one of both is the wildcard.
fn conflicts_with_a_wildcard(addr: &SocketAddr) -> bool {
    if addr.ip().is_unspecified() {
        return true;
    }
    let IpAddr::V4(ip) = addr.ip() else {
        return false;
    };
    // Whoever has the port for this address does not have it for one that nobody uses.
    let [.., last] = ip.octets();
    let unused = SocketAddr::from(([127, 251, 17, last ^ 0x55], addr.port()));
    Probe::new(libc::SOCK_STREAM, &unused)
        .and_then(|probe| probe.bind(&unused))
        .is_err_and(|errno| errno == libc::EADDRINUSE)
}

fn bind(fd: RawFd, to: &SocketAddr) -> Result<()> {
    let raw = RawAddr::from_addr(to);
    // SAFETY: an address and its length.
    check(unsafe { libc::bind(fd, raw.as_ptr(), raw.length) }).map(|_| ())
}

fn connect(fd: RawFd, to: &SocketAddr) -> Result<()> {
    let raw = RawAddr::from_addr(to);
    // SAFETY: an address and its length.
    check(unsafe { sys::connect(fd, raw.as_ptr(), raw.length) }).map(|_| ())
}

fn local_addr(fd: RawFd) -> Result<SocketAddr> {
    let mut raw = RawAddr::empty();
    // SAFETY: room for any address, and its length.
    check(unsafe { libc::getsockname(fd, (&raw mut raw.storage).cast(), &raw mut raw.length) })?;
    raw.to_addr()
}

/// A socket that is closed again by the function that makes it, which asks the kernel for nothing that waits: as with
/// each use of a `Fd`, the program could replace it in between only from another thread at this moment.
struct Probe(RawFd);

impl Probe {
    fn new(kind: i32, like: &SocketAddr) -> Result<Self> {
        // SAFETY: no pointers.
        check(unsafe { libc::socket(family(like), kind | libc::SOCK_CLOEXEC, 0) }).map(Self)
    }

    fn datagram(like: &SocketAddr) -> Result<Self> {
        Self::new(libc::SOCK_DGRAM, like)
    }

    fn bind(&self, to: &SocketAddr) -> Result<()> {
        bind(self.0, to)
    }

    /// Of a datagram socket: nothing is sent.
    fn connect(&self, to: &SocketAddr) -> Result<()> {
        connect(self.0, to)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // SAFETY: this one's, which nobody else knows.
        unsafe { sys::close(self.0) };
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        child::closing(self.raw());
    }
}
fn message<'a>(spans: &[Span<'a>], ranges: &mut [Span<'a>; MAX_SPANS]) -> libc::msghdr {
    let n = spans.len().min(MAX_SPANS);
    ranges[..n].copy_from_slice(&spans[..n]);
    // SAFETY: plain data, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = ranges.as_mut_ptr().cast();
    message.msg_iovlen = n as _;
    message
}

/// The address that packets to `to` would have as their source, if they can go there at all.
pub(crate) fn source_for(from: Option<&SocketAddr>, to: &SocketAddr) -> Result<IpAddr> {
    let probe = Probe::datagram(to)?;
    if let Some(from) = from.filter(|from| !from.ip().is_unspecified()) {
        let mut any_port = *from;
        any_port.set_port(0);
        probe.bind(&any_port)?;
    }
    // A port is needed to connect a datagram socket; nothing is sent.
    let mut somewhere = *to;
    if somewhere.port() == 0 {
        somewhere.set_port(9);
    }
    probe.connect(&somewhere)?;
    let source = local_addr(probe.0)?.ip();
    if leads_nowhere(source, to.ip()) && !is_own(to) {
        return Err(libc::ENETUNREACH);
    }
    Ok(source)
}

/// Whether it is a multicast or a broadcast address: no connection has one, though TCP lets a socket be bound to it.
fn is_of_many(addr: &SocketAddr) -> bool {
    let SocketAddr::V4(v4) = addr else {
        return addr.ip().is_multicast();
    };
    if v4.ip().is_multicast() || v4.ip().is_broadcast() {
        return true;
    }
    if v4.ip().is_unspecified() {
        return false;
    }
    // Of which addresses a network consists only the kernel knows: without leave nothing is sent to all.
    let mut somewhere = *addr;
    somewhere.set_port(9);
    Probe::datagram(addr).is_ok_and(|probe| probe.connect(&somewhere) == Err(libc::EACCES))
}

/// Whether an interface of this host has the address.
fn is_own(addr: &SocketAddr) -> bool {
    let mut any_port = *addr;
    any_port.set_port(0);
    Probe::datagram(addr).is_ok_and(|probe| probe.bind(&any_port).is_ok())
}

/// Whether a failed send or receive only has to wait.
pub(crate) fn would_block(errno: crate::Errno) -> bool {
    errno == libc::EAGAIN || errno == libc::EINTR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_socket_is_bound_to_an_address_of_many() -> Result<()> {
        let to = |ip: [u8; 4]| SocketAddr::from((ip, 0));
        for ip in [
            [224, 0, 0, 1],
            [239, 1, 2, 3],
            [255; 4],
            [127, 255, 255, 255],
        ] {
            let bound = Socket::stream(&to(ip))?.bind(&to(ip), false);
            assert_eq!(bound, Err(libc::EADDRNOTAVAIL), "{ip:?}");
        }
        for ip in [[127, 0, 0, 1], [127, 255, 255, 254], [0; 4]] {
            Socket::stream(&to(ip))?.bind(&to(ip), false)?;
        }
        Ok(())
    }
}
