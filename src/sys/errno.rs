// SPDX-License-Identifier: BSD-3-Clause

//! `errno`, and the texts of error numbers.

use std::ffi::{CStr, c_char, c_int};

use super::Text;

pub(crate) fn get() -> c_int {
    // SAFETY: the C library gives every thread its errno, valid for the thread's life.
    unsafe { *libc::__errno_location() }
}

pub(crate) fn set(value: c_int) {
    // SAFETY: as in `get`.
    unsafe { *libc::__errno_location() = value }
}

/// Adds the text of an error number, as `strerror` has it: in the language and the encoding of the locale.
pub(crate) fn push_text<const N: usize>(errno: c_int, text: &mut Text<N>) {
    text.push_c_str_with(|room| {
        // SAFETY: strerror_r (the XSI one) writes at most the given length, with a NUL. It has a text for
        // every value: the one for an unknown value contains the number.
        unsafe { libc::strerror_r(errno, room.as_mut_ptr().cast::<c_char>(), room.len()) };
    });
}

/// The text of an error of `getaddrinfo`, in the language and the encoding of the locale.
pub(crate) fn resolver_text(code: c_int) -> &'static CStr {
    // SAFETY: gai_strerror returns a static string for every value.
    unsafe { CStr::from_ptr(libc::gai_strerror(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_c_library() {
        let text_of = |errno| {
            let mut text = Text::<64>::new();
            push_text(errno, &mut text);
            text
        };
        assert_eq!(text_of(libc::EINVAL).as_bytes(), b"Invalid argument");
        assert!(text_of(-5).as_bytes().ends_with(b"-5"));
    }

    #[test]
    fn a_text_without_room_is_cut() {
        let mut text = Text::<8>::new();
        push_text(libc::EINVAL, &mut text);
        assert_eq!(text.as_bytes(), b"Invalid");
    }
}
