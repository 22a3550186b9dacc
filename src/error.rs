// SPDX-License-Identifier: BSD-3-Clause

//! Errors as plain data. [`crate::report`] turns them into a code, `errno` and a line of the log.

use std::ffi::{CStr, c_int};
use std::panic::Location;

use crate::sys::CallError;

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

/// The text of `rpma_err_2str` for any value that C may pass.
pub(crate) fn code_text(code: c_int) -> &'static CStr {
    match code {
        0 => c"Success",
        _ if code == Code::NoSupp.value() => c"Not supported",
        _ if code == Code::Provider.value() => c"Provider error occurred",
        _ if code == Code::NoMem.value() => c"Out of memory",
        _ if code == Code::Inval.value() => c"Invalid argument",
        _ if code == Code::NoCompletion.value() => c"No next completion available",
        _ if code == Code::NoEvent.value() => c"No next event available",
        AGAIN => c"Temporary error, try again",
        _ if code == Code::SharedChannel.value() => c"Completion channel is shared",
        _ if code == Code::NotSharedChannel.value() => c"Completion channel is not shared",
        _ => c"Unknown error",
    }
}

/// A failed call: what failed, and where in this library.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Error {
    pub(crate) failure: Failure,
    pub(crate) at: &'static Location<'static>,
}

/// What failed, with the details for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// A required pointer, by its name, is NULL.
    Null(&'static str),
    /// An argument that the function does not take, and why.
    Invalid(&'static str),
    /// The length of an operation exceeds the 32 bits of a work request.
    TooLong(usize),
    /// A descriptor that is shorter than the smallest one.
    ShortDescriptor {
        size: usize,
        smallest: usize,
    },
    OutOfMemory,
    /// A flush that the connection or the region does not support, and why.
    NoFlush(&'static str),
    /// A wait on the wrong object: the completion channel is shared, or is not.
    SharedChannel,
    NotSharedChannel,
    /// A CM event, by its number, where only a connection request is expected.
    UnexpectedEvent(u32),
    /// An event of a CQ that does not belong to the connection.
    UnknownCq,
    /// A completion with an opcode that the older interface has no operation for.
    UnknownOpcode(u32),
    /// `ibv_poll_cq` failed; it gives no reason.
    Poll,
    /// `ibv_poll_cq` returned more completions than asked for: both numbers.
    PolledTooMany {
        got: c_int,
        wanted: c_int,
    },
    /// A verbs, CM or system call failed. If `errno` is 0, the C variable is not set.
    Call {
        code: Code,
        call: &'static str,
        errno: c_int,
        arguments: Arguments,
    },
    /// An expected outcome, which is not logged, or a failure that is logged already. If `errno` is 0, the C
    /// variable is not set.
    Silent {
        code: Code,
        errno: c_int,
    },
}

/// The arguments of a failed call that help to find the cause.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Arguments {
    #[default]
    None,
    Timeout(c_int),
    Cqe(c_int),
    QueueSizes {
        max_send_wr: u32,
        max_recv_wr: u32,
    },
    MaxWr(u32),
    Region {
        addr: usize,
        length: usize,
        access: c_int,
        paging: Paging,
    },
}

/// How a region was registered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paging {
    Pinned,
    OnDemand,
    /// The memory cannot be pinned, and the device has no on-demand paging.
    Unsupported,
}

impl Error {
    #[cold]
    #[track_caller]
    pub(crate) fn new(failure: Failure) -> Self {
        Self {
            failure,
            at: Location::caller(),
        }
    }

    /// An argument that the function does not take.
    #[cold]
    #[track_caller]
    pub(crate) fn invalid(why: &'static str) -> Self {
        Self::new(Failure::Invalid(why))
    }

    /// An expected outcome; not logged.
    #[cold]
    #[track_caller]
    pub(crate) fn silent(code: Code) -> Self {
        Self::new(Failure::Silent { code, errno: 0 })
    }

    /// A failed call that means something other than [`Code::Provider`].
    #[cold]
    pub(crate) fn from_call(code: Code, failed: CallError) -> Self {
        let CallError { call, errno, at } = failed;
        Self {
            failure: Failure::Call {
                code,
                call,
                errno,
                arguments: Arguments::None,
            },
            at,
        }
    }

    /// A failed call, with its arguments for the log.
    #[cold]
    pub(crate) fn with(failed: CallError, arguments: Arguments) -> Self {
        let CallError { call, errno, at } = failed;
        Self {
            failure: Failure::Call {
                code: Code::Provider,
                call,
                errno,
                arguments,
            },
            at,
        }
    }

    /// The error without what the log needs, once it is logged.
    pub(crate) fn logged(self) -> Self {
        let (code, errno) = (self.code(), self.errno());
        Self {
            failure: Failure::Silent { code, errno },
            ..self
        }
    }

    pub(crate) fn code(&self) -> Code {
        match self.failure {
            Failure::Null(_)
            | Failure::Invalid(_)
            | Failure::TooLong(_)
            | Failure::ShortDescriptor { .. }
            | Failure::UnexpectedEvent(_) => Code::Inval,
            Failure::OutOfMemory => Code::NoMem,
            Failure::NoFlush(_) | Failure::UnknownOpcode(_) => Code::NoSupp,
            Failure::SharedChannel => Code::SharedChannel,
            Failure::NotSharedChannel => Code::NotSharedChannel,
            Failure::UnknownCq | Failure::PolledTooMany { .. } => Code::Unknown,
            Failure::Poll => Code::Provider,
            Failure::Call { code, .. } | Failure::Silent { code, .. } => code,
        }
    }

    /// The value for the caller's `errno`; 0 to leave it unchanged.
    pub(crate) fn errno(&self) -> c_int {
        match self.failure {
            Failure::Call { errno, .. } | Failure::Silent { errno, .. } => errno,
            _ => 0,
        }
    }
}

impl From<CallError> for Error {
    #[cold]
    fn from(failed: CallError) -> Self {
        Self::from_call(Code::Provider, failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_small() {
        assert!(size_of::<Error>() <= 64, "{}", size_of::<Error>());
    }

    #[test]
    fn an_error_that_is_logged_keeps_its_code_and_errno() {
        let failed = CallError {
            call: "ibv_alloc_pd",
            errno: libc::ENOMEM,
            at: Location::caller(),
        };
        let error = Error::from_call(Code::NoMem, failed).logged();
        assert_eq!((error.code(), error.errno()), (Code::NoMem, libc::ENOMEM));
        assert!(matches!(error.failure, Failure::Silent { .. }));
    }
}
