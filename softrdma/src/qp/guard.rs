// SPDX-License-Identifier: BSD-3-Clause

//! Which memory a queue pair may use: what the program's own requests and receives name, and what the
//! peer's requests name. The peer has no other way to memory than `grant_to_peer`.

use crate::mr::{Grant, Range, access};

use super::{Inner, Qp};

/// What the peer may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Write,
    Read,
}

impl Wish {
    /// What the region has to allow.
    fn needs(self) -> u32 {
        match self {
            Self::Write => access::REMOTE_WRITE,
            Self::Read => access::REMOTE_READ,
        }
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

impl Qp {
    pub(super) fn grant_own(&self, range: Range, needs: u32) -> Option<Grant> {
        range.grant(self.setup.pd.as_ref()?, needs).ok()
    }

    pub(super) fn grant_to_peer(&self, _q: &Inner, range: Range, wish: Wish) -> Option<Grant> {
        let pd = self.setup.pd.as_ref()?;
        range.grant_to_peer(pd, wish.needs()).ok()
    }

    pub(super) fn grant_target(&self, q: &Inner, target: Target) -> Option<Grant> {
        match target {
            Target::Own(range) => self.grant_own(range, access::LOCAL_WRITE),
            Target::Peers(range) => self.grant_to_peer(q, range, Wish::Write),
        }
    }
}
