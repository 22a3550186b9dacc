// SPDX-License-Identifier: BSD-3-Clause

//! The number of this process, without a system call for each time.
//!
//! It is kept in a page that the kernel clears for a child, whatever call the child was made by: so a child never takes
//! the number of its parent for its own.

use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

struct Page(NonNull<AtomicU32>);

// SAFETY: it stays mapped as long as the process lives, and is only accessed atomically.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

/// None where the kernel does not clear pages (before Linux 4.14).
static PAGE: OnceLock<Option<Page>> = OnceLock::new();

fn new_page() -> Option<Page> {
    const SIZE: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, wherever the kernel likes.
    let at = unsafe { libc::mmap(ptr::null_mut(), SIZE, protection, kind, -1, 0) };
    if at == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping that was just made.
    if unsafe { libc::madvise(at, SIZE, libc::MADV_WIPEONFORK) } < 0 {
        // SAFETY: as above, and nobody knows it.
        unsafe { libc::munmap(at, SIZE) };
        return None;
    }
    NonNull::new(at.cast()).map(Page)
}

pub(crate) fn id() -> u32 {
    let Some(page) = PAGE.get_or_init(new_page) else {
        return std::process::id();
    };
    // SAFETY: a page of zeros at first, aligned, and never unmapped.
    let known = unsafe { page.0.as_ref() };
    match known.load(Ordering::Relaxed) {
        0 => {
            let id = std::process::id();
            known.store(id, Ordering::Relaxed);
            id
        }
        id => id,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_a_number_of_its_own() {
        assert_eq!(id(), std::process::id());
        // As `fork` without the C library, which would tell others of it.
        let how = libc::c_long::from(libc::SIGCHLD);
        // SAFETY: the child only asks for its number, and ends.
        let child = unsafe { libc::syscall(libc::SYS_clone, how, 0usize, 0usize, 0usize, 0usize) };
        let child = child as i32;
        assert!(child >= 0);
        if child == 0 {
            let is_own = id() == std::process::id();
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!is_own)) };
        }
        let mut status = -1;
        // SAFETY: room for the status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
    }
}
