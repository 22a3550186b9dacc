// SPDX-License-Identifier: BSD-3-Clause

//! Events of the connection manager.

use std::sync::Arc;

use super::id::Id;
use crate::objects::channel::Channel;
use crate::wire::Params;

pub(crate) type EventChannel = Channel<Event>;

/// The values of `enum rdma_cm_event_type` that occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    AddrResolved = 0,
    RouteResolved = 2,
    ConnectRequest = 4,
    ConnectResponse = 5,
    ConnectError = 6,
    Unreachable = 7,
    Rejected = 8,
    Established = 9,
    Disconnected = 10,
    DeviceRemoval = 11,
    TimewaitExit = 15,
}

/// Reasons of a rejection, as the InfiniBand connection manager numbers them.
pub(crate) mod reason {
    /// Nobody listens.
    pub(crate) const INVALID_SERVICE: u8 = 8;
    /// The program at the other end did not want it, or is gone.
    pub(crate) const CONSUMER: u8 = 28;
    /// It did not want the enhanced connection options.
    pub(crate) const VENDOR_OPTION: u8 = 35;
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: Arc<Id>,
    /// The identifier that listens, for a connect request.
    pub(crate) listen: Option<Arc<Id>>,
    pub(crate) kind: Kind,
    pub(crate) status: i32,
    pub(crate) params: Params,
    pub(crate) private_data: Vec<u8>,
}

impl Event {
    pub(crate) fn new(id: Arc<Id>, kind: Kind, status: i32) -> Self {
        Self {
            id,
            listen: None,
            kind,
            status,
            params: Params::default(),
            private_data: Vec::new(),
        }
    }

    /// With the private data as the wire would carry it: of fixed length, padded with zeros.
    pub(crate) fn with_data(mut self, mut data: Vec<u8>, length: usize) -> Self {
        data.resize(length, 0);
        self.private_data = data;
        self
    }

    /// Whose events the program has to acknowledge before it goes.
    pub(crate) fn owner(&self) -> &Arc<Id> {
        self.listen.as_ref().unwrap_or(&self.id)
    }
}
