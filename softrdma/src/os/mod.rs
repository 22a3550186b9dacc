// SPDX-License-Identifier: BSD-3-Clause

//! The operating system, behind safe functions: descriptors, sockets, memory of programs.
//!
//! The objects of the device, which use it, have no unsafe code.

pub(crate) mod addr;
mod arena;
pub(crate) mod brief;
pub(crate) mod cancel;
pub(crate) mod checker;
pub(crate) mod child;
pub(crate) mod chunks;
pub(crate) mod clock;
pub(crate) mod descriptors;
pub(crate) mod discard;
pub(crate) mod door;
pub(crate) mod epoll;
pub(crate) mod fd;
mod file_under;
#[cfg(all(test, not(loom)))]
mod foreign_tests;
mod fork_mark;
pub(crate) mod guard;
pub(crate) mod handover;
pub(crate) mod held;
mod huge_pages;
pub(crate) mod lease;
pub(crate) mod local;
pub(crate) mod mapped;
#[cfg(all(test, not(loom)))]
mod mapped_tests;
pub(crate) mod mapper;
mod mapping_work;
pub(crate) mod mappings;
#[cfg(all(test, not(loom)))]
mod mappings_tests;
mod maps;
mod memfd;
pub(crate) mod memory;
mod mounts;
pub(crate) mod own_memory;
pub(crate) mod own_process;
mod pages;
mod passing;
pub(crate) mod pair;
#[cfg(test)]
mod pair_tests;
pub(crate) mod populate;
pub(crate) mod prefetch;
mod private_epoll;
mod private_fd;
mod private_table;
pub(crate) mod process;
pub(crate) mod pull;
pub(crate) mod random;
pub(crate) mod reach;
pub(crate) mod readiness;
pub(crate) mod region_table;
#[cfg(all(test, not(loom)))]
mod region_table_tests;
pub(crate) mod rings;
#[cfg(all(loom, test))]
mod rings_model;
mod seen_pages;
pub(crate) mod semaphore;
pub(crate) mod signal_mask;
pub(crate) mod signals;
mod slot_set;
pub(crate) mod socket;
pub(crate) mod socket_hint;
mod sync;
pub(crate) mod tcp;
mod sys;
mod table_layout;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod thread;
pub(crate) mod wait_set;
mod wake;
pub(crate) mod warning;
mod watches;
pub(crate) mod way;
mod write_marks;

use std::ffi::c_int;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::{Errno, Result};

/// The errno of the call that has just failed.
pub(crate) fn errno() -> Errno {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

/// What a call returned that gives -1 and errno on failure.
fn check(returned: c_int) -> Result<c_int> {
    if returned < 0 {
        Err(errno())
    } else {
        Ok(returned)
    }
}

/// As [`check`], for calls that return a number of bytes.
fn check_size(returned: isize) -> Result<usize> {
    usize::try_from(returned).map_err(|_| errno())
}

/// A descriptor that a call has just returned.
fn owned(returned: c_int) -> Result<OwnedFd> {
    let fd = check(returned)?;
    // SAFETY: the kernel has just made it for the caller alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
