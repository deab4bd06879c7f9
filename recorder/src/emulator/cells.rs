//! Cells and lines, which a buffer is made of.
//!
//! Owns the layout of a cell and the operations within one line. What does not fit into a cell (clusters of code points,
//! underlines, links) is in tables. Knows neither the cursor nor the size of the screen.

use std::collections::HashMap;
use std::hash::Hash;

/// The bits of `content`: the code point, or the number of a cluster.
const CODE: u32 = 0x1f_ffff;
const CLUSTER: u32 = 0x20_0000;
const WIDTH_SHIFT: u32 = 22;

/// The bits of `fg` and `bg`: a colour has a kind and a number. The bits above are flags.
pub(super) const COLOR: u32 = 0x03ff_ffff;
pub(super) const KIND: u32 = 0x0300_0000;
pub(super) const INDEXED_16: u32 = 0x0100_0000;
pub(super) const INDEXED_256: u32 = 0x0200_0000;
pub(super) const RGB: u32 = 0x0300_0000;

/// The value that stands for "no underline colour". xterm.js uses the same one.
pub(super) const NO_UNDERLINE_COLOR: u32 = COLOR;

pub(super) const INVERSE: u32 = 0x0400_0000;
pub(super) const BOLD: u32 = 0x0800_0000;
pub(super) const UNDERLINE: u32 = 0x1000_0000;
pub(super) const BLINK: u32 = 0x2000_0000;
pub(super) const INVISIBLE: u32 = 0x4000_0000;
pub(super) const STRIKETHROUGH: u32 = 0x8000_0000;

pub(super) const ITALIC: u32 = 0x0400_0000;
pub(super) const DIM: u32 = 0x0800_0000;
/// The underline or the link of [`Extra`] is set.
pub(super) const EXTENDED: u32 = 0x1000_0000;
pub(super) const PROTECTED: u32 = 0x2000_0000;
pub(super) const OVERLINE: u32 = 0x4000_0000;

/// One column of a line. The second column of a wide character has width 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    content: u32,
    pub(super) fg: u32,
    pub(super) bg: u32,
    /// The number of its [`Extra`].
    pub(super) extra: u32,
}

/// A cell where nothing was written.
pub(super) const EMPTY: Cell = Cell { content: 1 << WIDTH_SHIFT, fg: 0, bg: 0, extra: 0 };

impl Cell {
    pub(super) fn new(code: u32, width: u8, look: Look) -> Self {
        Self { content: code & CODE | u32::from(width) << WIDTH_SHIFT, fg: look.fg, bg: look.bg, extra: look.extra }
    }

    /// A cell without text, as erasing leaves it.
    pub(super) fn erased(bg: u32) -> Self {
        Self { bg, ..EMPTY }
    }

    pub(super) fn width(self) -> u8 {
        (self.content >> WIDTH_SHIFT & 3) as u8
    }

    pub(super) fn has_text(self) -> bool {
        self.content & (CODE | CLUSTER) != 0
    }

    /// The code point. `None` if it has a cluster.
    pub(super) fn code(self) -> Option<u32> {
        (self.content & CLUSTER == 0).then_some(self.content & CODE)
    }

    /// The number of the cluster, if it has one.
    pub(super) fn cluster(self) -> Option<u32> {
        (self.content & CLUSTER != 0).then_some(self.content & CODE)
    }

    pub(super) fn set_cluster(&mut self, number: u32) {
        self.content = self.content & !CODE | CLUSTER | number & CODE;
    }

    pub(super) fn set_width(&mut self, width: u8) {
        self.content = self.content & !(3 << WIDTH_SHIFT) | u32::from(width) << WIDTH_SHIFT;
    }
}

/// How a cell looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) fg: u32,
    pub(super) bg: u32,
    pub(super) extra: u32,
}

impl Look {
    /// What erasing leaves: only the background colour.
    pub(super) fn erasing(self) -> u32 {
        self.bg & COLOR
    }
}

/// The part of a look that few cells have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Extra {
    /// 1 to 5 as in `SGR 4:n`, or 0 for none.
    pub(super) underline: u8,
    pub(super) underline_color: u32,
    /// The number of a link, or 0 for none.
    pub(super) link: u32,
}

impl Extra {
    pub(super) fn counts(self) -> bool {
        self.underline != 0 || self.link != 0
    }
}

/// Holds each value once, and numbers them from 1.
#[derive(Debug)]
pub(super) struct Table<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
    /// About how many bytes the values take.
    pub(super) weight: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new(), weight: 0 }
    }
}

impl<T: Clone + Eq + Hash> Table<T> {
    /// Returns the number of a value, and adds the value if it is new.
    pub(super) fn intern(&mut self, value: T, weight: usize) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        self.values.push(value.clone());
        self.weight += weight;
        let number = self.values.len() as u32;
        self.numbers.insert(value, number);
        number
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.values.get((number as usize).checked_sub(1)?)
    }
}

/// A line. Columns after its last cell are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) cells: Vec<Cell>,
    /// It continues the line before.
    pub(super) wrapped: bool,
}

impl Line {
    pub(super) fn new(cols: usize, bg: u32, wrapped: bool) -> Self {
        Self { cells: vec![Cell::erased(bg); cols], wrapped }
    }

    pub(super) fn get(&self, at: usize) -> Cell {
        self.cells.get(at).copied().unwrap_or(EMPTY)
    }

    pub(super) fn set(&mut self, at: usize, cell: Cell) {
        if let Some(place) = self.cells.get_mut(at) {
            *place = cell;
        }
    }

    /// The number of columns up to the last text.
    pub(super) fn text_length(&self) -> usize {
        let last = self.cells.iter().rposition(|cell| cell.has_text());
        last.map_or(0, |at| at + usize::from(self.cells[at].width()))
    }

    /// Makes it as wide as the screen. Lines in the scrollback may be shorter.
    pub(super) fn resize(&mut self, cols: usize) {
        self.cells.resize(cols, EMPTY);
    }

    /// Drops the empty cells at its end.
    pub(super) fn trim(&mut self) {
        let length = self.cells.iter().rposition(|cell| *cell != EMPTY).map_or(0, |at| at + 1);
        self.cells.truncate(length);
        self.cells.shrink_to_fit();
    }

    fn is_wide(&self, at: usize) -> bool {
        self.get(at).width() == 2
    }

    /// Puts `fill` into columns, and into the other half of a wide character that this cuts.
    pub(super) fn replace(&mut self, from: usize, to: usize, fill: Cell, protect: bool) {
        let end = to.min(self.cells.len());
        let kept = |cell: Cell| protect && cell.bg & PROTECTED != 0;
        if from > 0 && self.is_wide(from - 1) && !kept(self.get(from - 1)) {
            self.set(from - 1, fill);
        }
        if to < self.cells.len() && to > 0 && self.is_wide(to - 1) && !kept(self.get(to)) {
            self.set(to, fill);
        }
        if from < end {
            for cell in &mut self.cells[from..end] {
                if !kept(*cell) {
                    *cell = fill;
                }
            }
        }
    }

    pub(super) fn insert(&mut self, at: usize, count: usize, fill: Cell) {
        let length = self.cells.len();
        let at = at % length;
        if at > 0 && self.is_wide(at - 1) {
            self.set(at - 1, fill);
        }
        let count = count.min(length - at);
        self.cells.copy_within(at..length - count, at + count);
        self.cells[at..at + count].fill(fill);
        if self.is_wide(length - 1) {
            self.set(length - 1, fill);
        }
    }

    pub(super) fn delete(&mut self, at: usize, count: usize, fill: Cell) {
        let length = self.cells.len();
        let at = at % length;
        let count = count.min(length - at);
        self.cells.copy_within(at + count.., at);
        self.cells[length - count..].fill(fill);
        if at > 0 && self.is_wide(at - 1) {
            self.set(at - 1, fill);
        }
        let first = self.get(at);
        if first.width() == 0 && !first.has_text() {
            self.set(at, fill);
        }
    }
}
