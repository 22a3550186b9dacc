// SPDX-License-Identifier: BSD-3-Clause

//! An address as librdmacm understands it, kept with the words it was given in, for the log.

use std::ffi::{CStr, c_int};
use std::fmt;
use std::panic::Location;

use crate::error::{Error, Result};
use crate::log::{self, Level, Message};
use crate::text::Text;
use crate::verbs::{AddrInfo, CmId, Side, VerbsError, os};

/// The address information of one end of a connection.
pub(crate) struct Info<'a> {
    found: AddrInfo,
    words: Words<'a>,
}

/// An address in the words of the caller, and the function that was called.
#[derive(Clone, Copy)]
struct Words<'a> {
    function: &'static CStr,
    addr: &'a CStr,
    service: Option<&'a CStr>,
}

impl<'a> Info<'a> {
    pub(crate) fn get(
        function: &'static CStr,
        addr: &'a CStr,
        service: Option<&'a CStr>,
        side: Side,
    ) -> Result<Self> {
        let words = Words {
            function,
            addr,
            service,
        };
        match AddrInfo::get(addr, service, side) {
            Ok(found) => Ok(Self { found, words }),
            Err(error) => Err(words.failed(error.failed, error.resolver, format_args!(""))),
        }
    }

    pub(crate) fn bind(&self, id: &CmId) -> Result<()> {
        id.bind(&self.found)
            .map_err(|failed| self.words.failed(failed, None, format_args!("")))
    }

    pub(crate) fn resolve_addr(&self, id: &CmId, timeout_ms: c_int) -> Result<()> {
        id.resolve_addr(&self.found, timeout_ms).map_err(|failed| {
            let more = format_args!(", timeout_ms={timeout_ms}");
            self.words.failed(failed, None, more)
        })
    }

    /// Logs what was done with the address.
    #[track_caller]
    pub(crate) fn notice(&self, done: &str) {
        let Words {
            function,
            addr,
            service,
        } = self.words;
        let mut message = Message::format(format_args!("{done} "));
        let mut port = Text::<64>::new();
        port.push(b":");
        port.push(service.unwrap_or_default().to_bytes());
        message.push_before(addr.to_bytes(), port.as_bytes().len() + 1);
        message.push(port.as_bytes());
        log::write_text(Level::Notice, Location::caller(), function, message);
    }
}

impl Words<'_> {
    /// Logs a failed call here: an [`Error`] is too small for the words. Those that are too long for a line
    /// are cut, so that it ends with why the call failed: `reason`, if it is not the errno.
    fn failed(
        self,
        failed: VerbsError,
        reason: Option<&CStr>,
        more_arguments: fmt::Arguments<'_>,
    ) -> Error {
        let mut why = Text::<384>::format(format_args!("{more_arguments}) failed"));
        if let Some(reason) = reason {
            why.push(b": ");
            why.push(reason.to_bytes());
        } else if failed.errno != 0 {
            why.push(b": ");
            why.push(os::error_text(failed.errno).as_bytes());
        }
        let mut end = Text::<512>::new();
        end.push(b", service=");
        let service = self.service.unwrap_or(c"(none)").to_bytes();
        end.push_before(service, why.as_bytes().len());
        end.push(why.as_bytes());

        let mut message = Message::format(format_args!("{}(addr=", failed.call));
        // The line still gets its newline.
        message.push_before(self.addr.to_bytes(), end.as_bytes().len() + 1);
        message.push(end.as_bytes());
        Error::from(failed).logged(self.function, message)
    }
}
