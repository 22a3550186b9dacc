// SPDX-License-Identifier: BSD-3-Clause

//! The file that is mapped under a range of this process's memory, opened anew.
//!
//! It is opened by its path, if that still leads there, or by a descriptor of it that the program has open. The
//! program's descriptor itself is not sent to anybody: the locks (`flock(2)`) and the position that go with it would
//! last as long as the peer's mapping. All of this is done on a thread that has a table of descriptors of its own.

use std::ffi::{CStr, CString};

use super::maps::{self, Place, Surroundings};
use super::mounts::Mounts;
use super::private_fd::{Identity, PrivateFd, regular_file};
use crate::{Errno, Result};

/// A file that is mapped shared, and the range of memory in which it goes on.
pub(super) struct FileUnder {
    pub(super) file: PrivateFd,
    pub(super) from: u64,
    pub(super) to: u64,
    /// Where the range begins in the file.
    pub(super) offset: u64,
}

/// None of a range of memory can be mapped.
#[derive(Debug)]
pub(super) struct NoFile {
    pub(super) errno: Errno,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl FileUnder {
    /// The file under a range. `thread` is one that has the program's descriptors. Fails if the range is not of one
    /// regular file that is mapped shared, or the file cannot be opened.
    pub(super) fn of(
        addr: u64,
        length: u64,
        writable: bool,
        thread: i32,
    ) -> std::result::Result<Self, NoFile> {
        let end = addr.saturating_add(length);
        let fail = |errno| NoFile {
            errno,
            from: addr,
            to: end,
        };
        let text = maps::text().map_err(fail)?;
        let Surroundings { from, to, place } = maps::around(&text, addr, end);
        let place = place.ok_or(libc::ENODEV);
        let opened = place.and_then(|place| Ok((open(&place, writable, thread)?, place.offset)));
        match opened {
            Ok((file, offset)) => Ok(Self {
                file,
                from,
                to,
                offset,
            }),
            Err(errno) => Err(NoFile { errno, from, to }),
        }
    }
}

fn open(place: &Place<'_>, writable: bool, thread: i32) -> Result<PrivateFd> {
    // Not even to look for it: the server may not answer.
    if Mounts::read()?.may_wait(place.file.device) {
        return Err(libc::EXDEV);
    }
    let file = match Pinned::by_path(place) {
        Ok(pinned) => pinned,
        Err(_) => Pinned::by_descriptor(place, thread)?,
    };
    let file = file.open(writable)?;
    Storage::of(&file)?;
    Ok(file)
}

/// Where the pages of a file are when they are not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// Nowhere, or on a swap device.
    Memory,
    /// On a disk of this host: an access may wait for it.
    Disk,
    /// As above, in an overlay.
    Overlay,
}

impl Storage {
    /// Fails for a file on any other file system, an access to which may wait for a server that does not answer. That
    /// one is not asked.
    pub(super) fn of(file: &PrivateFd) -> Result<Self> {
        if file.is_in_memory()? {
            return Ok(Self::Memory);
        }
        let mount = file.regular_file()?.mount.ok_or(libc::EXDEV)?;
        let mounts = Mounts::read()?;
        if mounts.is_overlay(mount) {
            Ok(Self::Overlay)
        } else if mounts.is_on_disk(mount) {
            Ok(Self::Disk)
        } else {
            Err(libc::EXDEV)
        }
    }
}

/// A file that was found, and is not open: to open a device, for example, has effects.
struct Pinned(PrivateFd);

impl Pinned {
    fn at(path: &CStr, flags: i32, is: Identity) -> Result<Self> {
        let file = PrivateFd::open(path, libc::O_PATH | flags)?;
        if file.regular_file()?.is == is {
            Ok(Self(file))
        } else {
            Err(libc::ENOENT)
        }
    }

    fn by_path(place: &Place<'_>) -> Result<Self> {
        let path = CString::new(place.path).map_err(|_| libc::ENOENT)?;
        if !place.path.starts_with(b"/") {
            return Err(libc::ENOENT);
        }
        Self::at(&path, libc::O_NOFOLLOW, place.file)
    }

    fn by_descriptor(place: &Place<'_>, thread: i32) -> Result<Self> {
        let directory = format!("/proc/self/task/{thread}/fd");
        let path = |text: String| CString::new(text).map_err(|_| libc::EINVAL);
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let numbers = PrivateFd::open(&path(directory.clone())?, flags)?.numbers()?;
        for number in numbers {
            let link = path(format!("{directory}/{number}"))?;
            let is = regular_file(libc::AT_FDCWD, &link);
            if is.is_ok_and(|facts| facts.is == place.file) {
                if let Ok(pinned) = Self::at(&link, 0, place.file) {
                    return Ok(pinned);
                }
            }
        }
        Err(libc::ENOENT)
    }

    fn open(&self, writable: bool) -> Result<PrivateFd> {
        let path = format!("/proc/thread-self/fd/{}", self.0.raw());
        let path = CString::new(path).map_err(|_| libc::EINVAL)?;
        let rights = if writable {
            libc::O_RDWR
        } else {
            libc::O_RDONLY
        };
        // It fails, and does not wait, for a file that another process has a lease of (`F_SETLEASE`).
        PrivateFd::open(&path, rights | libc::O_NONBLOCK | libc::O_NOCTTY)
    }
}
