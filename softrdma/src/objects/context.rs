// SPDX-License-Identifier: BSD-3-Clause

//! Open devices, and the events of the device.

use std::sync::{Arc, Weak};

use crate::Result;
use crate::objects::channel::Channel;
use crate::objects::cq::Cq;
use crate::objects::pd::Users;
use crate::objects::srq::Srq;
use crate::os::held::Locks;
use crate::qp::Qp;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) events: Channel<AsyncEvent>,
    pub(crate) users: Users,
}

/// An event that no call of the program has asked for.
#[derive(Clone, Debug)]
pub(crate) enum AsyncEvent {
    CqError(Weak<Cq>),
    QpFatal(Weak<Qp>),
    QpRequestError(Weak<Qp>),
    QpAccessError(Weak<Qp>),
    LastWqeReached(Weak<Qp>),
    SrqLimitReached(Weak<Srq>),
    PortError,
    PortActive,
    DeviceFatal,
}

impl Context {
    /// Before a fork.
    pub(crate) fn hold(self: &Arc<Self>, locks: &mut Locks) -> bool {
        locks.hold(self, |context| context.events.lock_itself())
    }

    pub(crate) fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            events: Channel::new()?,
            users: Users::default(),
        }))
    }
}
