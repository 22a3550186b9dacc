// SPDX-License-Identifier: BSD-3-Clause

//! Pages by which the kernel tells a process from every other one, while it writes to its memory.
//!
//! `process_vm_writev` takes the number of a process, which may be another one's by then, or that of a program that the
//! process executes. A read can be checked afterwards, a write cannot. But the call writes to its ranges in their order,
//! all in the memory of one process, and ends at the first one that is not there. So a process has pages at random
//! addresses, its *marks*, and an initiator first writes a byte to each: in any other process there is nothing at these
//! addresses, and no byte of the data is written. Children of a fork do not have the pages either.
//!
//! A mark is in a range of 2^46 bytes, of which a process has few GiB. So both are there by chance with a probability of
//! about 2^-30, in the moment after the number has become another process's. Under a sanitizer a process has a fifth
//! (AddressSanitizer) to a half (ThreadSanitizer) of the range, as its shadow memory, and both are there with a
//! probability of 1/20 to 1/3. If the first mark alone is there, its byte is changed. The byte is 0.
//!
//! Each mark takes its own page tables, up to 16 KiB with the page, and counts against `RLIMIT_MEMLOCK`.

use std::ptr;

use super::own_memory::page_size;
use super::{check, errno, random};
use crate::Result;

/// How many pages a process has.
pub(super) const MARKS: usize = 2;
/// Below this, programs that are linked to an address have their memory.
const LOWEST: u64 = 1 << 33;
/// What user space has on most processors. Where there is less, a process has no marks.
const ADDRESS_BITS: u32 = 46;
const ATTEMPTS: usize = 8;

/// The marks of this process, until they are dropped.
pub(super) struct WriteMarks([Page; MARKS]);

impl WriteMarks {
    /// Fails where the system does not provide memory at given addresses, as under some checkers.
    pub(super) fn new() -> Result<Self> {
        Ok(Self([Page::new()?, Page::new()?]))
    }

    pub(super) fn addresses(&self) -> [u64; MARKS] {
        [self.0[0].0, self.0[1].0]
    }
}

/// Whether these can be the addresses of marks, as the owner says. It is its own memory that it gets them for.
pub(super) fn are_marks(addresses: [u64; MARKS]) -> bool {
    let page = page_size() as u64;
    let is_page = |&at: &u64| at >= LOWEST && at % page == 0;
    addresses.iter().all(is_page) && addresses[0] != addresses[1]
}

/// A page of zeros at a random address.
struct Page(u64);

impl Page {
    fn new() -> Result<Self> {
        let page = page_size() as u64;
        let mut failed = libc::ENOMEM;
        for _ in 0..ATTEMPTS {
            let random = u64::from_le_bytes(random::bytes()?) & ((1 << ADDRESS_BITS) - 1);
            let at = random / page * page;
            if at < LOWEST {
                continue;
            }
            match Self::at(at) {
                Ok(mark) => return Ok(mark),
                Err(errno) => failed = errno,
            }
        }
        Err(failed)
    }

    fn at(addr: u64) -> Result<Self> {
        let size = page_size();
        let wanted = ptr::without_provenance_mut::<libc::c_void>(addr as usize);
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // Without MAP_FIXED_NOREPLACE, of which ThreadSanitizer makes a mapping at address 0: the kernel takes another
        // address where there is something.
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(wanted, size, rights, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(errno());
        }
        let mark = Self(at.addr() as u64);
        if mark.0 != addr {
            return Err(libc::EEXIST);
        }
        // SAFETY: the mapping from above, to which nobody has references.
        unsafe {
            check(libc::madvise(at, size, libc::MADV_DONTFORK))?;
            libc::madvise(at, size, libc::MADV_DONTDUMP);
            // Nobody would bring it back into memory. Where it may not be locked, large writes take longer then.
            let _ = libc::mlock(at, size);
            // It is not there yet where it was not locked: sanitizers make mlock a call that does nothing.
            ptr::write_volatile(at.cast::<u8>(), 0);
        }
        Ok(mark)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let at = ptr::without_provenance_mut(self.0 as usize);
        // SAFETY: mapped by `at`, and nobody in this process uses it.
        unsafe { libc::munmap(at, page_size()) };
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::os::own_memory::is_there;

    #[test]
    fn marks_are_pages_that_nobody_else_has() {
        let Ok(marks) = WriteMarks::new() else { return };
        let addresses = marks.addresses();
        assert!(are_marks(addresses));
        for at in addresses {
            assert!(is_there(at as usize, page_size()));
        }
        assert!(!addresses.contains(&WriteMarks::new().unwrap().addresses()[0]));
        drop(marks);
        for at in addresses {
            assert!(!is_there(at as usize, page_size()));
        }
    }

    #[test]
    fn what_is_no_mark_is_found_out() {
        let (one, other) = (LOWEST + (1 << 40), LOWEST);
        assert!(are_marks([one, other]));
        for wrong in [
            [0, 0],
            [one, one],
            [one, 0],
            [one + 8, other],
            [4096, other],
        ] {
            assert!(!are_marks(wrong), "{wrong:x?}");
        }
    }
}
