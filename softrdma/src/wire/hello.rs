// SPDX-License-Identifier: BSD-3-Clause

//! The first that each side sends: the connection manager's messages, of 256 bytes.

use super::{Invitation, Malformed, bytes, u32_at};

pub(crate) const HELLO: usize = 256;
const MAGIC: [u8; 8] = *b"softrdma";
const VERSION: u8 = 4;
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

impl Hello {
    pub(crate) fn encode(&self) -> [u8; HELLO] {
        let mut out = [0; HELLO];
        let (kind, status) = match self.greeting {
            Greeting::Request => (1, 0),
            Greeting::Reply => (2, 0),
            Greeting::Reject(reason) => (3, reason),
        };
        let p = &self.params;
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
        let data = &self.private_data[..self.private_data.len().min(HELLO - PRIVATE_DATA_AT)];
        out[16] = p.srq;
        out[17] = data.len() as u8;
        out[18] = u8::from(self.invitation.is_some());
        out[20..24].copy_from_slice(&p.qp_num.to_le_bytes());
        if let Some(Invitation { door, word }) = self.invitation {
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
        Ok(Self {
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hellos_survive_the_round_trip() {
        let hello = Hello {
            greeting: Greeting::Reject(28),
            params: Params {
                responder_resources: 1,
                initiator_depth: 2,
                flow_control: 1,
                retry_count: 7,
                rnr_retry_count: 6,
                srq: 1,
                qp_num: 0xabcdef,
            },
            invitation: Some(Invitation {
                door: [9; 16],
                word: [10; 16],
            }),
            private_data: (0..196).collect(),
        };
        let mut wire = hello.encode();
        assert_eq!(Hello::decode(&wire), Ok(hello));
        wire[17] = 201;
        assert_eq!(Hello::decode(&wire), Err(Malformed));
        wire[0] = 0;
        assert_eq!(Hello::decode(&wire), Err(Malformed));
    }
}
