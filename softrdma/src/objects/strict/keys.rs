// SPDX-License-Identifier: BSD-3-Clause

//! Keys that programs mix up: those of the wrong side, and those of regions that are gone.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::instrument::strict::finding;
use crate::objects::mr::{Mr, REMOTE};
use crate::objects::pd::Pd;
use crate::os::held::Locks;
use crate::types::region::Range;

/// Keys of regions that were deregistered, the latest ones.
static GONE: Mutex<VecDeque<u32>> = Mutex::new(VecDeque::new());
const MOST_GONE: usize = 4096;

pub(super) fn hold(locks: &mut Locks) -> bool {
    locks.hold_static(&GONE)
}

/// The region of this lkey is no longer registered.
pub(crate) fn deregistered(lkey: u32) {
    let mut gone = GONE.lock();
    if gone.len() >= MOST_GONE {
        gone.pop_front();
    }
    gone.push_back(lkey);
}

/// What is wrong with a key, if it is one that this process has or had.
fn what_it_is(key: u32, is_for_peers: bool, pd: Option<&Pd>) -> Option<String> {
    let lkey = key & !REMOTE;
    let is_rkey = key & REMOTE != 0;
    let (is, wanted) = if is_rkey {
        ("rkey", "lkey")
    } else {
        ("lkey", "rkey")
    };
    let Some(mr) = Mr::find(lkey) else {
        let is_gone = GONE.lock().contains(&lkey);
        return is_gone.then(|| format!("the {is} of a region that was deregistered"));
    };
    let terms = mr.terms()?;
    let region = format!("{} bytes at {:#x}", terms.length, terms.addr);
    if is_rkey != is_for_peers {
        let right = key ^ REMOTE;
        return Some(format!(
            "the {is} of the region of {region}, where its {wanted} {right:#x} belongs"
        ));
    }
    let is_of_another = pd.is_some_and(|pd| mr.domain() != Some(pd.number));
    is_of_another.then(|| {
        format!("that of the region of {region}, which is of another protection domain than the queue pair")
    })
}

/// A request or a receive of this process names memory that it may not use.
pub(crate) fn own_key_refused(number: u32, range: Range, pd: Option<&Pd>) {
    if let Some(what) = what_it_is(range.key, false, pd) {
        finding(&format_args!(
            "QP {number:#x}: the lkey {:#x} of a request is {what}; a device fails it with IBV_WC_LOC_PROT_ERR",
            range.key
        ));
    }
}

/// A request of the peer names memory that it may not use.
pub(crate) fn key_of_peer_refused(number: u32, range: Range, pd: &Pd) {
    if let Some(what) = what_it_is(range.key, true, Some(pd)) {
        finding(&format_args!(
            "QP {number:#x}: the rkey {:#x} of a request of the peer is {what}; a device fails it with \
             IBV_WC_REM_ACCESS_ERR at the peer",
            range.key
        ));
    }
}

/// A request of this process names memory of its own where memory of the peer's belongs.
pub(super) fn own_key_sent_to_peer(number: u32, range: Range) {
    let key = range.key;
    let Some(mr) = Mr::find(key & !REMOTE) else {
        return;
    };
    let is = if key & REMOTE != 0 { "rkey" } else { "lkey" };
    if let Some(terms) = mr.terms() {
        finding(&format_args!(
            "QP {number:#x}: the rkey {key:#x} of a request is the {is} of a region of this process ({} bytes at \
             {:#x}), where an rkey of the peer's belongs; a device fails it with IBV_WC_REM_ACCESS_ERR",
            terms.length, terms.addr
        ));
    }
}
