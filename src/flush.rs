// SPDX-License-Identifier: BSD-3-Clause

//! How a connection flushes: natively, or by a read behind the writes.

use crate::error::{Code, Error, Releases, Result};
use crate::mr::{MrLocal, Usage};
use crate::peer::Domain;
use crate::verbs::{Qp, SharedPage};

/// Bytes that the emulated flush reads: enough for the device to bring what was written before
/// them to where a read sees it.
pub(crate) const READ_AFTER_WRITE_SIZE: usize = 8;

/// What a connection needs to flush.
pub(crate) enum Flush {
    /// The queue pair does it.
    Native,
    /// A read into a buffer that nobody looks at. The region goes before its page.
    ReadAfterWrite { mr: MrLocal, page: SharedPage },
}

impl Flush {
    pub(crate) fn new(domain: Domain, qp: &Qp) -> Result<Self> {
        if qp.has_native_flush() {
            return Ok(Self::Native);
        }
        let page = SharedPage::map().map_err(|failed| match failed.call {
            SharedPage::MAP => Error::from_call(Code::NoMem, failed),
            _ => failed.into(),
        })?;
        let mr = MrLocal::reg(
            domain,
            page.as_ptr(),
            READ_AFTER_WRITE_SIZE,
            Usage::READ_DST,
        )?;
        Ok(Self::ReadAfterWrite { mr, page })
    }

    pub(crate) fn delete(self, releases: &mut Releases) {
        if let Self::ReadAfterWrite { mr, page } = self {
            mr.dereg(releases);
            releases.add(page.unmap());
        }
    }
}
