//! One of the two buffers of a terminal: the lines on the screen, the scrollback above them, the cursor and the margins.
//!
//! Owns what moves lines. Does not know sequences. [`super::reflow`] breaks long lines at a new width.

use std::collections::VecDeque;

use super::cells::{Cell, Line};

/// The most lines of scrollback that a client who comes late can get.
pub(crate) const SCROLLBACK: usize = 2000;

/// The most cells of them: 8 MiB.
const SCROLLBACK_CELLS: usize = 512 * 1024;

/// The lines of scrollback that the page keeps. A saved cursor moves with the lines only until that is full.
const PAGE_SCROLLBACK: usize = 10_000;

/// Columns between tab stops.
const TAB: usize = 8;

/// A saved cursor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) x: usize,
    /// Counted from the first line of the screen. Negative if its line scrolled out.
    pub(super) y: isize,
    pub(super) fg: u32,
    pub(super) bg: u32,
    pub(super) charset: Option<u8>,
}

#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) lines: VecDeque<Line>,
    /// The number of lines above the screen.
    pub(super) base: usize,
    /// The number of lines above the screen if the page's bound were the only one.
    scrolled: usize,
    /// The number of cells of the lines above the screen.
    scrollback_cells: usize,
    pub(super) has_scrollback: bool,
    pub(super) cols: usize,
    pub(super) rows: usize,
    /// Equals `cols` if the next character wraps.
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) top: usize,
    pub(super) bottom: usize,
    pub(super) tabs: Vec<bool>,
    pub(super) saved: Saved,
}

impl Buffer {
    pub(super) fn new(cols: usize, rows: usize, has_scrollback: bool) -> Self {
        let mut buffer = Self {
            lines: VecDeque::new(),
            base: 0,
            scrolled: 0,
            scrollback_cells: 0,
            has_scrollback,
            cols,
            rows,
            x: 0,
            y: 0,
            top: 0,
            bottom: rows - 1,
            tabs: Vec::new(),
            saved: Saved::default(),
        };
        buffer.default_tabs();
        if has_scrollback {
            buffer.fill(0);
        }
        buffer
    }

    /// Adds the lines, if there are none. The alternate buffer has no lines while it is not shown.
    pub(super) fn fill(&mut self, bg: u32) {
        if self.lines.is_empty() {
            self.lines.extend((0..self.rows).map(|_| Line::new(self.cols, bg, false)));
        }
    }

    /// Clears everything but the saved cursor.
    pub(super) fn clear(&mut self) {
        *self =
            Self { lines: VecDeque::new(), saved: self.saved, ..Self::new(self.cols, self.rows, self.has_scrollback) };
    }

    fn default_tabs(&mut self) {
        self.tabs = (0..=self.cols).map(|at| at % TAB == 0 && at < self.cols).collect();
    }

    pub(super) fn has_default_tabs(&self) -> bool {
        (0..self.cols).all(|at| self.tabs.get(at).is_some_and(|set| *set) == (at % TAB == 0))
    }

    pub(super) fn set_tab(&mut self, at: usize, set: bool) {
        if at >= self.tabs.len() {
            self.tabs.resize(at + 1, false);
        }
        self.tabs[at] = set;
    }

    pub(super) fn next_tab(&self, from: usize) -> usize {
        let stop = (from + 1..self.cols).find(|at| self.tabs.get(*at).is_some_and(|set| *set));
        stop.unwrap_or(self.cols - 1)
    }

    pub(super) fn tab_before(&self, from: usize) -> usize {
        let stop = (0..from).rev().find(|at| self.tabs.get(*at).is_some_and(|set| *set));
        stop.unwrap_or(0).min(self.cols - 1)
    }

    /// A line of the screen.
    pub(super) fn line(&mut self, y: usize) -> &mut Line {
        let at = self.base + y;
        while self.lines.len() <= at {
            self.lines.push_back(Line::new(self.cols, 0, false));
        }
        &mut self.lines[at]
    }

    pub(super) fn cursor_line(&mut self) -> &mut Line {
        self.line(self.y)
    }

    /// Moves everything between the margins up by one line. If the top margin is the top of the screen, the first line goes
    /// into the scrollback.
    pub(super) fn scroll(&mut self, bg: u32, wrapped: bool) {
        let (top, bottom) = (self.base + self.top, self.base + self.bottom);
        if self.top > 0 {
            self.lines.remove(top);
            self.lines.insert(bottom, Line::new(self.cols, bg, wrapped));
        } else if self.has_scrollback {
            let new = Line::new(self.cols, bg, wrapped);
            if bottom + 1 == self.lines.len() {
                self.lines.push_back(new);
            } else {
                self.lines.insert(bottom + 1, new);
            }
            self.line_left();
        } else {
            let mut new = self.lines.pop_front().unwrap_or_default();
            new.cells.clear();
            new.cells.resize(self.cols, Cell::erased(bg));
            new.wrapped = wrapped;
            self.lines.insert(bottom, new);
        }
    }

    /// Makes the first line of the screen a line of the scrollback.
    fn line_left(&mut self) {
        let line = &mut self.lines[self.base];
        line.trim();
        self.scrollback_cells += line.cells.len();
        self.base += 1;
        if self.scrolled < PAGE_SCROLLBACK {
            self.scrolled += 1;
            self.saved.y -= 1;
        }
        self.bound_scrollback();
    }

    fn bound_scrollback(&mut self) {
        while self.base > SCROLLBACK || (self.base > 0 && self.scrollback_cells > SCROLLBACK_CELLS) {
            if let Some(line) = self.lines.pop_front() {
                self.scrollback_cells -= line.cells.len().min(self.scrollback_cells);
            }
            self.base -= 1;
        }
    }

    pub(super) fn clear_scrollback(&mut self) {
        self.lines.drain(..self.base);
        (self.saved.y, self.base) = (self.saved.y + self.base as isize, 0);
        (self.scrolled, self.scrollback_cells) = (0, 0);
    }

    /// Moves the lines from `from` to `to` down by one. Then `from` is empty, and the old line `to` is lost.
    pub(super) fn move_down(&mut self, from: usize, to: usize, bg: u32) {
        self.line(to);
        self.lines.remove(self.base + to);
        self.lines.insert(self.base + from, Line::new(self.cols, bg, false));
    }

    /// Moves the lines from `from` to `to` up by one. Then `to` is empty, and the old line `from` is lost.
    pub(super) fn move_up(&mut self, from: usize, to: usize, bg: u32) {
        self.line(to);
        self.lines.remove(self.base + from);
        self.lines.insert(self.base + to, Line::new(self.cols, bg, false));
    }

    /// Takes a new size, as the page's emulator does. With fewer rows, lines below the cursor are dropped first, then the
    /// top lines go into the scrollback. With more rows, they come back.
    pub(super) fn resize(&mut self, cols: usize, rows: usize) {
        if !self.lines.is_empty() {
            if self.cols < cols {
                self.lines.iter_mut().for_each(|line| line.resize(cols));
            }
            let mut saved = self.saved.y + self.base as isize;
            let mut down = 0;
            for _ in self.rows..rows {
                if self.lines.len() < rows + self.base {
                    if self.base > 0 && self.lines.len() <= self.base + self.y + down + 1 {
                        self.base -= 1;
                        down += 1;
                    } else {
                        self.lines.push_back(Line::new(cols, 0, false));
                    }
                }
            }
            for _ in rows..self.rows {
                if self.lines.len() > rows + self.base {
                    if self.lines.len() > self.base + self.y + 1 {
                        self.lines.pop_back();
                    } else {
                        self.base += 1;
                    }
                }
            }
            self.x = self.x.min(cols - 1);
            self.y = self.y.min(rows - 1) + down;
            self.saved.x = self.saved.x.min(cols - 1);
            if !self.has_scrollback {
                while self.lines.len() > rows {
                    self.lines.pop_front();
                    self.base = self.base.saturating_sub(1);
                    saved = (saved - 1).max(0);
                }
            }
            self.saved.y = saved - self.base as isize;
            self.top = 0;
        }
        self.bottom = rows - 1;
        if self.has_scrollback && self.cols != cols {
            self.reflow(cols, rows);
        }
        self.cols = cols;
        self.rows = rows;
        self.y = self.y.min(rows - 1);
        self.lines.iter_mut().for_each(|line| line.resize(cols));
        self.more_tabs();
        self.scrollback_cells = 0;
        for line in self.lines.iter_mut().take(self.base) {
            line.trim();
            self.scrollback_cells += line.cells.len();
        }
        self.bound_scrollback();
    }

    /// Adds tab stops after the last one, up to the new width.
    fn more_tabs(&mut self) {
        let (cols, has) = (self.cols, |tabs: &[bool], at: usize| tabs.get(at).is_some_and(|set| *set));
        let mut at = cols;
        if !has(&self.tabs, at) {
            at = (0..at).rev().find(|at| has(&self.tabs, *at)).unwrap_or(0);
        }
        while at < cols {
            self.set_tab(at, true);
            at += TAB;
        }
    }
}
