// SPDX-License-Identifier: BSD-3-Clause

//! How a connection flushes: natively, or with a read after the writes.

use once_cell::sync::OnceCell;

use crate::error::{Code, Error, Result};
use crate::mr::MrLocal;
use crate::mr_usage::Usage;
use crate::peer::PeerDevice;
use crate::report::Releases;
use crate::sys::SharedPage;
use crate::verbs::{Qp, Sge};

/// The number of bytes that the emulated flush reads. Any read makes the device complete the writes before it.
const READ_AFTER_WRITE_SIZE: u32 = 8;

/// The method of a connection, with what it needs. Its alignment makes it the first field of the connection.
#[repr(align(16))]
pub(crate) enum FlushMethod {
    /// The queue pair has a flush operation.
    Native,
    /// A read into a buffer whose content is not used: its region, and all of it as an SGE.
    ReadAfterWrite { mr: MrLocal, into: Sge },
}

/// The page that the reads of all connections of the process write to. Its content is not used, so one page is
/// enough. The first connection that needs it maps it, or the next one if that failed. It stays until the
/// process ends.
static PAGE: OnceCell<SharedPage> = OnceCell::new();

fn page() -> Result<&'static SharedPage> {
    PAGE.get_or_try_init(|| {
        SharedPage::map().map_err(|failed| match failed.call {
            SharedPage::MAP => Error::from_call(Code::NoMem, failed),
            _ => Error::from_call(Code::Provider, failed),
        })
    })
}

impl FlushMethod {
    #[inline(always)]
    pub(crate) fn choose(device: PeerDevice, qp: &Qp) -> Result<Self> {
        if qp.has_native_flush() {
            return Ok(Self::Native);
        }
        let mr = MrLocal::reg(
            device,
            page()?.as_ptr(),
            READ_AFTER_WRITE_SIZE as usize,
            Usage::READ_DST,
        )?;
        let into = mr.sge(0, READ_AFTER_WRITE_SIZE);
        Ok(Self::ReadAfterWrite { mr, into })
    }

    #[inline]
    pub(crate) fn delete(self, releases: &mut Releases) {
        if let Self::ReadAfterWrite { mr, .. } = self {
            mr.dereg(releases);
        }
    }
}
