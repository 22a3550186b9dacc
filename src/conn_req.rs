// SPDX-License-Identifier: BSD-3-Clause

//! Connection requests, incoming and outgoing. A request has all parts of a connection except its events.

use crate::conn::Conn;
use crate::conn_cfg::Settings;
use crate::error::{Arguments, Error, Result};
use crate::flush::FlushMethod;
use crate::mr::MrLocal;
use crate::peer::PeerDevice;
use crate::private_data::PrivateData;
use crate::queues::Queues;
use crate::report::Releases;
use crate::resolved_addr::ResolvedAddr;
use crate::sys::CallerStr;
use crate::verbs::{CmId, CompChannel, ConnParam, EventChannel, Posted, Side};

/// A connection request, incoming or outgoing
pub struct ConnReq {
    queues: Queues,
    id: CmId,
    channel: Option<CompChannel>,
    side: Side,
    private_data: PrivateData,
    device: PeerDevice,
}

impl ConnReq {
    /// Creates a request for a connection to a listening endpoint. `place` puts it at its final address, so that
    /// it is built there and not moved. The settings are read after the route is resolved, because that can take
    /// long and the program may change them meanwhile.
    #[inline]
    pub(crate) fn outgoing<'a, T>(
        device: PeerDevice,
        addr: CallerStr,
        port: CallerStr,
        timeout_ms: i32,
        settings: impl FnOnce() -> Settings<'a>,
        place: impl FnOnce(Self) -> T,
    ) -> Result<T> {
        let address = ResolvedAddr::look_up(c"rpma_conn_req_new", addr, Some(port), Side::Active)?;
        let id = CmId::create(None)?;
        address.resolve(&id, timeout_ms)?;
        id.resolve_route(timeout_ms)
            .map_err(|failed| Error::with(failed, Arguments::Timeout(timeout_ms)))?;
        let request = Self::from_id(
            device,
            id,
            Side::Active,
            &settings(),
            PrivateData::default(),
            place,
        )?;
        address.notice("requesting a connection to");
        Ok(request)
    }

    /// Creates a request from an id, either of an incoming request or with a resolved route.
    #[inline(always)]
    pub(crate) fn from_id<T>(
        device: PeerDevice,
        id: CmId,
        side: Side,
        settings: &Settings<'_>,
        private_data: PrivateData,
        place: impl FnOnce(Self) -> T,
    ) -> Result<T> {
        if settings.shared_channel && settings.srq.is_some_and(|srq| srq.rcq().is_some()) {
            return Err(Error::invalid(
                "a shared completion channel cannot be combined with an SRQ that has its own receive CQ",
            ));
        }
        let Some(context) = id.context() else {
            return Err(Error::invalid("the address belongs to no RDMA device"));
        };
        let channel = match settings.shared_channel {
            true => Some(context.create_comp_channel()?),
            false => None,
        };
        let queues = Queues::create(device, context, &id, settings, channel.as_ref())?;
        Ok(place(Self {
            queues,
            id,
            channel,
            side,
            private_data,
            device,
        }))
    }

    /// Makes a connection from the request and starts to establish it; `place` puts the connection at its final
    /// address. The request is used up: on failure it is dropped, queue pair first.
    #[inline(always)]
    pub(crate) fn connect(
        self,
        param: ConnParam,
        place: impl FnOnce(Conn) -> Box<Conn>,
    ) -> Result<Box<Conn>> {
        match self.side {
            Side::Passive => {
                self.id.accept(param)?;
                self.into_conn(place)
            }
            Side::Active => {
                let conn = self.into_conn(place)?;
                conn.connect(param)?;
                Ok(conn)
            }
        }
    }

    /// Adds the parts that only a connection has: its event channel and its flush method.
    #[inline(always)]
    fn into_conn(self, place: impl FnOnce(Conn) -> Box<Conn>) -> Result<Box<Conn>> {
        let events = match EventChannel::create() {
            Ok(events) => events,
            Err(failed) => return Err(self.abandon(failed.into())),
        };
        match self.move_to(&events) {
            Ok(flush) => Ok(place(Conn::new(
                flush,
                self.queues,
                self.id,
                self.channel,
                events,
                self.private_data,
            ))),
            // The id may already use the new channel, so the request is dropped here, before the channel.
            Err(failed) => Err(self.abandon(failed)),
        }
    }

    #[inline(always)]
    fn move_to(&self, events: &EventChannel) -> Result<FlushMethod> {
        self.id.migrate(Some(events))?;
        FlushMethod::choose(self.device, &self.queues.qp)
    }

    /// Drops a request that could not become a connection because of `failed`. Further failures are not
    /// reported.
    #[cold]
    fn abandon(self, failed: Error) -> Error {
        if self.side == Side::Passive {
            // It was accepted, so the connection is established for the remote side.
            let _ = self.id.disconnect();
        }
        failed
    }

    #[inline(always)]
    pub(crate) fn post_recv(
        &self,
        dst: &MrLocal,
        offset: usize,
        length: u32,
        wr_id: u64,
    ) -> Posted {
        self.queues
            .qp
            .post_recv(Some(&dst.sge(offset, length)), wr_id)
    }

    pub(crate) fn private_data(&self) -> &[u8] {
        self.private_data.bytes()
    }

    #[inline]
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
