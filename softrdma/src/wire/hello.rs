// SPDX-License-Identifier: BSD-3-Clause

//! The first that each side sends: the connection manager's messages, of 256 bytes.

use super::{Malformed, Proof, bytes, u32_at, u64_at};

pub(crate) const HELLO: usize = 256;
const MAGIC: [u8; 8] = *b"softrdma";
const VERSION: u8 = 3;
const PRIVATE_DATA_AT: usize = 56;

pub(crate) type Challenge = [u8; 16];

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
    pub(crate) challenge: Challenge,
    pub(crate) proof: Option<Proof>,
    /// The descriptor, in the server, of the client's end of a pair of local sockets.
    pub(crate) local: Option<i32>,
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
        out[18] = u8::from(self.proof.is_some());
        out[20..24].copy_from_slice(&p.qp_num.to_le_bytes());
        out[24..40].copy_from_slice(&self.challenge);
        if let Some(proof) = self.proof {
            out[40..44].copy_from_slice(&proof.pid.to_le_bytes());
            out[44..48].copy_from_slice(&self.local.unwrap_or(-1).to_le_bytes());
            out[48..56].copy_from_slice(&proof.addr.to_le_bytes());
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
            challenge: bytes(from, 24),
            proof: (from[18] != 0).then(|| Proof {
                pid: i32::from_le_bytes(bytes(from, 40)),
                addr: u64_at(from, 48),
            }),
            local: Some(i32::from_le_bytes(bytes(from, 44))).filter(|&fd| from[18] != 0 && fd >= 0),
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
            challenge: [9; 16],
            proof: Some(Proof { pid: 5, addr: 6 }),
            local: Some(7),
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
