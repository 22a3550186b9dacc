// SPDX-License-Identifier: BSD-3-Clause

//! How a connection between two processes of one host goes on, which client and server decide once: over TCP, or in the
//! memory that they share.

use super::rings::Rings;
use super::sync::{Ordering, fence};

/// What is decided of the way of a connection. The client goes on with TCP.
const ON_TCP: u32 = 1;
/// The server goes on here.
const HERE: u32 = 2;
/// What it has sent before comes over TCP, up to where it changes over.
const REST_ON_TCP: u32 = 4;
/// The server has done all that it does for that.
const READY: u32 = 8;

/// How a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Tcp,
    Here { rest_on_tcp: bool },
}

impl Rings {
    /// The client does not wait for the server any longer, and goes on with TCP unless the server has decided. The
    /// outcome. Both sides change the word from 0 only, so they go on with the same way.
    pub(super) fn decide_for_tcp(&self) -> Way {
        let decided = self
            .way()
            .compare_exchange(0, ON_TCP, Ordering::AcqRel, Ordering::Acquire);
        match decided {
            Ok(_) => Way::Tcp,
            Err(way) => Self::way_of(way),
        }
    }

    /// The server goes on here, unless the client has decided for TCP. Whether it does.
    pub(super) fn decide_for_memory(&self, rest_on_tcp: bool) -> bool {
        let way = if rest_on_tcp {
            HERE | REST_ON_TCP
        } else {
            HERE
        };
        self.way()
            .compare_exchange(0, way, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The server is ready: afterwards it looks whether the client sleeps (`rings`).
    pub(super) fn server_is_ready(&self) {
        // Release: the client finds all that was done for it.
        self.way().fetch_or(READY, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// The client: how the connection goes on, once the server is ready.
    pub(super) fn decided(&self) -> Option<Way> {
        // Acquire: as above.
        let way = self.way().load(Ordering::Acquire);
        (way & READY != 0).then(|| Self::way_of(way))
    }

    fn way_of(way: u32) -> Way {
        if way & HERE == 0 {
            Way::Tcp
        } else {
            Way::Here {
                rest_on_tcp: way & REST_ON_TCP != 0,
            }
        }
    }
}
