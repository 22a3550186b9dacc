// SPDX-License-Identifier: BSD-3-Clause

//! The message at the door (`doc/protocol.md`): what a client sends through a local socket to meet the server of its
//! connection.

use std::net::{IpAddr, SocketAddr};

use super::Malformed;
use super::bytes::{bytes, u32_at};

pub(crate) const KNOCK: usize = 64;
const MAGIC: [u8; 8] = *b"softdoor";

/// How a client of the same host meets the server of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// What the server's local socket is named by.
    pub(crate) door: [u8; 16],
    /// Names the connection to the server. Random, and good once.
    pub(crate) word: [u8; 16],
}

/// If the slot is in memory that the server does not have yet, that comes along with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Knock {
    pub(crate) word: [u8; 16],
    pub(crate) ends: Ends,
    /// The slot of the connection, by its number.
    pub(crate) slot: u32,
}

/// Between which addresses a TCP connection is. Two processes that say the same of themselves have its two ends,
/// and nobody is between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    client: End,
    server: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    ip: [u8; 16],
    port: u16,
}

impl End {
    /// A listener on the IPv6 wildcard sees the addresses of IPv4 as mapped ones, and others may not.
    fn of(addr: SocketAddr) -> Self {
        let ip = match addr.ip().to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self {
            ip: ip.octets(),
            port: addr.port(),
        }
    }
}

impl Ends {
    pub(crate) fn new(client: SocketAddr, server: SocketAddr) -> Self {
        Self {
            client: End::of(client),
            server: End::of(server),
        }
    }
}

impl Knock {
    pub(crate) fn encode(&self) -> [u8; KNOCK] {
        let Ends { client, server } = self.ends;
        let mut out = [0; KNOCK];
        out[..8].copy_from_slice(&MAGIC);
        out[8..24].copy_from_slice(&self.word);
        out[24..40].copy_from_slice(&client.ip);
        out[40..56].copy_from_slice(&server.ip);
        out[56..58].copy_from_slice(&client.port.to_le_bytes());
        out[58..60].copy_from_slice(&server.port.to_le_bytes());
        out[60..].copy_from_slice(&self.slot.to_le_bytes());
        out
    }

    pub(crate) fn decode(from: &[u8; KNOCK]) -> Result<Self, Malformed> {
        if from[..8] != MAGIC {
            return Err(Malformed);
        }
        let end = |ip, port| End {
            ip: bytes(from, ip),
            port: u16::from_le_bytes(bytes(from, port)),
        };
        Ok(Self {
            word: bytes(from, 8),
            ends: Ends {
                client: end(24, 56),
                server: end(40, 58),
            },
            slot: u32_at(from, 60),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, server: &str) -> Option<Ends> {
        Some(Ends::new(client.parse().ok()?, server.parse().ok()?))
    }

    #[test]
    fn knocks_survive_the_round_trip() {
        let Some(ends) = ends("127.0.0.1:1234", "[fe80::1]:7204") else {
            return;
        };
        let knock = Knock {
            word: [7; 16],
            ends,
            slot: 0x01020304,
        };
        let wire = knock.encode();
        assert_eq!(Knock::decode(&wire), Ok(knock));
        let mut bad = wire;
        bad[0] ^= 1;
        assert_eq!(Knock::decode(&bad), Err(Malformed));
    }

    #[test]
    fn a_mapped_address_is_the_one_it_stands_for() {
        let plain = ends("127.0.0.1:1", "127.0.0.1:2");
        assert_eq!(plain, ends("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:2"));
        assert_ne!(plain, ends("127.0.0.1:2", "127.0.0.1:1"));
        assert_ne!(plain, ends("127.0.0.2:1", "127.0.0.1:2"));
    }
}
