// SPDX-License-Identifier: BSD-3-Clause

//! Memory files (`memfd_create(2)`): memory that processes share by a descriptor.

use std::os::fd::{AsRawFd, OwnedFd};

use super::{check, owned};
use crate::Result;

/// A new one of size 0, for up to `size` bytes.
pub(super) fn create(size: usize) -> Result<OwnedFd> {
    // The signal for a file above the limit would end the program.
    if !may_make_files_of(size) {
        return Err(libc::EFBIG);
    }
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag, others may insist on it.
    match create_with(flags | libc::MFD_NOEXEC_SEAL) {
        Err(libc::EINVAL) => create_with(flags),
        made => made,
    }
}

fn create_with(flags: libc::c_uint) -> Result<OwnedFd> {
    // SAFETY: a string that ends with 0.
    owned(unsafe { libc::memfd_create(c"softrdma".as_ptr(), flags) })
}

/// Allocates the pages of a range, and enlarges the file if the range ends behind it. An access to a page for which
/// there is no memory would be fatal.
pub(super) fn allocate(fd: i32, at: usize, length: usize) -> Result<()> {
    loop {
        let (at, length) = (at as libc::off_t, length as libc::off_t);
        // SAFETY: no pointers.
        match check(unsafe { libc::fallocate(fd, 0, at, length) }) {
            Err(libc::EINTR) => {}
            done => return done.map(|_| ()),
        }
    }
}

/// Enlarges the file without allocating pages.
pub(super) fn set_size(fd: &OwnedFd, size: usize) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), size as libc::off_t) }).map(|_| ())
}

pub(super) fn seal(fd: &OwnedFd, seals: i32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(|_| ())
}

/// The size of a file whose descriptor a peer has sent: fails unless it is a memory file that has these seals.
pub(super) fn size_of_sent(fd: &OwnedFd, seals: i32) -> Result<usize> {
    // SAFETY: no pointers. Of files that have no seals, it fails.
    let has = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) })?;
    // SAFETY: plain data, for which zeros are valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: room for the answer.
    check(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) })?;
    // SAFETY: plain data, for which zeros are valid.
    let mut system: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: room for the answer.
    check(unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut system) })?;
    // Huge pages have seals as well, but there may be none for a part that the peer has given back: that is SIGBUS.
    if has & seals != seals || system.f_type != libc::TMPFS_MAGIC {
        return Err(libc::EINVAL);
    }
    usize::try_from(stat.st_size).map_err(|_| libc::EINVAL)
}

/// As above: fails unless it has this size, too.
pub(super) fn check_sent(fd: &OwnedFd, size: usize, seals: i32) -> Result<()> {
    if size_of_sent(fd, seals)? == size {
        Ok(())
    } else {
        Err(libc::EINVAL)
    }
}

fn may_make_files_of(size: usize) -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for the answer.
    check(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) }).is_ok()
        && limit.rlim_cur >= size as libc::rlim_t
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SIZE: usize = 4 << 20;
    const SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

    fn made_with(kind: libc::c_uint, seals: i32) -> Result<OwnedFd> {
        let fd = create_with(libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | kind)?;
        set_size(&fd, SIZE)?;
        seal(&fd, seals)?;
        Ok(fd)
    }

    #[test]
    fn a_file_of_huge_pages_is_refused() {
        assert_eq!(size_of_sent(&made_with(0, SEALS).unwrap(), SEALS), Ok(SIZE));
        // Where there are no such files, nobody can send one.
        if let Ok(huge) = made_with(libc::MFD_HUGETLB, SEALS) {
            assert_eq!(size_of_sent(&huge, SEALS), Err(libc::EINVAL));
        }
    }

    #[test]
    fn a_file_that_may_become_smaller_is_refused() {
        let fd = made_with(0, libc::F_SEAL_GROW).unwrap();
        assert_eq!(size_of_sent(&fd, SEALS), Err(libc::EINVAL));
    }
}
