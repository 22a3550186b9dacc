// SPDX-License-Identifier: BSD-3-Clause

//! The objects that have to be consistent in a child: those with sockets, and what they use.

use std::os::fd::RawFd;
use std::sync::Arc;

use crate::cm::event::EventChannel;
use crate::cm::handshake::Handshake;
use crate::cm::id::Id;
use crate::cm::listen::Listener;
use crate::io::served::Served;
use crate::io::{Io, Source};
use crate::os::held::Locks;
use crate::os::pair::Pair;
use crate::qp::Qp;
use crate::qp::owner::ConnectionOwner;

/// What is reached from the sockets of the process.
#[derive(Default)]
pub(super) struct Reachable {
    qps: Vec<Arc<Qp>>,
    ids: Vec<Arc<Id>>,
    handshakes: Vec<Arc<Handshake>>,
    pairs: Vec<Arc<Pair>>,
    pub(super) listeners: Vec<(RawFd, Arc<EventChannel>)>,
}

impl Reachable {
    pub(super) fn of(io: &Io) -> Self {
        let mut reachable = Self::default();
        for source in io.sources() {
            reachable.add(source);
        }
        reachable
    }

    fn add(&mut self, source: Arc<dyn Source>) {
        let source = match source.into_any().downcast::<Qp>() {
            Ok(qp) => return self.qps.push(qp),
            Err(other) => other,
        };
        let source = match source.downcast::<Listener>() {
            Ok(listener) => return self.ids.extend(listener.id()),
            Err(other) => other,
        };
        let source = match source.downcast::<Served>() {
            Ok(served) => return self.pairs.push(served.pair()),
            Err(other) => other,
        };
        if let Ok(handshake) = source.downcast::<Handshake>() {
            self.ids.extend(handshake.id());
            self.handshakes.push(handshake);
        }
    }

    /// Whether what comes after the locks of the process is held now: whoever has one of these takes no other.
    pub(super) fn hold_last(&self, locks: &mut Locks) -> bool {
        self.pairs.iter().all(|pair| pair.hold(locks))
    }

    /// Whether all else is held now, in the order of locks.
    pub(super) fn hold(&mut self, locks: &mut Locks) -> bool {
        let mut owners = Vec::new();
        let are_held = self.qps.iter().all(|qp| qp.hold_lists(locks))
            && self.qps.iter().all(|qp| qp.hold(locks, &mut owners));
        let owners = owners.into_iter().map(ConnectionOwner::into_any);
        self.ids
            .extend(owners.filter_map(|owner| owner.downcast::<Id>().ok()));
        let listeners = &mut self.listeners;
        let mut channels = Vec::new();
        are_held
            && self
                .ids
                .iter()
                .all(|id| id.hold(locks, listeners, &mut channels))
            && self
                .handshakes
                .iter()
                .all(|handshake| handshake.hold(locks))
            && self.qps.iter().all(|qp| qp.hold_srq(locks))
            && self.qps.iter().all(|qp| qp.hold_cqs(locks))
            && self.qps.iter().all(|qp| qp.hold_channels(locks))
            && channels.iter().all(|channel| channel.hold(locks))
    }
}
