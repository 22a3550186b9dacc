// SPDX-License-Identifier: BSD-3-Clause

//! Whether a range of memory can be registered.

use std::sync::OnceLock;

use super::{check as check_call, maps, own_memory};
use crate::Result;

/// Fails with `EFAULT` unless the whole range can be accessed, for writing too if that is asked for. A device
/// finds that out by pinning the pages, and here the kernel does the same without the pins (Linux 5.14): it
/// provides every page, as if it was accessed.
pub(crate) fn check(addr: u64, length: u64, writable: bool) -> Result<()> {
    let end = addr.checked_add(length).ok_or(libc::EINVAL)?;
    if !is_supported() {
        return maps::check(addr, end, writable);
    }
    let page = own_memory::page_size() as u64;
    let from = addr / page * page;
    let to = end.checked_next_multiple_of(page).ok_or(libc::EINVAL)?;
    let advice = if writable {
        libc::MADV_POPULATE_WRITE
    } else {
        libc::MADV_POPULATE_READ
    };
    loop {
        match advise(from as usize, (to - from) as usize, advice) {
            Ok(()) => return Ok(()),
            Err(libc::EINTR | libc::EAGAIN) => {}
            // Not mapped, protected, behind the end of a file, or nothing that can be pinned.
            Err(_) => return Err(libc::EFAULT),
        }
    }
}

fn advise(addr: usize, length: usize, advice: i32) -> Result<()> {
    let at = std::ptr::with_exposed_provenance_mut(addr);
    // SAFETY: nothing that is in memory changes.
    check_call(unsafe { libc::madvise(at, length, advice) }).map(|_| ())
}

/// Whether the kernel knows how.
pub(super) fn is_supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        let byte = 0u8;
        let page = own_memory::page_size();
        let at = std::hint::black_box(&raw const byte).addr() / page * page;
        advise(at, page, libc::MADV_POPULATE_READ) == Ok(())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::os::testing::Mapped;

    #[test]
    fn what_is_mapped_can_be_registered() {
        let bytes = [0u8; 100];
        let at = bytes.as_ptr().addr() as u64;
        assert_eq!(check(at, 100, true), Ok(()));
        assert_eq!(check(8, 100, false), Err(libc::EFAULT));
        assert_eq!(check(u64::MAX, 100, false), Err(libc::EINVAL));
    }

    #[test]
    fn what_is_behind_the_end_of_a_file_cannot() {
        if !is_supported() {
            return;
        }
        let mapped = Mapped::new(16384).unwrap();
        assert_eq!(check(mapped.addr(), 16384, true), Ok(()));
        mapped.resize(100).unwrap();
        assert_eq!(check(mapped.addr(), 4096, true), Ok(()));
        for writable in [false, true] {
            assert_eq!(check(mapped.addr(), 4097, writable), Err(libc::EFAULT));
        }
    }
}
