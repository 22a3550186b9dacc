// SPDX-License-Identifier: BSD-3-Clause

//! The messages by which a process gets the file that is mapped under regions of another process
//! (`doc/protocol.md`).

use super::Malformed;
use super::bytes::{bytes, u32_at, u64_at};
use crate::types::region::Window;

pub(crate) const ASK: usize = 40;
pub(crate) const ANSWER: usize = 40;
const ASKED: [u8; 8] = *b"softmap?";
const ANSWERED: [u8; 8] = *b"softmap!";
const REFUSED: [u8; 8] = *b"softmap-";

/// Asks for the file under a region. The socket for the answer comes along with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The number of the region table.
    pub(crate) table: u64,
    /// Where the region is in there, and which of all that were there.
    pub(crate) entry: u32,
    pub(crate) generation: u64,
    pub(crate) key: u32,
    /// A word of the receiver's memory, which shows that the sender may read that.
    pub(crate) proof: u64,
}

/// What is said of the region and of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The file comes along with it.
    File {
        window: Window,
        /// Where the window begins in the file.
        offset: u64,
    },
    /// None of the regions in the window can be mapped. A socket that is closed without an answer says nothing about
    /// that.
    Refusal { window: Window },
}

/// No region of the process can be mapped.
pub(crate) const REFUSAL_OF_ALL: Answer = Answer::Refusal {
    window: Window {
        from: 0,
        to: u64::MAX,
        before: u64::MAX,
    },
};

impl Ask {
    pub(crate) fn encode(&self) -> [u8; ASK] {
        let mut out = [0; ASK];
        out[..8].copy_from_slice(&ASKED);
        out[8..16].copy_from_slice(&self.table.to_le_bytes());
        out[16..24].copy_from_slice(&self.generation.to_le_bytes());
        out[24..28].copy_from_slice(&self.entry.to_le_bytes());
        out[28..32].copy_from_slice(&self.key.to_le_bytes());
        out[32..].copy_from_slice(&self.proof.to_le_bytes());
        out
    }

    pub(crate) fn decode(from: &[u8]) -> Result<Self, Malformed> {
        if from.len() != ASK || from[..8] != ASKED {
            return Err(Malformed);
        }
        Ok(Self {
            table: u64_at(from, 8),
            generation: u64_at(from, 16),
            entry: u32_at(from, 24),
            key: u32_at(from, 28),
            proof: u64_at(from, 32),
        })
    }
}

impl Answer {
    pub(crate) fn encode(&self) -> [u8; ANSWER] {
        let (kind, window, offset) = match *self {
            Self::File { window, offset } => (ANSWERED, window, offset),
            Self::Refusal { window } => (REFUSED, window, 0),
        };
        let mut out = [0; ANSWER];
        out[..8].copy_from_slice(&kind);
        out[8..16].copy_from_slice(&offset.to_le_bytes());
        out[16..24].copy_from_slice(&window.from.to_le_bytes());
        out[24..32].copy_from_slice(&window.to.to_le_bytes());
        out[32..].copy_from_slice(&window.before.to_le_bytes());
        out
    }

    pub(crate) fn decode(from: &[u8]) -> Result<Self, Malformed> {
        if from.len() != ANSWER {
            return Err(Malformed);
        }
        let window = Window {
            from: u64_at(from, 16),
            to: u64_at(from, 24),
            before: u64_at(from, 32),
        };
        match (bytes(from, 0), u64_at(from, 8)) {
            (ANSWERED, offset) => Ok(Self::File { window, offset }),
            (REFUSED, 0) => Ok(Self::Refusal { window }),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_about_mappings_survive_the_round_trip() {
        let ask = Ask {
            table: 1 << 40,
            entry: 3,
            generation: 7 << 33,
            key: 0x8000_0001,
            proof: u64::MAX - 8,
        };
        let mut wire = ask.encode();
        assert_eq!(Ask::decode(&wire), Ok(ask));
        assert_eq!(Ask::decode(&wire[..39]), Err(Malformed));
        wire[7] = b'!';
        assert_eq!(Ask::decode(&wire), Err(Malformed));
        let window = Window {
            from: 3 << 40,
            to: 5 << 40,
            before: 7 << 35,
        };
        let file = Answer::File {
            window,
            offset: 5 << 35,
        };
        let refusal = Answer::Refusal { window };
        for answer in [file, refusal, REFUSAL_OF_ALL] {
            let mut wire = answer.encode();
            assert_eq!(Answer::decode(&wire), Ok(answer));
            assert_eq!(Answer::decode(&wire[1..]), Err(Malformed));
            wire[0] = 0;
            assert_eq!(Answer::decode(&wire), Err(Malformed));
        }
        assert_eq!(Answer::decode(&[]), Err(Malformed));
        let mut with_offset = refusal.encode();
        with_offset[8] = 1;
        assert_eq!(Answer::decode(&with_offset), Err(Malformed));
    }
}
