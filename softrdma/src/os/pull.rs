// SPDX-License-Identifier: BSD-3-Clause

//! Reading and writing another process's memory, in one copy.

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

/// Copies to some ranges of another process, one after the other: it ends at the first one that is not there.
pub(super) fn push<const N: usize, const M: usize>(
    pid: i32,
    to: [Foreign; N],
    from: [Span<'_>; M],
) -> Result<usize> {
    let remote = to.map(Foreign::range);
    let (n, m) = (N as libc::c_ulong, M as libc::c_ulong);
    // SAFETY: `Span` is an iovec, and valid for reading through the call; the kernel checks the other side's ranges.
    check_size(unsafe {
        libc::process_vm_writev(pid, from.as_ptr().cast(), m, remote.as_ptr(), n, 0)
    })
}

/// Whether the kernel lets this process read the memory of that one: it says so before it looks whether there
/// is something at the address, and at this one there is not.
pub(super) fn may_pull(pid: i32) -> bool {
    let nowhere = Foreign { addr: 0, length: 1 };
    let mut byte = [0];
    matches!(
        pull(pid, [nowhere], [Span::from_mut(&mut byte)]),
        Ok(_) | Err(libc::EFAULT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_read_itself_and_no_process_that_is_not_there() {
        assert!(may_pull(std::process::id() as i32));
        assert!(!may_pull(i32::MAX));
        assert!(!may_pull(-1));
    }
}
