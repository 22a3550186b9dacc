// SPDX-License-Identifier: BSD-3-Clause

//! What TCP knows of the peer's host, which acknowledges whatever its processes do.

use std::mem::MaybeUninit;
use std::time::Duration;

use super::check;
use super::socket::Socket;
use crate::Result;

/// How much is missing of the host of the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// There is something that it has not acknowledged.
    pub(crate) is_behind: bool,
    /// For how long nothing has come of it.
    pub(crate) silent: Duration,
    /// How often it was asked, in vain, since it was heard last.
    pub(crate) attempts: u8,
}

impl Socket {
    /// An idle connection ends, with an error, about so long after the peer's host has gone.
    pub(crate) fn end_without_its_host(&self, after: Duration) {
        // It must not change a socket of the program.
        if self.checked().is_err() {
            return;
        }
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

    pub(crate) fn acknowledged(&self) -> Result<Acknowledged> {
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: room for as many bytes as said. What an older kernel does not write stays 0.
        let info = unsafe {
            check(libc::getsockopt(
                self.raw(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            ))?;
            info.assume_init()
        };
        Ok(Acknowledged {
            is_behind: info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0,
            silent: Duration::from_millis(u64::from(info.tcpi_last_ack_recv)),
            attempts: info.tcpi_retransmits.max(info.tcpi_probes),
        })
    }
}
