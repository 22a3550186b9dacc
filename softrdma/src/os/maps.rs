// SPDX-License-Identifier: BSD-3-Clause

//! What is mapped where, and how: for kernels that cannot say whether memory can be registered.

use std::fs::File;
use std::io::Read;

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

/// Lines are in the order of addresses: `7f0000000000-7f0000001000 rw-p OFFSET DEVICE INODE PATH`.
fn covers(maps: &[u8], addr: u64, end: u64, writable: bool) -> bool {
    let mut reached = addr;
    for line in maps.split(|&byte| byte == b'\n') {
        let Some(mapping) = parse(line) else {
            continue;
        };
        if mapping.to <= reached {
            continue;
        }
        let right = mapping.writable || (mapping.readable && !writable);
        if mapping.from > reached || !right {
            return false;
        }
        reached = mapping.to;
        if reached >= end {
            return true;
        }
    }
    false
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

    #[test]
    fn ones_own_memory_is_mapped() {
        let bytes = [0u8; 100];
        let at = bytes.as_ptr().addr() as u64;
        assert_eq!(check(at, at + 100, true), Ok(()));
        assert_eq!(check(8, 108, false), Err(libc::EFAULT));
    }
}
