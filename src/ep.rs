// SPDX-License-Identifier: BSD-3-Clause

//! Listening endpoints.

use std::ffi::c_int;

use crate::conn::next_cm_event;
use crate::conn_cfg::Settings;
use crate::conn_req::ConnReq;
use crate::error::{Error, Failure, Result};
use crate::peer::PeerDevice;
use crate::private_data::PrivateData;
use crate::report::Releases;
use crate::resolved_addr::ResolvedAddr;
use crate::sys::CallerStr;
use crate::verbs::{CmId, EventChannel, Side};

// Field order is drop order.
/// An endpoint that listens for connection requests
pub struct Ep {
    id: CmId,
    events: EventChannel,
    device: PeerDevice,
}

/// For librdmacm, 0 means as many waiting requests as the system allows.
const BACKLOG: c_int = 0;

impl Ep {
    pub(crate) fn listen(device: PeerDevice, addr: CallerStr, port: CallerStr) -> Result<Self> {
        let events = EventChannel::create()?;
        let id = CmId::create(Some(&events))?;
        let address = ResolvedAddr::look_up(c"rpma_ep_listen", addr, Some(port), Side::Passive)?;
        address.bind(&id)?;
        id.listen(BACKLOG)?;
        address.notice("waiting for incoming connections on");
        Ok(Self { id, events, device })
    }

    pub(crate) fn fd(&self) -> c_int {
        self.events.fd()
    }

    /// Gets the next request, which `place` puts at its final address. The settings are read after it has
    /// arrived, because the wait has no limit and the program may change them meanwhile.
    pub(crate) fn next_conn_req<'a, T>(
        &self,
        settings: impl FnOnce() -> Settings<'a>,
        place: impl FnOnce(ConnReq) -> T,
    ) -> Result<T> {
        let mut event = next_cm_event(&self.events)?;
        let Some(id) = event.take_id() else {
            return Err(Error::new(Failure::UnexpectedEvent(event.number())));
        };
        // On a later failure, the id is destroyed together with what was made from it, and dropping the event
        // acknowledges it.
        let private_data = PrivateData::copy_of(event.private_data())?;
        let request = ConnReq::from_id(
            self.device,
            id,
            Side::Passive,
            &settings(),
            private_data,
            place,
        )?;
        event.acknowledge()?;
        Ok(request)
    }

    pub(crate) fn shutdown(self: Box<Self>, releases: &mut Releases) {
        let ep = *self;
        releases.add(ep.id.destroy());
        drop(ep.events);
    }
}
