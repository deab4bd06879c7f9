//! Decodes a stream of bytes as text, and cuts it only between code points.
//!
//! Owns up to three bytes of an unfinished code point between two pieces. Deliberately knows no message and no offset. The
//! recorder and the broker share it.

use std::borrow::Cow;

/// Turns a stream of bytes into text piece by piece. The joined pieces equal what `String::from_utf8_lossy` makes of the
/// whole stream.
#[derive(Debug, Default)]
pub struct LossyText {
    /// The first `held` bytes are the beginning of a code point.
    carry: [u8; 3],
    held: usize,
}

impl LossyText {
    /// The number of bytes that were pushed and not returned yet, at most three.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Returns the text of the held bytes and of `bytes`, up to a code point that `bytes` does not finish. Borrows if
    /// nothing has to change.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, str> {
        if self.held == 0 {
            let (whole, rest) = bytes.split_at(complete(bytes));
            self.hold(rest);
            // Nearly all output is valid. To check that is several times faster than the lossy conversion.
            return str::from_utf8(whole).map_or_else(|_| String::from_utf8_lossy(whole), Cow::Borrowed);
        }
        let mut joined = Vec::with_capacity(self.held + bytes.len());
        joined.extend_from_slice(&self.carry[..self.held]);
        joined.extend_from_slice(bytes);
        let cut = complete(&joined);
        self.hold(&joined[cut..]);
        joined.truncate(cut);
        Cow::Owned(
            String::from_utf8(joined).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }

    /// Returns the text of the held bytes at the end of the stream.
    pub fn finish(&mut self) -> &'static str {
        match std::mem::take(&mut self.held) {
            0 => "",
            _ => "\u{FFFD}",
        }
    }

    fn hold(&mut self, rest: &[u8]) {
        self.carry[..rest.len()].copy_from_slice(rest);
        self.held = rest.len();
    }
}

/// The number of bytes before an unfinished code point at the end.
fn complete(bytes: &[u8]) -> usize {
    for tail in 1..=bytes.len().min(3) {
        let at = bytes.len() - tail;
        let continues = bytes[at] & 0b1100_0000 == 0b1000_0000;
        if !continues {
            // `error_len` is `None` only if more bytes could make it valid.
            let unfinished = std::str::from_utf8(&bytes[at..]).is_err_and(|error| error.error_len().is_none());
            return if unfinished { at } else { bytes.len() };
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_pieces(bytes: &[u8], sizes: &[usize]) -> (String, Vec<String>) {
        let (mut text, mut rest, mut pieces) = (LossyText::default(), bytes, Vec::new());
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            pieces.push(text.push(piece).into_owned());
            assert!(text.held() <= 3);
            rest = after;
        }
        pieces.push(text.finish().to_owned());
        (pieces.concat(), pieces)
    }

    #[test]
    fn a_code_point_is_never_split() {
        let (_, pieces) = in_pieces("aé😀".as_bytes(), &[1]);
        assert_eq!(pieces, ["a", "", "é", "", "", "", "😀", ""]);
    }

    #[test]
    fn pieces_of_any_size_give_the_text_of_the_whole() {
        let bytes =
            b"a\xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x98\x80 \xff\xfe \xe6\xbc \xf0\x9f\x98 \xc0\x80 \xed\xa0\x80 z\xf0\x9f";
        for size in 1..=bytes.len() {
            let (mut lossy, mut text) = (LossyText::default(), String::new());
            bytes.chunks(size).for_each(|piece| text.push_str(&lossy.push(piece)));
            text.push_str(lossy.finish());
            assert_eq!(text, String::from_utf8_lossy(bytes), "in pieces of {size}");
        }
    }

    #[test]
    fn what_never_becomes_a_code_point_is_shown_at_once() {
        let mut text = LossyText::default();
        assert_eq!(text.push(b"a\xF0\x9F\x98"), "a");
        assert_eq!(text.push(b"b\xC0\x80"), "\u{FFFD}b\u{FFFD}\u{FFFD}");
        assert_eq!(text.held(), 0);
        assert_eq!(text.push(b"\xE2"), "");
        assert_eq!(text.finish(), "\u{FFFD}");
        assert_eq!(text.finish(), "");
    }

    /// Bytes in which broken and whole sequences of every length are common.
    fn terminal_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0xF0), Just(0x9F), Just(0x98), Just(0x80), Just(0xE0), Just(0xED), any::<u8>()];
        let piece = prop_oneof![prop::collection::vec(byte, 0..6), any::<char>().prop_map(|c| c.to_string().into())];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn pieces_join_to_what_the_whole_stream_says(
            bytes in terminal_bytes(),
            sizes in prop::collection::vec(1usize..9, 1..20),
        ) {
            prop_assert_eq!(in_pieces(&bytes, &sizes).0, String::from_utf8_lossy(&bytes));
        }
    }
}
