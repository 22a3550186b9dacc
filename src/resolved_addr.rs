// SPDX-License-Identifier: BSD-3-Clause

//! The result of an address lookup by librdmacm, with the strings of the caller for the log.

use std::ffi::{CStr, c_int};
use std::panic::Location;

use crate::error::{Error, Result};
use crate::log::{self, Level};
use crate::report;
use crate::sys::{CallError, CallerStr, errno};
use crate::verbs::{AddrInfo, CmId, Side};

/// The address information of one side of a connection.
pub(crate) struct ResolvedAddr {
    found: AddrInfo,
    given: GivenAddr,
}

/// The address as the caller passed it, and the function that was called.
#[derive(Clone, Copy)]
struct GivenAddr {
    function: &'static CStr,
    addr: CallerStr,
    service: Option<CallerStr>,
}

impl ResolvedAddr {
    #[inline]
    pub(crate) fn look_up(
        function: &'static CStr,
        addr: CallerStr,
        service: Option<CallerStr>,
        side: Side,
    ) -> Result<Self> {
        let given = GivenAddr {
            function,
            addr,
            service,
        };
        match AddrInfo::get(addr, service, side) {
            Ok(found) => Ok(Self { found, given }),
            Err(error) => Err(given.log_failure(error.failed, error.resolver_code, None)),
        }
    }

    pub(crate) fn bind(&self, id: &CmId) -> Result<()> {
        id.bind(&self.found)
            .map_err(|failed| self.given.log_failure(failed, None, None))
    }

    #[inline]
    pub(crate) fn resolve(&self, id: &CmId, timeout_ms: c_int) -> Result<()> {
        id.resolve_addr(&self.found, timeout_ms)
            .map_err(|failed| self.given.log_failure(failed, None, Some(timeout_ms)))
    }

    /// Logs at level NOTICE what was done with the address.
    #[track_caller]
    #[inline]
    pub(crate) fn notice(&self, done: &str) {
        if log::passes(Level::Notice) {
            self.given.log_notice(done);
        }
    }
}

impl GivenAddr {
    #[cold]
    #[track_caller]
    fn log_notice(self, done: &str) {
        log::write(Level::Notice, Location::caller(), self.function, &|line| {
            line.format(format_args!("{done} "));
            let addr_at = line.len();
            line.push(b":");
            if let Some(service) = self.service {
                service.read(|service| {
                    line.push(service.get(..SERVICE_MAX).unwrap_or(service));
                });
            }
            self.addr.read(|addr| line.insert(addr_at, addr, 1));
        });
    }

    /// Logs a failed call here, because an [`Error`] does not hold strings. Long strings are truncated, so that
    /// there is room for the reason at the end of the line: the text of the resolver if the resolver failed,
    /// otherwise the text of the errno.
    #[cold]
    fn log_failure(
        self,
        failed: CallError,
        resolver_code: Option<c_int>,
        timeout_ms: Option<c_int>,
    ) -> Error {
        if log::passes(Level::Error) {
            log::write(Level::Error, failed.at, self.function, &|line| {
                line.format(format_args!("{}(addr=", failed.call));
                let addr_at = line.len();
                line.push(b", service=");
                let service_at = line.len();
                if let Some(timeout_ms) = timeout_ms {
                    line.format(format_args!(", timeout_ms={timeout_ms}"));
                }
                line.push(b") failed");
                if let Some(code) = resolver_code {
                    line.push(b": ");
                    line.push(errno::resolver_text(code).to_bytes());
                } else {
                    report::push_reason(failed.call, failed.errno, line);
                }
                // Leave room for an address of the usual length and for the newline.
                match self.service {
                    Some(service) => {
                        service.read(|service| line.insert(service_at, service, ADDR_MIN + 1));
                    }
                    None => line.insert(service_at, b"(none)", 1),
                }
                self.addr.read(|addr| line.insert(addr_at, addr, 1));
            });
        }
        Error::from(failed).logged()
    }
}

/// The maximum length of a service in a notice, so that the address before it has room.
const SERVICE_MAX: usize = 63;
/// The number of bytes of an address that are always logged.
const ADDR_MIN: usize = 256;
