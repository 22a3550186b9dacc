// SPDX-License-Identifier: BSD-3-Clause

//! Local sockets by which two processes of one host and one user meet.
//!
//! The kernel tells each end which process has made the other one (`SO_PEERCRED` in `unix(7)`): the one that
//! called `listen` or `connect`. No third process can make it say otherwise.

use std::mem;
use std::sync::Arc;

use super::process::Process;
use super::socket::Socket;
use super::{check, owned, sys};
use crate::Result;

/// What a listening socket is named by. The names of the abstract name space are those of a network name
/// space: from another one it cannot be reached.
pub(crate) type Name = [u8; 16];

/// What the kernel calls users that have no number in this user name space.
const OVERFLOW_UID: libc::uid_t = 65534;

/// The user whose rights this process has.
pub(crate) fn own_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// A local socket whose other end was made by a process of the same user.
#[derive(Debug)]
pub(crate) struct Neighbour {
    pub(super) socket: Socket,
    pub(super) process: Option<Arc<Process>>,
}

impl Neighbour {
    /// Fails with `EPERM` when the other end was made by a process of another user.
    pub(crate) fn of(socket: Socket) -> Result<Self> {
        let mut other = libc::ucred {
            pid: 0,
            uid: OVERFLOW_UID,
            gid: 0,
        };
        let mut length = mem::size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: room for the answer, and its length.
        check(unsafe {
            libc::getsockopt(
                socket.raw(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut other).cast(),
                &raw mut length,
            )
        })?;
        if other.uid == OVERFLOW_UID || other.uid != own_user() {
            return Err(libc::EPERM);
        }
        // A process of another process name space has no number here, which the kernel says by 0. One that has
        // ended has left its number to others.
        let process = match other.pid {
            pid @ 1.. => Process::at_the_other_end(socket.raw(), pid).ok(),
            _ => None,
        };
        Ok(Self { socket, process })
    }
}

/// The address of a name: a 0, and text that `/proc/net/unix` can show.
fn address(name: &Name) -> (libc::sockaddr_un, libc::socklen_t) {
    let mut text = String::from("\0softrdma-");
    for byte in name {
        text.push_str(&format!("{byte:02x}"));
    }
    // SAFETY: plain data, for which zeros are valid.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(text.bytes()) {
        *to = from as libc::c_char;
    }
    let length = mem::offset_of!(libc::sockaddr_un, sun_path) + text.len();
    (address, length as libc::socklen_t)
}

fn local_socket() -> Result<Socket> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    owned(unsafe { libc::socket(libc::AF_UNIX, kind, 0) }).map(Socket::new)
}

pub(crate) fn listen(name: &Name) -> Result<Socket> {
    let socket = local_socket()?;
    let (address, length) = address(name);
    // SAFETY: an address and its length.
    check(unsafe { libc::bind(socket.raw(), (&raw const address).cast(), length) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::listen(socket.raw(), 4096) })?;
    Ok(socket)
}

/// Connects at once, or fails: `EAGAIN` when too many wait there.
pub(crate) fn connect(name: &Name) -> Result<Socket> {
    let socket = local_socket()?;
    let (address, length) = address(name);
    // SAFETY: an address and its length.
    check(unsafe { sys::connect(socket.raw(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

/// The next connection, if there is one (`EAGAIN`).
pub(crate) fn accept(listener: &Socket) -> Result<Socket> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    owned(sys::accept(listener.checked()?, flags)).map(Socket::new)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_told_of_each_other() {
        let own = i32::try_from(std::process::id()).unwrap();
        let name = crate::os::random::bytes().unwrap();
        let listener = listen(&name).unwrap();
        assert_eq!(accept(&listener).err(), Some(libc::EAGAIN));
        let client = Neighbour::of(connect(&name).unwrap()).unwrap();
        let server = Neighbour::of(accept(&listener).unwrap()).unwrap();
        for end in [client, server] {
            assert_eq!(end.process.map(|process| process.pid()), Some(own));
        }
        assert_eq!(listen(&name).err(), Some(libc::EADDRINUSE));
        drop(listener);
        assert_eq!(connect(&name).err(), Some(libc::ECONNREFUSED));
    }
}
