//! Modes, character sets, and what resets them.

use crate::emulator::buffer::{Buffer, Saved};
use crate::emulator::charsets;
use crate::emulator::state::{Modes, Pen, TerminalState};

impl TerminalState {
    pub(super) fn set_mode(&mut self, mode: i32, on: bool) {
        let modes = &mut self.modes;
        match mode {
            1 => modes.cursor_keys = on,
            2 if on => {
                self.charsets = [None; 4];
                self.charset = None;
            }
            5 => modes.reverse_video = on,
            6 => {
                modes.origin = on;
                self.set_cursor(0, 0);
            }
            7 => modes.wraparound = on,
            9 | 1000 | 1002 | 1003 => modes.mouse = if on { mode as u16 } else { 0 },
            12 => modes.blink = Some(on),
            25 => modes.hidden = !on,
            45 => modes.reverse_wraparound = on,
            66 => modes.keypad = on,
            1004 => modes.focus = on,
            1006 | 1016 => modes.encoding = if on { mode as u16 } else { 0 },
            1007 => modes.alternate_scroll = Some(on),
            2004 => modes.paste = on,
            2026 => modes.synchronized = on,
            1048 if on => self.save_cursor(),
            1048 => self.restore_cursor(),
            47 | 1047 | 1049 => {
                if on && mode == 1049 {
                    self.save_cursor();
                }
                self.show_alternate(on);
                if !on && mode == 1049 {
                    self.restore_cursor();
                }
            }
            _ => {}
        }
    }

    pub(super) fn show_alternate(&mut self, on: bool) {
        if on == self.on_alternate {
            return;
        }
        let bg = self.erasing();
        let (normal, alternate) = (&mut self.normal, &mut self.alternate);
        if on {
            alternate.fill(bg);
            (alternate.x, alternate.y) = (normal.x, normal.y);
        } else {
            (normal.x, normal.y) = (alternate.x, alternate.y);
            alternate.clear();
        }
        self.on_alternate = on;
    }

    pub(super) fn invoke_charset(&mut self, invoked: usize) {
        self.invoked = invoked;
        self.charset = self.charsets[invoked];
    }

    pub(super) fn designate(&mut self, invoked: usize, charset: Option<u8>) {
        self.charsets[invoked] = charset;
        if self.invoked == invoked {
            self.charset = charset;
        }
    }

    pub(super) fn designate_known(&mut self, invoked: usize, byte: u8) {
        let charset = charsets::designated(byte);
        if charset.is_some() || byte == b'B' {
            self.designate(invoked, charset);
        }
    }

    pub(super) fn soft_reset(&mut self) {
        let Modes { newline, reverse_video, mouse, encoding, blink, alternate_scroll, .. } = self.modes;
        self.modes = Modes { newline, reverse_video, mouse, encoding, blink, alternate_scroll, ..Modes::default() };
        let buffer = self.buffer();
        (buffer.top, buffer.bottom) = (0, buffer.rows - 1);
        buffer.saved = Saved::default();
        self.reset_pen();
    }

    pub(super) fn reset_pen(&mut self) {
        self.pen = Pen::default();
        self.charsets = [None; 4];
        (self.invoked, self.charset) = (0, None);
    }

    /// RIS. What the page's emulator treats as a setting stays, and so do titles.
    pub(super) fn reset(&mut self) {
        let (cols, rows) = (self.normal.cols, self.normal.rows);
        let Modes { newline, blink, .. } = self.modes;
        self.modes = Modes { newline, blink, ..Modes::default() };
        self.normal = Buffer::new(cols, rows, true);
        self.alternate = Buffer::new(cols, rows, false);
        self.on_alternate = false;
        self.keyboard = Default::default();
        self.reset_pen();
    }
}
