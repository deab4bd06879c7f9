//! Reduces output to what draws. Removes everything that makes a terminal answer, write to its clipboard, print, or report
//! keys differently.
//!
//! Recordings need this, because they are played on unknown terminals. Only listed sequences pass, and each is written anew
//! from its meaning. So nothing else passes, however it is spelled and wherever it is cut.

use std::fmt::Write as _;

use crate::emulator::parser::{Params, Parser, Perform};

/// Passes on only what draws.
pub(crate) struct Sanitizer {
    parser: Parser,
    text: Text,
}

impl Default for Sanitizer {
    fn default() -> Self {
        Self { parser: Parser::new(0), text: Text(String::new()) }
    }
}

impl Sanitizer {
    /// Returns what draws, as far as this text completes it.
    pub(crate) fn pass(&mut self, text: &str) -> String {
        self.parser.feed(text.as_bytes(), &mut self.text);
        std::mem::take(&mut self.text.0)
    }
}

struct Text(String);

impl Text {
    fn params(&mut self, params: &Params, keep: impl Fn(i32) -> bool) -> bool {
        let mut any = false;
        for (at, value) in params.iter().enumerate().filter(|(_, value)| keep(*value)) {
            if std::mem::replace(&mut any, true) {
                self.0.push(';');
            }
            let _ = write!(self.0, "{value}");
            for part in params.parts(at) {
                let _ = match part {
                    -1 => write!(self.0, ":"),
                    part => write!(self.0, ":{part}"),
                };
            }
        }
        any
    }

    /// Passes on only the known modes.
    fn modes(&mut self, prefix: &str, params: &Params, last: u8, known: &[i32]) {
        let before = self.0.len();
        let _ = write!(self.0, "\x1b[{prefix}");
        if self.params(params, |mode| known.contains(&mode)) {
            self.0.push(last.into());
        } else {
            self.0.truncate(before);
        }
    }
}

impl Perform for Text {
    fn print(&mut self, code: u32) {
        self.0.extend(char::from_u32(code));
    }

    fn print_ascii(&mut self, text: &[u8]) {
        self.0.extend(text.iter().map(|byte| char::from(*byte)));
    }

    fn execute(&mut self, code: u8) {
        match code {
            0x07..=0x0f => self.0.push(code.into()),
            // IND, NEL, HTS and RI. Not every terminal knows their 8-bit form.
            0x84 | 0x85 | 0x88 | 0x8d => self.0.extend(['\x1b', char::from(code - 0x40)]),
            _ => {}
        }
    }

    fn esc(&mut self, name: u32) {
        let [_, first, second, last] = name.to_be_bytes();
        match (first, second, last) {
            (0, 0, b'7' | b'8' | b'D' | b'E' | b'H' | b'M' | b'c' | b'n' | b'o' | b'|' | b'}' | b'~') => {
                self.0.extend(['\x1b', char::from(last)]);
            }
            (0, b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/' | b'#' | b'%', _) => {
                self.0.extend(['\x1b', char::from(second), char::from(last)]);
            }
            _ => {}
        }
    }

    fn csi(&mut self, name: u32, params: &Params) {
        /// Insert mode and newline mode.
        const MODES: &[i32] = &[4, 20];
        /// Reverse video, origin, wraparound, the look of the cursor, the alternate screen, and synchronized output.
        const PRIVATE: &[i32] = &[5, 6, 7, 12, 25, 45, 47, 1047, 1048, 1049, 2026];
        let bytes = name.to_be_bytes();
        let name = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())..];
        match name {
            [last @ (b'h' | b'l')] => self.modes("", params, *last, MODES),
            [b'?', last @ (b'h' | b'l')] => self.modes("?", params, *last, PRIVATE),
            // These save and restore the title. All others ask something or move windows.
            [b't'] if !matches!(params.get(0), 22 | 23) => {}
            [
                b'@'..=b'M'
                | b'P'
                | b'S'
                | b'T'
                | b'X'
                | b'Z'
                | b'`'
                | b'a'
                | b'b'
                | b'd'..=b'g'
                | b'm'
                | b'r'
                | b's'
                | b't'
                | b'u',
            ]
            | [b'?', b'J' | b'K']
            | [b' ', b'@' | b'A' | b'q']
            | [b'\'', b'}' | b'~']
            | [b'!', b'p']
            | [b'"', b'q'] => {
                let (prefix, rest) = if name[0] == b'?' { ("?", &name[1..]) } else { ("", name) };
                let _ = write!(self.0, "\x1b[{prefix}");
                self.params(params, |_| true);
                self.0.extend(rest.iter().map(|byte| char::from(*byte)));
            }
            _ => {}
        }
    }

    fn osc(&mut self, number: u32, text: &str) {
        let asks = text.split(';').any(|part| part.trim() == "?");
        if matches!(number, 0..=2 | 4 | 7 | 8 | 10..=19 | 104 | 110..=119 | 133) && !asks {
            let _ = write!(self.0, "\x1b]{number};{text}\x1b\\");
        }
    }

    fn dcs(&mut self, _name: u32, _text: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequences that a terminal answers or that do more than draw, each with what is left of it.
    const SPOKEN: &[(&str, &str)] = &[
        ("\x1b[c", ""),
        ("\x1b[0;0c", ""),
        ("\x1b[>c\x1b[=c\x1b[>q\x1b[x", ""),
        ("\u{9b}c", ""),
        ("\x1b[\nc", "\n"),
        ("\x1b[5n\x1b[6n\x1b[?6n\x1b[?996n", ""),
        ("\x1b[?2004$p\x1b[4$p", ""),
        ("\x1b]10;?\x07\x1b]11; ? \x1b\\\x1b]4;1;?\x07\x1b]4;1;#fff;2;?\x07", ""),
        ("\x1b]52;c;aGk=\x07\x1b]52;p;?\x1b\\\x1b]052;c;aGk=\x07\u{9d}52;c;aGk=\u{9c}", ""),
        ("\x1b]1337;Copy=:aGk=\x07\x1b]1337;ReportCellSize\x07\x1b]9;hi\x07\x1b]5522;x\x07", ""),
        ("\x1bP$qm\x1b\\\x1bP+q544e\x1b\\\u{90}$qm\u{9c}", ""),
        ("\x1b[14t\x1b[18t\x1b[21t\x1b[8;10;10t", ""),
        ("\x1b[?u\x1b[>1u\x1b[=1u\x1b[<u\x1b[?4m\x1b[>4;2m", ""),
        ("\x1bZ\x05\x1b_Gi=1,a=q;AA\x1b\\\x1b^x\x1b\\\x1bXy\x1b\\", ""),
        ("\x1b[?1000h\x1b[?1003;25;1006h\x1b[?1004h\x1b[?2004h\x1b[?2048h\x1b[?1h\x1b=", "\x1b[?25h"),
        ("\x1b[5i\x1b[?1;1;0S\x1b[1$w\x1b[1;1;1;1;1;1*y\x1b['|", ""),
    ];

    /// Sequences that draw, and how they are written anew.
    const DRAWN: &[(&str, &str)] = &[
        ("a\u{e9}\u{1f600}\r\n\t\x08\x0e\x0f", "a\u{e9}\u{1f600}\r\n\t\x08\x0e\x0f"),
        ("\x1b[1;38:2::1:2:3;4:3m\u{9b}0m", "\x1b[1;38:2::1:2:3;4:3m\x1b[0m"),
        ("\x1b[H\x1b[?2J\x1b[2;5r\x1b[ q\x1b[!p\x1b[22;2t", "\x1b[0H\x1b[?2J\x1b[2;5r\x1b[0 q\x1b[0!p\x1b[22;2t"),
        ("\x1b[?1049h\x1b7\x1b(0\x1b#8\u{84}\x1bc", "\x1b[?1049h\x1b7\x1b(0\x1b#8\x1bD\x1bc"),
        ("\x1b]2;a;b\x07\x1b]8;id=1;https://a\u{9c}", "\x1b]2;a;b\x1b\\\x1b]8;id=1;https://a\x1b\\"),
    ];

    #[test]
    fn only_what_draws_passes_however_it_is_cut() {
        for (output, expected) in SPOKEN.iter().chain(DRAWN) {
            let whole = format!("<{output}>");
            for cut in (0..=whole.len()).filter(|cut| whole.is_char_boundary(*cut)) {
                let mut plain = Sanitizer::default();
                let passed = plain.pass(&whole[..cut]) + &plain.pass(&whole[cut..]);
                assert_eq!(passed, format!("<{expected}>"), "{output:?} cut at {cut}");
            }
            let (mut plain, mut passed) = (Sanitizer::default(), String::new());
            whole.chars().for_each(|character| passed += &plain.pass(&character.to_string()));
            assert_eq!(passed, format!("<{expected}>"), "{output:?} in pieces");
        }
    }
}
