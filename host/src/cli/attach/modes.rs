//! What a session's output leaves switched on in a terminal.
//!
//! Owns which control functions last, and what undoes each. It undoes only what
//! output has changed, so that the terminal keeps its own settings.
//! Deliberately knows neither queries nor where the bytes go.
//!
//! The names are those of xterm's "Control Sequences" and of kitty's protocols.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::sequence::{Sequence, value};

/// Private modes that are off in a terminal at a shell's prompt.
const OFF: [u16; 24] = [
    1, 5, 6, 9, 45, 66, 67, 69, 80, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 2026, 2031, 2048, 8452,
    9001,
];

/// The modes of the alternate screen. It is left last: what was set there is
/// undone there, and 1049 restores the cursor.
const ALTERNATE: [u16; 3] = [47, 1047, 1049];

/// Private modes that are on in a terminal at a shell's prompt: the wrap at the
/// right margin, repeated keys, the cursor.
const ON: [u16; 3] = [7, 8, 25];

/// Modes without a prefix that are off: locked keys, insertion, line feeds with
/// a carriage return.
const PLAIN_OFF: [u16; 3] = [2, 4, 20];

/// The mode without a prefix that is on: the terminal itself does not echo.
const NO_ECHO: u16 = 12;

/// Entries of a stack that are popped, at most. Terminals keep 10 titles and
/// about 16 states of the keyboard.
const MAX_STACK: u16 = 64;

/// The widest terminal whose tab stops are set.
const MAX_COLUMNS: u16 = 1000;

/// One keyboard of kitty's protocol. Each screen has its own.
#[derive(Debug, Default)]
struct Keyboard {
    pushed: u16,
    changed: bool,
}

impl Keyboard {
    fn undo(&mut self, text: &mut String) {
        let Keyboard { pushed, changed } = std::mem::take(self);
        if pushed > 0 {
            let _ = write!(text, "\x1b[<{pushed}u");
        }
        if changed {
            text.push_str("\x1b[=0u");
        }
    }
}

/// What has to be undone.
#[derive(Debug, Default)]
pub(super) struct Modes {
    /// Of [`OFF`] and [`ALTERNATE`], those that are on.
    on: BTreeSet<u16>,
    /// Of [`ON`], those that are off.
    off: BTreeSet<u16>,
    /// Of [`PLAIN_OFF`], those that are on.
    plain_on: BTreeSet<u16>,
    echoes: bool,
    /// Kitty's keyboards of the normal and the alternate screen.
    keyboards: [Keyboard; 2],
    /// Resources of XTMODKEYS and XTFMTKEYS.
    modified: BTreeSet<u16>,
    formatted: BTreeSet<u16>,
    /// The keypad sends its own sequences.
    keypad: bool,
    cursor_shape: bool,
    protected: bool,
    margins: bool,
    tab_stops: bool,
    /// G1 to G3 are in use, or one of G0 to G3 was changed.
    charsets: bool,
    other_coding: bool,
    vt52: bool,
    printer: bool,
    titles: u16,
    /// The stack of titles has an entry of ours.
    title_saved: bool,
    hyperlink: bool,
    /// Commands that set colours.
    colours: BTreeSet<u16>,
}

impl Modes {
    /// Notes a control sequence.
    pub(super) fn sequence(&mut self, sequence: &Sequence) {
        let Sequence { prefix, params, between, last } = sequence;
        let values = params.split(|b| *b == b';').map(value);
        let first = params.split(|b| *b == b';').next().map(value).unwrap_or_default();
        match (prefix, between.as_slice(), last) {
            (Some(b'?'), [], b'h' | b'l') => values.for_each(|mode| self.private(mode, *last == b'h')),
            (None, [], b'h' | b'l') => values.for_each(|mode| self.plain(mode, *last == b'h')),
            (Some(b'>'), [], b'u') => {
                let keyboard = self.keyboard();
                keyboard.pushed = (keyboard.pushed + 1).min(MAX_STACK);
            }
            (Some(b'<'), [], b'u') => {
                let keyboard = self.keyboard();
                keyboard.pushed = keyboard.pushed.saturating_sub(first.max(1));
            }
            (Some(b'='), [], b'u') => self.keyboard().changed = true,
            (Some(b'>'), [], b'm' | b'n') => {
                _ = self.modified.insert(if *last == b'n' && first == 0 { 4 } else { first })
            }
            (Some(b'>'), [], b'f') => _ = self.formatted.insert(first),
            (None, b" ", b'q') => self.cursor_shape = true,
            (None, b"\"", b'q') => self.protected = first != 0,
            (None, [], b'r') => self.margins = !params.is_empty(),
            // Without parameters it saves the cursor instead.
            (None, [], b's') if !params.is_empty() => self.margins = true,
            (None, [], b'g') => self.tab_stops = true,
            (None, [], b'i') => match first {
                5 => self.printer = true,
                4 => self.printer = false,
                _ => {}
            },
            (None, [], b't') if first == 22 => self.titles = (self.titles + 1).min(MAX_STACK),
            (None, [], b't') if first == 23 => self.titles = self.titles.saturating_sub(1),
            _ => {}
        }
    }

    fn private(&mut self, mode: u16, on: bool) {
        if OFF.contains(&mode) || ALTERNATE.contains(&mode) {
            if on {
                self.on.insert(mode)
            } else {
                self.on.remove(&mode)
            };
        } else if ON.contains(&mode) {
            if on {
                self.off.remove(&mode)
            } else {
                self.off.insert(mode)
            };
        } else if mode == 2 {
            self.vt52 = !on;
        }
    }

    fn plain(&mut self, mode: u16, on: bool) {
        if mode == NO_ECHO {
            self.echoes = !on;
        } else if PLAIN_OFF.contains(&mode) {
            if on {
                self.plain_on.insert(mode)
            } else {
                self.plain_on.remove(&mode)
            };
        }
    }

    fn is_alternate(&self) -> bool {
        ALTERNATE.iter().any(|mode| self.on.contains(mode))
    }

    fn keyboard(&mut self) -> &mut Keyboard {
        let alternate = self.is_alternate();
        &mut self.keyboards[usize::from(alternate)]
    }

    /// Notes an escape sequence: its bytes after ESC.
    pub(super) fn escape(&mut self, bytes: &[u8]) {
        match bytes {
            b"=" => self.keypad = true,
            b">" => self.keypad = false,
            b"H" => self.tab_stops = true,
            // Locking shifts, and changes of a set.
            b"n" | b"o" | b"|" | b"}" | b"~" => self.charsets = true,
            [b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/', ..] => self.charsets = true,
            b"%@" => self.other_coding = true,
            b"%G" => self.other_coding = false,
            b"<" => self.vt52 = false,
            // RIS resets everything but the titles.
            b"c" => {
                let (titles, title_saved) = (self.titles, self.title_saved);
                *self = Modes { titles, title_saved, ..Modes::default() };
            }
            _ => {}
        }
    }

    /// Notes SO, which selects G1.
    pub(super) fn shift_out(&mut self) {
        self.charsets = true;
    }

    /// Notes an operating system command that is no query. True if the title has to
    /// be saved before it. Titles are saved only if `saves_title`.
    pub(super) fn command(&mut self, number: u16, saves_title: bool) -> bool {
        match number {
            0..=2 if saves_title && !self.title_saved => {
                self.title_saved = true;
                return true;
            }
            4 | 5 | 10..=19 => _ = self.colours.insert(number),
            8 => self.hyperlink = true,
            _ => {}
        }
        false
    }

    /// Returns what undoes everything, for a terminal that goes back to its own
    /// shell, and forgets it.
    pub(super) fn undo(&mut self) -> String {
        let mut text = String::new();
        let alternate = self.is_alternate();
        let Modes {
            on,
            off,
            plain_on,
            echoes,
            keyboards: [mut normal, mut other],
            modified,
            formatted,
            keypad,
            cursor_shape,
            protected,
            margins,
            tab_stops,
            charsets,
            other_coding,
            vt52,
            printer,
            titles,
            title_saved,
            hyperlink,
            colours,
        } = std::mem::take(self);
        let mut when = |needed: bool, sequence: &str| {
            if needed {
                text.push_str(sequence);
            }
        };
        // First undo what keeps the terminal from understanding the rest.
        when(vt52, "\x1b<");
        when(printer, "\x1b[4i");
        when(on.contains(&2026), "\x1b[?2026l");
        when(other_coding, "\x1b%G");
        when(true, "\x1b[m");
        when(charsets, "\x1b(B\x1b)B\x1b*B\x1b+B\x0f");
        when(protected, "\x1b[0\"q");
        when(hyperlink, "\x1b]8;;\x1b\\");
        when(cursor_shape, "\x1b[0 q");
        when(keypad, "\x1b>");
        when(echoes, "\x1b[12h");
        // These move the cursor home, where a prompt would hide the text.
        let homeless = margins || on.contains(&6) || on.contains(&69);
        for mode in plain_on {
            let _ = write!(text, "\x1b[{mode}l");
        }
        for mode in on.iter().filter(|mode| !ALTERNATE.contains(mode) && **mode != 2026) {
            let _ = write!(text, "\x1b[?{mode}l");
        }
        for mode in off {
            let _ = write!(text, "\x1b[?{mode}h");
        }
        if homeless {
            let _ = write!(text, "\x1b[r\x1b[{MAX_COLUMNS};1H");
        }
        if tab_stops {
            text.push_str("\x1b7\x1b[3g");
            for column in (9..MAX_COLUMNS).step_by(8) {
                let _ = write!(text, "\x1b[{column}G\x1bH");
            }
            text.push_str("\x1b8");
        }
        for resource in modified {
            let _ = write!(text, "\x1b[>{resource}m");
        }
        for resource in formatted {
            let _ = write!(text, "\x1b[>{resource}f");
        }
        for command in colours {
            let _ = write!(text, "\x1b]{}\x1b\\", command + 100);
        }
        if alternate {
            other.undo(&mut text);
        }
        for mode in ALTERNATE.iter().filter(|mode| on.contains(mode)) {
            let _ = write!(text, "\x1b[?{mode}l");
        }
        normal.undo(&mut text);
        // Our entry lies below those of the session.
        for _ in 0..titles + u16::from(title_saved) {
            text.push_str("\x1b[23;0t");
        }
        text
    }
}

/// Undoes everything that might be on, for a program that panics and does not
/// know what is. It pops no stack, and leaves tab stops and colours.
pub(super) const ANYTHING: &str = "\x1b<\x1b[?2026l\x1b[m\x1b(B\x0f\x1b]8;;\x1b\\\x1b[0 q\x1b>\x1b[12h\x1b[4l\x1b[20l\
    \x1b[?1l\x1b[?5l\x1b[?69l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\
    \x1b[?2004l\x1b[?2031l\x1b[?2048l\x1b[?7h\x1b[?25h\x1b[>4m\x1b[=0u\x1b7\x1b[?6l\x1b[r\x1b8\x1b[?1049l";

#[cfg(test)]
mod tests {
    use crate::cli::attach::quiet::Filter;

    /// What undoes this output.
    fn undone(output: &str) -> String {
        let (mut filter, mut out) = (Filter::for_terminal(), Vec::new());
        filter.push(output.as_bytes(), false, &mut out);
        let undone = String::from_utf8(filter.leave()).unwrap();
        assert_eq!(filter.leave(), b"\x1b[m", "only once");
        undone.strip_prefix("\x1b[m").unwrap_or(&undone).to_owned()
    }

    #[test]
    fn each_thing_that_lasts_is_undone() {
        for (output, expected) in [
            ("plain \x1b[1;31mtext", ""),
            ("\x1b[>4;2m", "\x1b[>4m"),
            ("\x1b[>4;1f", "\x1b[>4f"),
            ("\x1b[>4n", "\x1b[>4m"),
            ("\x1b[>1u\x1b[>31u", "\x1b[<2u"),
            ("\x1b[>1u\x1b[<u", ""),
            ("\x1b[>1u\x1b[>1u\x1b[>1u\x1b[<2u", "\x1b[<1u"),
            ("\x1b[=1u", "\x1b[=0u"),
            ("\x1b[>1u\x1b[?1049h\x1b[>3u", "\x1b[<1u\x1b[?1049l\x1b[<1u"),
            ("\x1b[?1049h\x1b[>3u\x1b[<u\x1b[?1049l\x1b[>1u", "\x1b[<1u"),
            ("\x1b[?2031h", "\x1b[?2031l"),
            ("\x1b[5 q", "\x1b[0 q"),
            ("\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?7l", "\x1b[?7h"),
            ("\x1b(0", "\x1b(B\x1b)B\x1b*B\x1b+B\x0f"),
            ("\x1b)0\x0e", "\x1b(B\x1b)B\x1b*B\x1b+B\x0f"),
            ("\x1b[2;5r", "\x1b[r\x1b[1000;1H"),
            ("\x1b[2;5r\x1b[r", ""),
            ("\x1b[?6h", "\x1b[?6l\x1b[r\x1b[1000;1H"),
            ("\x1b[?69h\x1b[3;9s", "\x1b[?69l\x1b[r\x1b[1000;1H"),
            ("\x1b[s", ""),
            ("\x1b[?1003;1006h", "\x1b[?1003l\x1b[?1006l"),
            ("\x1b[?1004h\x1b[?2004h", "\x1b[?1004l\x1b[?2004l"),
            ("\x1b[4h\x1b[20h", "\x1b[4l\x1b[20l"),
            ("\x1b[12l", "\x1b[12h"),
            ("\x1b=", "\x1b>"),
            ("\x1b]8;;https://a.example\x1b\\link", "\x1b]8;;\x1b\\"),
            ("\x1b]11;#102030\x07\x1b]4;1;red\x07", "\x1b]104\x1b\\\x1b]111\x1b\\"),
            ("\x1b]11;?\x07", ""),
            ("\x1b]0;a\x07\x1b]2;b\x07", "\x1b[23;0t"),
            ("\x1b[22;0t\x1b]0;a\x07", "\x1b[23;0t\x1b[23;0t"),
            ("\x1b[22t\x1b[23t", ""),
            ("\x1b[?1049h\x1b[?1h\x1b[?25l", "\x1b[?1l\x1b[?25h\x1b[?1049l"),
            ("\x1b[?2004h\x1b=\x1b[>1u\x1bc", ""),
        ] {
            assert_eq!(undone(output), expected, "{output:?}");
        }
        assert_eq!(undone("\x1b[?2l"), "\x1b<\x1b[m");
        assert_eq!(undone("\x1b[?2026h"), "\x1b[?2026l\x1b[m");
        let stops = undone("\x1b[3g");
        assert!(
            stops.starts_with("\x1b7\x1b[3g\x1b[9G\x1bH\x1b[17G\x1bH") && stops.ends_with("\x1bH\x1b8"),
            "{stops:?}"
        );
    }

    #[test]
    fn the_title_is_saved_before_it_is_set() {
        let (mut filter, mut out) = (Filter::for_terminal(), Vec::new());
        filter.push(b"a\x1b]2;b\x07\x1b]0;c\x07", false, &mut out);
        assert_eq!(out, b"a\x1b[22;0t\x1b]2;b\x07\x1b]0;c\x07");
    }
}
