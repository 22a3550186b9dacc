// SPDX-License-Identifier: BSD-3-Clause

//! Reads from an ELF file whether the dynamic loader can preload a library into the program.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The architecture that a file is for: class (32 or 64 bits), byte order and machine of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    class: u8,
    byte_order: u8,
    machine: u16,
}

/// An ELF file.
#[derive(Debug)]
pub(super) struct Elf {
    pub(super) target: Target,
    pub(super) kind: Kind,
    file: File,
}

/// How a program is loaded.
#[derive(Debug, Default)]
pub(super) struct Loading {
    /// The program interpreter (dynamic loader), if the file names one.
    pub(super) interpreter: Option<PathBuf>,
    /// It has a `DT_SONAME`: so has the dynamic loader itself, and a static program has none.
    pub(super) is_library: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `ET_EXEC` or `ET_DYN`
    Loadable,
    /// An object file or a core file.
    Other,
}

pub(super) const MAGIC: &[u8] = b"\x7fELF";

const ELFCLASS64: u8 = 2;
const ELFDATA2LSB: u8 = 1;
const ELFDATA2MSB: u8 = 2;
const ET_EXEC: u64 = 2;
const ET_DYN: u64 = 3;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NULL: u64 = 0;
const DT_SONAME: u64 = 14;
/// The flag of a writable segment.
const PF_W: u64 = 2;

/// Above the length of any valid interpreter name and of any valid dynamic section.
const MOST: u64 = 1 << 20;
/// How much of a file is searched at once.
const PIECE: usize = 1 << 18;

impl Target {
    /// The name of the architecture, for messages.
    pub(super) fn name(self) -> String {
        let bits = if self.class == ELFCLASS64 { 64 } else { 32 };
        match (self.machine, self.class) {
            (3, _) => "i386".to_owned(),
            (40, _) => "arm".to_owned(),
            (62, ELFCLASS64) => "x86-64".to_owned(),
            (62, _) => "x32".to_owned(),
            (183, _) => "arm64".to_owned(),
            (243, _) => format!("riscv{bits}"),
            (21, _) if self.byte_order == ELFDATA2LSB => "ppc64le".to_owned(),
            (22, _) => "s390x".to_owned(),
            (258, _) => format!("loongarch{bits}"),
            (machine, _) => format!("machine {machine}, {bits} bits"),
        }
    }
}

impl Elf {
    /// Reads the header of a file.
    pub(super) fn read(file: File) -> io::Result<Self> {
        let mut ident = [0; 16];
        file.read_exact_at(&mut ident, 0)?;
        if !ident.starts_with(MAGIC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not an ELF file",
            ));
        }
        let [_, _, _, _, class, byte_order, ..] = ident;
        let mut elf = Self {
            target: Target {
                class,
                byte_order,
                machine: 0,
            },
            kind: Kind::Other,
            file,
        };
        let reader = elf.reader();
        let (kind, machine) = (reader.number(16, 2)?, reader.number(18, 2)?);
        if matches!(kind, ET_EXEC | ET_DYN) {
            elf.kind = Kind::Loadable;
        }
        // The field has two bytes.
        elf.target.machine = u16::try_from(machine).unwrap_or_default();
        Ok(elf)
    }

    /// Reads the program headers.
    pub(super) fn loading(&self) -> io::Result<Loading> {
        let reader = self.reader();
        let mut loading = Loading::default();
        for header in reader.program_headers()? {
            match reader.number(header, 4)? {
                PT_INTERP => loading.interpreter = Some(reader.interpreter(header)?),
                PT_DYNAMIC => loading.is_library = reader.has_soname(header)?,
                _ => {}
            }
        }
        Ok(loading)
    }

    /// Whether a text is in a read-only segment, that is, in the code or the constants.
    pub(super) fn has_text(&self, text: &[u8]) -> io::Result<bool> {
        let reader = self.reader();
        for header in reader.program_headers()? {
            let flags = reader.number(header.saturating_add(reader.flags_offset()), 4)?;
            if reader.number(header, 4)? == PT_LOAD && flags & PF_W == 0 {
                let (offset, length) = reader.segment(header)?;
                if reader.has_text(offset, length, text)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The file that was read.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            file: &self.file,
            wide: self.target.class == ELFCLASS64,
            big_endian: self.target.byte_order == ELFDATA2MSB,
        }
    }
}

/// Reads numbers in the byte order of a file.
pub(super) struct Reader<'a> {
    file: &'a File,
    wide: bool,
    big_endian: bool,
}

impl Reader<'_> {
    pub(super) fn file(&self) -> &File {
        self.file
    }

    /// It is a file of 64 bits.
    pub(super) fn wide(&self) -> bool {
        self.wide
    }

    /// The number of `size` bytes, 8 at most, at an offset in the file.
    pub(super) fn number(&self, at: u64, size: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let Some(part) = bytes.get_mut(..size) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        self.file.read_exact_at(part, at)?;
        Ok(self.decode(part))
    }

    /// The number that these bytes are, 8 at most.
    pub(super) fn decode(&self, bytes: &[u8]) -> u64 {
        let digit = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if self.big_endian {
            bytes.iter().fold(0, digit)
        } else {
            bytes.iter().rev().fold(0, digit)
        }
    }

    /// Where the program headers are in the file.
    fn program_headers(&self) -> io::Result<impl Iterator<Item = u64> + use<>> {
        let (at, offset_size, size_at, count_at) = if self.wide {
            (32, 8, 54, 56)
        } else {
            (28, 4, 42, 44)
        };
        let first = self.number(at, offset_size)?;
        let (size, count) = (self.number(size_at, 2)?, self.number(count_at, 2)?);
        Ok((0..count).map(move |index| first.saturating_add(index * size)))
    }

    /// Where the flags of a segment are in its program header.
    fn flags_offset(&self) -> u64 {
        if self.wide { 4 } else { 24 }
    }

    /// Where a segment is in the file, and how long.
    fn segment(&self, header: u64) -> io::Result<(u64, u64)> {
        let (offset, length, size) = if self.wide { (8, 32, 8) } else { (4, 16, 4) };
        Ok((
            self.number(header.saturating_add(offset), size)?,
            self.number(header.saturating_add(length), size)?,
        ))
    }

    /// Searches a part of the file piece by piece. Where the file ends too early, the part ends there.
    fn has_text(&self, start: u64, length: u64, text: &[u8]) -> io::Result<bool> {
        let mut piece = vec![0; PIECE + text.len()];
        let mut done = 0;
        while done < length {
            // Each piece but the last reaches into the next one, so that no text is cut in two.
            let left = usize::try_from(length - done).unwrap_or(usize::MAX);
            let wanted = left.min(piece.len());
            let Some(room) = piece.get_mut(..wanted) else {
                break;
            };
            let got = read_at_most(self.file, room, start.saturating_add(done))?;
            if contains(room.get(..got).unwrap_or_default(), text) {
                return Ok(true);
            }
            if got < wanted {
                break;
            }
            done += PIECE as u64;
        }
        Ok(false)
    }

    fn interpreter(&self, header: u64) -> io::Result<PathBuf> {
        let (offset, length) = self.short_segment(header)?;
        // At most MOST.
        let mut name = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut name, offset)?;
        name.truncate(
            name.iter()
                .position(|byte| *byte == 0)
                .unwrap_or(name.len()),
        );
        Ok(OsString::from_vec(name).into())
    }

    /// As above, for a segment that is short in any valid file.
    fn short_segment(&self, header: u64) -> io::Result<(u64, u64)> {
        let (offset, length) = self.segment(header)?;
        Ok((offset, length.min(MOST)))
    }

    fn has_soname(&self, header: u64) -> io::Result<bool> {
        let (offset, length) = self.short_segment(header)?;
        let (size, step) = if self.wide { (8, 16) } else { (4, 8) };
        for entry in 0..length / step {
            match self.number(offset.saturating_add(entry * step), size)? {
                DT_NULL => break,
                DT_SONAME => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// Reads until the room is full or the file ends.
fn read_at_most(file: &File, room: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = room.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(got as u64)) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    // SAFETY: both pointers are valid for their lengths, and memmem reads no more than that.
    let found = unsafe {
        libc::memmem(
            bytes.as_ptr().cast(),
            bytes.len(),
            text.as_ptr().cast(),
            text.len(),
        )
    };
    !found.is_null()
}
