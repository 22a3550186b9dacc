// SPDX-License-Identifier: BSD-3-Clause

//! Whether libsoftrdma.so can stand under the names of libibverbs and librdmacm: it needs every function that those
//! of this machine have, in each version. Otherwise the dynamic loader would refuse programs, or libraries of
//! drivers, that need one of the others.

use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::elf::{Elf, Reader};

/// The libraries that programs open by name.
pub(super) const SONAMES: [&str; 2] = ["libibverbs.so.1", "librdmacm.so.1"];

const SHT_DYNSYM: u64 = 11;
const SHT_GNU_VERDEF: u64 = 0x6fff_fffd;
const SHT_GNU_VERSYM: u64 = 0x6fff_ffff;
const SHN_UNDEF: u64 = 0;
const SHN_ABS: u64 = 0xfff1;
/// The flag of a version that is not the default one.
const HIDDEN: u64 = 0x8000;
/// The largest section that is read, and the largest number of them.
const MOST: u64 = 1 << 24;
const MOST_SECTIONS: u64 = 1 << 12;

/// A function of the two libraries of this machine that `library` does not have: its name, and the library's.
pub(super) fn unknown_to(library: &Path) -> Option<(String, &'static str)> {
    // What cannot be read has no functions that a program could need.
    let own = defined_in(library).ok()?;
    SONAMES.into_iter().find_map(|soname| {
        let theirs = defined_in(&installed(soname)?).ok()?;
        let unknown = theirs.into_iter().find(|symbol| !own.contains(symbol))?;
        Some((unknown, soname))
    })
}

/// The path of a library, as the dynamic loader finds it.
fn installed(soname: &str) -> Option<PathBuf> {
    let (name, function) = match soname {
        "libibverbs.so.1" => (c"libibverbs.so.1", c"ibv_get_device_list"),
        _ => (c"librdmacm.so.1", c"rdma_create_id"),
    };
    // SAFETY: both texts end with a zero byte. The libraries only prepare themselves when they are loaded.
    let address = unsafe {
        let handle = libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL);
        if handle.is_null() {
            return None;
        }
        libc::dlsym(handle, function.as_ptr())
    };
    // SAFETY: plain data and pointers, for which zeros are valid.
    let mut found: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: there is room for the result, whose text belongs to the loader.
    let path = unsafe {
        if libc::dladdr(address, &raw mut found) == 0 || found.dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(found.dli_fname)
    };
    Some(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
}

/// The symbols that a library defines, each with its version: `name@VERSION`.
fn defined_in(path: &Path) -> io::Result<BTreeSet<String>> {
    let elf = Elf::read(File::open(path)?)?;
    let reader = elf.reader();
    let sections = Sections::read(&reader)?;
    let Some(symbols) = sections.of_kind(SHT_DYNSYM) else {
        return Ok(BTreeSet::new());
    };
    let names = sections.bytes(symbols.link)?;
    let versions = sections.versions()?;
    let index_of_version = match sections.of_kind(SHT_GNU_VERSYM) {
        Some(section) => reader.bytes(section.offset, section.size)?,
        None => Vec::new(),
    };
    let table = reader.bytes(symbols.offset, symbols.size)?;
    let (size, section_at) = if reader.wide() { (24, 6) } else { (16, 14) };
    let mut defined = BTreeSet::new();
    for (index, symbol) in table.chunks_exact(size).enumerate() {
        let section = reader.part(symbol, section_at, 2);
        if matches!(section, SHN_UNDEF | SHN_ABS) {
            continue;
        }
        let version = reader.part(&index_of_version, 2 * index, 2) & !HIDDEN;
        let name = text(&names, reader.part(symbol, 0, 4));
        defined.insert(match versions.get(version as usize) {
            Some(Some(version)) => format!("{name}@{version}"),
            _ => name,
        });
    }
    Ok(defined)
}

struct Section {
    kind: u64,
    offset: u64,
    size: u64,
    /// The section with its names.
    link: u64,
}

struct Sections<'a> {
    reader: &'a Reader<'a>,
    all: Vec<Section>,
}

impl<'a> Sections<'a> {
    fn read(reader: &'a Reader<'a>) -> io::Result<Self> {
        let (at, width, size_at, count_at) = if reader.wide() {
            (40, 8, 58, 60)
        } else {
            (32, 4, 46, 48)
        };
        let (offset_at, bytes_at, link_at) = if reader.wide() {
            (24, 32, 40)
        } else {
            (16, 20, 24)
        };
        let first = reader.number(at, width)?;
        let (size, count) = (reader.number(size_at, 2)?, reader.number(count_at, 2)?);
        let all = (0..count.min(MOST_SECTIONS))
            .map(|index| {
                let header = reader.bytes(first.saturating_add(index * size), size)?;
                Ok(Section {
                    kind: reader.part(&header, 4, 4),
                    offset: reader.part(&header, offset_at, width),
                    size: reader.part(&header, bytes_at, width),
                    link: reader.part(&header, link_at, 4),
                })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { reader, all })
    }

    fn of_kind(&self, kind: u64) -> Option<&Section> {
        self.all.iter().find(|section| section.kind == kind)
    }

    fn bytes(&self, index: u64) -> io::Result<Vec<u8>> {
        let section = usize::try_from(index)
            .ok()
            .and_then(|index| self.all.get(index))
            .ok_or(io::ErrorKind::InvalidData)?;
        self.reader.bytes(section.offset, section.size)
    }

    /// The names of the versions that the library defines, by their numbers.
    fn versions(&self) -> io::Result<Vec<Option<String>>> {
        const MOST_VERSIONS: usize = 1 << 10;
        const BASE: u64 = 1;
        let mut versions = Vec::new();
        let Some(section) = self.of_kind(SHT_GNU_VERDEF) else {
            return Ok(versions);
        };
        let reader = self.reader;
        let names = self.bytes(section.link)?;
        let definitions = reader.bytes(section.offset, section.size)?;
        let mut at = 0_usize;
        for _ in 0..MOST_VERSIONS {
            let part = |offset, size| reader.part(&definitions, at + offset, size);
            let number = part(4, 2) as usize;
            if part(2, 2) & BASE == 0 && number < MOST_VERSIONS {
                let name_at = at.saturating_add(part(12, 4) as usize);
                if versions.len() <= number {
                    versions.resize(number + 1, None);
                }
                if let Some(version) = versions.get_mut(number) {
                    *version = Some(text(&names, reader.part(&definitions, name_at, 4)));
                }
            }
            match part(16, 4) {
                0 => break,
                next => at = at.saturating_add(next as usize),
            }
        }
        Ok(versions)
    }
}

/// The text that begins at `at`.
fn text(names: &[u8], at: u64) -> String {
    let rest = usize::try_from(at)
        .ok()
        .and_then(|at| names.get(at..))
        .unwrap_or_default();
    let length = rest.iter().position(|&byte| byte == 0).unwrap_or(0);
    String::from_utf8_lossy(rest.get(..length).unwrap_or_default()).into_owned()
}

impl Reader<'_> {
    fn bytes(&self, at: u64, size: u64) -> io::Result<Vec<u8>> {
        if size > MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // At most MOST.
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.file().read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// The number of `size` bytes at `at`; 0 beyond the end.
    fn part(&self, bytes: &[u8], at: usize, size: usize) -> u64 {
        let end = at.saturating_add(size);
        self.decode(bytes.get(at..end).unwrap_or_default())
    }
}
