// SPDX-License-Identifier: BSD-3-Clause

//! Whether the peer is a process of this host whose memory may be read, and which one.
//!
//! The kernel is asked whose socket the other end of the connection is: only a process of this user, on
//! this host, may take part. It could read this process's memory anyway, so nothing is given away, and
//! nobody else can pass for it.
//!
//! Which process it is, each side then finds out for itself. It sends random bytes; the other one puts
//! them somewhere in its memory and says where, and as which process. With a process name space of its own
//! it cannot say so. In all other cases the bytes of messages go over the socket.
//!
//! Where the security module Yama lets only ancestors read a process's memory, each side permits the other
//! one by its number (`Permit`), for as long as the connection is there. That number is no more than what
//! the other side says, but Yama is all that it changes: the reader still has to be of the same user.

use std::net::SocketAddr;

use crate::instrument;
use crate::os::memory::Span;
use crate::os::peer;
use crate::os::pull::{Foreign, pull};
use crate::wire::{Challenge, Proof};

/// The peer's challenge, at an address that does not change.
#[derive(Debug, Default)]
pub(crate) struct Place(Box<Challenge>);

impl Place {
    pub(crate) fn of(challenge: Challenge) -> Self {
        Self(Box::new(challenge))
    }

    pub(crate) fn proof(&self) -> Proof {
        Proof {
            addr: (&raw const *self.0).addr() as u64,
            ..announcement()
        }
    }
}

/// What a client says of itself before it has anything to prove: whom the server may let read its proof.
pub(crate) fn announcement() -> Proof {
    Proof {
        pid: i32::try_from(std::process::id()).unwrap_or(0),
        addr: 0,
    }
}

/// Whether the other end may be a process of this host, by its address.
pub(crate) fn may_be_here(local: SocketAddr, remote: SocketAddr) -> bool {
    // A listener on the IPv6 wildcard sees IPv4 addresses in IPv6 clothes.
    let (local, remote) = (local.ip().to_canonical(), remote.ip().to_canonical());
    !instrument::socket_only() && (local == remote || (local.is_loopback() && remote.is_loopback()))
}

/// Whether the other end is a process of this user on this host.
pub(crate) fn may_share_memory(local: Option<SocketAddr>, remote: Option<SocketAddr>) -> bool {
    local.zip(remote).is_some_and(|(local, remote)| {
        may_be_here(local, remote) && peer::is_of_this_user(local, remote)
    })
}

/// The process that has the challenge where the proof says.
pub(crate) fn check(challenge: &Challenge, proof: Proof) -> Option<i32> {
    let mut found = [0u8; 16];
    let from = Foreign {
        addr: proof.addr,
        length: found.len(),
    };
    let got = pull(proof.pid, [from], [Span::from_mut(&mut found)]);
    (got == Ok(challenge.len()) && found == *challenge).then_some(proof.pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_proves_to_be_itself() {
        let place = Place::of([7; 16]);
        let proof = place.proof();
        assert_eq!(check(&[7; 16], proof), Some(proof.pid));
        assert_eq!(check(&[8; 16], proof), None);
        assert_eq!(check(&[7; 16], Proof { addr: 8, ..proof }), None);
        assert_eq!(check(&[7; 16], Proof { pid: 0, ..proof }), None);
    }
}
