//! Text of bytes that come in pieces, with U+FFFD for what is none.

/// Decodes UTF-8 as [`String::from_utf8_lossy`] does, across pieces.
#[derive(Default)]
pub(crate) struct Lossy {
    /// The beginning of a code point: at most 3 bytes.
    torn: Vec<u8>,
}

impl Lossy {
    /// The text that is complete with these bytes.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.torn);
        all.extend_from_slice(bytes);
        let mut text = String::with_capacity(all.len());
        let mut rest = all.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return text;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(wrong) = error.error_len() else {
                        self.torn = after.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[wrong..];
                }
            }
        }
    }

    /// The text of what is torn for good.
    pub(crate) fn finish(&mut self) -> &'static str {
        if std::mem::take(&mut self.torn).is_empty() { "" } else { "\u{fffd}" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_give_the_text_of_the_whole() {
        let bytes =
            b"a\xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x98\x80 \xff\xfe \xe6\xbc \xf0\x9f\x98 \xc0\x80 \xed\xa0\x80 z\xf0\x9f";
        for size in 1..=bytes.len() {
            let (mut lossy, mut text) = (Lossy::default(), String::new());
            bytes.chunks(size).for_each(|piece| text.push_str(&lossy.decode(piece)));
            text.push_str(lossy.finish());
            assert_eq!(text, String::from_utf8_lossy(bytes), "in pieces of {size}");
        }
    }
}
