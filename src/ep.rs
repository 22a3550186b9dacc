// SPDX-License-Identifier: BSD-3-Clause

//! Listening endpoints.

use std::ffi::{CStr, c_int};

use crate::conn::next_cm_event;
use crate::conn_cfg::Settings;
use crate::conn_req::ConnReq;
use crate::error::{Error, Releases, Result};
use crate::info::Info;
use crate::peer::Domain;
use crate::private_data::PrivateData;
use crate::verbs::{self, CmId, EventChannel, Side};

// The fields stand in the order in which they go.
/// An endpoint that listens for connection requests
pub struct Ep {
    id: CmId,
    events: EventChannel,
    domain: Domain,
}

/// librdmacm takes 0 for as many waiting requests as the system allows.
const BACKLOG: c_int = 0;

impl Ep {
    pub(crate) fn listen(domain: Domain, addr: &CStr, port: &CStr) -> Result<Self> {
        let events = EventChannel::create()?;
        let id = CmId::create(Some(&events))?;
        let info = Info::get(c"rpma_ep_listen", addr, Some(port), Side::Passive)?;
        info.bind(&id)?;
        id.listen(BACKLOG)?;
        info.notice("waiting for incoming connections on");
        Ok(Self { id, events, domain })
    }

    pub(crate) fn fd(&self) -> c_int {
        self.events.fd()
    }

    pub(crate) fn next_conn_req(&self, settings: Settings<'_>) -> Result<ConnReq> {
        let mut event = next_cm_event(&self.events)?;
        let Some(id) = event.take_id() else {
            let name = verbs::event_name(event.number());
            let unexpected = format_args!("unexpected event: {name}");
            return Err(Error::new(crate::error::Code::Inval, unexpected));
        };
        // Whatever fails from here on, the id goes with what was made of it, and the event is
        // acknowledged when it is dropped.
        let private_data = PrivateData::copy_of(event.private_data())?;
        let request = ConnReq::from_id(self.domain, id, Side::Passive, settings, private_data)?;
        event.acknowledge()?;
        Ok(request)
    }

    pub(crate) fn shutdown(self, releases: &mut Releases) {
        releases.add(self.id.destroy());
        drop(self.events);
    }
}
