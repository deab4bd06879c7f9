//! What sequences do to the text on the screen: erase, insert, delete, scroll and repeat.

use std::ops::Range;

use crate::emulator::cells::{Cell, EXTENDED, Look};
use crate::emulator::graphemes::Join;
use crate::emulator::state::{Pen, TerminalState};

impl TerminalState {
    /// ICH.
    pub(super) fn insert_cells(&mut self, count: usize) {
        self.restrict_cursor();
        let fill = Cell::erased(self.erasing());
        let x = self.x();
        self.buffer().cursor_line().insert(x, count, fill);
    }

    /// DCH.
    pub(super) fn delete_cells(&mut self, count: usize) {
        self.restrict_cursor();
        let fill = Cell::erased(self.erasing());
        let x = self.x();
        self.buffer().cursor_line().delete(x, count, fill);
    }

    /// ECH.
    pub(super) fn erase_cells(&mut self, count: usize) {
        self.restrict_cursor();
        let fill = Cell::erased(self.erasing());
        let x = self.x();
        self.buffer().cursor_line().replace(x, x.saturating_add(count), fill, false);
    }

    pub(super) fn erase_lines(&mut self, lines: Range<usize>, protect: bool) {
        let fill = Cell::erased(self.erasing());
        let buffer = self.buffer();
        let cols = buffer.cols;
        for y in lines {
            let line = buffer.line(y);
            line.replace(0, cols, fill, protect);
            line.wrapped = false;
        }
    }

    pub(super) fn erase_display(&mut self, what: i32, protect: bool) {
        let most = self.buffer().cols;
        self.restrict(most);
        let fill = Cell::erased(self.erasing());
        let buffer = self.buffer();
        let (x, y, cols, rows) = (buffer.x, buffer.y, buffer.cols, buffer.rows);
        match what {
            0 => {
                let line = buffer.cursor_line();
                line.replace(x, cols, fill, protect);
                line.wrapped &= x > 0;
                self.erase_lines(y + 1..rows, protect);
            }
            1 => {
                let line = buffer.cursor_line();
                line.replace(0, x + 1, fill, protect);
                line.wrapped = false;
                if x + 1 >= cols && y + 1 < rows {
                    buffer.line(y + 1).wrapped = false;
                }
                self.erase_lines(0..y, protect);
            }
            2 => self.erase_lines(0..rows, protect),
            3 => buffer.clear_scrollback(),
            _ => {}
        }
    }

    pub(super) fn erase_line(&mut self, what: i32, protect: bool) {
        let most = self.buffer().cols;
        self.restrict(most);
        let fill = Cell::erased(self.erasing());
        let buffer = self.buffer();
        let (x, cols) = (buffer.x, buffer.cols);
        let line = buffer.cursor_line();
        match what {
            0 => {
                line.replace(x, cols, fill, protect);
                line.wrapped &= x > 0;
            }
            1 => line.replace(0, x + 1, fill, protect),
            2 => {
                line.replace(0, cols, fill, protect);
                line.wrapped = false;
            }
            _ => {}
        }
    }

    pub(super) fn between_margins(&mut self) -> bool {
        let buffer = self.buffer();
        (buffer.top..=buffer.bottom).contains(&buffer.y)
    }

    pub(super) fn shift_lines(&mut self, count: usize, down: bool) {
        self.restrict_cursor();
        if !self.between_margins() {
            return;
        }
        let bg = self.erasing();
        let buffer = self.buffer();
        let (y, bottom) = (buffer.y, buffer.bottom);
        for _ in 0..count.min(bottom - y + 1) {
            if down { buffer.move_down(y, bottom, bg) } else { buffer.move_up(y, bottom, bg) }
        }
        buffer.x = 0;
    }

    pub(super) fn scroll_region(&mut self, count: usize, up: bool) {
        let bg = self.erasing();
        let buffer = self.buffer();
        let (top, bottom) = (buffer.top, buffer.bottom);
        for _ in 0..count.min(bottom - top + 1) {
            if up { buffer.move_up(top, bottom, bg) } else { buffer.move_down(top, bottom, 0) }
        }
    }

    pub(super) fn shift_columns(&mut self, at: usize, count: usize, right: bool) {
        if !self.between_margins() {
            return;
        }
        let fill = Cell::erased(self.erasing());
        let buffer = self.buffer();
        for y in buffer.top..=buffer.bottom {
            let line = buffer.line(y);
            if right {
                line.insert(at, count, fill)
            } else {
                line.delete(at, count, fill)
            }
            line.wrapped = false;
        }
    }

    pub(super) fn repeat(&mut self, join: Option<Join>, count: usize) {
        let Some(join) = join else { return };
        let buffer = self.buffer();
        let most = buffer.cols * buffer.rows;
        let Some(x) = buffer.x.checked_sub(join.width.into()) else { return };
        let cell = buffer.cursor_line().get(x);
        let text: Vec<u32> = match (cell.cluster(), cell.code()) {
            (Some(number), _) => {
                self.clusters.get(number).into_iter().flat_map(|text| text.chars()).map(u32::from).collect()
            }
            (None, Some(code)) if code > 0 => vec![code],
            _ => return,
        };
        self.join = Some(join);
        for _ in 0..count.min(most) {
            text.iter().for_each(|code| self.write(*code));
        }
        self.join = None;
    }

    /// DECALN: fills the screen with a pattern, and resets the margins and origin mode.
    pub(super) fn align(&mut self) {
        self.modes.origin = false;
        let buffer = self.buffer();
        (buffer.top, buffer.bottom) = (0, buffer.rows - 1);
        let Pen { fg, bg, .. } = self.pen;
        let cell = Cell::new(u32::from(b'E'), 1, Look { fg, bg: bg & !EXTENDED, extra: 0 });
        let buffer = self.buffer();
        for y in 0..buffer.rows {
            let line = buffer.line(y);
            line.cells.fill(cell);
            line.wrapped = false;
        }
        self.set_cursor(0, 0);
    }
}
