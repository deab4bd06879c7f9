//! What sequences do to the cursor: moves, tab stops, margins, and the cursor that is saved.

use crate::emulator::buffer::Saved;
use crate::emulator::cells::{Extra, UNDERLINE};
use crate::emulator::parser::Params;
use crate::emulator::state::{Pen, TerminalState};

impl TerminalState {
    pub(super) fn backspace(&mut self) {
        if !self.modes.reverse_wraparound {
            self.restrict_cursor();
            let buffer = self.buffer();
            buffer.x = buffer.x.saturating_sub(1);
            return;
        }
        let most = self.buffer().cols;
        self.restrict(most);
        let buffer = self.buffer();
        let (y, cols) = (buffer.y, buffer.cols);
        if buffer.x > 0 {
            buffer.x -= 1;
        } else if y > buffer.top && y <= buffer.bottom && buffer.cursor_line().wrapped {
            buffer.cursor_line().wrapped = false;
            buffer.y -= 1;
            let last = buffer.cursor_line().get(cols - 1);
            // If a wide character did not fit there, it is on the next line.
            buffer.x = cols - 1 - usize::from(last.width() > 0 && !last.has_text());
        }
        self.restrict_cursor();
    }

    pub(super) fn set_tab(&mut self) {
        let x = self.x();
        self.buffer().set_tab(x, true);
    }

    pub(super) fn tabs(&mut self, count: usize, forward: bool) {
        let buffer = self.buffer();
        if buffer.x >= buffer.cols {
            return;
        }
        for _ in 0..count.min(buffer.cols) {
            buffer.x = if forward { buffer.next_tab(buffer.x) } else { buffer.tab_before(buffer.x) };
        }
    }

    pub(super) fn move_cursor(&mut self, x: isize, y: isize) {
        self.restrict_cursor();
        let buffer = self.buffer();
        buffer.x = buffer.x.saturating_add_signed(x);
        buffer.y = buffer.y.saturating_add_signed(y);
        self.restrict_cursor();
    }

    pub(super) fn cursor_up(&mut self, count: usize) {
        let buffer = self.buffer();
        let most = if buffer.y >= buffer.top { buffer.y - buffer.top } else { usize::MAX };
        self.move_cursor(0, -(count.min(most) as isize));
    }

    pub(super) fn cursor_down(&mut self, count: usize) {
        let buffer = self.buffer();
        let most = if buffer.y <= buffer.bottom { buffer.bottom - buffer.y } else { usize::MAX };
        self.move_cursor(0, count.min(most) as isize);
    }

    pub(super) fn save_cursor(&mut self) {
        let Pen { fg, bg, .. } = self.pen;
        let charset = self.charset;
        let buffer = self.buffer();
        buffer.saved = Saved { x: buffer.x, y: buffer.y as isize, fg, bg, charset };
    }

    pub(super) fn restore_cursor(&mut self) {
        let buffer = self.buffer();
        let Saved { x, y, fg, bg, charset } = buffer.saved;
        (buffer.x, buffer.y) = (x, y.max(0) as usize);
        (self.pen.fg, self.pen.bg) = (fg, bg);
        self.charset = charset;
        // An open link stays open. Of an underline, only its presence was saved.
        let Extra { underline, .. } = self.pen.extra;
        let underline = if fg & UNDERLINE == 0 { 0 } else { underline.max(1) };
        self.pen.set_extra(Extra { underline, ..self.pen.extra });
        self.pen.update();
        self.restrict_cursor();
    }

    pub(super) fn set_margins(&mut self, params: &Params) {
        let buffer = self.buffer();
        let top = params.count(0);
        let bottom = match params.get(1) as usize {
            0 => buffer.rows,
            bottom => bottom.min(buffer.rows),
        };
        if bottom > top {
            (buffer.top, buffer.bottom) = (top - 1, bottom - 1);
            self.set_cursor(0, 0);
        }
    }
}
