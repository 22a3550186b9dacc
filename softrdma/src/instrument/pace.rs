// SPDX-License-Identifier: BSD-3-Clause

//! The link that requests are to take: its latency and its bandwidth. What waits for it is in `io/pace.rs`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::units::Bandwidth;

/// Whether there is such a link. Set before there is any queue pair, and never again.
static ON: AtomicBool = AtomicBool::new(false);
static LINK: OnceLock<Link> = OnceLock::new();

/// Whether requests take the time that a link would take.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// A link between this process and all of its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// How long a bit takes to the other end.
    pub delay: Duration,
    /// The bandwidth in each direction. None: without limit.
    pub bandwidth: Option<Bandwidth>,
}

impl Link {
    /// Makes this the link of the process.
    pub(super) fn install(self) {
        if self != Self::default() && LINK.set(self).is_ok() {
            ON.store(true, Ordering::Relaxed);
        }
    }

    /// How long the link is busy with so many bytes, in nanoseconds.
    pub(crate) fn time_for(self, bytes: u32) -> u64 {
        let time = self
            .bandwidth
            .map(|bandwidth| bandwidth.time_for(bytes.into()));
        nanoseconds(time.unwrap_or_default())
    }
}

/// A duration as a number of nanoseconds. The longest that there is: 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The link of this process.
pub(crate) fn link() -> Link {
    LINK.get().copied().unwrap_or_default()
}
