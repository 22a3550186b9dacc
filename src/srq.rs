// SPDX-License-Identifier: BSD-3-Clause

//! Shared receive queues.

use std::mem::offset_of;

use crate::cq::Cq;
use crate::error::{Arguments, Error, Result};
use crate::mr;
use crate::mr::MrLocal;
use crate::peer::PeerDevice;
use crate::report::Releases;
use crate::srq_cfg::SrqCfg;
use crate::verbs::{IbvSrq, Posted, Sge};

/// A shared receive queue
pub struct Srq {
    queues: SrqQueues,
}

// `repr(C)` keeps the receive CQ, which is a handle of C too, away from the address of the SRQ: programs compare
// handles.
#[repr(C)]
struct SrqQueues {
    srq: IbvSrq,
    rcq: Option<Cq>,
}

const _: () = assert!(offset_of!(SrqQueues, rcq) > 0);

impl Srq {
    pub(crate) fn new(device: PeerDevice, cfg: &SrqCfg) -> Result<Self> {
        let size = cfg.rq_size();
        let srq = device
            .pd
            .create_srq(size)
            .map_err(|failed| Error::with(failed, Arguments::MaxWr(size)))?;
        let rcq = match (cfg.rcq_size(), device.pd.context()) {
            (0, _) => None,
            (_, None) => return Err(Error::invalid("the peer has no device context")),
            (size, Some(context)) => Some(Cq::create(context, size, None)?),
        };
        Ok(Self {
            queues: SrqQueues { srq, rcq },
        })
    }

    /// The verbs queue, which a queue pair needs.
    pub(crate) fn verbs_srq(&self) -> &IbvSrq {
        &self.queues.srq
    }

    pub(crate) fn rcq(&self) -> Option<&Cq> {
        self.queues.rcq.as_ref()
    }

    #[inline(always)]
    pub(crate) fn post_recv(&self, into: Option<&Sge>, wr_id: u64) -> Posted {
        self.queues.srq.post_recv(into, wr_id)
    }

    /// Posts a receive after checking all arguments.
    pub(crate) fn recv(
        &self,
        dst: Option<&MrLocal>,
        offset: usize,
        len: usize,
        wr_id: u64,
    ) -> Result<()> {
        self.post_recv(mr::message(dst, offset, len)?.as_ref(), wr_id)
            .map_err(|failed| failed.of("ibv_post_srq_recv").into())
    }

    pub(crate) fn delete(self: Box<Self>, releases: &mut Releases) {
        let SrqQueues { srq, rcq } = self.queues;
        if let Some(rcq) = rcq {
            rcq.delete(releases);
        }
        releases.add(srq.destroy());
    }
}
