// SPDX-License-Identifier: BSD-3-Clause

//! The trace file.
//!
//! There is no lock: after a `fork` while another thread holds it, the child would wait for ever. Each line
//! is one `write` to a file opened for appending, so lines of several threads and processes stay whole.

use std::ffi::{CString, c_int};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::settings;
use super::stamp::Stamps;

/// The trace file's descriptor is moved to this number or above, so the program's own descriptors have the same
/// numbers as without a trace.
const LOWEST_DESCRIPTOR: c_int = 512;

/// The trace of this process.
pub(super) struct Trace {
    /// Absolute: the program may change its directory before its first call.
    name: PathBuf,
    for_each_process: bool,
    open: AtomicPtr<Open>,
    failed: AtomicBool,
    pub(super) stamps: Stamps,
}

/// An open trace file. It is freed only with the trace, as another thread may be using it. There is one for each
/// process, and another one only after the program has closed descriptors that are not its own.
struct Open {
    /// The file that this one replaced, or null.
    replaced: *mut Open,
    file: File,
    pid: u32,
    device: u64,
    inode: u64,
}

impl Trace {
    pub(super) fn new(name: &Path, stamps: Stamps) -> Self {
        Self {
            name: std::path::absolute(name).unwrap_or_else(|_| name.to_owned()),
            for_each_process: settings::for_each_process(name),
            open: AtomicPtr::new(ptr::null_mut()),
            failed: AtomicBool::new(false),
            stamps,
        }
    }

    /// Appends a line.
    pub(super) fn write(&self, line: &str) {
        let Some(open) = self.file() else { return };
        // A full disk must not end the traced program.
        let written = (&open.file).write(line.as_bytes());
        if !written.is_ok_and(|n| n == line.len()) && !self.failed.swap(true, Ordering::Relaxed) {
            let name = self.name.display();
            let _ = writeln!(
                io::stderr(),
                "softrdma: the trace {name} is not complete: a line could not be written"
            );
        }
    }

    /// Checks that the file can exist. Permissions are not checked: a program may start others with fewer rights,
    /// and these may have nothing to write.
    pub(super) fn check(&self) -> Result<(), String> {
        let name = settings::trace_file(&self.name, process::id());
        match check(&name) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                let name = name.display();
                Err(format!("the trace file {name} cannot be written: {error}"))
            }
            _ => Ok(()),
        }
    }

    fn file(&self) -> Option<&Open> {
        let current = self.open.load(Ordering::Acquire);
        // SAFETY: null, or an `Open` that is not freed while there is a trace.
        let usable = unsafe { current.as_ref() }.filter(|open| self.is_usable(open));
        usable.or_else(|| self.replace(current))
    }

    /// Whether it was opened by this process and the descriptor is still the same file: a program that closes
    /// all descriptors may reuse the number for a file of its own.
    fn is_usable(&self, open: &Open) -> bool {
        (!self.for_each_process || open.pid == process::id())
            && open
                .file
                .metadata()
                .is_ok_and(|file| (file.dev(), file.ino()) == (open.device, open.inode))
    }

    #[cold]
    fn replace(&self, current: *mut Open) -> Option<&Open> {
        if self.failed.load(Ordering::Relaxed) {
            return None;
        }
        let pid = process::id();
        let name = settings::trace_file(&self.name, pid);
        match Open::new(&name, pid, current) {
            Ok(open) => {
                let new = Box::into_raw(Box::new(open));
                let exchange =
                    self.open
                        .compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire);
                match exchange {
                    // SAFETY: it was made just now, and is not freed while there is a trace.
                    Ok(_) => unsafe { new.as_ref() },
                    Err(other) => {
                        // SAFETY: nobody else has seen it.
                        drop(unsafe { Box::from_raw(new) });
                        // SAFETY: another thread put it there, and it is not freed either.
                        unsafe { other.as_ref() }
                    }
                }
            }
            Err(error) => {
                if !self.failed.swap(true, Ordering::Relaxed) {
                    let _ = writeln!(
                        io::stderr(),
                        "softrdma: no trace: cannot open {}: {error}",
                        name.display()
                    );
                }
                None
            }
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let mut next = *self.open.get_mut();
        while !next.is_null() {
            // SAFETY: `replace` made it, and nobody looks at a trace that goes.
            let open = unsafe { Box::from_raw(next) };
            next = open.replaced;
            if !self.is_usable(&open) {
                // The descriptor is closed or another file's: it must not be closed here.
                let _ = open.file.into_raw_fd();
            }
        }
    }
}

impl Open {
    fn new(name: &Path, pid: u32, replaced: *mut Self) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(name)?;
        let metadata = file.metadata()?;
        // The program's output continues after the trace only if both share a file position.
        let from = standard_output(&metadata).unwrap_or(file.as_raw_fd());
        // SAFETY: duplicates a descriptor that is open.
        let high = unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR) };
        let file = if high >= 0 {
            // SAFETY: it was made just now, and nothing else owns it.
            File::from(unsafe { OwnedFd::from_raw_fd(high) })
        } else {
            // The limit of descriptors (RLIMIT_NOFILE) is lower.
            file
        };
        Ok(Self {
            replaced,
            file,
            pid,
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// Whether this process can write or create a file, as far as can be known without opening it.
pub fn check(name: &Path) -> io::Result<()> {
    if name.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    match access(name, libc::W_OK) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match name.parent() {
            Some(directory) => access(directory, libc::W_OK | libc::X_OK),
            None => Err(error),
        },
        other => other,
    }
}

fn access(name: &Path, how: c_int) -> io::Result<()> {
    let name = CString::new(name.as_os_str().as_bytes())?;
    // SAFETY: a string that lives through the call.
    match unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), how, libc::AT_EACCESS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The descriptor of standard output or standard error, if it is this file.
pub fn standard_output(file: &Metadata) -> Option<RawFd> {
    [libc::STDOUT_FILENO, libc::STDERR_FILENO]
        .into_iter()
        .find(|fd| {
            fs::metadata(format!("/proc/thread-self/fd/{fd}")).is_ok_and(|standard| {
                file.is_file() && (standard.dev(), standard.ino()) == (file.dev(), file.ino())
            })
        })
}
