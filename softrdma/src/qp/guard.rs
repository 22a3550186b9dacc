// SPDX-License-Identifier: BSD-3-Clause

//! Which memory a queue pair may use: what the program's own requests and receives name, and what the peer's
//! requests name. Every request that arrives as a frame is checked by `grant_to_peer`. A process of the same user on
//! the same host also accesses memory itself (`direct.rs`), and checks such requests itself: the kernel lets it access
//! the memory in any case.

use crate::objects::mr::{self, Grant};
use crate::types::limits::MAX_READS;
use crate::types::region::{GenerationRef, Range, access};
use crate::wire::{Frame, Reason};

use super::respond::Response;
use super::{Inner, Peer, Qp};

/// What the peer may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Write,
    AtomicWrite,
    Read,
    Flush {
        placement: u8,
        /// The request names no more than the key.
        whole_region: bool,
    },
}

/// The types of flush, as bits of `placement`.
const GLOBAL: u8 = 1;
const PERSISTENT: u8 = 2;

impl Wish {
    /// What the queue pair has to allow, and the region as well. None for what is not defined.
    pub(super) fn needs(self) -> Option<u32> {
        Some(match self {
            Self::Write | Self::AtomicWrite => access::REMOTE_WRITE,
            Self::Read => access::REMOTE_READ,
            Self::Flush { placement, .. } => {
                if placement & !(GLOBAL | PERSISTENT) != 0 {
                    return None;
                }
                let needs = |bit, flag| if placement & bit != 0 { flag } else { 0 };
                needs(GLOBAL, access::FLUSH_GLOBAL) | needs(PERSISTENT, access::FLUSH_PERSISTENT)
            }
        })
    }
}

/// Memory that a payload goes to, and by whose word.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// The program has named it, in a receive or a read.
    Own(Range),
    /// The peer has named it, in a write.
    Peers(Range),
}

impl Target {
    pub(super) fn length(self) -> u32 {
        match self {
            Self::Own(range) | Self::Peers(range) => range.length,
        }
    }

    /// At most the first `length` bytes.
    pub(super) fn first(self, length: u32) -> Self {
        let cut = |range: Range| Range {
            length: range.length.min(length),
            ..range
        };
        match self {
            Self::Own(range) => Self::Own(cut(range)),
            Self::Peers(range) => Self::Peers(cut(range)),
        }
    }
}

/// A read whose data the peer was to copy itself. It may ask for this data once more, and for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServedRead {
    pub(super) seq: u64,
    pub(super) from: Range,
}

impl Qp {
    pub(super) fn grant_own(&self, range: Range, needs: u32) -> Option<Grant> {
        range.grant(self.setup.pd.as_ref()?, needs).ok()
    }

    /// Whether the peer gets what it asks for: the state and the flags of the queue pair, and the key, the domain,
    /// the range and the flags of the region have to permit it. If not, what the peer is told. None where there is
    /// nothing to touch: without a byte, a key is not looked at, and of a whole region only its key.
    pub(super) fn grant_to_peer(
        &self,
        q: &Inner,
        range: Range,
        wish: Wish,
    ) -> Result<Option<Grant>, Reason> {
        if q.is_down() || q.released {
            return Err(Reason::QueuePairGone);
        }
        let pd = self.setup.pd.as_ref().ok_or(Reason::QueuePairGone)?;
        let needs = wish.needs().ok_or(Reason::InvalidRequest)?;
        if q.attributes.access & needs != needs {
            return Err(Reason::InvalidRequest);
        }
        let permitted = match wish {
            Wish::Write | Wish::Read if range.length == 0 => return Ok(None),
            Wish::Flush {
                whole_region: true, ..
            } => return may(mr::permits(range.key, pd, needs)).map(|()| None),
            Wish::AtomicWrite => range.length == 8 && range.addr % 8 == 0,
            _ => true,
        };
        may(permitted)?;
        let grant = range.grant_to_peer(pd, needs);
        grant.map(Some).map_err(|_| Reason::RemoteAccess)
    }

    /// Whether the region that the peer has read from is the same one, and has not changed since.
    pub(super) fn is_still(&self, from: Range, region: GenerationRef) -> bool {
        let pd = self.setup.pd.as_ref();
        let grant = pd.and_then(|pd| from.grant_to_peer(pd, access::REMOTE_READ).ok());
        grant.is_some_and(|grant| grant.hold().is_ok_and(|held| held.generation() == region))
    }

    pub(super) fn grant_target(&self, q: &Inner, target: Target) -> Option<Grant> {
        match target {
            Target::Own(range) => self.grant_own(range, access::LOCAL_WRITE),
            Target::Peers(range) => self.grant_to_peer(q, range, Wish::Write).ok()?,
        }
    }
}

fn may(permitted: bool) -> Result<(), Reason> {
    if permitted {
        Ok(())
    } else {
        Err(Reason::RemoteAccess)
    }
}

impl Inner {
    /// Whether the peer may send such a frame now, whatever is in it.
    pub(super) fn may_come(&self, frame: &Frame) -> bool {
        let awaits_use = self.link.as_ref().is_some_and(|link| link.awaits_use);
        if awaits_use != matches!(frame, Frame::Use) {
            return false;
        }
        match self.peer {
            Peer::Connected => true,
            // How the connection is used may still be on its way.
            Peer::Left => matches!(frame, Frame::ChangesOver),
            Peer::Gone => false,
        }
    }

    /// Whether the peer has asked for more reads than a device has at a time. What it has been sent does not
    /// count.
    pub(super) fn has_too_many_reads(&self) -> bool {
        let waiting = |response: &&Response| matches!(response, Response::Data { .. });
        self.responses.iter().filter(waiting).count() >= usize::from(MAX_READS)
    }
}
