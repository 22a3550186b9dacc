// SPDX-License-Identifier: BSD-3-Clause

//! What a queue pair is told of its connection, by the program or by the connection manager. Little of it has
//! a meaning here; all of it can be asked for.

use std::net::IpAddr;
use std::time::Duration;

use super::{Qp, State};
use crate::Result;
use crate::instrument;
use crate::types::limits::MAX_READS;
use crate::types::region::access;
use crate::wire::Params;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) port: u8,
    pub(crate) access: u32,
    pub(crate) path_mtu: u32,
    pub(crate) rq_psn: u32,
    pub(crate) sq_psn: u32,
    pub(crate) peer: u32,
    /// Reads that may be under way in either direction: those of this side, and those of the peer.
    pub(crate) reads: u8,
    pub(crate) reads_answered: u8,
    pub(crate) min_rnr_timer: u8,
    pub(crate) timeout: u8,
    pub(crate) retry_count: u8,
    pub(crate) rnr_retry: u8,
    pub(crate) address: AddressVector,
}

impl Attributes {
    /// How long a message is offered to a peer that has no receive for it, if not for ever.
    pub(super) fn rnr_timeout(&self) -> Option<Duration> {
        /// For ever.
        const NO_END: u8 = 7;
        /// The delay that connections of the connection manager have.
        const BETWEEN: Duration = Duration::from_millis(655);
        (self.rnr_retry < NO_END).then(|| BETWEEN * u32::from(self.rnr_retry))
    }
}

/// How the peer is reached: the fields of `struct ibv_ah_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressVector {
    pub(crate) dgid: [u8; 16],
    pub(crate) flow_label: u32,
    pub(crate) sgid_index: u8,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    pub(crate) dlid: u16,
    pub(crate) sl: u8,
    pub(crate) src_path_bits: u8,
    pub(crate) static_rate: u8,
    pub(crate) is_global: u8,
    pub(crate) port: u8,
}

impl AddressVector {
    /// As RoCE version 2 has it: the global identifier is the IP address.
    pub(crate) fn to(peer: IpAddr, traffic_class: u8) -> Self {
        let dgid = match peer {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self {
            dgid: dgid.octets(),
            hop_limit: 64,
            traffic_class,
            is_global: 1,
            port: 1,
            ..Self::default()
        }
    }
}

/// The acknowledge timeout of connections for which the program sets none: 4.096 µs times 2 to the power of this,
/// as the kernel's connection manager calculates it for Ethernet.
pub(crate) const ACK_TIMEOUT: u8 = 19;

/// What an identifier knows of the path to its peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Path {
    pub(crate) address: AddressVector,
    pub(crate) ack_timeout: u8,
}

/// As many reads as a device has room for when so many are wanted: a power of two.
pub(crate) fn room_for_reads(wanted: u8) -> u8 {
    match wanted.min(MAX_READS) {
        0 => 0,
        wanted => wanted.next_power_of_two(),
    }
}

/// What the connection manager allows a peer that has asked for so many reads.
pub(crate) fn access_for(reads: u8) -> u32 {
    let with_reads = access::REMOTE_READ | access::REMOTE_ATOMIC;
    let with_flushes = access::FLUSH_GLOBAL | access::FLUSH_PERSISTENT;
    access::REMOTE_WRITE
        | if reads == 0 { 0 } else { with_reads }
        | if reads == 0 || !instrument::caps().flush {
            0
        } else {
            with_flushes
        }
}

impl Attributes {
    /// What the connection manager makes of what both sides have said. The numbers of reads are those that the
    /// server has said, on both sides: `reads` are this side's, `reads_answered` the peer's.
    pub(crate) fn of_connection(path: Path, peer: &Params, reads: u8, reads_answered: u8) -> Self {
        const MTU_4096: u32 = 5;
        Self {
            port: 1,
            access: access_for(peer.initiator_depth),
            path_mtu: MTU_4096,
            peer: peer.qp_num,
            reads: room_for_reads(reads),
            reads_answered: room_for_reads(reads_answered),
            retry_count: peer.retry_count,
            rnr_retry: peer.rnr_retry_count,
            timeout: path.ack_timeout,
            address: path.address,
            ..Self::default()
        }
    }
}

impl Qp {
    pub(crate) fn attributes(&self) -> Attributes {
        self.inner.lock().attributes
    }

    pub(crate) fn allow(&self, access: u32) {
        let mut q = self.inner.lock();
        q.attributes.access = access;
        self.update_grant(&mut q);
    }

    /// The program changes attributes, and the state to the one that `change` gives.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(State, &mut Attributes) -> Result<State>,
    ) -> Result<()> {
        let mut q = self.inner.lock();
        let mut attributes = q.attributes;
        let state = change(q.state, &mut attributes)?;
        if state == State::Error {
            self.read_unread_acks(&mut q);
        }
        if state != q.state || state == State::Reset {
            self.move_to(&mut q, state)?;
        }
        let permits_less = q.attributes.access & !attributes.access != 0;
        q.attributes = attributes;
        self.update_grant(&mut q);
        if permits_less {
            self.wait_for_the_copy(&q);
        }
        Ok(())
    }
}
