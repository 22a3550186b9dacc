// SPDX-License-Identifier: BSD-3-Clause

//! Protection domains.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Result;
use crate::objects::context::Context;
use crate::objects::users::Users;

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
