// SPDX-License-Identifier: BSD-3-Clause

//! Peers whose host vanishes: nothing comes from there any more, not even the end of the connection.
//!
//! A device sends a request again when it is not acknowledged in time, and gives up after so many times. Here the
//! kernels do so, and acknowledge even when a process is stopped. So as long as there is something on its way over
//! TCP, the I/O thread looks from time to time whether the peer's kernel still answers. `TCP_USER_TIMEOUT` would
//! not do: it also ends connections whose peer answers but has no room. When nothing is on its way the kernel
//! asks the other one itself (keepalive).

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::attributes::Attributes;
use super::{Inner, Qp};
use crate::io::{self, Alarm, Timer};
use crate::os::tcp::Acknowledged;

/// How long a host may be silent, whatever the program has set: less time passes on a busy machine too, and
/// longer than that nobody waits.
const SHORTEST: Duration = Duration::from_secs(4);
const LONGEST: Duration = Duration::from_secs(600);
/// So often at least a silent host was asked.
const ATTEMPTS: u8 = 3;

/// For how long the requests of a queue pair are sent again: 4.096 µs times 2 to the power of its timeout for each;
/// without end if that is 0, but TCP itself gives up some time.
pub(super) fn host_timeout(attributes: &Attributes) -> Duration {
    if attributes.timeout == 0 {
        return LONGEST;
    }
    let once = Duration::from_nanos(4096 << attributes.timeout.min(31));
    (once * (u32::from(attributes.retry_count) + 1)).clamp(SHORTEST, LONGEST)
}

fn between_looks(timeout: Duration) -> Duration {
    timeout / 16
}

/// When the peer's host is asked for: while there is something on its way.
#[derive(Debug, Default)]
pub(super) struct Watch {
    since: Option<Instant>,
    /// A timer that nobody needs would keep the memory of the queue pair.
    next: Option<Alarm>,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// There is nothing to wait for.
    Idle,
    Answers,
    Vanished,
}

impl Watch {
    fn look(&mut self, now: Instant, seen: Acknowledged, timeout: Duration) -> Found {
        let Some(since) = self.since.filter(|_| seen.is_behind) else {
            self.since = None;
            return Found::Idle;
        };
        // What was heard before counts for nothing: there was nothing to acknowledge then. The same may be
        // so for the time until the next look.
        let silent = now.saturating_duration_since(since).min(seen.silent);
        if silent >= timeout + between_looks(timeout) && seen.attempts >= ATTEMPTS {
            return Found::Vanished;
        }
        Found::Answers
    }
}

impl Qp {
    /// Something may be on its way over TCP from now on.
    pub(super) fn expect_acknowledgement(&self, q: &mut Inner) {
        let Some(link) = &mut q.link else { return };
        if link.watch.since.is_none() && link.paths.tcp_to_send().is_some() {
            link.watch.since = Some(Instant::now());
            link.watch.next = self
                .look_later(host_timeout(&q.attributes))
                .map(Alarm::from);
        }
    }

    /// A server whose client was to come says so; any other end is what it always is.
    pub(super) fn host_vanished(&self, q: &Inner) {
        if let Some(owner) = q.owner() {
            owner.host_vanished();
        }
    }

    fn look_later(&self, timeout: Duration) -> Option<Timer> {
        let me = Weak::clone(&self.me);
        let look = move || {
            if let Some(qp) = me.upgrade() {
                qp.look_for_the_host();
            }
        };
        Some(io::get()?.after(between_looks(timeout), look))
    }

    fn look_for_the_host(&self) {
        // Not waited for: whoever has it may itself wait for the peer's memory.
        let Some(mut q) = self.inner.try_lock() else {
            self.look_later(SHORTEST);
            return;
        };
        let timeout = host_timeout(&q.attributes);
        let Some(link) = &mut q.link else { return };
        let seen = link
            .paths
            .tcp_to_send()
            .and_then(|socket| socket.acknowledged().ok());
        match link
            .watch
            .look(Instant::now(), seen.unwrap_or_default(), timeout)
        {
            Found::Idle => {}
            Found::Answers => link.watch.next = self.look_later(timeout).map(Alarm::from),
            Found::Vanished => {
                self.host_vanished(&q);
                self.lost(&mut q);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attributes::ACK_TIMEOUT;
    use super::*;

    #[test]
    fn requests_are_sent_again_for_as_long_as_the_queue_pair_says() {
        let of = |timeout, retry_count| {
            host_timeout(&Attributes {
                timeout,
                retry_count,
                ..Attributes::default()
            })
        };
        assert_eq!(of(0, 7), LONGEST);
        assert_eq!(of(ACK_TIMEOUT, 7).as_millis(), 17179);
        assert_eq!(of(20, 7).as_millis(), 34359);
        assert_eq!(of(14, 7), SHORTEST);
        assert_eq!(of(255, 255), LONGEST);
    }

    #[test]
    fn a_host_vanishes_when_it_is_silent_for_long_and_was_asked() {
        let seconds = Duration::from_secs;
        let timeout = seconds(4);
        let begun = Instant::now();
        let seen = |silent, attempts| Acknowledged {
            is_behind: true,
            silent: seconds(silent),
            attempts,
        };
        let look = |at, seen| {
            let mut watch = Watch {
                since: Some(begun),
                next: None,
            };
            watch.look(begun + seconds(at), seen, timeout)
        };
        assert_eq!(look(3, seen(3, 9)), Found::Answers);
        assert_eq!(look(4, seen(4, 3)), Found::Answers);
        assert_eq!(look(5, seen(5, 2)), Found::Answers);
        assert_eq!(look(5, seen(5, 3)), Found::Vanished);
        // Silent for long, before anything was sent.
        assert_eq!(look(1, seen(3600, 3)), Found::Answers);
        // It has no room, and says so.
        assert_eq!(look(3600, seen(1, 0)), Found::Answers);
        assert_eq!(look(3600, seen(100, 1)), Found::Answers);
        assert_eq!(look(3600, Acknowledged::default()), Found::Idle);
    }
}
