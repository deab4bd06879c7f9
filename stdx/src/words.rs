//! A stranger's text on its way to a log or a terminal.
//!
//! Owns which characters could act or mislead there. Deliberately does not know
//! who says or shows the text.

/// Whether a character does more than show itself: it moves the cursor, begins a line or a command sequence, or changes
/// the direction in which its neighbours are read.
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Line and paragraph separators.
            '\u{2028}' | '\u{2029}'
            // Marks, embeddings, overrides and isolates of bidirectional text.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // A byte order mark, which shows nothing.
            | '\u{feff}')
}

/// Makes a text fit for one line: each character that [`misleads`] becomes a space, and the text is cut to at most `max`
/// bytes at a character boundary.
pub fn clean(text: &str, max: usize) -> String {
    let cut = &text[..text.floor_char_boundary(max)];
    cut.replace(misleads, " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_is_one_line_and_bounded() {
        assert_eq!(clean("a\r\n\x1b[31mb\u{85}", 100), "a   [31mb");
        assert_eq!(clean("äää", 3), "ä");
        assert_eq!(clean("", 3), "");
    }

    #[test]
    fn what_turns_or_ends_a_line_is_no_text() {
        for c in ['\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{200f}', '\u{61c}', '\u{9b}'] {
            assert_eq!(clean(&format!("a{c}b"), 100), "a b", "{c:?}");
        }
        let text = "naïve 漢字 עברית 👩\u{200d}🚀";
        assert_eq!(clean(text, 100), text, "letters of every direction stay");
    }
}
