// SPDX-License-Identifier: BSD-3-Clause

//! What goes over a connection: one hello each way, then frames.
//!
//! A frame is a header of 48 bytes, little-endian, and for some kinds a payload. Everything that comes
//! from a peer is decoded here; what it says is checked against the state of the connection elsewhere.
//!
//! | bytes | header |
//! | --- | --- |
//! | 0 | kind |
//! | 1 | flags |
//! | 2..4 | extra |
//! | 4..8 | length of the message |
//! | 8..16 | number of the request |
//! | 16..24 | remote address |
//! | 24..28 | remote key |
//! | 28..32 | immediate, or a reason |
//! | 32..48 | zero |

mod bytes;
mod descriptor;
mod hello;
mod knock;
mod mapping;
#[cfg(test)]
mod tests;

use crate::types::limits;
use crate::types::region::Range;

use bytes::{bytes, u32_at, u64_at};

pub(crate) use descriptor::{DESCRIPTOR, Descriptor};
pub(crate) use hello::{Greeting, HELLO, Hello, Params};
pub(crate) use knock::{Ends, Invitation, KNOCK, Knock};
pub(crate) use mapping::{ANSWER, ASK, Answer, Ask, REFUSAL_OF_ALL};

pub(crate) const HEADER: usize = 48;

/// It is not a frame: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Where the bytes of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// They follow the header.
    Inband,
    /// A descriptor follows the header; whoever gets it copies the bytes.
    ByReference,
    /// The same of a write, and both sides copy (`os/chunks.rs`).
    InChunks,
    /// The sender has written them to the memory already. Of writes with an immediate only.
    Placed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    // Requests. They are numbered.
    Send {
        seq: u64,
        length: u32,
        imm: Option<u32>,
        solicited: bool,
        carriage: Carriage,
    },
    Write {
        seq: u64,
        to: Range,
        imm: Option<u32>,
        solicited: bool,
        carriage: Carriage,
    },
    Read {
        seq: u64,
        from: Range,
        /// The initiator can copy from this process.
        can_pull: bool,
        /// It may be doing so already (`os/chunks.rs`).
        in_chunks: bool,
    },
    /// Eight bytes follow.
    AtomicWrite {
        seq: u64,
        to: Range,
    },
    Flush {
        seq: u64,
        at: Range,
        placement: u8,
        whole_region: bool,
    },
    // Responses, in the order of the requests.
    /// All requests up to this one are done.
    Ack {
        seq: u64,
    },
    Nak {
        seq: u64,
        reason: Reason,
    },
    /// The data of a read. The read is done when it is acknowledged.
    ReadData {
        seq: u64,
        length: u32,
        carriage: Carriage,
    },
    /// There is no receive for this request: it and what followed it were dropped.
    NotReady {
        seq: u64,
    },
    /// Now there is: send from this request on.
    Ready {
        seq: u64,
    },
    /// The bytes of this request could not be copied: it and what followed it were dropped. Send from
    /// this request on, and from now on with the bytes of each.
    InBand {
        seq: u64,
    },
    /// The initiator's: the data of this read could not be copied. Send its bytes.
    ReadInBand {
        seq: u64,
        from: Range,
    },
    // The connection manager's.
    /// The client uses the connection.
    Use,
    /// The last frame on TCP: what follows goes through the shared memory.
    ChangesOver,
    Disconnect,
    Disconnected,
}

/// Why a request failed at the responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It may not do this with the memory.
    RemoteAccess,
    /// It does not fit into the receive.
    InvalidRequest,
    /// The responder's own receive was no good.
    RemoteOperation,
    /// The responder's queue pair is in the error state.
    QueuePairGone,
}

impl Reason {
    fn to_wire(self) -> u32 {
        match self {
            Self::RemoteAccess => 1,
            Self::InvalidRequest => 2,
            Self::RemoteOperation => 3,
            Self::QueuePairGone => 4,
        }
    }

    fn from_wire(value: u32) -> Result<Self, Malformed> {
        Ok(match value {
            1 => Self::RemoteAccess,
            2 => Self::InvalidRequest,
            3 => Self::RemoteOperation,
            4 => Self::QueuePairGone,
            _ => return Err(Malformed),
        })
    }
}

const SEND: u8 = 1;
const WRITE: u8 = 2;
const READ: u8 = 3;
const ATOMIC_WRITE: u8 = 4;
const FLUSH: u8 = 5;
const ACK: u8 = 16;
const NAK: u8 = 17;
const READ_DATA: u8 = 18;
const NOT_READY: u8 = 19;
const READY: u8 = 20;
const IN_BAND: u8 = 21;
const READ_IN_BAND: u8 = 22;
const USE: u8 = 32;
const DISCONNECT: u8 = 34;
const DISCONNECTED: u8 = 35;
const CHANGES_OVER: u8 = 36;

const WITH_IMM: u8 = 1;
const SOLICITED: u8 = 2;
const BY_REFERENCE: u8 = 4;
const PULLS: u8 = 8;
const WHOLE_REGION: u8 = 16;
const PLACED: u8 = 32;
const IN_CHUNKS: u8 = 64;

// The fields of a header besides kind and flags, as `check` names them.
const SEQ: u8 = 1;
const LENGTH: u8 = 2;
const PLACE: u8 = 4;
const IMM: u8 = 8;
const EXTRA: u8 = 16;

/// The fields of a header, before their meaning is known.
#[derive(Default)]
struct Fields {
    kind: u8,
    flags: u8,
    extra: u16,
    length: u32,
    seq: u64,
    addr: u64,
    key: u32,
    imm: u32,
}

impl Fields {
    fn parse(header: &[u8; HEADER]) -> Result<Self, Malformed> {
        if header[32..].iter().any(|&byte| byte != 0) {
            return Err(Malformed);
        }
        Ok(Self {
            kind: header[0],
            flags: header[1],
            extra: u16::from_le_bytes(bytes(header, 2)),
            length: u32_at(header, 4),
            seq: u64_at(header, 8),
            addr: u64_at(header, 16),
            key: u32_at(header, 24),
            imm: u32_at(header, 28),
        })
    }

    fn build(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0] = self.kind;
        header[1] = self.flags;
        header[2..4].copy_from_slice(&self.extra.to_le_bytes());
        header[4..8].copy_from_slice(&self.length.to_le_bytes());
        header[8..16].copy_from_slice(&self.seq.to_le_bytes());
        header[16..24].copy_from_slice(&self.addr.to_le_bytes());
        header[24..28].copy_from_slice(&self.key.to_le_bytes());
        header[28..32].copy_from_slice(&self.imm.to_le_bytes());
        header
    }

    /// Checks that there is nothing in flags and fields that the kind does not use, and that no message is
    /// larger than the largest.
    fn check(&self) -> Result<(), Malformed> {
        let (flags, mut fields) = match self.kind {
            SEND => (WITH_IMM | SOLICITED | BY_REFERENCE, SEQ | LENGTH),
            WRITE if self.flags & PLACED != 0 => {
                (WITH_IMM | SOLICITED | PLACED, SEQ | LENGTH | PLACE)
            }
            WRITE if self.flags & IN_CHUNKS != 0 => {
                (BY_REFERENCE | IN_CHUNKS, SEQ | LENGTH | PLACE)
            }
            WRITE => (WITH_IMM | SOLICITED | BY_REFERENCE, SEQ | LENGTH | PLACE),
            READ => (PULLS | IN_CHUNKS, SEQ | LENGTH | PLACE),
            ATOMIC_WRITE | READ_IN_BAND => (0, SEQ | LENGTH | PLACE),
            FLUSH => (WHOLE_REGION, SEQ | LENGTH | PLACE | EXTRA),
            ACK | NOT_READY | READY | IN_BAND => (0, SEQ),
            NAK => (0, SEQ | IMM),
            READ_DATA => (BY_REFERENCE, SEQ | LENGTH),
            USE | CHANGES_OVER | DISCONNECT | DISCONNECTED => (0, 0),
            _ => return Err(Malformed),
        };
        if self.flags & flags & WITH_IMM != 0 {
            fields |= IMM;
        }
        let used = |is_used, field| if is_used { field } else { 0 };
        let present = used(self.seq != 0, SEQ)
            | used(self.length != 0, LENGTH)
            | used(self.addr != 0 || self.key != 0, PLACE)
            | used(self.imm != 0, IMM)
            | used(self.extra != 0, EXTRA);
        let too_large = self.kind != FLUSH && self.length > limits::MAX_MESSAGE;
        // All that is left of it is the immediate data.
        let says_nothing = self.flags & PLACED != 0 && self.flags & WITH_IMM == 0;
        // Both sides have to be able to copy.
        let copies = BY_REFERENCE | PULLS;
        let has_no_chunks = self.flags & IN_CHUNKS != 0 && self.flags & copies == 0;
        if self.flags & !flags == 0
            && present & !fields == 0
            && !too_large
            && !says_nothing
            && !has_no_chunks
        {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn imm(&self) -> Option<u32> {
        (self.flags & WITH_IMM != 0).then_some(self.imm)
    }

    fn carriage(&self) -> Carriage {
        if self.flags & PLACED != 0 {
            Carriage::Placed
        } else if self.flags & IN_CHUNKS != 0 {
            Carriage::InChunks
        } else if self.flags & BY_REFERENCE != 0 {
            Carriage::ByReference
        } else {
            Carriage::Inband
        }
    }

    fn range(&self) -> Range {
        Range {
            addr: self.addr,
            length: self.length,
            key: self.key,
        }
    }

    fn with_range(mut self, range: Range) -> Self {
        self.addr = range.addr;
        self.length = range.length;
        self.key = range.key;
        self
    }
}

fn flag(condition: bool, flag: u8) -> u8 {
    if condition { flag } else { 0 }
}

impl Frame {
    pub(crate) fn decode(header: &[u8; HEADER]) -> Result<Self, Malformed> {
        let fields = Fields::parse(header)?;
        let Fields { seq, length, .. } = fields;
        fields.check()?;
        Ok(match fields.kind {
            SEND => Self::Send {
                seq,
                length,
                imm: fields.imm(),
                solicited: fields.flags & SOLICITED != 0,
                carriage: fields.carriage(),
            },
            WRITE => Self::Write {
                seq,
                to: fields.range(),
                imm: fields.imm(),
                solicited: fields.flags & SOLICITED != 0,
                carriage: fields.carriage(),
            },
            READ => Self::Read {
                seq,
                from: fields.range(),
                can_pull: fields.flags & PULLS != 0,
                in_chunks: fields.flags & IN_CHUNKS != 0,
            },
            ATOMIC_WRITE => {
                if length != 8 {
                    return Err(Malformed);
                }
                Self::AtomicWrite {
                    seq,
                    to: fields.range(),
                }
            }
            FLUSH => Self::Flush {
                seq,
                at: fields.range(),
                placement: u8::try_from(fields.extra).map_err(|_| Malformed)?,
                whole_region: fields.flags & WHOLE_REGION != 0,
            },
            ACK => Self::Ack { seq },
            NAK => Self::Nak {
                seq,
                reason: Reason::from_wire(fields.imm)?,
            },
            READ_DATA => Self::ReadData {
                seq,
                length,
                carriage: fields.carriage(),
            },
            NOT_READY => Self::NotReady { seq },
            READY => Self::Ready { seq },
            IN_BAND => Self::InBand { seq },
            READ_IN_BAND => Self::ReadInBand {
                seq,
                from: fields.range(),
            },
            USE => Self::Use,
            CHANGES_OVER => Self::ChangesOver,
            DISCONNECT => Self::Disconnect,
            DISCONNECTED => Self::Disconnected,
            _ => return Err(Malformed),
        })
    }

    pub(crate) fn encode(&self) -> [u8; HEADER] {
        match *self {
            Self::Send {
                seq,
                length,
                imm,
                solicited,
                carriage,
            } => Fields {
                length,
                ..Fields::message(SEND, seq, imm, solicited, carriage)
            },
            Self::Write {
                seq,
                to,
                imm,
                solicited,
                carriage,
            } => Fields::message(WRITE, seq, imm, solicited, carriage).with_range(to),
            Self::Read {
                seq,
                from,
                can_pull,
                in_chunks,
            } => Fields {
                flags: flag(can_pull, PULLS) | flag(in_chunks, IN_CHUNKS),
                ..Fields::numbered(READ, seq)
            }
            .with_range(from),
            Self::AtomicWrite { seq, to } => Fields::numbered(ATOMIC_WRITE, seq).with_range(to),
            Self::Flush {
                seq,
                at,
                placement,
                whole_region,
            } => Fields {
                flags: flag(whole_region, WHOLE_REGION),
                extra: u16::from(placement),
                ..Fields::numbered(FLUSH, seq)
            }
            .with_range(at),
            Self::Ack { seq } => Fields::numbered(ACK, seq),
            Self::Nak { seq, reason } => Fields {
                imm: reason.to_wire(),
                ..Fields::numbered(NAK, seq)
            },
            Self::ReadData {
                seq,
                length,
                carriage,
            } => Fields {
                length,
                ..Fields::message(READ_DATA, seq, None, false, carriage)
            },
            Self::NotReady { seq } => Fields::numbered(NOT_READY, seq),
            Self::Ready { seq } => Fields::numbered(READY, seq),
            Self::InBand { seq } => Fields::numbered(IN_BAND, seq),
            Self::ReadInBand { seq, from } => Fields::numbered(READ_IN_BAND, seq).with_range(from),
            Self::Use => Fields::numbered(USE, 0),
            Self::ChangesOver => Fields::numbered(CHANGES_OVER, 0),
            Self::Disconnect => Fields::numbered(DISCONNECT, 0),
            Self::Disconnected => Fields::numbered(DISCONNECTED, 0),
        }
        .build()
    }

    /// Whether a descriptor follows.
    pub(crate) fn is_by_reference(&self) -> bool {
        matches!(
            self,
            Self::Send {
                carriage: Carriage::ByReference,
                ..
            } | Self::Write {
                carriage: Carriage::ByReference | Carriage::InChunks,
                ..
            } | Self::ReadData {
                carriage: Carriage::ByReference,
                ..
            }
        )
    }

    /// The number of a request of which both sides may copy parts.
    pub(crate) fn in_chunks(&self) -> Option<u64> {
        match *self {
            Self::Write {
                seq,
                carriage: Carriage::InChunks,
                ..
            }
            | Self::Read {
                seq,
                in_chunks: true,
                ..
            } => Some(seq),
            _ => None,
        }
    }

    /// How many bytes follow the header.
    pub(crate) fn payload(&self) -> usize {
        match *self {
            Self::Send {
                length, carriage, ..
            }
            | Self::ReadData {
                length, carriage, ..
            } => carried(length, carriage),
            Self::Write { to, carriage, .. } => carried(to.length, carriage),
            Self::AtomicWrite { .. } => 8,
            _ => 0,
        }
    }
}

impl Fields {
    fn numbered(kind: u8, seq: u64) -> Self {
        Self {
            kind,
            seq,
            ..Self::default()
        }
    }

    /// With a payload that comes behind it or is copied by the other side.
    fn message(kind: u8, seq: u64, imm: Option<u32>, solicited: bool, carriage: Carriage) -> Self {
        let is_copied = matches!(carriage, Carriage::ByReference | Carriage::InChunks);
        Self {
            flags: flag(imm.is_some(), WITH_IMM)
                | flag(solicited, SOLICITED)
                | flag(is_copied, BY_REFERENCE)
                | flag(carriage == Carriage::InChunks, IN_CHUNKS)
                | flag(carriage == Carriage::Placed, PLACED),
            imm: imm.unwrap_or(0),
            ..Self::numbered(kind, seq)
        }
    }
}

fn carried(length: u32, carriage: Carriage) -> usize {
    match carriage {
        Carriage::Inband => length as usize,
        Carriage::ByReference | Carriage::InChunks => DESCRIPTOR,
        Carriage::Placed => 0,
    }
}
