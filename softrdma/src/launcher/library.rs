// SPDX-License-Identifier: BSD-3-Clause

//! Finds libsoftrdma.so.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::elf::{Elf, Kind, Target};
use super::symbols::SONAMES;
use super::{LIBRARY, Problem, reason};

const VARIABLE: &str = "SOFTRDMA_LIBRARY";
const NAME: &str = "libsoftrdma.so";

/// The library to load.
#[derive(Debug)]
pub(super) struct Library {
    path: PathBuf,
    pub(super) target: Target,
    /// The file name of the dynamic loader of the same C library.
    pub(super) loader: Option<OsString>,
}

/// The library that [`VARIABLE`] names, or else the one installed with this program.
pub(super) fn find() -> Result<Library, Problem> {
    if let Some(name) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) {
        let path = fs::canonicalize(&name).map_err(|error| {
            let name = Path::new(&name).display();
            Problem::new(LIBRARY, format!("{VARIABLE}: {name}: {}", reason(&error)))
        })?;
        return Library::open(path);
    }
    let program = env::current_exe()
        .and_then(fs::canonicalize)
        .map_err(|error| {
            Problem::new(
                LIBRARY,
                format!(
                    "cannot find the softrdma command's own path: {}",
                    reason(&error)
                ),
            )
        })?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    let candidates = candidates(directory);
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Library::open(fs::canonicalize(path).unwrap_or_else(|_| path.clone())),
        None => {
            let candidates: Vec<_> = candidates
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            Err(Problem::new(
                LIBRARY,
                format!(
                    "{NAME} was not found; set {VARIABLE} to its path. Searched: {}",
                    candidates.join(" ")
                ),
            ))
        }
    }
}

fn candidates(directory: &Path) -> Vec<PathBuf> {
    let multiarch = format!(
        "{}-linux-gnu{}",
        env::consts::ARCH,
        if cfg!(target_abi = "eabihf") {
            "eabihf"
        } else {
            ""
        }
    );
    let mut directories = vec![directory.to_owned()];
    // Where cargo builds it for tests.
    let deps = directory.join("deps");
    if newer(&deps.join(NAME), &directory.join(NAME)) {
        directories.insert(0, deps);
    } else {
        directories.push(deps);
    }
    if let Some(prefix) = directory.parent() {
        for directory in [
            prefix.join("lib"),
            prefix.join("lib").join(multiarch),
            prefix.join("lib64"),
        ] {
            // Where it is installed, and where it is in a build directory.
            directories.push(directory.join("softrdma"));
            directories.push(directory);
        }
    }
    directories
        .into_iter()
        .map(|directory| directory.join(NAME))
        .collect()
}

/// Whether a file exists and is newer than another one.
fn newer(file: &Path, other: &Path) -> bool {
    let time = |file: &Path| fs::metadata(file).and_then(|file| file.modified()).ok();
    time(file) > time(other)
}

impl Library {
    fn open(path: PathBuf) -> Result<Self, Problem> {
        let problem = |why: &str| {
            let path = path.display();
            Problem::new(LIBRARY, format!("the library {path} cannot be used: {why}"))
        };
        let elf = File::open(&path)
            .and_then(Elf::read)
            .map_err(|error| problem(&reason(&error)))?;
        if elf.kind != Kind::Loadable {
            return Err(problem("it is not a shared library"));
        }
        // The dynamic loader splits LD_PRELOAD at these characters or expands them, and they cannot be quoted.
        if path
            .as_os_str()
            .as_bytes()
            .iter()
            .any(|byte| b" \t\n:;$".contains(byte))
        {
            return Err(problem(
                "the dynamic loader takes no path with a space, a colon or a dollar sign",
            ));
        }
        Ok(Self {
            path,
            target: elf.target,
            loader: own_loader(),
        })
    }

    /// The value of `LD_PRELOAD`: the library, then the previous value.
    pub(super) fn preload(&self, others: Option<OsString>) -> OsString {
        Self::in_front_of(self.path.clone().into_os_string(), others)
    }

    /// An entry in front of a list, which may be empty.
    pub(super) fn in_front_of(first: OsString, others: Option<OsString>) -> OsString {
        let mut list = first;
        if let Some(others) = others.filter(|others| !others.is_empty()) {
            list.push(":");
            list.push(others);
        }
        list
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory beside the library in which it stands under the names of libibverbs and librdmacm.
    pub(super) fn names(&self) -> Option<PathBuf> {
        let directory = self.path.with_file_name("sonames");
        let own = fs::metadata(&self.path).ok()?;
        let is_own = |name| {
            // By the number of the file the dynamic loader, too, knows a library that it has loaded.
            fs::metadata(directory.join(name))
                .is_ok_and(|file| (file.dev(), file.ino()) == (own.dev(), own.ino()))
        };
        SONAMES.into_iter().all(is_own).then_some(directory)
    }
}

/// The dynamic loader of this program, which is built for the same C library as the library.
fn own_loader() -> Option<OsString> {
    let file = File::open("/proc/self/exe").ok()?;
    let loader = Elf::read(file).ok()?.loading().ok()?.interpreter?;
    loader.file_name().map(ToOwned::to_owned)
}
