// SPDX-License-Identifier: BSD-3-Clause

//! Whether a range of memory can be registered: what is mapped there, and how.

use std::fs::File;
use std::io::Read;

use crate::Result;

/// Fails with `EFAULT` unless the whole range is mapped and readable, and writable if that is asked for.
///
/// Registration on a device pins the pages, which tells as much. To touch the pages instead would
/// allocate them, and to look at them one by one takes long for large regions.
pub(crate) fn check(addr: u64, length: u64, writable: bool) -> Result<()> {
    let end = addr.checked_add(length).ok_or(libc::EINVAL)?;
    let mut text = Vec::with_capacity(16 * 1024);
    File::open("/proc/self/maps")
        .and_then(|mut file| file.read_to_end(&mut text))
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    if covers(&text, addr, end, writable) {
        Ok(())
    } else {
        Err(libc::EFAULT)
    }
}

/// Lines are in the order of addresses: `7f0000000000-7f0000001000 rw-p …`.
fn covers(maps: &[u8], addr: u64, end: u64, writable: bool) -> bool {
    let mut reached = addr;
    for line in maps.split(|&byte| byte == b'\n') {
        let Some((from, to, readable, can_write)) = parse(line) else {
            continue;
        };
        if to <= reached {
            continue;
        }
        if from > reached || !readable || (writable && !can_write) {
            return false;
        }
        reached = to;
        if reached >= end {
            return true;
        }
    }
    false
}

fn parse(line: &[u8]) -> Option<(u64, u64, bool, bool)> {
    let dash = line.iter().position(|&byte| byte == b'-')?;
    let space = line.iter().position(|&byte| byte == b' ')?;
    let from = hex(line.get(..dash)?)?;
    let to = hex(line.get(dash + 1..space)?)?;
    let readable = *line.get(space + 1)? == b'r';
    let writable = *line.get(space + 2)? == b'w';
    Some((from, to, readable, writable))
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
        3000-4000 r--p 00000000 00:00 0 /a b\n\
        5000-6000 rw-s 00000000 00:00 0\n\
        6000-7000 ---p 00000000 00:00 0\n";

    #[test]
    fn a_range_may_span_mappings_but_no_hole() {
        assert!(covers(MAPS, 0x1001, 0x2fff, true));
        assert!(covers(MAPS, 0x1000, 0x4000, false));
        assert!(!covers(MAPS, 0x1000, 0x4000, true));
        assert!(!covers(MAPS, 0x3000, 0x5001, false));
        assert!(!covers(MAPS, 0x5000, 0x6001, false));
        assert!(!covers(MAPS, 0x0, 0x1001, false));
        assert!(!covers(MAPS, 0x7000, 0x7001, false));
    }

    #[test]
    fn ones_own_memory_is_mapped() {
        let bytes = [0u8; 100];
        assert_eq!(check(bytes.as_ptr().addr() as u64, 100, true), Ok(()));
        assert_eq!(check(8, 100, false), Err(libc::EFAULT));
        assert_eq!(check(u64::MAX, 100, false), Err(libc::EINVAL));
    }
}
