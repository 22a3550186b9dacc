// SPDX-License-Identifier: BSD-3-Clause

//! Shared receive queues.

use crate::cq::Cq;
use crate::error::{Error, Releases, Result};
use crate::peer::Domain;
use crate::srq_cfg::SrqCfg;
use crate::verbs;

/// A shared receive queue
pub struct Srq {
    srq: verbs::Srq,
    rcq: Option<Cq>,
}

impl Srq {
    pub(crate) fn new(domain: Domain, cfg: &SrqCfg) -> Result<Self> {
        let size = cfg.rq_size();
        let srq = domain
            .pd
            .create_srq(size)
            .map_err(|failed| Error::from(failed).with(format_args!("max_wr={size}")))?;
        let rcq = match (cfg.rcq_size(), domain.pd.context()) {
            (0, _) => None,
            (_, None) => return Err(Error::inval("the peer has no device context")),
            (size, Some(context)) => Some(Cq::new(context, size, None)?),
        };
        Ok(Self { srq, rcq })
    }

    /// The verbs queue, for a queue pair to be made on.
    pub(crate) fn raw(&self) -> &verbs::Srq {
        &self.srq
    }

    pub(crate) fn rcq(&self) -> Option<&Cq> {
        self.rcq.as_ref()
    }

    pub(crate) fn delete(self, releases: &mut Releases) {
        if let Some(rcq) = self.rcq {
            rcq.delete(releases);
        }
        releases.add(self.srq.destroy());
    }
}
