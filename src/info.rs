// SPDX-License-Identifier: BSD-3-Clause

//! An address as librdmacm understands it, kept with the words it was given in, for the log.

use std::ffi::{CStr, c_int};

use crate::error::{Error, Result};
use crate::text::c_str_text;
use crate::verbs::{AddrInfo, CmId, Side};

/// The address information of one end of a connection.
pub(crate) struct Info<'a> {
    found: AddrInfo,
    addr: &'a str,
    service: &'a str,
}

impl<'a> Info<'a> {
    pub(crate) fn get(addr: &'a CStr, service: Option<&'a CStr>, side: Side) -> Result<Self> {
        let (node, port) = (c_str_text(addr), service.map_or("(none)", c_str_text));
        match AddrInfo::get(addr, service, side) {
            Ok(found) => Ok(Self {
                found,
                addr: node,
                service: port,
            }),
            Err(error) => {
                let asked = Error::from(error.failed);
                Err(match error.resolver {
                    Some(why) => asked.with(format_args!("node={node}, service={port}: {why}")),
                    None => asked.with(format_args!("node={node}, service={port}")),
                })
            }
        }
    }

    pub(crate) fn bind(&self, id: &CmId) -> Result<()> {
        id.bind(&self.found).map_err(|failed| {
            let (addr, service) = (self.addr, self.service);
            Error::from(failed).with(format_args!("addr={addr}, service={service}"))
        })
    }

    pub(crate) fn resolve_addr(&self, id: &CmId, timeout_ms: c_int) -> Result<()> {
        id.resolve_addr(&self.found, timeout_ms).map_err(|failed| {
            let (addr, service) = (self.addr, self.service);
            Error::from(failed).with(format_args!(
                "addr={addr}, service={service}, timeout_ms={timeout_ms}"
            ))
        })
    }
}
