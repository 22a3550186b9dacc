// SPDX-License-Identifier: BSD-3-Clause

//! Loads the original library beside this one into the process. The environment variable RPMA_ORIGINAL is the path
//! of its file.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rpma::capi;

pub const INVALID_ARGUMENT: c_int = -100_004;

/// One of the two libraries; its functions are looked up by name.
pub struct Library {
    look_up: Box<dyn Fn(&CStr) -> *mut c_void + Send + Sync>,
}

type FromDescriptor = unsafe extern "C" fn(*const c_void, usize, *mut *mut c_void) -> c_int;
type Delete = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
type LogFunction = unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char, *const c_char);
type SetLogFunction = unsafe extern "C" fn(Option<LogFunction>) -> c_int;
type SetThreshold = unsafe extern "C" fn(c_int, c_int) -> c_int;

impl Library {
    /// The function of that name.
    ///
    /// # Safety
    ///
    /// `F` must be its type, as a function pointer.
    pub unsafe fn function<F: Copy>(&self, name: &CStr) -> F {
        let address = (self.look_up)(name);
        assert!(!address.is_null(), "no function {name:?}");
        assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
        // SAFETY: the address of a function, which by the contract of this one is an F.
        unsafe { std::mem::transmute_copy(&address) }
    }

    /// Creates an object from a descriptor with `new`, reads it with `fields`, and deletes it with `delete`. Returns
    /// the result of `fields`, or the error code of `new`.
    ///
    /// # Safety
    ///
    /// The functions must belong to one kind of object.
    pub unsafe fn parse<R>(
        &self,
        new: &CStr,
        delete: &CStr,
        descriptor: &[u8],
        fields: impl FnOnce(&Self, *const c_void) -> R,
    ) -> Result<R, c_int> {
        // In an allocation of exactly that size, so that reading beyond it can be detected.
        let exact: Box<[u8]> = descriptor.into();
        let untouched: *mut c_void = std::ptr::without_provenance_mut(0x5a5a);
        let mut object = untouched;
        // SAFETY: by the contract of this function.
        let (new, delete) = unsafe {
            (
                self.function::<FromDescriptor>(new),
                self.function::<Delete>(delete),
            )
        };
        // SAFETY: the contract of C: a descriptor with its size, and where to put the object.
        let code = unsafe { new(exact.as_ptr().cast(), exact.len(), &mut object) };
        if code != 0 {
            assert_eq!(object, untouched, "the object of a failed call was set");
            return Err(code);
        }
        let read = fields(self, object);
        // SAFETY: the object is no longer used.
        assert_eq!(unsafe { delete(&mut object) }, 0);
        assert!(object.is_null());
        Ok(read)
    }
}

/// This library and the original, after a check that they are two different libraries.
pub fn both() -> [Library; 2] {
    let path = PathBuf::from(
        std::env::var_os("RPMA_ORIGINAL").expect("RPMA_ORIGINAL names no librpma.so.0"),
    );
    let path = path.canonicalize().expect("RPMA_ORIGINAL is not there");
    let name = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path without NUL");
    // SAFETY: loads a library whose constructors touch only its own data.
    let handle = unsafe {
        libc::dlopen(
            name.as_ptr(),
            libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_DEEPBIND,
        )
    } as usize;
    assert_ne!(handle, 0, "{} cannot be loaded", path.display());

    let ours = Library {
        look_up: Box::new(of_this_library),
    };
    let original = Library {
        // SAFETY: the handle of a library that stays loaded.
        look_up: Box::new(move |name| unsafe { libc::dlsym(handle as _, name.as_ptr()) }),
    };
    // The original no longer has the functions of releases before 0.12.
    assert!((original.look_up)(c"rpma_write_atomic").is_null());
    each_comes_from_its_file(&ours, &original, &path);
    each_logs_for_itself([&ours, &original]);
    [ours, original]
}

/// The compared functions of the library that is linked into this program.
fn of_this_library(name: &CStr) -> *mut c_void {
    match name.to_bytes() {
        b"rpma_log_set_function" => capi::rpma_log_set_function as *mut c_void,
        b"rpma_log_set_threshold" => capi::rpma_log_set_threshold as *mut c_void,
        b"rpma_mr_remote_from_descriptor" => capi::rpma_mr_remote_from_descriptor as *mut c_void,
        b"rpma_mr_remote_get_size" => capi::rpma_mr_remote_get_size as *mut c_void,
        b"rpma_mr_remote_get_flush_type" => capi::rpma_mr_remote_get_flush_type as *mut c_void,
        b"rpma_mr_remote_delete" => capi::rpma_mr_remote_delete as *mut c_void,
        b"rpma_peer_cfg_from_descriptor" => capi::rpma_peer_cfg_from_descriptor as *mut c_void,
        b"rpma_peer_cfg_get_direct_write_to_pmem" => {
            capi::rpma_peer_cfg_get_direct_write_to_pmem as *mut c_void
        }
        b"rpma_peer_cfg_get_descriptor" => capi::rpma_peer_cfg_get_descriptor as *mut c_void,
        b"rpma_peer_cfg_delete" => capi::rpma_peer_cfg_delete as *mut c_void,
        _ => std::ptr::null_mut(),
    }
}

fn file_of(address: *mut c_void) -> PathBuf {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: fills the struct in when it returns something else than 0; the name is a string then.
    let name = unsafe {
        assert_ne!(libc::dladdr(address, info.as_mut_ptr()), 0);
        CStr::from_ptr(info.assume_init().dli_fname)
    };
    PathBuf::from(name.to_str().expect("a path in UTF-8"))
        .canonicalize()
        .expect("a file that is there")
}

fn each_comes_from_its_file(ours: &Library, original: &Library, path: &Path) {
    for name in [
        c"rpma_log_set_function",
        c"rpma_mr_remote_from_descriptor",
        c"rpma_peer_cfg_from_descriptor",
    ] {
        assert_eq!(file_of((original.look_up)(name)), path);
        assert_ne!(file_of((ours.look_up)(name)), path);
    }
}

static MESSAGES: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// A log function that ignores the variadic arguments; the C calling convention permits that.
unsafe extern "C" fn count<const WHOSE: usize>(
    _: c_int,
    _: *const c_char,
    _: c_int,
    _: *const c_char,
    _: *const c_char,
) {
    MESSAGES[WHOSE].fetch_add(1, Ordering::Relaxed);
}

/// Checks that a message of one library does not reach the log function of the other. Disables both logs
/// afterwards.
fn each_logs_for_itself(libraries: [&Library; 2]) {
    const THRESHOLD: c_int = 0;
    const DISABLED: c_int = -1;
    const ERROR: c_int = 1;
    let functions: [LogFunction; 2] = [count::<0>, count::<1>];
    // SAFETY: the types are those of <librpma.h>.
    let set_threshold = |library: &Library, level| unsafe {
        let set: SetThreshold = library.function(c"rpma_log_set_threshold");
        assert_eq!(set(THRESHOLD, level), 0);
    };
    for (library, function) in libraries.into_iter().zip(functions) {
        // SAFETY: as above, and a function that only counts.
        unsafe {
            let set: SetLogFunction = library.function(c"rpma_log_set_function");
            assert_eq!(set(Some(function)), 0);
        }
        set_threshold(library, ERROR);
    }
    for (whose, library) in libraries.into_iter().enumerate() {
        let before = MESSAGES.each_ref().map(|n| n.load(Ordering::Relaxed));
        // SAFETY: the functions of remote regions; a descriptor that is too short.
        let result = unsafe {
            library.parse(
                c"rpma_mr_remote_from_descriptor",
                c"rpma_mr_remote_delete",
                &[0; 20],
                |_, _| (),
            )
        };
        assert_eq!(result, Err(INVALID_ARGUMENT));
        let after = MESSAGES.each_ref().map(|n| n.load(Ordering::Relaxed));
        assert_eq!(after[whose], before[whose] + 1);
        assert_eq!(after[1 - whose], before[1 - whose]);
    }
    for library in libraries {
        set_threshold(library, DISABLED);
    }
}
