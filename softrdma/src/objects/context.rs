// SPDX-License-Identifier: BSD-3-Clause

//! Open devices, and the events of the device.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use crate::Result;
use crate::objects::channel::{Channel, Unacknowledged};
use crate::objects::users::Users;
use crate::os::held::Locks;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) events: Channel<AsyncEvent>,
    pub(crate) users: Users,
}

/// An event that no call of the program has asked for.
#[derive(Clone, Debug)]
pub(crate) struct AsyncEvent {
    pub(crate) kind: AsyncKind,
    /// None: the device or its port.
    pub(crate) source: Option<Weak<dyn EventSource>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsyncKind {
    CqError,
    QpFatal,
    QpRequestError,
    QpAccessError,
    LastWqeReached,
    SrqLimitReached,
    PortError,
    PortActive,
    DeviceFatal,
}

/// An object that has asynchronous events.
pub(crate) trait EventSource: Send + Sync {
    /// The address of what the program has of it.
    fn handle(&self) -> &AtomicUsize;

    /// Those of its asynchronous events that the program has taken and not acknowledged.
    fn async_unacknowledged(&self) -> &Unacknowledged;
}

impl AsyncEvent {
    pub(crate) fn new(kind: AsyncKind, source: Weak<dyn EventSource>) -> Self {
        Self {
            kind,
            source: Some(source),
        }
    }

    pub(crate) fn of_device(kind: AsyncKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn is_of<T>(&self, source: &T) -> bool {
        let own = self.source.as_ref();
        own.is_some_and(|own| std::ptr::addr_eq(own.as_ptr(), source))
    }
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
