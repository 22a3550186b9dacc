// SPDX-License-Identifier: BSD-3-Clause

//! Protection domains, and what keeps an object busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::Result;
use crate::objects::context::Context;

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

#[derive(Debug)]
pub(crate) struct Pd {
    pub(crate) number: u32,
    pub(crate) context: Arc<Context>,
    pub(crate) users: Users,
}

impl Pd {
    pub(crate) fn new(context: &Arc<Context>) -> Arc<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        context.users.add();
        Arc::new(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            context: Arc::clone(context),
            users: Users::default(),
        })
    }

    pub(crate) fn destroy(&self) -> Result<()> {
        self.users.refuse_if_any()?;
        self.context.users.remove();
        Ok(())
    }
}
