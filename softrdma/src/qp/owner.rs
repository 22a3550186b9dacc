// SPDX-License-Identifier: BSD-3-Clause

//! What a queue pair tells the object that has made its connection. The lock of the queue pair is held meanwhile.

use std::any::Any;
use std::sync::Arc;

use crate::instrument::inject::Planned;

pub(crate) trait ConnectionOwner: Send + Sync {
    /// The client of this server uses the connection.
    fn client_uses_connection(&self);

    fn peer_disconnected(&self);

    /// The peer has answered this side's disconnect.
    fn peer_answered_disconnect(&self);

    /// The other end is gone.
    fn connection_lost(&self);

    /// The host of the peer does not answer any more.
    fn host_vanished(&self);

    /// The faults that are injected once the connection is established.
    fn take_planned(&self) -> Planned;

    /// An injected end of the connection, which is reported by no other event.
    fn ends_with_timewait_exit(&self);

    fn ends_with_device_removal(&self);

    /// The object itself, for what has to know its type (a fork).
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}
