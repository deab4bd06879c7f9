//! What a terminal answers to programs that ask. It answers what the page's emulator does, and also a few questions that
//! the page ignores although programs wait for the answer.

use crate::emulator::cells::PROTECTED;
use crate::emulator::parser::{Params, name};
use crate::emulator::state::TerminalState;

/// The most bytes of answers that wait to be taken. Beyond that, questions get no answer.
const MAX_ANSWERS: usize = 64 * 1024;

/// States of a mode, as in DECRPM.
const UNKNOWN: u8 = 0;
const SET: u8 = 1;
const RESET: u8 = 2;
const ALWAYS_SET: u8 = 3;
const ALWAYS_RESET: u8 = 4;

impl TerminalState {
    /// Adds one answer, as a whole or not at all.
    fn answer(&mut self, text: &str) {
        if self.answers.len() + text.len() <= MAX_ANSWERS {
            self.answers.extend_from_slice(text.as_bytes());
        }
    }

    pub(super) fn answer_color(&mut self, of: &str, [red, green, blue]: [u8; 3]) {
        let color = format!("rgb:{red:02x}{red:02x}/{green:02x}{green:02x}/{blue:02x}{blue:02x}");
        self.answer(&format!("\x1b]{of};{color}\x1b\\"));
    }

    pub(super) fn answer_csi(&mut self, sequence: u32, params: &Params) {
        const DA1: u32 = name(b"c");
        const DA2: u32 = name(b">c");
        const DA3: u32 = name(b"=c");
        const DSR: u32 = name(b"n");
        const DEC_DSR: u32 = name(b"?n");
        const DECRQM: u32 = name(b"$p");
        const DEC_DECRQM: u32 = name(b"?$p");
        const DECREQTPARM: u32 = name(b"x");
        const XTVERSION: u32 = name(b">q");
        const KITTY_KEYS: u32 = name(b"?u");
        const OTHER_KEYS: u32 = name(b"?m");
        const OTHER_FORMAT: u32 = name(b"?g");
        let first = params.get(0);
        match sequence {
            DA1 if first == 0 => self.answer("\x1b[?1;2c"),
            DA2 if first == 0 => self.answer("\x1b[>0;276;0c"),
            DA3 if first == 0 => self.answer("\x1bP!|00000000\x1b\\"),
            DSR | DEC_DSR if first == 6 => {
                let buffer = self.buffer();
                let (x, y) = (buffer.x + 1, buffer.y + 1);
                let prefix = if sequence == DSR { "" } else { "?" };
                self.answer(&format!("\x1b[{prefix}{y};{x}R"));
            }
            DSR if first == 5 => self.answer("\x1b[0n"),
            DEC_DSR if first == 996 => {
                let scheme = if self.colors.is_dark() { 1 } else { 2 };
                self.answer(&format!("\x1b[?997;{scheme}n"));
            }
            DECRQM => self.answer(&format!("\x1b[{first};{}$y", self.ansi_mode(first))),
            DEC_DECRQM => {
                let state = self.dec_mode(first);
                self.answer(&format!("\x1b[?{first};{state}$y"));
            }
            DECREQTPARM if (0..=1).contains(&first) => self.answer(&format!("\x1b[{};1;1;128;128;1;0x", first + 2)),
            XTVERSION if first == 0 => {
                self.answer(concat!("\x1bP>|sandbox-broker(", env!("CARGO_PKG_VERSION"), ")\x1b\\"));
            }
            KITTY_KEYS => {
                let keys = if self.on_alternate { &self.keyboard.alternate } else { &self.keyboard.normal };
                self.answer(&format!("\x1b[?{}u", keys.flags()));
            }
            OTHER_KEYS if first == 4 => self.answer(&format!("\x1b[>4;{}m", self.keyboard.modify_other)),
            OTHER_FORMAT if first == 4 => self.answer(&format!("\x1b[>4;{}f", self.keyboard.format_other)),
            _ => {}
        }
    }

    /// Answers DECRQSS.
    pub(super) fn answer_status(&mut self, of: &str) {
        let buffer = self.buffer();
        let (top, bottom) = (buffer.top + 1, buffer.bottom + 1);
        let answer = match of {
            "\"q" => format!("1$r{}\"q", u8::from(self.pen.bg & PROTECTED != 0)),
            "\"p" => "1$r61;1\"p".to_owned(),
            "r" => format!("1$r{top};{bottom}r"),
            "m" => "1$r0m".to_owned(),
            " q" => {
                let blink = u16::from(self.modes.blink.unwrap_or(true));
                format!("1$r{} q", if self.modes.shape == 0 { 2 - blink } else { self.modes.shape })
            }
            _ => "0$r".to_owned(),
        };
        self.answer(&format!("\x1bP{answer}\x1b\\"));
    }

    fn ansi_mode(&self, mode: i32) -> u8 {
        match mode {
            2 => ALWAYS_RESET,
            4 => state(self.modes.insert),
            12 => ALWAYS_SET,
            20 => state(self.modes.newline),
            _ => UNKNOWN,
        }
    }

    fn dec_mode(&self, mode: i32) -> u8 {
        let modes = &self.modes;
        match mode {
            1 => state(modes.cursor_keys),
            6 => state(modes.origin),
            7 => state(modes.wraparound),
            8 => ALWAYS_SET,
            9 | 1000 | 1002 | 1003 => state(i32::from(modes.mouse) == mode),
            12 => state(modes.blink.unwrap_or(true)),
            25 => state(!modes.hidden),
            45 => state(modes.reverse_wraparound),
            47 | 1047 | 1049 => state(self.on_alternate),
            66 => state(modes.keypad),
            67 | 1005 | 1015 => ALWAYS_RESET,
            1004 => state(modes.focus),
            1006 | 1016 => state(i32::from(modes.encoding) == mode),
            1048 => SET,
            2004 => state(modes.paste),
            2026 => state(modes.synchronized),
            _ => UNKNOWN,
        }
    }
}

fn state(on: bool) -> u8 {
    if on { SET } else { RESET }
}
