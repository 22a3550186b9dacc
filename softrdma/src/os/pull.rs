// SPDX-License-Identifier: BSD-3-Clause

//! Reading another process's memory, in one copy.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::check_size;
use super::memory::Span;
use crate::Result;

/// Memory of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) addr: u64,
    pub(crate) length: usize,
}

impl Foreign {
    fn range(self) -> libc::iovec {
        libc::iovec {
            iov_base: std::ptr::without_provenance_mut(self.addr as usize),
            iov_len: self.length,
        }
    }
}

/// Copies from some ranges of another process, one after the other: what a later one says (that an
/// earlier one is still what it was) holds for the whole of the earlier one.
pub(crate) fn pull<const N: usize>(
    pid: i32,
    from: [Foreign; N],
    into: [Span<'_>; N],
) -> Result<usize> {
    let remote = from.map(Foreign::range);
    let n = N as libc::c_ulong;
    // SAFETY: `Span` is an iovec, and valid for writing through the call; the kernel checks the other
    // side's ranges.
    check_size(unsafe {
        libc::process_vm_readv(pid, into.as_ptr().cast(), n, remote.as_ptr(), n, 0)
    })
}

/// A process may read this one's memory, as long as this exists. Without it only ancestors may where the
/// security module Yama says so; without Yama it changes nothing.
#[derive(Debug)]
pub(crate) struct Permit(i32);

/// How often each process is permitted.
static READERS: Mutex<BTreeMap<i32, usize>> = Mutex::new(BTreeMap::new());

impl Permit {
    /// None is needed for this process itself.
    pub(crate) fn new(pid: i32) -> Option<Self> {
        if pid <= 0 || u32::try_from(pid) == Ok(std::process::id()) {
            return None;
        }
        let mut readers = READERS.lock();
        *readers.entry(pid).or_default() += 1;
        set_tracer(tracer_for(&readers));
        Some(Self(pid))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut readers = READERS.lock();
        if let Some(count) = readers.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.0);
                set_tracer(tracer_for(&readers));
            }
        }
    }
}

/// Yama remembers one process, with its descendants, or all.
fn tracer_for(readers: &BTreeMap<i32, usize>) -> libc::c_ulong {
    let mut pids = readers.keys();
    match (pids.next(), pids.next()) {
        (None, _) => 0,
        (Some(only), None) => (*only as u32).into(),
        _ => libc::PR_SET_PTRACER_ANY,
    }
}

fn set_tracer(tracer: libc::c_ulong) {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, tracer, 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yama_is_told_of_one_reader_by_name_and_of_several_as_all() {
        let readers = |pids: &[i32]| pids.iter().map(|&pid| (pid, 1)).collect();
        assert_eq!(tracer_for(&readers(&[])), 0);
        assert_eq!(tracer_for(&readers(&[7])), 7);
        assert_eq!(tracer_for(&readers(&[7, 8])), libc::PR_SET_PTRACER_ANY);
    }

    #[test]
    fn a_permit_ends() {
        let has = |pid| READERS.lock().get(&pid).copied();
        const PID: i32 = i32::MAX;
        let first = Permit::new(PID);
        let second = Permit::new(PID);
        assert_eq!(has(PID), Some(2));
        drop(first);
        assert_eq!(has(PID), Some(1));
        drop(second);
        assert_eq!(has(PID), None);
        assert!(Permit::new(0).is_none());
        assert!(Permit::new(std::process::id() as i32).is_none());
    }
}
