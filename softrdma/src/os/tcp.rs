// SPDX-License-Identifier: BSD-3-Clause

//! What TCP knows of the peer's host, which acknowledges whatever its processes do.

use std::time::Duration;

use super::socket::Socket;

impl Socket {
    /// An idle connection ends, with an error, about so long after the peer's host has gone.
    pub(crate) fn end_without_its_host(&self, after: Duration) {
        let seconds = after.as_secs().clamp(4, 32_767);
        let idle = seconds / 2;
        let between = (seconds / 8).max(1);
        let probes = (seconds - idle).div_ceil(between);
        let option = |number, value: u64| {
            // Without it, it only takes longer.
            let _ = self.set(libc::IPPROTO_TCP, number, i32::try_from(value).unwrap_or(4));
        };
        option(libc::TCP_KEEPIDLE, idle);
        option(libc::TCP_KEEPINTVL, between);
        option(libc::TCP_KEEPCNT, probes);
        let _ = self.set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
        // The host is asked often enough even after a peer that read nothing for a long time. Kernels before
        // 6.15 do not have this option.
        const RTO_MAX_MS: i32 = 44;
        option(RTO_MAX_MS, (between * 1000).min(120_000));
    }
}
