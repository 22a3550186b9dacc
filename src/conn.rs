// SPDX-License-Identifier: BSD-3-Clause

//! Connections: their events, their queues and their end. The operations are in [`crate::ops`].

use std::ffi::{CStr, c_int};
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cq::Cq;
use crate::error::{Code, Error, Failure, Result};
use crate::flush::FlushMethod;
use crate::log::log;
use crate::peer_cfg::PeerCfg;
use crate::private_data::PrivateData;
use crate::queues::Queues;
use crate::report::Releases;
use crate::verbs::{self, CmEvent, CmId, CompChannel, ConnParam, EventChannel, EventKind, Qp};

// Field order is drop order.
/// A connection
pub struct Conn {
    flush: FlushMethod,
    queues: Queues,
    id: CmId,
    /// The completion channel that both queues use, if they share one.
    channel: Option<CompChannel>,
    events: EventChannel,
    private_data: PrivateData,
    direct_write_to_pmem: AtomicBool,
}

// The completion queues are handles of C too, so none of them may have the address of its connection: programs compare
// handles, in the data of an epoll event for example. The flush method comes first, for its alignment.
const _: () = assert!(offset_of!(Conn, queues) > 0);

/// The events of `enum rpma_conn_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum ConnEvent {
    Undefined = -1,
    Established = 0,
    Closed = 1,
    Lost = 2,
    Rejected = 3,
    Unreachable = 4,
}

impl ConnEvent {
    const ALL: [Self; 6] = [
        Self::Undefined,
        Self::Established,
        Self::Closed,
        Self::Lost,
        Self::Rejected,
        Self::Unreachable,
    ];

    fn from_kind(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::Established => Some(Self::Established),
            EventKind::ConnectError | EventKind::DeviceRemoval => Some(Self::Lost),
            EventKind::Disconnected | EventKind::TimewaitExit => Some(Self::Closed),
            EventKind::Rejected => Some(Self::Rejected),
            EventKind::Unreachable => Some(Self::Unreachable),
            EventKind::ConnectRequest | EventKind::Other => None,
        }
    }

    fn text(self) -> &'static CStr {
        match self {
            Self::Undefined => c"Undefined connection event",
            Self::Established => c"Connection established",
            Self::Closed => c"Connection closed",
            Self::Lost => c"Connection lost",
            Self::Rejected => c"Connection rejected",
            Self::Unreachable => c"Connection unreachable",
        }
    }
}

/// The text of `rpma_utils_conn_event_2str`, for any value that C may pass.
pub(crate) fn event_text(event: c_int) -> &'static CStr {
    ConnEvent::ALL
        .into_iter()
        .find(|known| *known as c_int == event)
        .map_or(c"Unsupported connection event", ConnEvent::text)
}

/// Gets the next event of a channel. If the descriptor is non-blocking and there is no event, the result is
/// `RPMA_E_NO_EVENT`, which is an expected outcome and not logged.
pub(crate) fn next_cm_event(events: &EventChannel) -> Result<CmEvent> {
    events.get_event().map_err(|failed| match failed.errno {
        libc::EAGAIN | libc::ENODATA => Error::silent(Code::NoEvent),
        _ => failed.into(),
    })
}

impl Conn {
    #[inline(always)]
    pub(crate) fn new(
        flush: FlushMethod,
        queues: Queues,
        id: CmId,
        channel: Option<CompChannel>,
        events: EventChannel,
        private_data: PrivateData,
    ) -> Self {
        Self {
            flush,
            queues,
            id,
            channel,
            events,
            private_data,
            direct_write_to_pmem: AtomicBool::new(false),
        }
    }

    /// Sends the request for the connection.
    pub(crate) fn connect(&self, param: ConnParam) -> Result<()> {
        Ok(self.id.connect(param)?)
    }

    pub(crate) fn event_fd(&self) -> c_int {
        self.events.fd()
    }

    pub(crate) fn next_event(&self) -> Result<ConnEvent> {
        const FUNCTION: &CStr = c"rpma_conn_next_event";
        let event = next_cm_event(&self.events)?;
        let (known, number) = (ConnEvent::from_kind(event.kind()), event.number());
        if known == Some(ConnEvent::Established) {
            self.private_data.set_if_empty(event.private_data())?;
        }
        event.acknowledge()?;
        match known {
            Some(event) => {
                log!(
                    Notice,
                    FUNCTION,
                    "{}",
                    event.text().to_str().unwrap_or_default()
                );
                Ok(event)
            }
            None => {
                log!(
                    Warning,
                    FUNCTION,
                    "unexpected CM event: {}",
                    verbs::event_name(number)
                );
                Err(Error::silent(Code::Unknown))
            }
        }
    }

    /// The file descriptor of the shared completion channel.
    pub(crate) fn compl_fd(&self) -> Result<c_int> {
        Ok(self.shared_channel()?.fd())
    }

    fn shared_channel(&self) -> Result<&CompChannel> {
        self.channel
            .as_ref()
            .ok_or_else(|| Error::new(Failure::NotSharedChannel))
    }

    /// Waits on the shared completion channel. Returns the queue of the event, and whether it is the receive
    /// CQ. The caller acknowledges the event with [`Cq::event_taken`].
    pub(crate) fn wait(&self) -> Result<(&Cq, bool)> {
        // After a signal, or with a non-blocking descriptor, there is no completion to report.
        let Ok(event) = self.shared_channel()?.get_event() else {
            return Err(Error::silent(Code::NoCompletion));
        };
        if event.is(self.cq().verbs_cq()) {
            return Ok((self.cq(), false));
        }
        match self.rcq() {
            Some(rcq) if event.is(rcq.verbs_cq()) => Ok((rcq, true)),
            _ => Err(Error::new(Failure::UnknownCq)),
        }
    }

    #[inline(always)]
    pub(crate) fn qp(&self) -> &Qp {
        &self.queues.qp
    }

    pub(crate) fn cq(&self) -> &Cq {
        &self.queues.cq
    }

    pub(crate) fn rcq(&self) -> Option<&Cq> {
        self.queues.rcq.as_ref()
    }

    #[inline(always)]
    pub(crate) fn flush_method(&self) -> &FlushMethod {
        &self.flush
    }

    pub(crate) fn private_data(&self) -> &[u8] {
        self.private_data.bytes()
    }

    pub(crate) fn apply_remote_peer_cfg(&self, cfg: &PeerCfg) {
        self.direct_write_to_pmem
            .store(cfg.direct_write_to_pmem(), Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn direct_write_to_pmem(&self) -> bool {
        self.direct_write_to_pmem.load(Ordering::Relaxed)
    }

    pub(crate) fn disconnect(&self) -> Result<()> {
        self.id.disconnect()?;
        log!(Notice, c"rpma_conn_disconnect", "disconnection requested");
        Ok(())
    }

    #[inline]
    pub(crate) fn delete(self: Box<Self>, releases: &mut Releases) {
        let conn = *self;
        conn.flush.delete(releases);
        let queues_are_gone = conn.queues.delete(releases);
        releases.add(conn.id.destroy());
        if let Some(channel) = conn.channel {
            releases.add_used(queues_are_gone, channel.destroy());
        }
        drop(conn.events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_text() {
        assert_eq!(event_text(-1), c"Undefined connection event");
        assert_eq!(event_text(0), c"Connection established");
        assert_eq!(event_text(4), c"Connection unreachable");
        for unknown in [c_int::MIN, -2, 5, c_int::MAX] {
            assert_eq!(event_text(unknown), c"Unsupported connection event");
        }
    }
}
