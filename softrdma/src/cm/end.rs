// SPDX-License-Identifier: BSD-3-Clause

//! The beginning of a connection's use, and its end: what of both the program is told.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::event::{Kind, reason};
use super::id::{Id, Inner, Phase};
use crate::Result;
use crate::instrument;
use crate::instrument::inject::Planned;
use crate::io;
use crate::qp::Qp;
use crate::qp::owner::ConnectionOwner;

/// How far the end of a connection has come.
#[derive(Debug, Default)]
pub(super) struct End {
    /// The program has disconnected.
    pub(super) sent: bool,
    /// The peer has disconnected, or is gone.
    pub(super) received: bool,
    /// Both.
    pub(super) complete: bool,
}

/// How long a peer may take to answer, and a client to use the connection that it is given; the kernel's connection
/// manager gives up after that time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(102);
/// How long after its end the numbers of a connection are not used again, on a device.
const TIME_WAIT: Duration = Duration::from_secs(2);

impl Id {
    /// As librdmacm does it, the program's queue pair is in error after this even when there is nothing
    /// to disconnect.
    pub(crate) fn disconnect(&self) -> Result<()> {
        self.made.touch();
        let qp = self.inner.lock().qp.clone();
        if let Some(qp) = qp {
            qp.stop();
        }
        let (connection, peer_was_first) = {
            let mut inner = self.inner.lock();
            match inner.phase {
                Phase::Accepted | Phase::Connected => {}
                Phase::Idle | Phase::Bound | Phase::AddrResolved | Phase::RouteResolved => {
                    return Err(libc::EINVAL);
                }
                // The connection manager has heard of it, and has no connection to end.
                _ => return Ok(()),
            }
            let peer_was_first = inner.end.received;
            if !inner.end.sent {
                inner.end.sent = true;
                if peer_was_first {
                    self.wait_out(&mut inner);
                } else {
                    self.expect_an_answer(&mut inner);
                }
            }
            (inner.connection.clone(), peer_was_first)
        };
        if let Some(connection) = connection {
            connection.disconnect(peer_was_first);
        }
        Ok(())
    }

    fn wait_out(&self, inner: &mut Inner) {
        inner.end.complete = true;
        self.start_timer(inner, TIME_WAIT, |id, inner| {
            id.post(inner, Kind::TimewaitExit, 0);
        });
    }

    fn expect_an_answer(&self, inner: &mut Inner) {
        self.start_timer(inner, ANSWER_TIMEOUT, |id, inner| id.answered(inner));
    }

    /// How long a client waits for an answer, and a server for a client that has one.
    pub(super) fn answer_timeout() -> Duration {
        instrument::cm_timeout().unwrap_or(ANSWER_TIMEOUT)
    }

    /// The peer has answered this side's disconnect, by whatever.
    pub(super) fn answered(&self, inner: &mut Inner) {
        if inner.end.sent && !inner.end.complete {
            self.post(inner, Kind::Disconnected, 0);
            self.wait_out(inner);
        }
    }

    fn ended_by_the_peer(&self, mut inner: MutexGuard<'_, Inner>) {
        if inner.phase == Phase::Over {
            // The program knows.
        } else if inner.phase == Phase::Accepted {
            // The client did not want it after all.
            inner.phase = Phase::Over;
            inner.unused = None;
            self.post_rejection(&inner, reason::CONSUMER, Vec::new());
        } else if inner.end.sent {
            self.answered(&mut inner);
        } else if !inner.end.received {
            inner.end.received = true;
            self.post(&inner, Kind::Disconnected, 0);
        }
    }

    /// The client has been accepted, and has to say in time that it uses the connection.
    pub(super) fn expect_use(&self, inner: &mut Inner) {
        self.start_timer(inner, Self::answer_timeout(), |id, inner| {
            if let Some(connection) = id.client_does_not_come(inner) {
                // A queue pair's lock is taken before that of its identifier.
                io::later(move || connection.abandon());
            }
        });
    }

    /// The connection that there will not be.
    fn client_does_not_come(&self, inner: &mut Inner) -> Option<Arc<Qp>> {
        if inner.phase != Phase::Accepted || inner.end.sent {
            return None;
        }
        inner.phase = Phase::Over;
        inner.unused = None;
        Self::stop_timer(inner);
        self.post(inner, Kind::Unreachable, -libc::ETIMEDOUT);
        inner.connection.take()
    }

    /// The program says that the client uses the connection.
    pub(crate) fn notified_of_use(&self) -> Result<()> {
        self.made.touch();
        let mut inner = self.inner.lock();
        let is_over = inner.end.sent || inner.end.received;
        match inner.phase {
            Phase::Accepted | Phase::Connected if is_over => Err(libc::EINVAL),
            Phase::Connected => Err(libc::EISCONN),
            Phase::Accepted if inner.notified => Err(libc::EISCONN),
            Phase::Accepted => {
                inner.notified = true;
                Self::stop_timer(&mut inner);
                self.post(&inner, Kind::Established, 0);
                Ok(())
            }
            _ => Err(libc::EINVAL),
        }
    }
}

impl ConnectionOwner for Id {
    fn peer_disconnected(&self) {
        self.ended_by_the_peer(self.inner.lock());
    }

    fn peer_answered_disconnect(&self) {
        self.answered(&mut self.inner.lock());
    }

    fn connection_lost(&self) {
        self.ended_by_the_peer(self.inner.lock());
    }

    fn client_uses_connection(&self) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Accepted {
            inner.phase = Phase::Connected;
            inner.unused = None;
            if !inner.end.sent {
                Self::stop_timer(&mut inner);
            }
            if !inner.notified {
                self.post(&inner, Kind::Established, 0);
            }
        }
    }

    fn host_vanished(&self) {
        self.client_does_not_come(&mut self.inner.lock());
    }

    fn take_planned(&self) -> Planned {
        std::mem::take(&mut self.inner.lock().planned)
    }

    fn ends_with_timewait_exit(&self) {
        self.ends_with(Kind::TimewaitExit);
    }

    fn ends_with_device_removal(&self) {
        self.ends_with(Kind::DeviceRemoval);
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
