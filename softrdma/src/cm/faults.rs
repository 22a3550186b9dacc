// SPDX-License-Identifier: BSD-3-Clause

//! What happens to connections when a fault is injected (`instrument/fault.rs`).
//!
//! The functions here are called only if there are faults at all.

use std::sync::Arc;

use super::event::{Kind, reason};
use super::handshake::Handshake;
use super::id::{Id, Inner, Phase};
use crate::instrument::fault::Event;
use crate::instrument::inject;
use crate::qp::Qp;
use crate::qp::owner::ConnectionOwner as _;

impl Id {
    /// A client asks for a connection. Whether the answer is here already, and nobody is asked.
    #[cold]
    pub(super) fn is_not_to_connect(&self, inner: &mut Inner) -> bool {
        inner.planned = inject::connection();
        match inner.planned.event {
            Some(Event::Rejected) => {
                inner.phase = Phase::Connecting;
                self.refused_locked(inner, reason::CONSUMER, Vec::new());
                true
            }
            Some(Event::Unreachable) => {
                inner.phase = Phase::Connecting;
                self.unreachable(inner);
                true
            }
            _ => false,
        }
    }

    /// A server accepts. If its client is not to come, the handshake that ends here.
    #[cold]
    pub(super) fn is_not_to_accept(&self, inner: &mut Inner) -> Option<Arc<Handshake>> {
        inner.planned = inject::connection();
        let event = inner.planned.event?;
        if !matches!(event, Event::Rejected | Event::Unreachable) {
            return None;
        }
        let handshake = inner.handshake.take()?;
        inner.phase = Phase::Over;
        if event == Event::Rejected {
            self.post_rejection(inner, reason::CONSUMER, Vec::new());
        } else {
            self.post(inner, Kind::Unreachable, -libc::ETIMEDOUT);
        }
        Some(handshake)
    }

    /// The client's program has taken the event that says that the connection is established.
    #[cold]
    pub(super) fn suffer(&self) {
        let connection: Option<Arc<Qp>> = self.inner.lock().connection.clone();
        if let Some(connection) = connection {
            connection.suffer(self, self.take_planned());
        }
    }

    /// The connection is over, and no other event will tell of that.
    pub(super) fn ends_with(&self, kind: Kind) {
        let mut inner = self.inner.lock();
        Self::stop_timer(&mut inner);
        inner.phase = Phase::Over;
        self.post(&inner, kind, 0);
    }
}
