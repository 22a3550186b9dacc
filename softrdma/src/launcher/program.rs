// SPDX-License-Identifier: BSD-3-Clause

//! Finds the program's file, and checks that the library can be loaded into it.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr;

use super::elf::{self, Elf, Kind};
use super::library::Library;
use super::{
    NOT_EXECUTABLE, NOT_FOUND, NOT_PRELOADABLE, OTHER_PROCESSOR, PRIVILEGED, Problem, reason,
};

/// The number of bytes that the kernel reads to recognise a file (`BINPRM_BUF_SIZE`).
const HEAD: usize = 256;
/// Messages of libibverbs and librdmacm. A program contains them only if the library is statically linked into
/// it. They are in capitals here so that this program does not contain them.
const OF_LIBIBVERBS: &str = "NO USERSPACE DEVICE-SPECIFIC DRIVER FOUND FOR";
const OF_LIBRDMACM: &str = "DISCARDING UNMATCHED EVENT - RDMA_DESTROY_ID MAY HANG";

/// The number of nested interpreters that the kernel accepts.
const DEPTH: usize = 5;

/// Finds the file of a program as a shell does.
pub(super) fn find(name: &OsStr) -> Result<PathBuf, Problem> {
    let display = Path::new(name).display();
    if name.is_empty() {
        return Err(Problem::new(NOT_FOUND, "the program's name is empty"));
    }
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match why_not_executable(&path) {
            None => Ok(path),
            Some(Refused::Absent(why)) => Err(Problem::new(NOT_FOUND, format!("{display}: {why}"))),
            Some(Refused::There(why)) => {
                Err(Problem::new(NOT_EXECUTABLE, format!("{display}: {why}")))
            }
        };
    }
    let mut there = None;
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    for directory in env::split_paths(&path) {
        let directory = if directory.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            directory
        };
        let path = directory.join(name);
        match why_not_executable(&path) {
            None => return Ok(path),
            Some(Refused::There(why)) if there.is_none() => there = Some((path, why)),
            Some(_) => {}
        }
    }
    Err(match there {
        Some((path, why)) => Problem::new(NOT_EXECUTABLE, format!("{}: {why}", path.display())),
        None => Problem::new(NOT_FOUND, format!("{display}: not found in PATH")),
    })
}

enum Refused {
    Absent(String),
    There(String),
}

fn why_not_executable(path: &Path) -> Option<Refused> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some(Refused::There(reason(&error)))
        }
        Err(error) => Some(Refused::Absent(reason(&error))),
        Ok(file) if file.is_dir() => Some(Refused::There("is a directory".to_owned())),
        Ok(file) if !file.is_file() => Some(Refused::There("is not a file".to_owned())),
        Ok(_) => match CString::new(path.as_os_str().as_bytes()) {
            // SAFETY: the name ends with a zero byte.
            Ok(name) if unsafe { libc::access(name.as_ptr(), libc::X_OK) } == 0 => None,
            Ok(_) => Some(Refused::There(reason(&io::Error::last_os_error()))),
            Err(_) => Some(Refused::Absent("the name contains a zero byte".to_owned())),
        },
    }
}

/// Checks that the library can be loaded into the program or, if the program is a script, into its interpreter.
pub(super) fn check(program: &Path, library: &Library) -> Result<(), Problem> {
    let mut path = program.to_owned();
    for _ in 0..DEPTH {
        // A file that is executable but not readable cannot be checked.
        let Ok(mut file) = File::open(&path) else {
            return Ok(());
        };
        let mut head = Vec::new();
        let read = file.by_ref().take(HEAD as u64).read_to_end(&mut head);
        read.map_err(|error| {
            Problem::new(
                NOT_EXECUTABLE,
                format!("{}: {}", path.display(), reason(&error)),
            )
        })?;
        if head.starts_with(elf::MAGIC) {
            return check_elf(&path, file, library);
        }
        let Some(line) = head.strip_prefix(b"#!") else {
            if head
                .iter()
                .take_while(|byte| **byte != b'\n')
                .any(|byte| *byte == 0)
            {
                return Err(Problem::new(
                    NOT_EXECUTABLE,
                    format!("{}: neither an ELF program nor a script", path.display()),
                ));
            }
            // A script without an interpreter line is run by the shell.
            path = "/bin/sh".into();
            continue;
        };
        let script = path;
        path = interpreter(line).into();
        match why_not_executable(&path) {
            None => {}
            Some(Refused::Absent(why) | Refused::There(why)) => {
                return Err(Problem::new(
                    NOT_EXECUTABLE,
                    format!(
                        "{}: its interpreter {}: {why}",
                        script.display(),
                        path.display()
                    ),
                ));
            }
        }
    }
    Err(Problem::new(
        NOT_EXECUTABLE,
        format!("{}: too many nested interpreters", program.display()),
    ))
}

/// The interpreter's name in the first line of a script.
fn interpreter(line: &[u8]) -> OsString {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let name: Vec<u8> = line
        .iter()
        .skip_while(|byte| blank(byte))
        .take_while(|byte| !blank(byte) && **byte != b'\n' && **byte != 0)
        .copied()
        .collect();
    OsString::from_vec(name)
}

fn check_elf(path: &Path, file: File, library: &Library) -> Result<(), Problem> {
    let display = path.display();
    let broken = |error: io::Error| {
        let why = reason(&error);
        Problem::new(
            NOT_EXECUTABLE,
            format!("{display}: invalid ELF file: {why}"),
        )
    };
    let elf = Elf::read(file).map_err(broken)?;
    if elf.target != library.target {
        return Err(Problem::new(
            OTHER_PROCESSOR,
            format!(
                "{display} is for {}, and this softrdma is for {}",
                elf.target.name(),
                library.target.name()
            ),
        ));
    }
    if elf.kind == Kind::Other {
        return Err(Problem::new(
            NOT_EXECUTABLE,
            format!("{display}: an ELF file, but not a program"),
        ));
    }
    let loading = elf.loading().map_err(broken)?;
    if let Some(name) = linked_statically(&elf).map_err(broken)? {
        return Err(Problem::new(
            NOT_PRELOADABLE,
            format!(
                "{display} is statically linked with {name}: softrdma can only take the place of the shared library"
            ),
        ));
    }
    match &loading.interpreter {
        None if loading.is_library => {}
        None => {
            return Err(Problem::new(
                NOT_PRELOADABLE,
                format!(
                    "{display} is statically linked: softrdma can only be loaded into a program that is dynamically linked"
                ),
            ));
        }
        Some(loader) => {
            if let Err(error) = fs::metadata(loader) {
                let loader = loader.display();
                return Err(Problem::new(
                    NOT_EXECUTABLE,
                    format!("{display}: its dynamic loader {loader}: {}", reason(&error)),
                ));
            }
            if library.loader.is_some() && loader.file_name() != library.loader.as_deref() {
                let loader = loader.display();
                return Err(Problem::new(
                    NOT_PRELOADABLE,
                    format!("{display} is for another C library: its dynamic loader is {loader}"),
                ));
            }
        }
    }
    match privilege(path, elf.file()) {
        Some(privilege) => Err(Problem::new(
            PRIVILEGED,
            format!(
                "{display} {privilege}: the dynamic loader does not preload libraries into such a program"
            ),
        )),
        None => Ok(()),
    }
}

/// Which of the two libraries is statically linked into the program. The program would call that copy, and find
/// no device.
fn linked_statically(elf: &Elf) -> io::Result<Option<&'static str>> {
    for (name, message) in [("libibverbs", OF_LIBIBVERBS), ("librdmacm", OF_LIBRDMACM)] {
        if elf.has_text(message.to_ascii_lowercase().as_bytes())? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The privileges that the program gains when it starts, if any.
fn privilege(path: &Path, file: &File) -> Option<&'static str> {
    let metadata = file.metadata().ok()?;
    // SAFETY: they have no preconditions.
    let (user, group) = unsafe { (libc::getuid(), libc::getgid()) };
    // SAFETY: it has no preconditions.
    let no_new_privileges = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) } == 1;
    let name = CString::new(path.as_os_str().as_bytes()).ok()?;
    if no_new_privileges || mounted_nosuid(&name) {
        return None;
    }
    let mode = metadata.mode();
    if mode & libc::S_ISUID != 0 && metadata.uid() != user {
        return Some("runs as another user (set-user-ID)");
    }
    let group_bits = libc::S_ISGID | libc::S_IXGRP;
    if mode & group_bits == group_bits && metadata.gid() != group {
        return Some("runs as another group (set-group-ID)");
    }
    // SAFETY: both names end with a zero byte, and nothing is written: it asks for the size only.
    let capabilities = unsafe {
        libc::getxattr(
            name.as_ptr(),
            c"security.capability".as_ptr(),
            ptr::null_mut(),
            0,
        )
    };
    (capabilities > 0 && user != 0).then_some("has capabilities of its own (setcap)")
}

fn mounted_nosuid(name: &CString) -> bool {
    // SAFETY: it is plain data, for which zeros are valid.
    let mut system: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the name ends with a zero byte, and there is room for the result.
    let known = unsafe { libc::statvfs(name.as_ptr(), &raw mut system) } == 0;
    known && system.f_flag & libc::ST_NOSUID != 0
}
