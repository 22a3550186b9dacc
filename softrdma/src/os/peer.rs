// SPDX-License-Identifier: BSD-3-Clause

//! Whose the other end of a TCP connection is, when that is on this host: the kernel says so
//! (`sock_diag(7)`), and no peer can make it say otherwise.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use super::{check_size, owned};
use crate::Result;

const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Where things are in the answer: `struct nlmsghdr`, then `struct inet_diag_msg`.
const STATE: usize = HEADER + 1;
const PORTS: usize = HEADER + 4;
const UID: usize = HEADER + 64;
const INODE: usize = HEADER + 68;
const ANSWER: usize = HEADER + 72;
const ESTABLISHED: u8 = 1;
/// What the kernel calls users that have no number in this user name space.
const OVERFLOW_UID: u32 = 65534;

/// Whether the process at the other end of an established connection is of the user that this one is.
pub(crate) fn is_of_this_user(local: SocketAddr, peer: SocketAddr) -> bool {
    // SAFETY: takes nothing and cannot fail.
    let own = unsafe { libc::geteuid() };
    own != OVERFLOW_UID && owner(peer, local) == Ok(Some(own))
}

/// The user whose process has the socket of this network name space that is bound to `local` and
/// connected to `remote`. None for a socket that nobody has open: the kernel counts that as root's.
fn owner(local: SocketAddr, remote: SocketAddr) -> Result<Option<u32>> {
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let socket = owned(unsafe { libc::socket(libc::AF_NETLINK, flags, libc::NETLINK_SOCK_DIAG) })?;
    let request = request(local, remote);
    // SAFETY: a buffer of this length.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            request.as_ptr().cast(),
            request.len(),
            0,
        )
    };
    check_size(sent)?;
    let mut answer = [0u8; 512];
    // SAFETY: a buffer of this length. The kernel answers in the call above, so this does not wait.
    let got = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            answer.as_mut_ptr().cast(),
            answer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    let answer = answer.get(..check_size(got)?).unwrap_or_default();
    Ok(read_answer(answer, local.port(), remote.port()))
}

fn read_answer(answer: &[u8], local_port: u16, remote_port: u16) -> Option<u32> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
    let u16_at = |at: usize| Some(u16::from_be_bytes(*answer.get(at..)?.first_chunk()?));
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    // The kernel also offers who listens, where nobody is connected.
    let is_it = answer.len() >= ANSWER
        && kind == SOCK_DIAG_BY_FAMILY
        && *answer.get(STATE)? == ESTABLISHED
        && u16_at(PORTS)? == local_port
        && u16_at(PORTS + 2)? == remote_port
        && u32_at(INODE)? != 0;
    if is_it { u32_at(UID) } else { None }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`, for one TCP socket.
fn request(local: SocketAddr, remote: SocketAddr) -> [u8; REQUEST] {
    let (local_ip, remote_ip) = (local.ip().to_canonical(), remote.ip().to_canonical());
    let family = match local_ip {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let mut request = [0u8; REQUEST];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(to) = request.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    };
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    put(HEADER, &[family as u8, libc::IPPROTO_TCP as u8]);
    // Any state, and no cookie.
    put(HEADER + 4, &u32::MAX.to_ne_bytes());
    put(HEADER + 48, &[0xff; 8]);
    put(HEADER + 8, &local.port().to_be_bytes());
    put(HEADER + 10, &remote.port().to_be_bytes());
    for (at, ip) in [(HEADER + 12, local_ip), (HEADER + 28, remote_ip)] {
        match ip {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    request
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn ones_own_connections_are_ones_own() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue; // a machine without IPv6
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let here = client.local_addr().unwrap();
            let there = client.peer_addr().unwrap();
            assert!(is_of_this_user(here, there), "{address}");
            assert!(is_of_this_user(there, here), "{address}");
            drop(server);
            drop(client);
        }
    }

    #[test]
    fn a_listener_is_no_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let here = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(owner(there, here), Ok(None));
        assert!(!is_of_this_user(here, there));
    }

    #[test]
    fn a_socket_that_nobody_has_open_is_nobodys() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let (server, _) = listener.accept().unwrap();
        drop(server);
        assert!(!is_of_this_user(here, there));
    }
}
