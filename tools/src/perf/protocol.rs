// SPDX-License-Identifier: BSD-3-Clause

//! What server and client tell each other when they connect, as private data. All numbers are little-endian.

const MAGIC: &[u8; 8] = b"RPMAPERF";
const VERSION: u8 = 1;

/// From the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    /// How many receives the server has to keep posted.
    pub(super) receives: u16,
    /// How large each is.
    pub(super) receive_size: u32,
    /// How much memory the client needs.
    pub(super) memory: u64,
}

/// From the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    /// The descriptors of its memory and of its peer configuration.
    Memory { region: Vec<u8>, peer: Vec<u8> },
    /// It refuses.
    Refusal(String),
}

/// More private data than this does not go with an answer on all devices.
const MAX_WELCOME: usize = 190;

fn header(kind: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([VERSION, kind]);
    bytes
}

/// What stands behind the header.
fn body(bytes: &[u8]) -> Result<(u8, &[u8]), String> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or("the other side is no rpma-perf")?;
    match rest {
        [VERSION, kind, rest @ ..] => Ok((*kind, rest)),
        [version, ..] => Err(format!(
            "the other side is an rpma-perf of protocol {version}, this is {VERSION}"
        )),
        [] => Err("the other side sent too little".into()),
    }
}

impl Hello {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = header(0);
        bytes.extend(self.receives.to_le_bytes());
        bytes.extend(self.receive_size.to_le_bytes());
        bytes.extend(self.memory.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        match body(bytes)? {
            // Devices may fill private data up with zeros.
            (0, [r0, r1, s0, s1, s2, s3, m0, m1, m2, m3, m4, m5, m6, m7, ..]) => Ok(Self {
                receives: u16::from_le_bytes([*r0, *r1]),
                receive_size: u32::from_le_bytes([*s0, *s1, *s2, *s3]),
                memory: u64::from_le_bytes([*m0, *m1, *m2, *m3, *m4, *m5, *m6, *m7]),
            }),
            _ => Err("the client's request is not understood".into()),
        }
    }
}

impl Welcome {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Memory { region, peer } => {
                let mut bytes = header(1);
                for descriptor in [region, peer] {
                    bytes.push(u8::try_from(descriptor.len()).unwrap_or(0));
                    bytes.extend(descriptor);
                }
                bytes
            }
            Self::Refusal(why) => {
                let mut bytes = header(2);
                let mut len = why.len().min(MAX_WELCOME - bytes.len() - 1);
                while !why.is_char_boundary(len) {
                    len -= 1;
                }
                bytes.push(u8::try_from(len).unwrap_or(0));
                bytes.extend(&why.as_bytes()[..len]);
                bytes
            }
        }
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let parsed = match body(bytes)? {
            (1, rest) => counted(rest).and_then(|(region, rest)| {
                let (peer, _) = counted(rest)?;
                Some(Self::Memory {
                    region: region.to_vec(),
                    peer: peer.to_vec(),
                })
            }),
            (2, rest) => counted(rest)
                .map(|(why, _)| Self::Refusal(String::from_utf8_lossy(why).into_owned())),
            _ => None,
        };
        parsed.ok_or_else(|| "the server's answer is not understood".into())
    }
}

/// Bytes behind their number, and the rest.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

#[cfg(test)]
mod tests {
    // A test fails by panicking.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_sent_is_understood() {
        let hello = Hello {
            receives: 7,
            receive_size: 4096,
            memory: 1 << 33,
        };
        let mut bytes = hello.to_bytes();
        assert!(bytes.len() <= 56, "private data of a request");
        bytes.resize(56, 0);
        assert_eq!(Hello::from_bytes(&bytes), Ok(hello));

        for welcome in [
            Welcome::Memory {
                region: vec![1; 21],
                peer: vec![1],
            },
            Welcome::Refusal("no memory".into()),
        ] {
            let mut bytes = welcome.to_bytes();
            bytes.resize(196, 0);
            assert_eq!(Welcome::from_bytes(&bytes), Ok(welcome));
        }
    }

    #[test]
    fn a_long_refusal_is_cut_between_characters() {
        let bytes = Welcome::Refusal("ä".repeat(200)).to_bytes();
        assert!(bytes.len() <= MAX_WELCOME);
        let Welcome::Refusal(text) = Welcome::from_bytes(&bytes).unwrap() else {
            unreachable!()
        };
        assert!(text.chars().all(|c| c == 'ä'));
    }

    #[test]
    fn strangers_and_short_messages_are_refused() {
        let whole = Welcome::Memory {
            region: vec![1; 21],
            peer: vec![1],
        }
        .to_bytes();
        for len in 0..whole.len() {
            assert!(Welcome::from_bytes(&whole[..len]).is_err(), "{len}");
        }
        let hello = Hello {
            receives: 1,
            receive_size: 1,
            memory: 1,
        }
        .to_bytes();
        for len in 0..hello.len() {
            assert!(Hello::from_bytes(&hello[..len]).is_err(), "{len}");
        }
        let mut other = hello;
        other[8] = 9;
        assert!(
            Hello::from_bytes(&other)
                .unwrap_err()
                .contains("protocol 9")
        );
    }
}
