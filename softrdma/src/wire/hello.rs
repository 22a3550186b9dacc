// SPDX-License-Identifier: BSD-3-Clause

//! The first that each side sends: the connection manager's messages, of 256 bytes.

use super::bytes::{bytes, u32_at};
use super::{Invitation, Malformed};
use crate::types::limits::{REJECT_PRIVATE_DATA, REPLY_PRIVATE_DATA, REQUEST_PRIVATE_DATA};

pub(crate) const HELLO: usize = 256;
const MAGIC: [u8; 8] = *b"softrdma";
const VERSION: u8 = 11;
const PRIVATE_DATA_AT: usize = 56;

/// What a hello is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    Request,
    Reply,
    /// The connection is refused, for this reason (those of the InfiniBand connection manager).
    Reject(u8),
}

/// The first that each side sends: the connection manager's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) greeting: Greeting,
    pub(crate) params: Params,
    /// A reply's: where a client of the same host may meet the server.
    pub(crate) invitation: Option<Invitation>,
    pub(crate) private_data: Vec<u8>,
}

/// What both sides tell each other of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) responder_resources: u8,
    pub(crate) initiator_depth: u8,
    pub(crate) flow_control: u8,
    pub(crate) retry_count: u8,
    pub(crate) rnr_retry_count: u8,
    pub(crate) srq: u8,
    pub(crate) qp_num: u32,
}

impl Greeting {
    fn most_private_data(self) -> usize {
        match self {
            Self::Request => REQUEST_PRIVATE_DATA,
            Self::Reply => REPLY_PRIVATE_DATA,
            Self::Reject(_) => REJECT_PRIVATE_DATA,
        }
    }
}

impl Params {
    /// What the fields of a message of the connection manager have room for.
    fn as_sent(self) -> Self {
        const MOST_RETRIES: u8 = 7;
        Self {
            retry_count: self.retry_count.min(MOST_RETRIES),
            rnr_retry_count: self.rnr_retry_count.min(MOST_RETRIES),
            qp_num: self.qp_num & 0xff_ffff,
            ..self
        }
    }
}

impl Hello {
    pub(crate) fn encode(&self) -> [u8; HELLO] {
        let mut out = [0; HELLO];
        let (kind, status) = match self.greeting {
            Greeting::Request => (1, 0),
            Greeting::Reply => (2, 0),
            Greeting::Reject(reason) => (3, reason),
        };
        let p = self.params.as_sent();
        out[..8].copy_from_slice(&MAGIC);
        out[8..16].copy_from_slice(&[
            VERSION,
            kind,
            status,
            p.responder_resources,
            p.initiator_depth,
            p.flow_control,
            p.retry_count,
            p.rnr_retry_count,
        ]);
        let most = self.greeting.most_private_data();
        let data = &self.private_data[..self.private_data.len().min(most)];
        out[16] = p.srq;
        out[17] = data.len() as u8;
        out[20..24].copy_from_slice(&p.qp_num.to_le_bytes());
        if let (Some(Invitation { door, word }), Greeting::Reply) = (self.invitation, self.greeting)
        {
            out[18] = 1;
            out[24..40].copy_from_slice(&door);
            out[40..56].copy_from_slice(&word);
        }
        out[PRIVATE_DATA_AT..PRIVATE_DATA_AT + data.len()].copy_from_slice(data);
        out
    }

    pub(crate) fn decode(from: &[u8; HELLO]) -> Result<Self, Malformed> {
        if from[..8] != MAGIC || from[8] != VERSION {
            return Err(Malformed);
        }
        let greeting = match from[9] {
            1 => Greeting::Request,
            2 => Greeting::Reply,
            3 => Greeting::Reject(from[10]),
            _ => return Err(Malformed),
        };
        let length = usize::from(from[17]);
        let private_data = from
            .get(PRIVATE_DATA_AT..PRIVATE_DATA_AT + length)
            .ok_or(Malformed)?
            .to_vec();
        let hello = Self {
            greeting,
            params: Params {
                responder_resources: from[11],
                initiator_depth: from[12],
                flow_control: from[13],
                retry_count: from[14],
                rnr_retry_count: from[15],
                srq: from[16],
                qp_num: u32_at(from, 20),
            },
            invitation: (from[18] != 0).then(|| Invitation {
                door: bytes(from, 24),
                word: bytes(from, 40),
            }),
            private_data,
        };
        // Nothing in it is out of range or has no meaning.
        if hello.encode() == *from {
            Ok(hello)
        } else {
            Err(Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(greeting: Greeting) -> Hello {
        Hello {
            greeting,
            params: Params {
                responder_resources: 1,
                initiator_depth: 2,
                flow_control: 1,
                retry_count: 7,
                rnr_retry_count: 6,
                srq: 1,
                qp_num: 0xabcdef,
            },
            invitation: (greeting == Greeting::Reply).then_some(Invitation {
                door: [9; 16],
                word: [10; 16],
            }),
            private_data: (0..greeting.most_private_data() as u8).collect(),
        }
    }

    const GREETINGS: [Greeting; 3] = [Greeting::Request, Greeting::Reply, Greeting::Reject(28)];

    #[test]
    fn hellos_survive_the_round_trip() {
        for greeting in GREETINGS {
            let hello = hello(greeting);
            assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        }
    }

    #[test]
    fn no_bit_of_a_hello_is_ignored() {
        for greeting in GREETINGS {
            for bit in 0..8 * HELLO {
                let mut wire = hello(greeting).encode();
                wire[bit / 8] ^= 1 << (bit % 8);
                if let Ok(other) = Hello::decode(&wire) {
                    assert_eq!(other.encode(), wire, "{other:?}");
                }
            }
        }
    }

    #[test]
    fn bad_hellos_are_malformed() {
        for (at, value) in [
            (0, 0),
            (8, 5),
            (9, 0),
            (9, 4),
            (10, 1),
            (14, 8),
            (17, 57),
            (18, 1),
            (255, 1),
        ] {
            let mut wire = hello(Greeting::Request).encode();
            wire[at] = value;
            assert_eq!(Hello::decode(&wire), Err(Malformed), "{value} at {at}");
        }
    }
}
