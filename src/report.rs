// SPDX-License-Identifier: BSD-3-Clause

//! Reports a failure to the C caller: a code, `errno`, and a line of the log, which is formatted only if it passes
//! the threshold.

use std::ffi::{CStr, c_int};

use crate::error::{Arguments, Error, Failure, Paging, Result};
use crate::log::{self, Level, Line};
use crate::sys::errno;
use crate::verbs;

/// Reports a failure in the name of the public function: one line in the log, then `errno` (after the log,
/// which may itself change it). Returns the code.
#[cold]
#[inline(never)]
pub(crate) fn report(error: &Error, function: &'static CStr) -> c_int {
    if log::passes(Level::Error) && !matches!(error.failure, Failure::Silent { .. }) {
        log::write(Level::Error, error.at, function, &|line| {
            describe(error, line);
        });
    }
    let errno = error.errno();
    if errno != 0 {
        errno::set(errno);
    }
    error.code().value()
}

fn describe(error: &Error, line: &mut Line) {
    match error.failure {
        Failure::Null(name) => line.format(format_args!("invalid argument: {name} is NULL")),
        Failure::Invalid(why) => line.format(format_args!("invalid argument: {why}")),
        Failure::TooLong(length) => line.format(format_args!(
            "length {length} exceeds the maximum of one operation ({} bytes)",
            u32::MAX
        )),
        Failure::ShortDescriptor { size, smallest } => line.format(format_args!(
            "incorrect size of the descriptor: {size} bytes (at least {smallest} expected)"
        )),
        Failure::OutOfMemory => line.push(b"out of memory"),
        Failure::NoFlush(why) => line.format(format_args!("flush is not possible: {why}")),
        Failure::SharedChannel => {
            line.push(b"the completion channel is shared: wait on the connection");
        }
        Failure::NotSharedChannel => {
            line.push(b"the completion channel is not shared: wait on the CQ");
        }
        Failure::UnexpectedEvent(event) => line.format(format_args!(
            "unexpected event: {}",
            verbs::event_name(event)
        )),
        Failure::UnknownCq => line.push(b"ibv_get_cq_event() returned an unknown CQ"),
        Failure::UnknownOpcode(opcode) => {
            line.format(format_args!("unsupported opcode of a completion: {opcode}"))
        }
        Failure::Poll => line.push(b"ibv_poll_cq() failed (no details available)"),
        Failure::PolledTooMany { got, wanted } => line.format(format_args!(
            "ibv_poll_cq() returned {got} where at most {wanted} was asked for"
        )),
        Failure::Call {
            call,
            errno,
            arguments,
            ..
        } => {
            line.push(call.as_bytes());
            line.push(b"(");
            describe_arguments(arguments, line);
            line.push(b") failed");
            push_reason(call, errno, line);
        }
        // Never logged.
        Failure::Silent { .. } => {}
    }
}

/// Adds why a call failed. The calls of librdmacm fail with `ENODEV` on a machine without an RDMA device: the
/// line then says what takes the place of one.
#[inline(always)] // a frame of its own takes stack
pub(crate) fn push_reason(call: &str, errno: c_int, line: &mut Line) {
    if errno == 0 {
        return;
    }
    line.push(b": ");
    errno::push_text(errno, line);
    if errno == libc::ENODEV && call.starts_with("rdma_") {
        line.push(NO_DEVICE);
    }
}

const NO_DEVICE: &[u8] = b" (use softrdma, rxe or siw: see librpma(7))";

fn describe_arguments(arguments: Arguments, line: &mut Line) {
    match arguments {
        Arguments::None => {}
        Arguments::Timeout(timeout_ms) => line.format(format_args!("timeout_ms={timeout_ms}")),
        Arguments::Cqe(cqe) => line.format(format_args!("cqe={cqe}")),
        Arguments::QueueSizes {
            max_send_wr,
            max_recv_wr,
        } => line.format(format_args!(
            "max_send_wr={max_send_wr}, max_recv_wr={max_recv_wr}"
        )),
        Arguments::MaxWr(max_wr) => line.format(format_args!("max_wr={max_wr}")),
        Arguments::Region {
            addr,
            length,
            access,
            paging,
        } => {
            line.format(format_args!(
                "addr={addr:#x}, length={length}, access={access:#x}"
            ));
            line.push(match paging {
                Paging::Pinned => b"",
                Paging::OnDemand => b"|IBV_ACCESS_ON_DEMAND",
                Paging::Unsupported => b", the peer has no on-demand paging",
            });
        }
    }
}

/// The steps of deleting an object. Each step is tried even if an earlier one failed, every failure is logged,
/// and the first one is returned to the caller.
pub(crate) struct Releases {
    function: &'static CStr,
    first: Option<Error>,
}

impl Releases {
    pub(crate) fn new(function: &'static CStr) -> Self {
        Self {
            function,
            first: None,
        }
    }

    /// Adds the result of a step. Returns whether it succeeded.
    #[inline]
    pub(crate) fn add<E: Into<Error>>(&mut self, released: std::result::Result<(), E>) -> bool {
        match released {
            Ok(()) => true,
            Err(failed) => {
                self.failed(failed.into());
                false
            }
        }
    }

    #[cold]
    fn failed(&mut self, failed: Error) {
        report(&failed, self.function);
        self.first.get_or_insert(failed.logged());
    }

    /// Adds the result of releasing something that other objects used. If one of these could not be destroyed,
    /// this release fails, too; that is a consequence of a failure that is logged already, and is not logged.
    #[inline]
    pub(crate) fn add_used<E: Into<Error>>(
        &mut self,
        users_are_gone: bool,
        released: std::result::Result<(), E>,
    ) {
        if users_are_gone {
            self.add(released);
        }
    }

    #[inline]
    pub(crate) fn result(self) -> Result<()> {
        match self.first {
            Some(failed) => Err(failed),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::error::Code;
    use crate::sys::CallError;

    fn failed_call(errno: c_int) -> CallError {
        CallError {
            call: "ibv_reg_mr",
            errno,
            at: Location::caller(),
        }
    }

    fn text(error: &Error) -> Line {
        let mut line = Line::new();
        describe(error, &mut line);
        line
    }

    #[test]
    fn a_failed_call_is_described_with_its_arguments_and_errno_text() {
        let error = Error::with(failed_call(libc::ENOMEM), Arguments::MaxWr(8));
        assert_eq!(
            text(&error).c_str_at(0),
            c"ibv_reg_mr(max_wr=8) failed: Cannot allocate memory"
        );
        assert_eq!(error.code(), Code::Provider);
    }

    #[test]
    fn a_failed_call_without_errno_names_the_call_only() {
        let error = Error::from(failed_call(0));
        assert_eq!(text(&error).c_str_at(0), c"ibv_reg_mr() failed");
    }

    #[test]
    fn librdmacm_without_a_device_leads_to_softrdma() {
        let text = |call, errno| {
            let mut line = Line::new();
            push_reason(call, errno, &mut line);
            line.c_str_at(0).to_string_lossy().into_owned()
        };
        let lost = text("rdma_create_event_channel", libc::ENODEV);
        assert!(
            lost.starts_with(": No such device (") && lost.contains("softrdma"),
            "{lost}"
        );
        // A device that is gone is another matter, and so is another failure.
        assert_eq!(text("ibv_alloc_pd", libc::ENODEV), ": No such device");
        assert_eq!(
            text("rdma_create_id", libc::EMFILE),
            ": Too many open files"
        );
    }

    #[test]
    fn releases_keep_the_first_failure() {
        let mut releases = Releases::new(c"rpma_conn_delete");
        releases.add::<CallError>(Ok(()));
        releases.add(Err(failed_call(libc::EBUSY)));
        releases.add(Err(failed_call(libc::EIO)));
        let first = releases.result().err().map(|error| error.errno());
        assert_eq!(first, Some(libc::EBUSY));
    }
}
