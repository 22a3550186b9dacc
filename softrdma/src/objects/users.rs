// SPDX-License-Identifier: BSD-3-Clause

//! What keeps an object busy.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Result;

/// Counts what was made on an object: it cannot be destroyed before that.
#[derive(Debug, Default)]
pub(crate) struct Users(AtomicUsize);

impl Users {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn refuse_if_any(&self) -> Result<()> {
        if self.0.load(Ordering::Acquire) == 0 {
            Ok(())
        } else {
            Err(libc::EBUSY)
        }
    }
}
