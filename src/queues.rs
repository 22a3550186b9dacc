// SPDX-License-Identifier: BSD-3-Clause

//! The queues of a connection, which are created with its request.

use crate::conn_cfg::Settings;
use crate::cq::Cq;
use crate::error::{Arguments, Error, Result};
use crate::peer::PeerDevice;
use crate::report::Releases;
use crate::verbs::{CmId, CompChannel, Context, Qp, QpInit};

// Field order is drop order.
/// The queue pair of a connection and its own completion queues.
pub(crate) struct Queues {
    pub(crate) qp: Qp,
    pub(crate) rcq: Option<Cq>,
    pub(crate) cq: Cq,
}

impl Queues {
    /// Creates the completion queues of the settings, and the queue pair of the id with them.
    #[inline(always)]
    pub(crate) fn create(
        device: PeerDevice,
        context: Context,
        id: &CmId,
        settings: &Settings<'_>,
        channel: Option<&CompChannel>,
    ) -> Result<Self> {
        let srq_rcq = settings.srq.and_then(|srq| srq.rcq());
        let cq = Cq::create(context, settings.cq_size, channel)?;
        let rcq = match settings.rcq_size {
            1.. if srq_rcq.is_none() => Some(Cq::create(context, settings.rcq_size, channel)?),
            _ => None,
        };
        let init = QpInit {
            pd: device.pd,
            send_cq: cq.verbs_cq(),
            recv_cq: srq_rcq.or(rcq.as_ref()).unwrap_or(&cq).verbs_cq(),
            srq: settings.srq.map(|srq| srq.verbs_srq()),
            max_send_wr: settings.sq_size,
            max_recv_wr: settings.rq_size,
            native_atomic_write: device.caps.native_atomic_write,
            native_flush: device.caps.native_flush,
        };
        match id.create_qp(&init) {
            Ok(qp) => Ok(Self { qp, rcq, cq }),
            Err(failed) => Err(Error::with(
                failed,
                Arguments::QueueSizes {
                    max_send_wr: settings.sq_size,
                    max_recv_wr: settings.rq_size,
                },
            )),
        }
    }

    /// Returns whether all of them were destroyed.
    #[inline(always)]
    pub(crate) fn delete(self, releases: &mut Releases) -> bool {
        drop(self.qp);
        let rcq_is_gone = self.rcq.is_none_or(|rcq| rcq.delete(releases));
        self.cq.delete(releases) && rcq_is_gone
    }
}
