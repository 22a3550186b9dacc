// SPDX-License-Identifier: BSD-3-Clause

//! What can go wrong, and what a C caller is told of it: a code, `errno`, and a line in the log.

use std::ffi::c_int;
use std::fmt;
use std::panic::Location;

use crate::log::{self, Level, Message};
use crate::text::Text;
use crate::verbs::{self, VerbsError};

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// The codes of `<librpma.h>`; [`Code::value`] gives the negative number that C sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Code {
    Unknown = -100_000,
    NoSupp = -100_001,
    Provider = -100_002,
    NoMem = -100_003,
    Inval = -100_004,
    NoCompletion = -100_005,
    NoEvent = -100_006,
    SharedChannel = -100_008,
    NotSharedChannel = -100_009,
}

/// `RPMA_E_AGAIN`, which has a text and is returned by no function.
pub(crate) const AGAIN: c_int = -100_007;

impl Code {
    pub(crate) const fn value(self) -> c_int {
        self as c_int
    }
}

/// A failed call: the code for the caller, and for the log what failed and where.
#[derive(Debug)]
pub(crate) struct Error {
    code: Code,
    /// `errno` of the verbs or CM call that failed; 0 when `errno` is to be left alone.
    errno: c_int,
    /// The verbs or CM call that failed; empty when `text` says it all.
    call: &'static str,
    text: Text<96>,
    /// Nothing to log: an ordinary outcome, like an empty queue, or logged already.
    quiet: bool,
    at: &'static Location<'static>,
}

impl Error {
    /// An error that the log explains with `text`.
    #[cold]
    #[track_caller]
    pub(crate) fn new(code: Code, text: fmt::Arguments<'_>) -> Self {
        Self {
            code,
            errno: 0,
            call: "",
            text: Text::format(text),
            quiet: false,
            at: Location::caller(),
        }
    }

    /// An argument that the function does not take.
    #[cold]
    #[track_caller]
    pub(crate) fn inval(what: &'static str) -> Self {
        OpError::new(What::Invalid(what)).into()
    }

    /// Memory that could not be had.
    #[cold]
    #[track_caller]
    pub(crate) fn nomem() -> Self {
        Self::new(Code::NoMem, format_args!("out of memory"))
    }

    /// An outcome that is nobody's fault and is not logged.
    #[track_caller]
    pub(crate) fn quiet(code: Code) -> Self {
        Self {
            code,
            errno: 0,
            call: "",
            text: Text::new(),
            quiet: true,
            at: Location::caller(),
        }
    }

    /// A failed verbs or CM call that means something other than [`Code::Provider`].
    #[cold]
    pub(crate) fn from_call(code: Code, failed: VerbsError) -> Self {
        Self {
            code,
            errno: failed.errno,
            call: failed.call,
            text: Text::new(),
            quiet: false,
            at: failed.at,
        }
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Adds what the failed call was asked for, as the log shows it between the parentheses.
    pub(crate) fn with(mut self, arguments: fmt::Arguments<'_>) -> Self {
        self.text = Text::format(arguments);
        self
    }

    /// Logs the failure now, in other words than it can keep. What is left to report is the code and
    /// `errno`.
    pub(crate) fn logged(mut self, function: &'static std::ffi::CStr, message: Message) -> Self {
        log::write_text(Level::Error, self.at, function, message);
        self.quiet = true;
        self
    }

    /// Reports the failure in the name of the public function: one line in the log, then `errno`
    /// (after the log, which may itself change it). Returns the code.
    #[cold]
    pub(crate) fn report(&self, function: &'static std::ffi::CStr) -> c_int {
        if !self.quiet {
            log::write_text(Level::Error, self.at, function, self.message());
        }
        if self.errno != 0 {
            verbs::os::set_errno(self.errno);
        }
        self.code.value()
    }

    fn message(&self) -> Message {
        let mut message = Message::new();
        if self.call.is_empty() {
            message.push(self.text.as_bytes());
            return message;
        }
        message.push(self.call.as_bytes());
        message.push(b"(");
        message.push(self.text.as_bytes());
        message.push(b") failed");
        if self.errno != 0 {
            message.push(b": ");
            message.push(verbs::os::error_text(self.errno).as_bytes());
        }
        message
    }
}

impl From<VerbsError> for Error {
    #[cold]
    fn from(failed: VerbsError) -> Self {
        Self::from_call(Code::Provider, failed)
    }
}

/// What can go wrong with an operation, and with the arguments of any function. It is small, and so
/// stays in registers: an operation that succeeds pays nothing for it. An [`Error`] is made of it when
/// it is reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpError {
    what: What,
    at: &'static Location<'static>,
}

pub(crate) type OpResult<T> = std::result::Result<T, OpError>;

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// A required pointer, by its name, is NULL.
    Null(&'static str),
    Invalid(&'static str),
    /// The length of an operation, which is above what a work request can say.
    TooLong(usize),
    /// A flush that the connection or the region cannot do, and why.
    NoFlush(&'static str),
    /// A verbs call, by its name, and its errno.
    Call(&'static str, c_int),
    /// `ibv_poll_cq` failed; it never says why.
    Poll,
    /// `ibv_poll_cq` gave so many completions, where so many were asked for.
    PolledTooMany(c_int, c_int),
}

impl OpError {
    #[cold]
    #[track_caller]
    pub(crate) fn new(what: What) -> Self {
        Self {
            what,
            at: Location::caller(),
        }
    }

    /// An argument that the operation does not take.
    #[cold]
    #[track_caller]
    pub(crate) fn invalid(what: &'static str) -> Self {
        Self::new(What::Invalid(what))
    }

    /// As [`Error::report`].
    #[cold]
    #[inline(never)]
    pub(crate) fn report(self, function: &'static std::ffi::CStr) -> c_int {
        Error::from(self).report(function)
    }
}

impl From<VerbsError> for OpError {
    #[inline(always)]
    fn from(failed: VerbsError) -> Self {
        Self {
            what: What::Call(failed.call, failed.errno),
            at: failed.at,
        }
    }
}

impl From<OpError> for Error {
    #[cold]
    fn from(failed: OpError) -> Self {
        let at = failed.at;
        let error = match failed.what {
            What::Null(name) => Self::new(
                Code::Inval,
                format_args!("invalid argument: {name} is NULL"),
            ),
            What::Invalid(what) => Self::new(Code::Inval, format_args!("invalid argument: {what}")),
            What::TooLong(len) => Self::new(
                Code::Inval,
                format_args!(
                    "length {len} is above what one operation can move ({} bytes)",
                    u32::MAX
                ),
            ),
            What::NoFlush(why) => {
                Self::new(Code::NoSupp, format_args!("flush is not possible: {why}"))
            }
            What::Call(call, errno) => VerbsError { call, errno, at }.into(),
            What::Poll => Self::new(
                Code::Provider,
                format_args!("ibv_poll_cq() failed (no details available)"),
            ),
            What::PolledTooMany(got, wanted) => Self::new(
                Code::Unknown,
                format_args!("ibv_poll_cq() returned {got} where at most {wanted} was asked for"),
            ),
        };
        Self { at, ..error }
    }
}

/// The releases that make up the deletion of an object: each is tried even when one before it
/// failed, every failure is logged, and the first one is what the caller is told.
pub(crate) struct Releases {
    function: &'static std::ffi::CStr,
    first: Option<Error>,
}

impl Releases {
    pub(crate) fn new(function: &'static std::ffi::CStr) -> Self {
        Self {
            function,
            first: None,
        }
    }

    /// Whether it was released.
    pub(crate) fn add<E: Into<Error>>(&mut self, released: std::result::Result<(), E>) -> bool {
        match released {
            Ok(()) => true,
            Err(failed) => {
                let mut failed: Error = failed.into();
                failed.report(self.function);
                failed.quiet = true;
                self.first.get_or_insert(failed);
                false
            }
        }
    }

    /// The release of something that others used. As long as one of them is there it cannot go: that
    /// follows from a failure which is in the log already, and says nothing new.
    pub(crate) fn add_used<E: Into<Error>>(
        &mut self,
        users_are_gone: bool,
        released: std::result::Result<(), E>,
    ) {
        if users_are_gone {
            self.add(released);
        }
    }

    pub(crate) fn result(self) -> Result<()> {
        match self.first {
            Some(failed) => Err(failed),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed_call(errno: c_int) -> VerbsError {
        VerbsError {
            call: "ibv_reg_mr",
            errno,
            at: Location::caller(),
        }
    }

    #[test]
    fn a_failed_call_is_told_with_its_arguments_and_errno_text() {
        let error = Error::from(failed_call(libc::ENOMEM)).with(format_args!("length={}", 8));
        assert_eq!(
            error.message().as_c_str(),
            c"ibv_reg_mr(length=8) failed: Cannot allocate memory"
        );
        assert_eq!(error.code, Code::Provider);
    }

    #[test]
    fn a_failed_call_without_errno_names_the_call_only() {
        let error = Error::from(failed_call(0));
        assert_eq!(error.message().as_c_str(), c"ibv_reg_mr() failed");
    }

    #[test]
    fn releases_keep_the_first_failure() {
        let mut releases = Releases::new(c"rpma_conn_delete");
        releases.add::<VerbsError>(Ok(()));
        releases.add(Err(failed_call(libc::EBUSY)));
        releases.add(Err(failed_call(libc::EIO)));
        let first = releases.result().err().map(|error| error.errno);
        assert_eq!(first, Some(libc::EBUSY));
    }

    #[test]
    fn errors_stay_small() {
        assert!(size_of::<Error>() <= 160, "{}", size_of::<Error>());
        assert!(size_of::<OpError>() <= 32, "{}", size_of::<OpError>());
    }
}
