// SPDX-License-Identifier: BSD-3-Clause

//! What strict mode is told of a queue pair. Called only where it is on.

use crate::instrument::strict;
use crate::objects::strict::{self as watch, QueuePair};
use crate::types::completion::Status;
use crate::types::region::Range;
use crate::types::work::Request;
use crate::wire::Reason;

use super::{Inner, Qp};

impl Qp {
    pub(super) fn watched(&self, q: &Inner) -> QueuePair<'_> {
        QueuePair {
            number: self.number,
            peer: q.attributes.peer,
            pd: self.setup.pd.as_ref(),
            send_cq: self.setup.send_cq.as_ref(),
            recv_cq: self.setup.recv_cq.as_ref(),
            max_send_wr: self.setup.caps.max_send_wr,
        }
    }

    pub(super) fn posted_strictly(&self, q: &Inner, request: &Request) {
        if request.is_read() && q.attributes.reads == 0 {
            strict::finding(&format_args!(
                "QP {:#x}: the RDMA read with wr_id {:#x} is not sent: its connection permits no reads \
                 (initiator_depth or responder_resources of rdma_connect or rdma_accept is 0); a device fails it \
                 with IBV_WC_REM_INV_REQ_ERR",
                self.number, request.wr_id
            ));
        }
        watch::posted(self.watched(q), request);
    }

    pub(super) fn completed_strictly(&self, request: &Request, status: Status) {
        let is_shown = request.signaled || self.setup.signal_all;
        watch::completed(self.number, status, is_shown);
        match (status, request.operation.remote()) {
            (Status::LocalProtection, _) => {
                for range in request.data.scatter().ranges() {
                    watch::own_key_refused(self.number, *range, self.setup.pd.as_deref());
                }
            }
            (Status::RemoteAccess, Some(remote)) => {
                watch::remote_access_refused(self.number, remote);
            }
            _ => {}
        }
    }

    pub(super) fn refused_strictly(&self, range: Range, reason: Reason) {
        if let (Reason::RemoteAccess, Some(pd)) = (reason, &self.setup.pd) {
            watch::key_of_peer_refused(self.number, range, pd);
        }
    }

    /// Its receives leave their queue, in which no message arrives any more.
    pub(super) fn withdrawn_strictly(&self, q: &Inner) {
        q.rq.iter().for_each(watch::receive_withdrawn);
    }

    /// It is reset or destroyed.
    pub(super) fn forget_if_strict(&self, q: &Inner) {
        if strict::is_on() {
            self.withdrawn_strictly(q);
            watch::forget(self.number);
        }
    }
}
