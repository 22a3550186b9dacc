// SPDX-License-Identifier: BSD-3-Clause

//! What the library needs of the C library besides verbs: errno and its text, syslog, stderr, the
//! local time, and the call of a C log function.

use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write as _;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::text::Text;

pub(crate) fn errno() -> c_int {
    // SAFETY: the C library gives every thread its errno, valid for the thread's life.
    unsafe { *libc::__errno_location() }
}

pub(crate) fn set_errno(value: c_int) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = value }
}

/// The text of an errno value, as `strerror` has it, in the language and the encoding of the locale.
pub(crate) fn error_text(errno: c_int) -> Text<256> {
    let mut buffer = [0u8; 256];
    // SAFETY: strerror_r (the XSI one) writes at most the given length, with a NUL. It has a text for
    // every value: for an unknown one (EINVAL) it tells the number.
    unsafe { libc::strerror_r(errno, buffer.as_mut_ptr().cast::<c_char>(), buffer.len()) };
    let mut text = Text::new();
    text.push(
        CStr::from_bytes_until_nul(&buffer)
            .unwrap_or_default()
            .to_bytes(),
    );
    text
}

/// The text of an error of `getaddrinfo`, as `error_text`.
pub(crate) fn gai_error_text(code: c_int) -> &'static CStr {
    // SAFETY: gai_strerror returns a static string for every value.
    unsafe { CStr::from_ptr(libc::gai_strerror(code)) }
}

pub(crate) fn thread_id() -> i32 {
    // SAFETY: gettid takes nothing and cannot fail. The system call itself, since the wrapper is
    // younger (glibc 2.30) than some of the systems that this library runs on.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    i32::try_from(id).unwrap_or(0)
}

/// Now, in local time, as `Mon DD HH:MM:SS.uuuuuu ` with the blank that separates it. The month is as the
/// locale writes it.
pub(crate) fn local_time() -> Text<288> {
    let failed = || Text::format(format_args!("[time error] "));
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is valid for writing.
    if unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) } != 0 {
        return failed();
    }
    // SAFETY: all of `tm` may be zero; the pointer in it is a C string that nobody reads.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both point to values of this function.
    if unsafe { libc::localtime_r(&raw const now.tv_sec, &raw mut local) }.is_null() {
        return failed();
    }
    let mut buffer = [0u8; 256];
    // SAFETY: strftime writes at most the given length, and a NUL when it returns more than 0.
    let written = unsafe {
        libc::strftime(
            buffer.as_mut_ptr().cast::<c_char>(),
            buffer.len(),
            c"%b %d %H:%M:%S".as_ptr(),
            &raw const local,
        )
    };
    if written == 0 {
        return failed();
    }
    let mut text = Text::new();
    text.push(buffer.get(..written).unwrap_or_default());
    let _ = write!(text, ".{:06} ", now.tv_nsec / 1000);
    text
}

/// Writes to the C program's own `stderr`, buffered as the program has set it.
pub(crate) fn write_stderr(text: &CStr) {
    // SAFETY: glibc and musl define `stderr` as a variable of this type, set before `main`.
    unsafe extern "C" {
        static mut stderr: *mut libc::FILE;
    }
    // SAFETY: `text` is a C string; `stderr`, which a program may assign, is a stream, or closed,
    // which fputs reports.
    let _ = unsafe { libc::fputs(text.as_ptr(), (&raw const stderr).read()) };
}

pub(crate) fn write_syslog(priority: c_int, text: &CStr) {
    // SAFETY: the format takes one C string, which `text` is.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) }
}

/// Runs when the library is loaded: what it logs carries its own ident and facility, and a program
/// that calls `openlog` afterwards overrules it.
#[used]
#[unsafe(link_section = ".init_array")]
static OPEN_SYSLOG: extern "C" fn() = open_syslog;

/// Runs when the library is unloaded: syslog keeps a pointer to the ident, which goes with it.
#[used]
#[unsafe(link_section = ".fini_array")]
static CLOSE_SYSLOG: extern "C" fn() = close_syslog;

extern "C" fn open_syslog() {
    // SAFETY: the ident is static, as syslog wants it.
    unsafe { libc::openlog(c"rpma".as_ptr(), libc::LOG_PID, libc::LOG_LOCAL7) }
}

extern "C" fn close_syslog() {
    // SAFETY: closelog takes nothing and cannot fail.
    unsafe { libc::closelog() }
}

/// The C type of a log function, `rpma_log_function *`.
pub(crate) type RawLogFunction = unsafe extern "C" fn(
    level: c_int,
    file_name: *const c_char,
    line_no: c_int,
    function_name: *const c_char,
    message_format: *const c_char,
    ...
);

/// The same, or NULL.
pub(crate) type RawLogFunctionOrNull = Option<RawLogFunction>;

/// A log function of the C program.
#[derive(Clone, Copy)]
pub(crate) struct LogFunction(RawLogFunction);

impl LogFunction {
    /// # Safety
    ///
    /// `function` must be callable from any thread for as long as it is set.
    pub(crate) unsafe fn new(function: RawLogFunction) -> Self {
        Self(function)
    }

    pub(crate) fn call(
        self,
        level: c_int,
        file: &CStr,
        line: c_int,
        function: &'static CStr,
        text: &CStr,
    ) {
        // SAFETY: callable by the contract of `new`; the format takes one C string.
        unsafe {
            (self.0)(
                level,
                file.as_ptr(),
                line,
                function.as_ptr(),
                c"%s".as_ptr(),
                text.as_ptr(),
            );
        }
    }
}

/// A place for a log function that threads may change and read at any time.
pub(crate) struct LogFunctionCell(AtomicPtr<()>);

/// The function set by `rpma_log_set_function`, if any.
pub(crate) static USER_LOG_FUNCTION: LogFunctionCell =
    LogFunctionCell(AtomicPtr::new(ptr::null_mut()));

impl LogFunctionCell {
    pub(crate) fn store(&self, function: Option<LogFunction>) {
        let raw = function.map_or(ptr::null_mut(), |function| function.0 as *mut ());
        self.0.store(raw, Ordering::Release);
    }

    pub(crate) fn load(&self) -> Option<LogFunction> {
        let raw = self.0.load(Ordering::Acquire);
        if raw.is_null() {
            return None;
        }
        // SAFETY: what is not NULL was stored by `store`, from a function pointer of this type.
        Some(LogFunction(unsafe {
            std::mem::transmute::<*mut (), RawLogFunction>(raw)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_texts_are_those_of_the_c_library() {
        assert_eq!(error_text(libc::EINVAL).as_c_str(), c"Invalid argument");
        assert!(error_text(-5).as_bytes().ends_with(b"-5"));
    }

    #[test]
    fn time_has_microseconds_and_a_blank_behind_it() {
        let text = local_time();
        let text = text.as_bytes();
        assert_eq!(text.len(), b"Nov 22 10:11:12.123456 ".len(), "{text:?}");
        assert!(text.ends_with(b" "));
    }
}
