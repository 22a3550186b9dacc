// SPDX-License-Identifier: BSD-3-Clause

//! The output of the log: syslog and stderr, with the time and the thread for stderr.

use std::ffi::{CStr, c_char, c_int};

use super::Text;

pub(crate) fn thread_id() -> i32 {
    // SAFETY: gettid takes nothing and cannot fail. The system call itself, since the wrapper is
    // younger (glibc 2.30) than some of the systems that this library runs on.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    i32::try_from(id).unwrap_or(0)
}

/// Adds the local time as `Mon DD HH:MM:SS.uuuuuu `, with the blank that separates it. The month is as the
/// locale writes it.
pub(crate) fn push_local_time<const N: usize>(text: &mut Text<N>) {
    if push_date(text).is_none() {
        text.push(b"[time error] ");
    }
}

// Not inlined, so that its variables use no stack when the message is written.
#[inline(never)]
fn push_date<const N: usize>(text: &mut Text<N>) -> Option<()> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is valid for writing.
    if unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) } != 0 {
        return None;
    }
    // SAFETY: all of `tm` may be zero; the pointer in it is a C string that nobody reads.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both point to values of this function.
    if unsafe { libc::localtime_r(&raw const now.tv_sec, &raw mut local) }.is_null() {
        return None;
    }
    let before = text.as_bytes().len();
    text.push_c_str_with(|room| {
        let room = room.get_mut(..DATE_MAX).unwrap_or_default();
        // SAFETY: strftime writes at most the given length. Without room for all of the date and its NUL
        // it returns 0, and what it has written is undefined: it is made an empty string.
        let written = unsafe {
            libc::strftime(
                room.as_mut_ptr().cast::<c_char>(),
                room.len(),
                c"%b %d %H:%M:%S".as_ptr(),
                &raw const local,
            )
        };
        if let (0, Some(first)) = (written, room.first_mut()) {
            *first = 0;
        }
    });
    if text.as_bytes().len() == before {
        return None;
    }
    text.format(format_args!(".{:06} ", now.tv_nsec / 1000));
    Some(())
}

/// Room for a date with its NUL: twice the longest that a locale of glibc makes of it.
const DATE_MAX: usize = 96;

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

/// Runs when the library is loaded and sets the ident and facility of its messages. A program can set others
/// with `openlog` later.
#[used]
#[unsafe(link_section = ".init_array")]
static OPEN_SYSLOG: extern "C" fn() = open_syslog;

/// Runs when the library is unloaded, because syslog keeps a pointer to the ident of the library.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_microseconds_and_a_blank_behind_it() {
        let mut text = Text::<256>::new();
        push_local_time(&mut text);
        let text = text.as_bytes();
        assert_eq!(text.len(), b"Nov 22 10:11:12.123456 ".len(), "{text:?}");
        assert!(text.ends_with(b" "));
    }
}
