// SPDX-License-Identifier: BSD-3-Clause

//! Connection requests, incoming and outgoing: all of a connection but its events.

use std::ffi::CStr;

use crate::conn::Conn;
use crate::conn_cfg::Settings;
use crate::cq::Cq;
use crate::error::{Code, Error, OpResult, Releases, Result};
use crate::flush::Flush;
use crate::info::Info;
use crate::mr::MrLocal;
use crate::ops;
use crate::peer::Domain;
use crate::private_data::PrivateData;
use crate::verbs::{CmId, CompChannel, ConnParam, EventChannel, Qp, QpInit, Side};

/// A connection request, incoming or outgoing
pub struct ConnReq {
    queues: Queues,
    id: CmId,
    channel: Option<CompChannel>,
    side: Side,
    private_data: PrivateData,
    domain: Domain,
}

/// The queues of a connection, in the order in which they go.
pub(crate) struct Queues {
    pub(crate) qp: Qp,
    pub(crate) rcq: Option<Cq>,
    pub(crate) cq: Cq,
}

impl ConnReq {
    /// A request for a connection to a listening endpoint.
    pub(crate) fn outgoing(
        domain: Domain,
        addr: &CStr,
        port: &CStr,
        settings: Settings<'_>,
    ) -> Result<Self> {
        let timeout_ms = settings.timeout_ms;
        let info = Info::get(c"rpma_conn_req_new", addr, Some(port), Side::Active)?;
        let id = CmId::create(None)?;
        info.resolve_addr(&id, timeout_ms)?;
        id.resolve_route(timeout_ms)
            .map_err(|failed| Error::from(failed).with(format_args!("timeout_ms={timeout_ms}")))?;
        let request = Self::from_id(domain, id, Side::Active, settings, PrivateData::default())?;
        info.notice("requesting a connection to");
        Ok(request)
    }

    /// A request from an id: one that came in through an endpoint, or a resolved one.
    pub(crate) fn from_id(
        domain: Domain,
        id: CmId,
        side: Side,
        settings: Settings<'_>,
        private_data: PrivateData,
    ) -> Result<Self> {
        let srq_rcq = settings.srq.and_then(|srq| srq.rcq());
        if settings.shared_channel && srq_rcq.is_some() {
            return Err(Error::new(
                Code::Inval,
                format_args!("a shared completion channel excludes a shared RQ with its own RCQ"),
            ));
        }
        let Some(context) = id.context() else {
            return Err(Error::inval("the address belongs to no RDMA device"));
        };
        let channel = match settings.shared_channel {
            true => Some(context.create_comp_channel()?),
            false => None,
        };
        let cq = Cq::new(context, settings.cq_size, channel.as_ref())?;
        let rcq = match settings.rcq_size {
            1.. if srq_rcq.is_none() => {
                Some(Cq::new(context, settings.rcq_size, channel.as_ref())?)
            }
            _ => None,
        };
        let init = QpInit {
            pd: domain.pd,
            send_cq: cq.raw(),
            recv_cq: srq_rcq.or(rcq.as_ref()).unwrap_or(&cq).raw(),
            srq: settings.srq.map(|srq| srq.raw()),
            max_send_wr: settings.sq_size,
            max_recv_wr: settings.rq_size,
            native_atomic_write: domain.caps.native_atomic_write,
            native_flush: domain.caps.native_flush,
        };
        let qp = id.create_qp(&init).map_err(|failed| {
            Error::from(failed).with(format_args!(
                "max_send_wr={}, max_recv_wr={}",
                settings.sq_size, settings.rq_size
            ))
        })?;
        Ok(Self {
            queues: Queues { qp, rcq, cq },
            id,
            channel,
            side,
            private_data,
            domain,
        })
    }

    /// Turns the request into a connection, which is under way when this returns. The request is
    /// gone in any case: on failure it is dropped, queue pair first.
    pub(crate) fn connect(self, private_data: &[u8]) -> Result<Conn> {
        let param = ConnParam { private_data };
        match self.side {
            Side::Passive => {
                self.id.accept(&param)?;
                self.into_conn()
            }
            Side::Active => {
                let conn = self.into_conn()?;
                conn.connect(&param)?;
                Ok(conn)
            }
        }
    }

    /// Adds what a connection has and a request has not: events, and the means to flush.
    fn into_conn(self) -> Result<Conn> {
        let events = match EventChannel::create() {
            Ok(events) => events,
            Err(failed) => return Err(self.abandon(failed.into())),
        };
        match self.move_to(&events) {
            Ok(flush) => Ok(Conn::new(
                flush,
                self.queues,
                self.id,
                self.channel,
                events,
                self.private_data,
            )),
            // The id may be on the new channel by now: the request goes here, and so before it.
            Err(failed) => Err(self.abandon(failed)),
        }
    }

    fn move_to(&self, events: &EventChannel) -> Result<Flush> {
        self.id.migrate(Some(events))?;
        Flush::new(self.domain, &self.queues.qp)
    }

    /// Drops a request that could not become a connection. `failed` says why; nothing that goes
    /// wrong here adds to that.
    fn abandon(self, failed: Error) -> Error {
        if self.side == Side::Passive {
            // It was accepted: the peer takes it for established.
            let _ = self.id.disconnect();
        }
        failed
    }

    pub(crate) fn recv(
        &self,
        dst: &MrLocal,
        offset: usize,
        len: usize,
        wr_id: u64,
    ) -> OpResult<()> {
        ops::recv(&self.queues.qp, Some(dst), offset, len, wr_id)
    }

    pub(crate) fn private_data(&self) -> &[u8] {
        self.private_data.bytes()
    }

    pub(crate) fn delete(self, releases: &mut Releases) {
        let queues_are_gone = self.queues.delete(releases);
        if self.side == Side::Passive {
            releases.add(self.id.reject());
        }
        releases.add(self.id.destroy());
        if let Some(channel) = self.channel {
            releases.add_used(queues_are_gone, channel.destroy());
        }
    }
}

impl Queues {
    /// Whether they all are gone.
    pub(crate) fn delete(self, releases: &mut Releases) -> bool {
        drop(self.qp);
        let rcq_is_gone = self.rcq.is_none_or(|rcq| rcq.delete(releases));
        self.cq.delete(releases) && rcq_is_gone
    }
}
