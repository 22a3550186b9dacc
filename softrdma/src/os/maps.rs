// SPDX-License-Identifier: BSD-3-Clause

//! What is mapped where, and how: for kernels that cannot say whether memory can be registered, and for peers that map
//! the same files.

use std::fs::File;
use std::io::Read;

use super::private_fd::Identity;
use crate::Result;

/// Fails with `EFAULT` unless the whole range is mapped and readable, and writable if that is asked for.
pub(super) fn check(addr: u64, end: u64, writable: bool) -> Result<()> {
    let mut text = Vec::with_capacity(16 * 1024);
    File::open("/proc/thread-self/maps")
        .and_then(|mut file| file.read_to_end(&mut text))
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    if covers(&text, addr, end, writable) {
        Ok(())
    } else {
        Err(libc::EFAULT)
    }
}

/// A line of the table.
#[derive(Clone, Copy)]
struct Mapping {
    from: u64,
    to: u64,
    readable: bool,
    writable: bool,
}

/// Whether all of a range is mapped with these rights.
fn covers(maps: &[u8], addr: u64, end: u64, writable: bool) -> bool {
    each_under(maps, addr, end, |mapping, _, _| {
        (mapping.writable || (mapping.readable && !writable)).then_some(())
    })
    .is_some()
}

/// Looks at each mapping under a range, with its line, and the address from which on it is under the range. None when
/// `look` returns None, and when a part of the range is not mapped.
///
/// Lines are in the order of addresses: `7f0000000000-7f0000001000 rw-p OFFSET DEVICE INODE PATH`.
fn each_under<'a>(
    maps: &'a [u8],
    addr: u64,
    end: u64,
    mut look: impl FnMut(Mapping, &'a [u8], u64) -> Option<()>,
) -> Option<()> {
    let mut reached = addr;
    for line in maps.split(|&byte| byte == b'\n') {
        let Some(mapping) = parse(line) else {
            continue;
        };
        if mapping.to <= reached {
            continue;
        }
        if mapping.from > reached {
            return None;
        }
        look(mapping, line, reached)?;
        reached = mapping.to;
        if reached >= end {
            return Some(());
        }
    }
    None
}

fn parse(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.split(|&byte| byte == b' ');
    let range = fields.next()?;
    let rights = fields.next()?;
    let dash = range.iter().position(|&byte| byte == b'-')?;
    Some(Mapping {
        from: hex(range.get(..dash)?)?,
        to: hex(range.get(dash + 1..)?)?,
        readable: *rights.first()? == b'r',
        writable: *rights.get(1)? == b'w',
    })
}

// --- Files -------------------------------------------------------------------------------------------

/// Where a range is in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) file: Identity,
    pub(super) offset: u64,
    /// What it was called when it was opened, perhaps with ` (deleted)` behind it.
    pub(super) path: &'a [u8],
}

/// The file that is mapped under all of a range, if it is one that is mapped shared and without a gap.
pub(super) fn file_of(maps: &[u8], addr: u64, end: u64) -> Option<Place<'_>> {
    let mut found: Option<Place<'_>> = None;
    each_under(maps, addr, end, |mapping, line, from| {
        let part = parse_file(line)?;
        let offset = part.offset.checked_add(from - mapping.from)?;
        let Some(first) = &found else {
            found = Some(Place { offset, ..part });
            return Some(());
        };
        let goes_on = first.offset.checked_add(from - addr) == Some(offset);
        (first.file == part.file && goes_on).then_some(())
    })?;
    found
}

/// None for what is not a shared mapping of a file.
fn parse_file(line: &[u8]) -> Option<Place<'_>> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let (_range, rights) = (fields.next()?, fields.next()?);
    let (offset, device) = (fields.next()?, fields.next()?);
    let (inode, path) = (fields.next()?, fields.next()?);
    let colon = device.iter().position(|&byte| byte == b':')?;
    let number = |digits: &[u8]| u32::try_from(hex(digits)?).ok();
    let inode = std::str::from_utf8(inode).ok()?.parse().ok()?;
    let file = Identity {
        device: (number(&device[..colon])?, number(&device[colon + 1..])?),
        inode,
    };
    let is_shared = rights.get(3) == Some(&b's') && inode != 0;
    is_shared.then_some(Place {
        file,
        offset: hex(offset)?,
        path: path.trim_ascii_start(),
    })
}

fn hex(digits: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for &digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value.checked_mul(16)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"1000-3000 rw-p 00000000 00:00 0\n\
        3000-4000 r--p 00000000 08:01 12                         /a b\n\
        5000-6000 rw-s 00000000 00:00 0\n\
        6000-7000 ---p 00000000 00:00 0\n\
        7000-8000 -w-p 00000000 00:00 0\n";

    #[test]
    fn a_range_may_span_mappings_but_no_hole() {
        assert!(covers(MAPS, 0x1001, 0x2fff, true));
        assert!(covers(MAPS, 0x1000, 0x4000, false));
        assert!(!covers(MAPS, 0x1000, 0x4000, true));
        assert!(!covers(MAPS, 0x3000, 0x5001, false));
        assert!(covers(MAPS, 0x5000, 0x6000, true));
        assert!(!covers(MAPS, 0x5000, 0x6001, false));
        assert!(!covers(MAPS, 0x0, 0x1001, false));
        assert!(covers(MAPS, 0x7000, 0x8000, true));
        assert!(!covers(MAPS, 0x8000, 0x8001, false));
    }

    const FILES: &[u8] = b"1000-3000 rw-s 00000000 00:01 7    /memfd:a b (deleted)\n\
        3000-4000 r--s 00002000 00:01 7    /memfd:a b (deleted)\n\
        4000-5000 rw-s 00004000 00:01 7    /memfd:a b (deleted)\n\
        5000-6000 rw-s 00005000 00:01 8    /other\n\
        7000-8000 rw-p 00000000 103:1f 9   /private\n\
        8000-9000 rw-s 00007000 103:1f 9   /file\n\
        9000-a000 rw-s 00000000 00:00 0\n";

    fn place(device: (u32, u32), inode: u64, offset: u64, path: &str) -> Option<Place<'_>> {
        Some(Place {
            file: Identity { device, inode },
            offset,
            path: path.as_bytes(),
        })
    }

    #[test]
    fn a_range_of_one_file_is_found() {
        let memory = |offset| place((0, 1), 7, offset, "/memfd:a b (deleted)");
        assert_eq!(file_of(FILES, 0x1000, 0x1001), memory(0));
        // Two mappings that go on in the file as in memory.
        assert_eq!(file_of(FILES, 0x1808, 0x4000), memory(0x808));
        assert_eq!(file_of(FILES, 0x3fff, 0x4000), memory(0x2fff));
        let file = place((0x103, 0x1f), 9, 0x7000, "/file");
        assert_eq!(file_of(FILES, 0x8000, 0x9000), file);
    }

    #[test]
    fn a_range_that_is_not_of_one_file_is_not() {
        for (from, to, why) in [
            (0x3000, 0x4001, "the file does not go on there"),
            (0x4000, 0x5001, "another file"),
            (0x5000, 0x6001, "nothing is mapped there"),
            (0x6000, 0x6001, "nothing is mapped there"),
            (0x7000, 0x7001, "private"),
            (0x7800, 0x8001, "the first part is private"),
            (0x8000, 0x9001, "the second part is no file"),
            (0x9000, 0x9001, "no file"),
            (0xa000, 0xa001, "behind the last one"),
        ] {
            assert_eq!(file_of(FILES, from, to), None, "{why}");
        }
        for line in [
            "",
            "1000-2000 rw-s",
            "1000-2000 rw-s 0 0:1 x /a",
            "1000-2000 rw-s 0 1 7 /a",
        ] {
            assert_eq!(file_of(line.as_bytes(), 0x1000, 0x1001), None, "{line}");
        }
    }

    #[test]
    fn ones_own_memory_is_mapped() {
        let bytes = [0u8; 100];
        let at = bytes.as_ptr().addr() as u64;
        assert_eq!(check(at, at + 100, true), Ok(()));
        assert_eq!(check(8, 108, false), Err(libc::EFAULT));
    }
}
