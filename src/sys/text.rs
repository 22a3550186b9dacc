// SPDX-License-Identifier: BSD-3-Clause

//! Text of a bounded length without allocation, because a message may report a failed allocation.

use std::ffi::CStr;
use std::fmt;

/// At most `N - 1` bytes of text, always followed by a NUL. Longer text is truncated. The bytes may have any
/// encoding: that of the locale, and that of the caller's strings.
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
    /// The maximum length of the text; at most `N - 1`.
    limit: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            limit: N.saturating_sub(1),
        }
    }

    /// Lets the text grow by at most `more` bytes from here on.
    pub(crate) fn limit(&mut self, more: usize) {
        self.limit = self.len.saturating_add(more).min(N.saturating_sub(1));
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn format(&mut self, arguments: fmt::Arguments<'_>) {
        // Running out of room is not an error: the text is truncated.
        let _ = fmt::Write::write_fmt(self, arguments);
    }

    /// Adds bytes without a NUL.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let taken = cut(bytes, self.limit.saturating_sub(self.len));
        if let Some(to) = self.bytes.get_mut(self.len..self.len + taken.len()) {
            to.copy_from_slice(taken);
            self.len += taken.len();
        }
    }

    /// Inserts bytes at a place in the text, truncated so that the present text and `reserved` more bytes have
    /// room.
    pub(crate) fn insert(&mut self, at: usize, bytes: &[u8], reserved: usize) {
        let taken = cut(bytes, self.limit.saturating_sub(self.len + reserved));
        let (len, added) = (self.len, taken.len());
        if at > len {
            return;
        }
        if let Some(room) = self.bytes.get_mut(at..len + added) {
            room.copy_within(..len - at, added);
            if let Some(to) = room.get_mut(..added) {
                to.copy_from_slice(taken);
            }
            self.len += added;
        }
    }

    /// Adds the C string that `write` writes to the rest of the buffer.
    pub(crate) fn push_c_str_with(&mut self, write: impl FnOnce(&mut [u8])) {
        let (len, limit) = (self.len, self.limit);
        // One byte more than the text may have, for the NUL.
        let Some(room) = self.bytes.get_mut(len..limit + 1) else {
            return;
        };
        write(room);
        // A string without a NUL is not added.
        let added = room.iter().position(|&byte| byte == 0).unwrap_or(0);
        if let Some(behind) = room.get_mut(added..) {
            behind.fill(0);
        }
        self.len += added;
    }

    /// Ends the text with a newline, which replaces the last byte if there is no room.
    pub(crate) fn end_line(&mut self) {
        let end = cut(self.as_bytes(), self.limit.saturating_sub(1)).len();
        if let Some(rest) = self.bytes.get_mut(end..self.limit + 1) {
            rest.fill(0);
            if let [newline, _, ..] = rest {
                *newline = b'\n';
                self.len = end + 1;
            }
        }
    }

    /// Ends a string with a NUL, which replaces the last byte if there is no room. Text that is added later is the
    /// next string.
    pub(crate) fn end_string(&mut self) {
        let end = cut(self.as_bytes(), self.limit.saturating_sub(1)).len();
        if let Some(rest @ [_, ..]) = self.bytes.get_mut(end..self.limit) {
            rest.fill(0);
            self.len = end + 1;
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The C string that starts at this place of the text.
    pub(crate) fn c_str_at(&self, start: usize) -> &CStr {
        self.bytes
            .get(start..)
            .and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok())
            .unwrap_or_default()
    }
}

/// As much of a text as has room, without a part of a UTF-8 character at the end. The later bytes of a character,
/// three at most, start with the bits 10.
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

    fn text<const N: usize>(bytes: &[u8]) -> Text<N> {
        let mut text = Text::new();
        text.push(bytes);
        text
    }

    #[test]
    fn short_text_is_kept_whole() {
        let mut text = Text::<16>::new();
        text.format(format_args!("{} of {}", 3, 4));
        assert_eq!(text.c_str_at(0), c"3 of 4");
        assert_eq!(text.as_bytes(), b"3 of 4");
    }

    #[test]
    fn long_text_is_cut_at_a_character_and_terminated() {
        assert_eq!(text::<5>("abc\u{e9}\u{e9}".as_bytes()).as_bytes(), b"abc");
        assert_eq!(
            text::<6>("abc\u{e9}\u{e9}".as_bytes()).as_bytes(),
            "abc\u{e9}".as_bytes()
        );
    }

    #[test]
    fn text_of_another_encoding_is_kept() {
        let mut text = text::<8>(b"f\xe9v");
        assert_eq!(text.c_str_at(0), c"f\xe9v");
        // In UTF-8, no character ends here.
        text.push(b"\xb1\xb2\xb3\xb4\xb5");
        assert_eq!(text.c_str_at(0), c"f\xe9v\xb1\xb2\xb3\xb4");
    }

    #[test]
    fn inserted_text_leaves_what_is_there_whole() {
        let mut text = text::<9>(b"<>xyz");
        text.insert(1, b"abcdef", 1);
        assert_eq!(text.c_str_at(0), c"<ab>xyz");
        text.insert(0, b"ab", 0);
        assert_eq!(text.c_str_at(0), c"a<ab>xyz");
        text.insert(0, b"ab", 20);
        text.insert(20, b"ab", 0);
        assert_eq!(text.c_str_at(0), c"a<ab>xyz");
    }

    #[test]
    fn a_limit_holds_for_all_that_is_added() {
        let mut text = text::<32>(b"ab");
        text.limit(4);
        text.push(b"cd");
        text.format(format_args!("{}", 1234));
        text.push(b"efgh");
        assert_eq!(text.as_bytes(), b"abcd12");
        text.insert(0, b"x", 0);
        text.push_c_str_with(|room| assert_eq!(room.len(), 1));
        assert_eq!(text.as_bytes(), b"abcd12");
    }

    #[test]
    fn a_line_ends_with_a_newline_however_long_it_is() {
        fn line<const N: usize>(bytes: &str) -> Text<N> {
            let mut line = text(bytes.as_bytes());
            line.end_line();
            line
        }
        assert_eq!(line::<8>("abc").c_str_at(0), c"abc\n");
        assert_eq!(line::<5>("abc").c_str_at(0), c"abc\n");
        assert_eq!(line::<5>("abcdef").c_str_at(0), c"abc\n");
        assert_eq!(line::<6>("abc\u{e9}").c_str_at(0), c"abc\n");
        assert_eq!(line::<2>("abc").c_str_at(0), c"\n");
    }

    #[test]
    fn strings_stand_one_behind_the_other() {
        let mut text = text::<16>(b"one");
        text.end_string();
        let second = text.len();
        text.push(b"two");
        assert_eq!(text.c_str_at(0), c"one");
        assert_eq!(text.c_str_at(second), c"two");
    }

    #[test]
    fn a_string_ends_before_the_next_one_however_long_it_is() {
        let mut text = Text::<16>::new();
        text.limit(4);
        text.push(b"abcdef");
        text.end_string();
        let second = text.len();
        text.limit(3);
        text.push(b"two");
        assert_eq!(text.c_str_at(0), c"abc");
        assert_eq!(text.c_str_at(second), c"two");
    }

    #[test]
    fn text_that_is_not_terminated_is_not_taken() {
        let mut text = text::<8>(b"ab");
        text.push_c_str_with(|room| room.fill(b'x'));
        assert_eq!(text.c_str_at(0), c"ab");
    }

    #[test]
    fn text_without_room_is_empty() {
        assert_eq!(text::<1>(b"a").c_str_at(0), c"");
    }
}
