// SPDX-License-Identifier: BSD-3-Clause

//! Queue pairs that a program has made without the connection manager. It asks what the connection
//! manager wants of them (`rdma_init_qp_attr`), moves them along itself (`ibv_modify_qp`), and names them
//! by their numbers when it connects or accepts.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::id::{Id, Phase};
use crate::os::held::Locks;
use crate::qp::attributes::access_for;
use crate::qp::{Qp, State};
use crate::wire::Params;
use crate::{Errno, Result};

static MADE: Mutex<BTreeMap<u32, Weak<Qp>>> = Mutex::new(BTreeMap::new());
/// Whose programs know the number of the peer's queue pair from here.
static TOLD: Mutex<Vec<Weak<Id>>> = Mutex::new(Vec::new());

/// Before a fork.
pub(crate) fn hold(locks: &mut Locks) -> bool {
    locks.hold_static(&MADE) && locks.hold_static(&TOLD)
}

pub(crate) fn made(qp: &Arc<Qp>) {
    MADE.lock().insert(qp.number, Arc::downgrade(qp));
}

pub(crate) fn gone(number: u32) {
    MADE.lock().remove(&number);
}

/// The one of this number, which must be ready for a connection.
pub(super) fn find(number: u32) -> Result<Option<Arc<Qp>>> {
    let found = MADE.lock().get(&number).and_then(Weak::upgrade);
    match &found {
        Some(qp) if matches!(qp.state(), State::Reset | State::Init) => Err(libc::EINVAL),
        _ => Ok(found),
    }
}

/// Whether a connection to a queue pair of this number is about to be made.
pub(crate) fn is_expected(peer: u32) -> bool {
    let told: Vec<_> = TOLD.lock().iter().filter_map(Weak::upgrade).collect();
    told.iter()
        .any(|id| id.peer_params().is_ok_and(|params| params.qp_num == peer))
}

impl Id {
    /// What the peer of a connection that is being made has said of it.
    fn peer_params(&self) -> Result<Params, Errno> {
        let connection = {
            let inner = self.inner.lock();
            if let Some(hello) = &inner.hello {
                return Ok(hello.params);
            }
            inner.connection.clone()
        };
        // Without the lock: a queue pair's is taken before that of its identifier.
        connection.map(|qp| qp.peer_params()).ok_or(libc::EINVAL)
    }

    /// What the peer may do to the memory of a queue pair, as far as is known by now.
    pub(crate) fn access(&self) -> u32 {
        match self.peer_params() {
            Ok(params) => access_for(params.initiator_depth),
            Err(_) => {
                let inner = self.inner.lock();
                if inner.phase == Phase::Connecting {
                    access_for(inner.offered.responder_resources)
                } else {
                    0
                }
            }
        }
    }

    /// What a queue pair has to know before it can receive: with it, the program may move its own.
    pub(crate) fn tell_peer_params(&self) -> Result<Params> {
        let params = self.peer_params()?;
        let mut told = TOLD.lock();
        told.retain(|id| id.strong_count() > 0);
        if !told.iter().any(|id| id.ptr_eq(&self.me)) {
            told.push(Weak::clone(&self.me));
        }
        Ok(params)
    }

    /// The queue pair for a connection: the program's on this identifier, or its own of this number. Their
    /// locks are taken before that of the identifier.
    pub(super) fn qp_or_own(&self, number: u32) -> Result<Option<Arc<Qp>>> {
        let qp = self.inner.lock().qp.clone();
        match qp {
            Some(qp) => Ok(Some(qp)),
            None => find(number),
        }
    }

    /// Whether there is a device to which a queue pair may belong.
    pub(crate) fn has_device(&self) -> bool {
        let inner = self.inner.lock();
        !matches!(inner.phase, Phase::Idle | Phase::Listening)
            && inner
                .local
                .is_some_and(|local| !local.ip().is_unspecified())
    }
}
