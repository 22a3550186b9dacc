// SPDX-License-Identifier: BSD-3-Clause

//! What is mapped where, and how: for kernels that cannot say whether memory can be registered, and for peers that map
//! the same files.

use std::fs::File;
use std::io::Read;

use super::private_fd::{Identity, PrivateFd};
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
    all_under(maps, addr, end, |mapping, _| {
        mapping.writable || (mapping.readable && !writable)
    })
}

/// Whether all of a range is mapped, by mappings that are right, each with its line.
///
/// Lines are in the order of addresses: `7f0000000000-7f0000001000 rw-p OFFSET DEVICE INODE PATH`.
fn all_under(maps: &[u8], addr: u64, end: u64, is_right: impl Fn(Mapping, &[u8]) -> bool) -> bool {
    let mut reached = addr;
    for line in maps.split(|&byte| byte == b'\n') {
        let Some(mapping) = parse(line).filter(|mapping| mapping.to > reached) else {
            continue;
        };
        if mapping.from > reached || !is_right(mapping, line) {
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

/// How much text the kernel's table of mappings may have: some 100,000 mappings.
const MOST_TEXT: usize = 8 << 20;

/// The table of this process, on a thread with descriptors of its own.
pub(super) fn text() -> Result<Vec<u8>> {
    let mut text = Vec::new();
    PrivateFd::open(c"/proc/thread-self/maps", libc::O_RDONLY)?
        .read_to_end(&mut text, MOST_TEXT)?;
    Ok(text)
}

/// Whether all of a range is private memory without a file.
pub(super) fn is_private(maps: &[u8], addr: u64, end: u64) -> bool {
    all_under(maps, addr, end, |_, line| {
        let mut fields = line.splitn(6, |&byte| byte == b' ').skip(1);
        let (rights, inode) = (fields.next(), fields.nth(2));
        rights.is_some_and(|rights| rights.get(3) == Some(&b'p')) && inode == Some(b"0")
    })
}

// --- Files -------------------------------------------------------------------------------------------

/// A file, and where something is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) file: Identity,
    pub(super) offset: u64,
    /// What it was called when it was opened, perhaps with ` (deleted)` behind it.
    pub(super) path: &'a [u8],
}

/// What is mapped around a range.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Surroundings<'a> {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The file that is mapped shared from here to there without a gap. None if there is none under the range, or under
    /// a part of it: then there is none from here to there either.
    pub(super) place: Option<Place<'a>>,
}

/// What is mapped under a range, and before and behind it as far as that goes on in the same file.
pub(super) fn around(maps: &[u8], addr: u64, end: u64) -> Surroundings<'_> {
    let nothing = Surroundings {
        from: addr,
        to: end,
        place: None,
    };
    let mut rest = maps;
    while !rest.is_empty() {
        let before = &maps[..maps.len() - rest.len()];
        let (line, behind) = first_line(rest);
        rest = behind;
        let Some(mapping) = parse(line).filter(|mapping| mapping.to > addr) else {
            continue;
        };
        if mapping.from > addr {
            return nothing;
        }
        let Some(place) = parse_file(line) else {
            let (from, to) = (mapping.from, mapping.to);
            let place = None;
            return if end <= to {
                Surroundings { from, to, place }
            } else {
                nothing
            };
        };
        let mut found = Surroundings {
            from: mapping.from,
            to: mapping.to,
            place: Some(place),
        };
        let mut after = rest.split(|&byte| byte == b'\n');
        while after.next().is_some_and(|line| found.goes_on_in(line)) {}
        let mut lines = before.rsplit(|&byte| byte == b'\n');
        // What is behind the last line.
        lines.next();
        while lines.next().is_some_and(|line| found.comes_after(line)) {}
        return if end <= found.to { found } else { nothing };
    }
    nothing
}

fn first_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| byte == b'\n');
    end.map_or((text, &[]), |end| (&text[..end], &text[end + 1..]))
}

impl Surroundings<'_> {
    /// Adds the mapping in this line, if it follows and is of the same file.
    fn goes_on_in(&mut self, line: &[u8]) -> bool {
        let follows = || {
            let (mapping, own) = (parse(line)?, self.place.as_ref()?);
            let next = parse_file(line).filter(|next| next.file == own.file)?;
            let offset = own.offset.checked_add(self.to - self.from)?;
            (mapping.from == self.to && next.offset == offset).then_some(mapping.to)
        };
        let to = follows();
        self.to = to.unwrap_or(self.to);
        to.is_some()
    }

    /// Adds the mapping in this line, if it is before this one and of the same file.
    fn comes_after(&mut self, line: &[u8]) -> bool {
        let precedes = || {
            let (mapping, own) = (parse(line)?, self.place.as_ref()?);
            let before = parse_file(line).filter(|before| before.file == own.file)?;
            let offset = before.offset.checked_add(mapping.to - mapping.from)?;
            (mapping.to == self.from && own.offset == offset)
                .then_some((mapping.from, before.offset))
        };
        let Some((from, offset)) = precedes() else {
            return false;
        };
        self.from = from;
        if let Some(place) = &mut self.place {
            place.offset = offset;
        }
        true
    }
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

    fn file(
        from: u64,
        to: u64,
        device: (u32, u32),
        inode: u64,
        offset: u64,
        path: &str,
    ) -> Surroundings<'_> {
        Surroundings {
            from,
            to,
            place: Some(Place {
                file: Identity { device, inode },
                offset,
                path: path.as_bytes(),
            }),
        }
    }

    fn no_file(from: u64, to: u64) -> Surroundings<'static> {
        Surroundings {
            from,
            to,
            place: None,
        }
    }

    #[test]
    fn a_file_is_found_as_far_as_it_goes_on() {
        let memory = || file(0x1000, 0x4000, (0, 1), 7, 0, "/memfd:a b (deleted)");
        // Mappings that go on in the file as in memory.
        for (from, to) in [(0x1000, 0x1001), (0x1808, 0x4000), (0x3fff, 0x4000)] {
            assert_eq!(around(FILES, from, to), memory(), "{from:#x}");
        }
        let other = file(0x5000, 0x6000, (0, 1), 8, 0x5000, "/other");
        assert_eq!(around(FILES, 0x5000, 0x5001), other);
        let last = file(0x8000, 0x9000, (0x103, 0x1f), 9, 0x7000, "/file");
        assert_eq!(around(FILES, 0x8000, 0x9000), last);
    }

    const BACKWARDS: &[u8] = b"1000-2000 rw-s 00001000 00:01 7    /f\n\
        2000-3000 rw-s 00000000 00:01 7    /f\n\
        3000-4000 rw-s 00000000 00:01 7    /f\n\
        5000-6000 rw-s 00002000 00:01 7    /f\n\
        6000-7000 rw-s 00003000 00:01 7    /f\n";

    #[test]
    fn other_parts_of_the_same_file_are_not_added() {
        for (at, to, offset) in [
            (0x1000, 0x2000, 0x1000),
            (0x2000, 0x3000, 0),
            (0x3000, 0x4000, 0),
            (0x5000, 0x7000, 0x2000),
        ] {
            let is = file(at, to, (0, 1), 7, offset, "/f");
            assert_eq!(around(BACKWARDS, at, at + 8), is, "{at:#x}");
        }
    }

    #[test]
    fn a_range_that_is_not_of_one_file_is_not() {
        for (from, to, why) in [
            (0x3000, 0x4001, "the file does not go on there"),
            (0x4000, 0x5001, "another file"),
            (0x5000, 0x6001, "nothing is mapped there"),
            (0x6000, 0x6001, "nothing is mapped there"),
            (0x7800, 0x8001, "the first part is private"),
            (0x8000, 0x9001, "the second part is no file"),
            (0xa000, 0xa001, "behind the last one"),
        ] {
            assert_eq!(around(FILES, from, to), no_file(from, to), "{why}");
        }
        // All of a mapping that is no file.
        assert_eq!(around(FILES, 0x7008, 0x7010), no_file(0x7000, 0x8000));
        assert_eq!(around(FILES, 0x9008, 0xa000), no_file(0x9000, 0xa000));
        for line in [
            "",
            "1000-2000 rw-s",
            "1000-2000 rw-s 0 0:1 x /a",
            "1000-2000 rw-s 0 1 7 /a",
        ] {
            let is = around(line.as_bytes(), 0x1000, 0x1001);
            assert!(is.place.is_none(), "{line}");
        }
    }

    #[test]
    fn private_memory_has_no_file() {
        for (from, to, is) in [
            (0x1000, 0x3000, true),
            (0x1000, 0x3001, false),
            (0x5000, 0x5001, false),
            (0x6000, 0x8000, true),
            (0x7000, 0x8001, false),
        ] {
            assert_eq!(is_private(MAPS, from, to), is, "{from:x}");
        }
        assert!(!is_private(FILES, 0x7000, 0x8000));
    }

    #[test]
    fn ones_own_memory_is_mapped() {
        let bytes = [0u8; 100];
        let at = bytes.as_ptr().addr() as u64;
        assert_eq!(check(at, at + 100, true), Ok(()));
        assert_eq!(check(8, 108, false), Err(libc::EFAULT));
    }
}
