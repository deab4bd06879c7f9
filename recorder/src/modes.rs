//! What the emulator does not keep of a terminal's state: its title, how it reports
//! keys, mouse and focus, and the shape of its cursor.
//!
//! Knows only sequences that set something. Those that ask are not among them, so what
//! is drawn of this state makes no terminal answer.

use std::fmt::Write as _;

use vte::{Params, Perform};

/// Private modes that are on or off by themselves: reversed screen, blinking cursor,
/// wrapping backwards, focus reports, scrolling by arrows, bracketed paste.
const SWITCHES: [u16; 6] = [5, 12, 45, 1004, 1007, 2004];

/// Which events of the mouse are reported: of these modes the last one holds.
const MOUSE: [u16; 5] = [9, 1000, 1001, 1002, 1003];

/// How they are reported.
const ENCODING: [u16; 4] = [1005, 1006, 1015, 1016];

/// The keypad as a mode; it is also set by sequences of its own.
const KEYPAD: u16 = 66;

/// Bytes of a title. More than any window shows.
const MAX_TITLE: usize = 1024;

/// Titles that are put aside; xterm's own bound.
const MAX_TITLES: usize = 10;

/// The state, drawn from what was [seen](Perform).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Modes {
    title: String,
    titles: Vec<String>,
    switches: [bool; SWITCHES.len()],
    mouse: Option<u16>,
    encoding: Option<u16>,
    keypad: bool,
    /// Of the cursor; 0 is the terminal's own.
    shape: u16,
}

impl Modes {
    /// What brings a terminal that was reset into this state.
    pub(crate) fn draw(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for title in &self.titles {
            let _ = write!(text, "\x1b]2;{title}\x1b\\\x1b[22;2t");
        }
        if !(self.title.is_empty() && self.titles.is_empty()) {
            let _ = write!(text, "\x1b]2;{}\x1b\\", self.title);
        }
        let switches = SWITCHES.iter().zip(self.switches).filter(|(_, on)| *on).map(|(mode, _)| *mode);
        for mode in switches.chain(self.mouse).chain(self.encoding) {
            let _ = write!(text, "\x1b[?{mode}h");
        }
        if self.keypad {
            text.push_str("\x1b=");
        }
        if self.shape != 0 {
            let _ = write!(text, "\x1b[{} q", self.shape);
        }
        text
    }

    fn set(&mut self, mode: u16, on: bool) {
        if let Some(place) = SWITCHES.iter().position(|known| *known == mode) {
            self.switches[place] = on;
        } else if MOUSE.contains(&mode) {
            self.mouse = on.then_some(mode);
        } else if ENCODING.contains(&mode) {
            self.encoding = on.then_some(mode);
        } else if mode == KEYPAD {
            self.keypad = on;
        }
    }
}

impl Perform for Modes {
    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if ignore {
            return;
        }
        let mut values = params.iter().map(|param| param.first().copied().unwrap_or_default());
        match (intermediates, action) {
            (b"?", 'h' | 'l') => values.for_each(|mode| self.set(mode, action == 'h')),
            (b"!", 'p') => self.keypad = false,
            (b" ", 'q') => self.shape = values.next().unwrap_or_default(),
            // 1 is the icon's.
            (b"", 't') => match (values.next(), values.next().unwrap_or_default()) {
                (Some(22), 0 | 2) if self.titles.len() < MAX_TITLES => self.titles.push(self.title.clone()),
                (Some(23), 0 | 2) => self.title = self.titles.pop().unwrap_or_else(|| std::mem::take(&mut self.title)),
                _ => {}
            },
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _ignore: bool, byte: u8) {
        match (intermediates, byte) {
            (b"", b'=') => self.keypad = true,
            (b"", b'>') => self.keypad = false,
            // A title outlives a reset of the terminal.
            (b"", b'c') => {
                let (title, titles) = (std::mem::take(&mut self.title), std::mem::take(&mut self.titles));
                *self = Self { title, titles, ..Self::default() };
            }
            _ => {}
        }
    }

    fn osc_dispatch(&mut self, params: &[&[u8]], _bell: bool) {
        if let [b"0" | b"2", title @ ..] = params {
            let mut text = String::from_utf8_lossy(&title.join(&b';')).into_owned();
            text.retain(|character| !character.is_control());
            text.truncate(text.floor_char_boundary(MAX_TITLE));
            self.title = text;
        }
    }
}
