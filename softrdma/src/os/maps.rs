// SPDX-License-Identifier: BSD-3-Clause

//! Whether a range of memory can be registered: what is mapped there, and how.

use std::fs::File;
use std::io::Read;

use crate::Result;

/// What memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// It is there as long as it is mapped.
    Anonymous,
    /// Some of it is a file, which may be truncated.
    File,
}

/// What a range is made of. Fails with `EFAULT` unless the whole range is mapped and readable, and writable
/// if that is asked for.
///
/// Registration on a device pins the pages, which tells as much. To touch the pages instead would
/// allocate them, and to look at them one by one takes long for large regions.
pub(crate) fn check(addr: u64, length: u64, writable: bool) -> Result<Backing> {
    let end = addr.checked_add(length).ok_or(libc::EINVAL)?;
    let mut text = Vec::with_capacity(16 * 1024);
    File::open("/proc/self/maps")
        .and_then(|mut file| file.read_to_end(&mut text))
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    covers(&text, addr, end, writable).ok_or(libc::EFAULT)
}

/// A line of the table.
#[derive(Clone, Copy)]
struct Mapping {
    from: u64,
    to: u64,
    readable: bool,
    writable: bool,
    backing: Backing,
}

/// Lines are in the order of addresses: `7f0000000000-7f0000001000 rw-p OFFSET DEVICE INODE PATH`.
fn covers(maps: &[u8], addr: u64, end: u64, writable: bool) -> Option<Backing> {
    let mut reached = addr;
    let mut backing = Backing::Anonymous;
    for line in maps.split(|&byte| byte == b'\n') {
        let Some(mapping) = parse(line) else {
            continue;
        };
        if mapping.to <= reached {
            continue;
        }
        if mapping.from > reached || !mapping.readable || (writable && !mapping.writable) {
            return None;
        }
        if mapping.backing == Backing::File {
            backing = Backing::File;
        }
        reached = mapping.to;
        if reached >= end {
            return Some(backing);
        }
    }
    None
}

fn parse(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.split(|&byte| byte == b' ');
    let range = fields.next()?;
    let rights = fields.next()?;
    let device = fields.nth(1)?;
    let inode = fields.next()?;
    let path = fields.find(|field| !field.is_empty()).unwrap_or_default();
    let dash = range.iter().position(|&byte| byte == b'-')?;
    Some(Mapping {
        from: hex(range.get(..dash)?)?,
        to: hex(range.get(dash + 1..)?)?,
        readable: *rights.first()? == b'r',
        writable: *rights.get(1)? == b'w',
        backing: if inode == b"0" || is_shared_memory(device, path) {
            Backing::Anonymous
        } else {
            Backing::File
        },
    })
}

/// What processes share without a file (`MAP_SHARED | MAP_ANONYMOUS`, `shmget`) is one for the kernel, but
/// nobody has a descriptor of it to truncate it by.
fn is_shared_memory(device: &[u8], path: &[u8]) -> bool {
    device == b"00:01" && (path == b"/dev/zero" || path.starts_with(b"/SYSV"))
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
        8000-9000 rw-s 00000000 00:01 7                          /dev/zero (deleted)\n\
        9000-a000 rw-s 00000000 00:01 8                          /SYSV00000000 (deleted)\n\
        a000-b000 rw-s 00000000 00:01 9                          /memfd:x (deleted)\n";

    #[test]
    fn a_range_may_span_mappings_but_no_hole() {
        let anonymous = Some(Backing::Anonymous);
        assert_eq!(covers(MAPS, 0x1001, 0x2fff, true), anonymous);
        assert_eq!(covers(MAPS, 0x1000, 0x4000, false), Some(Backing::File));
        assert_eq!(covers(MAPS, 0x1000, 0x4000, true), None);
        assert_eq!(covers(MAPS, 0x3000, 0x5001, false), None);
        assert_eq!(covers(MAPS, 0x5000, 0x6000, true), anonymous);
        assert_eq!(covers(MAPS, 0x5000, 0x6001, false), None);
        assert_eq!(covers(MAPS, 0x0, 0x1001, false), None);
        assert_eq!(covers(MAPS, 0x7000, 0x7001, false), None);
        assert_eq!(covers(MAPS, 0x8000, 0xa000, true), anonymous);
        assert_eq!(covers(MAPS, 0x9000, 0xa001, true), Some(Backing::File));
    }

    #[test]
    fn ones_own_memory_is_mapped() {
        let bytes = [0u8; 100];
        let at = bytes.as_ptr().addr() as u64;
        assert_eq!(check(at, 100, true), Ok(Backing::Anonymous));
        assert_eq!(check(8, 100, false), Err(libc::EFAULT));
        assert_eq!(check(u64::MAX, 100, false), Err(libc::EINVAL));
    }
}
