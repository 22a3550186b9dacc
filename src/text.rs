// SPDX-License-Identifier: BSD-3-Clause

//! Text of a bounded length, kept in place: what is logged is formatted without allocating, since a
//! failed allocation may be the very thing that is reported.

use std::ffi::CStr;
use std::fmt;

/// At most `N - 1` bytes of text, always followed by a NUL. What does not fit is cut off. The bytes are
/// those of the program's locale and of its names, whatever their encoding.
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

    /// Adds bytes without a NUL.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.push_before(bytes, 0);
    }

    /// Adds of these bytes what leaves room for so many more.
    pub(crate) fn push_before(&mut self, bytes: &[u8], more: usize) {
        let taken = cut(bytes, N.saturating_sub(self.len + 1 + more));
        if let Some(to) = self.bytes.get_mut(self.len..self.len + taken.len()) {
            to.copy_from_slice(taken);
            self.len += taken.len();
        }
    }

    /// Ends the text with a newline, in place of its end if there is no room.
    pub(crate) fn end_line(&mut self) {
        let end = cut(self.as_bytes(), N.saturating_sub(2)).len();
        if let Some([last, nul, ..]) = self.bytes.get_mut(end..) {
            (*last, *nul) = (b'\n', 0);
            self.len = end + 1;
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

/// As much of a text as there is room for, not ending within a character if it is UTF-8: the later bytes of
/// one all start with the bits 10, and there are three at most.
fn cut(text: &[u8], room: usize) -> &[u8] {
    if text.len() <= room {
        return text;
    }
    let whole = (0..=3)
        .filter_map(|back| room.checked_sub(back))
        .find(|&end| text.get(end).is_some_and(|next| next & 0xc0 != 0x80));
    text.get(..whole.unwrap_or(room)).unwrap_or_default()
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let before = self.len;
        self.push(piece.as_bytes());
        if self.len == before + piece.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_kept_whole() {
        let text = Text::<16>::format(format_args!("{} of {}", 3, 4));
        assert_eq!(text.as_c_str(), c"3 of 4");
        assert_eq!(text.as_bytes(), b"3 of 4");
    }

    #[test]
    fn long_text_is_cut_at_a_character_and_terminated() {
        let text = Text::<5>::format(format_args!("abc\u{e9}\u{e9}"));
        assert_eq!(text.as_bytes(), b"abc");
        let text = Text::<6>::format(format_args!("abc\u{e9}\u{e9}"));
        assert_eq!(text.as_bytes(), "abc\u{e9}".as_bytes());
    }

    #[test]
    fn text_of_another_encoding_is_kept() {
        let mut text = Text::<8>::new();
        text.push(b"f\xe9v");
        assert_eq!(text.as_c_str(), c"f\xe9v");
        // No character ends here, were it UTF-8.
        text.push(b"\xb1\xb2\xb3\xb4\xb5");
        assert_eq!(text.as_c_str(), c"f\xe9v\xb1\xb2\xb3\xb4");
    }

    #[test]
    fn room_is_left_for_what_comes_then() {
        let mut text = Text::<8>::new();
        text.push_before(b"abcdef", 3);
        text.push(b"xyz");
        assert_eq!(text.as_c_str(), c"abcdxyz");
        text.push_before(b"a", 20);
        assert_eq!(text.as_c_str(), c"abcdxyz");
    }

    #[test]
    fn a_line_ends_with_a_newline_however_long_it_is() {
        fn line<const N: usize>(text: &str) -> Text<N> {
            let mut line = Text::format(format_args!("{text}"));
            line.end_line();
            line
        }
        assert_eq!(line::<8>("abc").as_c_str(), c"abc\n");
        assert_eq!(line::<5>("abc").as_c_str(), c"abc\n");
        assert_eq!(line::<5>("abcdef").as_c_str(), c"abc\n");
        assert_eq!(line::<6>("abc\u{e9}").as_c_str(), c"abc\n");
        assert_eq!(line::<2>("abc").as_c_str(), c"\n");
    }

    #[test]
    fn text_without_room_is_empty() {
        assert_eq!(Text::<1>::format(format_args!("a")).as_c_str(), c"");
    }
}
