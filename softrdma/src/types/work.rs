// SPDX-License-Identifier: BSD-3-Clause

//! Work requests, as queue pairs keep them.

use crate::types::completion::{Opcode, Status};
use crate::types::region::{Range, access};

/// The ranges of a request. Most have one or none.
#[derive(Clone, Debug)]
pub(crate) enum Scatter {
    None,
    One(Range),
    Many(Box<[Range]>),
}

impl Scatter {
    pub(crate) fn ranges(&self) -> &[Range] {
        match self {
            Self::None => &[],
            Self::One(range) => std::slice::from_ref(range),
            Self::Many(ranges) => ranges,
        }
    }

    /// How many bytes they have in all.
    pub(crate) fn length(&self) -> u64 {
        self.ranges()
            .iter()
            .map(|range| u64::from(range.length))
            .sum()
    }

    /// What is left of the range in which the byte `offset` is.
    pub(crate) fn rest_at(&self, mut offset: u64) -> Option<Range> {
        for range in self.ranges() {
            let length = u64::from(range.length);
            if offset < length {
                return Some(Range {
                    addr: range.addr + offset,
                    length: (length - offset) as u32,
                    key: range.key,
                });
            }
            offset -= length;
        }
        None
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Receive {
    pub(crate) wr_id: u64,
    pub(crate) into: Scatter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Send,
    Write {
        to: Range,
    },
    Read {
        from: Range,
    },
    AtomicWrite {
        to: Range,
    },
    Flush {
        at: Range,
        placement: u8,
        whole_region: bool,
    },
}

impl Operation {
    pub(crate) fn opcode(self) -> Opcode {
        match self {
            Self::Send => Opcode::Send,
            Self::Write { .. } => Opcode::RdmaWrite,
            Self::Read { .. } => Opcode::RdmaRead,
            Self::AtomicWrite { .. } => Opcode::AtomicWrite,
            Self::Flush { .. } => Opcode::Flush,
        }
    }

    /// The memory of the peer that it names.
    pub(crate) fn remote(self) -> Option<Range> {
        match self {
            Self::Send => None,
            Self::Write { to: remote }
            | Self::AtomicWrite { to: remote }
            | Self::Read { from: remote }
            | Self::Flush { at: remote, .. } => Some(remote),
        }
    }

    /// What it does with the initiator's memory.
    pub(crate) fn local_needs(self) -> u32 {
        match self {
            Self::Read { .. } => access::LOCAL_WRITE,
            _ => 0,
        }
    }
}

/// The bytes of a request, or where they are.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Memory(Scatter),
    /// Taken when it was posted.
    Inline(Box<[u8]>),
}

impl Data {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Memory(scatter) => scatter.length(),
            Self::Inline(bytes) => bytes.len() as u64,
        }
    }

    pub(crate) fn scatter(&self) -> &Scatter {
        match self {
            Self::Memory(scatter) => scatter,
            Self::Inline(_) => &Scatter::None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Not sent yet.
    Waiting,
    /// Its frame was built.
    Sent,
    /// A read whose data is here.
    Arrived,
    /// A read whose data is to come once more.
    AskedAgain,
    Done,
    Failed(Status),
}

/// How far this side itself has executed a large request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InChunks {
    /// How many chunks it has copied.
    pub(crate) copied: u32,
    pub(crate) sharing: Sharing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// The owner of the memory was not told.
    #[default]
    Alone,
    /// The request was sent, and both sides take chunks.
    Both,
    /// The request was sent, and the owner does the rest.
    Owner,
    /// It cannot be executed in chunks.
    Never,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) wr_id: u64,
    pub(crate) operation: Operation,
    pub(crate) data: Data,
    pub(crate) imm: Option<u32>,
    pub(crate) signaled: bool,
    pub(crate) solicited: bool,
    /// It waits until the reads before it are done.
    pub(crate) fence: bool,
    /// A write whose bytes are in the peer's memory already, by this process.
    pub(crate) placed: bool,
    pub(crate) chunks: InChunks,
    pub(crate) progress: Progress,
}

impl Request {
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.operation, Operation::Read { .. })
    }

    /// Its bytes, or its place for them, are one range of memory that was registered.
    pub(crate) fn can_go_by_reference(&self) -> bool {
        matches!(self.data, Data::Memory(Scatter::One(_)))
    }

    pub(crate) fn length(&self) -> u32 {
        // Checked when it was posted.
        u32::try_from(self.data.length()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_scatter_list_are_found_by_their_offset() {
        let range = |addr, length| Range {
            addr,
            length,
            key: 1,
        };
        let many = Scatter::Many(Box::new([range(100, 4), range(200, 0), range(300, 6)]));
        assert_eq!(many.length(), 10);
        assert_eq!(many.rest_at(0), Some(range(100, 4)));
        assert_eq!(many.rest_at(3), Some(range(103, 1)));
        assert_eq!(many.rest_at(4), Some(range(300, 6)));
        assert_eq!(many.rest_at(9), Some(range(305, 1)));
        assert_eq!(many.rest_at(10), None);
        assert_eq!(Scatter::None.rest_at(0), None);
    }
}
