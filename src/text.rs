// SPDX-License-Identifier: BSD-3-Clause

//! Text of a bounded length, kept in place: what is logged is formatted without allocating, since a
//! failed allocation may be the very thing that is reported.

use std::ffi::CStr;
use std::fmt;

/// At most `N - 1` bytes of text, always followed by a NUL. What does not fit is cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    pub(crate) fn format(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self::new();
        // Running out of room is no error: the text is cut.
        let _ = fmt::Write::write_fmt(&mut text, arguments);
        text
    }

    /// The same with a newline at the end, for which room is kept.
    pub(crate) fn line(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self::format(arguments);
        let mut end = text.len.min(N.saturating_sub(2));
        // Not within a character: its later bytes all start with the bits 10.
        while text.bytes.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end = end.saturating_sub(1);
        }
        if let Some([last, nul, ..]) = text.bytes.get_mut(end..) {
            (*last, *nul) = (b'\n', 0);
            text.len = end + 1;
        }
        text
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = N.saturating_sub(self.len + 1);
        let mut taken = piece.len().min(room);
        while !piece.is_char_boundary(taken) {
            taken -= 1;
        }
        if let (Some(to), Some(from)) = (
            self.bytes.get_mut(self.len..self.len + taken),
            piece.as_bytes().get(..taken),
        ) {
            to.copy_from_slice(from);
            self.len += taken;
        }
        if taken == piece.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_c_str().to_str().unwrap_or_default())
    }
}

/// A C string for the log; one that is not UTF-8 is not shown.
pub(crate) fn c_str_text(text: &CStr) -> &str {
    text.to_str().unwrap_or("(not UTF-8)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_kept_whole() {
        let text = Text::<16>::format(format_args!("{} of {}", 3, 4));
        assert_eq!(text.as_c_str(), c"3 of 4");
        assert_eq!(text.to_string(), "3 of 4");
    }

    #[test]
    fn long_text_is_cut_at_a_character_and_terminated() {
        let text = Text::<5>::format(format_args!("abc\u{e9}\u{e9}"));
        assert_eq!(text.to_string(), "abc");
        let text = Text::<6>::format(format_args!("abc\u{e9}\u{e9}"));
        assert_eq!(text.to_string(), "abc\u{e9}");
    }

    #[test]
    fn a_line_ends_with_a_newline_however_long_it_is() {
        assert_eq!(Text::<8>::line(format_args!("abc")).as_c_str(), c"abc\n");
        assert_eq!(Text::<5>::line(format_args!("abc")).as_c_str(), c"abc\n");
        assert_eq!(Text::<5>::line(format_args!("abcdef")).as_c_str(), c"abc\n");
        assert_eq!(
            Text::<6>::line(format_args!("abc\u{e9}")).as_c_str(),
            c"abc\n"
        );
        assert_eq!(Text::<2>::line(format_args!("abc")).as_c_str(), c"\n");
    }

    #[test]
    fn text_without_room_is_empty() {
        assert_eq!(Text::<1>::format(format_args!("a")).as_c_str(), c"");
    }
}
