//! Breaks wrapped lines at a new width, as the page's emulator does.
//!
//! The line with the cursor stays as it is, because the program draws it again. Does not know why the width changed.

use std::collections::VecDeque;
use std::ops::Range;

use super::buffer::Buffer;
use super::cells::{Cell, EMPTY, Line};

impl Buffer {
    pub(super) fn reflow(&mut self, cols: usize, rows: usize) {
        self.lines.iter_mut().for_each(|line| line.resize(self.cols.max(cols)));
        let base = self.base;
        let saved = self.saved.y + base as isize;
        let saved = if cols > self.cols { self.widen(cols, rows, saved) } else { self.narrow(cols, rows, saved) };
        self.saved.y = saved - self.base as isize;
    }

    /// The text of lines that belong together, without what only fills them up.
    fn text(&self, group: Range<usize>) -> Vec<Cell> {
        let mut text = Vec::new();
        for at in group.clone() {
            let line = &self.lines[at];
            let length = if at + 1 == group.end {
                line.text_length()
            } else {
                let last = line.get(self.cols - 1);
                // A wide character did not fit there.
                let gap = !last.has_text() && last.width() == 1 && self.lines[at + 1].get(0).width() == 2;
                self.cols - usize::from(gap)
            };
            text.extend((0..length).map(|at| line.get(at)));
        }
        text
    }

    fn widen(&mut self, cols: usize, rows: usize, saved: isize) -> isize {
        let cursor = self.base + self.y;
        let mut kept = VecDeque::with_capacity(self.lines.len());
        let (mut at, count, mut removed) = (0, self.lines.len(), 0);
        while at < count {
            let mut end = at + 1;
            while end < count && self.lines[end].wrapped {
                end += 1;
            }
            // A line that does not wrap stays as it is, and so does the one with the cursor.
            if end == at + 1 || (at..end).contains(&cursor) {
                kept.extend((at..end).map(|at| std::mem::take(&mut self.lines[at])));
            } else {
                let mut lines = broken(&self.text(at..end), cols);
                lines[0].wrapped = self.lines[at].wrapped;
                lines.iter_mut().for_each(|line| line.resize(cols));
                removed += end - at - lines.len();
                kept.extend(lines);
            }
            at = end;
        }
        self.lines = kept;
        for _ in 0..removed {
            if self.base > 0 {
                self.base -= 1;
                continue;
            }
            self.y = self.y.saturating_sub(1);
            if self.lines.len() < rows {
                self.lines.push_back(Line::new(cols, 0, false));
            }
        }
        (saved - removed as isize).max(0)
    }

    fn narrow(&mut self, cols: usize, rows: usize, mut saved: isize) -> isize {
        // New lines, each group with the number of the line it follows. The last group comes first.
        let mut inserted: Vec<(usize, Vec<Line>)> = Vec::new();
        let mut more = 0;
        // The bottom lines that give way to new ones are broken too, and what continues them is kept, as in the page.
        let mut length = self.lines.len();
        let mut last = length;
        while last > 0 {
            let mut first = last - 1;
            if !self.lines[first].wrapped && self.lines[first].text_length() <= cols {
                last -= 1;
                continue;
            }
            while first > 0 && self.lines[first].wrapped {
                first -= 1;
            }
            let group = first..last;
            last = first;
            if group.contains(&(self.base + self.y)) {
                continue;
            }
            let mut lines = broken(&self.text(group.clone()), cols);
            let mut new = lines.split_off(lines.len().min(group.len()));
            new.iter_mut().for_each(|line| line.resize(cols));
            let count = new.len();
            // Cells after the text stay, and so do lines without text.
            for (at, line) in group.clone().zip(lines) {
                let length = line.cells.len();
                let old = &mut self.lines[at];
                old.cells[..length].copy_from_slice(&line.cells);
                if length < cols {
                    old.set(length, EMPTY);
                }
            }
            more += count;
            if count > 0 {
                inserted.push((group.end, new));
            }
            for _ in 0..count {
                if self.base > 0 {
                    if self.base + rows < length + more {
                        self.base += 1;
                    }
                } else if self.y + 1 < rows {
                    self.y += 1;
                    length -= 1;
                } else {
                    self.base += 1;
                }
            }
            saved = (saved + count as isize).min((self.base + rows) as isize - 1);
        }
        self.lines.truncate(length);
        let mut all = VecDeque::with_capacity(length + more);
        for (at, line) in std::mem::take(&mut self.lines).into_iter().enumerate() {
            while inserted.last().is_some_and(|(after, _)| *after == at) {
                all.extend(inserted.pop().map(|(_, lines)| lines).unwrap_or_default());
            }
            all.push_back(line);
        }
        while let Some((_, lines)) = inserted.pop() {
            all.extend(lines);
        }
        self.lines = all;
        saved
    }
}

/// Breaks one line of text into lines of at most this width. Never cuts a wide character.
fn broken(text: &[Cell], cols: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() || lines.is_empty() {
        let mut length = rest.len().min(cols);
        if length == cols && length > 1 && rest[length - 1].width() == 2 {
            length -= 1;
        }
        let (cells, after) = rest.split_at(length);
        lines.push(Line { cells: cells.to_vec(), wrapped: !lines.is_empty() });
        rest = after;
    }
    lines
}
