// SPDX-License-Identifier: BSD-3-Clause

//! Completion queues, and waiting for them.

use std::ffi::{CStr, c_int};

use crate::error::{Arguments, Code, Error, Failure, Result};
use crate::log::log;
use crate::report::Releases;
use crate::verbs::{CompChannel, Context, IbvCq};

/// A completion queue
pub struct Cq {
    cq: IbvCq,
    channel: Channel,
}

/// The completion channel that takes the events of a queue.
enum Channel {
    Own(CompChannel),
    /// The connection owns the channel, which both its queues use; this is its file descriptor.
    Shared {
        fd: c_int,
    },
}

/// A number of entries in the type of `ibv_create_cq`.
fn entries(size: u32) -> c_int {
    c_int::try_from(size).unwrap_or(c_int::MAX)
}

impl Cq {
    /// Creates a queue of `size` entries, with its own channel unless there is a shared one.
    #[inline(always)]
    pub(crate) fn create(
        context: Context,
        size: u32,
        shared: Option<&CompChannel>,
    ) -> Result<Self> {
        let made = match shared {
            Some(channel) => Self {
                cq: create_verbs_cq(context, size, channel)?,
                channel: Channel::Shared { fd: channel.fd() },
            },
            None => {
                let channel = context.create_comp_channel()?;
                Self {
                    cq: create_verbs_cq(context, size, &channel)?,
                    channel: Channel::Own(channel),
                }
            }
        };
        made.cq.request_notify()?;
        Ok(made)
    }

    /// The verbs queue, which a queue pair needs.
    #[inline(always)]
    pub(crate) fn verbs_cq(&self) -> &IbvCq {
        &self.cq
    }

    pub(crate) fn fd(&self) -> c_int {
        match &self.channel {
            Channel::Own(channel) => channel.fd(),
            Channel::Shared { fd } => *fd,
        }
    }

    /// Waits for an event of this queue, and arms it again.
    #[inline(always)]
    pub(crate) fn wait(&self) -> Result<()> {
        let Channel::Own(channel) = &self.channel else {
            return Err(Error::new(Failure::SharedChannel));
        };
        // After a signal, or with a non-blocking descriptor, there is no completion to report.
        if channel.get_event().is_err() {
            return Err(Error::silent(Code::NoCompletion));
        }
        self.event_taken()
    }

    /// Acknowledges an event that was taken from the channel, and arms the queue again.
    #[inline(always)]
    pub(crate) fn event_taken(&self) -> Result<()> {
        self.cq.event_taken();
        Ok(self.cq.request_notify()?)
    }

    /// Returns whether the verbs queue was destroyed and no longer uses a shared channel.
    #[inline(always)]
    pub(crate) fn delete(self, releases: &mut Releases) -> bool {
        let gone = releases.add(self.cq.destroy());
        if let Channel::Own(channel) = self.channel {
            releases.add_used(gone, channel.destroy());
        }
        gone
    }
}

#[inline]
fn create_verbs_cq(context: Context, size: u32, channel: &CompChannel) -> Result<IbvCq> {
    let cqe = entries(size);
    context
        .create_cq(cqe, channel)
        .map_err(|failed| Error::with(failed, Arguments::Cqe(cqe)))
}

/// The error for a result of `ibv_poll_cq` that is negative or above `wanted`.
#[cold]
#[inline(never)]
#[track_caller]
pub(crate) fn poll_error(got: c_int, wanted: c_int) -> Error {
    Error::new(match got {
        ..0 => Failure::Poll,
        _ => Failure::PolledTooMany { got, wanted },
    })
}

/// The code of a function that found no completion.
#[inline(always)]
pub(crate) fn no_completion(function: &'static CStr) -> c_int {
    log!(Debug, function, "no completion in the CQ");
    Code::NoCompletion.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_polling_cannot_give_become_codes() {
        assert_eq!(poll_error(-1, 4).code(), Code::Provider);
        assert_eq!(poll_error(5, 4).code(), Code::Unknown);
    }

    #[test]
    fn sizes_are_clipped_to_what_verbs_takes() {
        assert_eq!(entries(10), 10);
        assert_eq!(entries(u32::MAX), c_int::MAX);
    }
}
