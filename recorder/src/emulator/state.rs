//! The state of a terminal, and what text does to it.
//!
//! Owns the two buffers, the pen, the modes and everything else that output sets. Does not know sequences; see
//! [`super::sequences`].

use sandbox_recorder::wire::Size;

use super::buffer::Buffer;
use super::cells::{Cell, EXTENDED, Extra, Look, Table};
use super::charsets;
use super::colors::{Colors, Palette};
use super::graphemes::{Join, PLAIN, place};
use super::keyboard::Keyboard;

/// The page's emulator has at least this many columns.
const MIN_COLS: u16 = 2;

/// The most bytes of clusters, links and underlines. Beyond that, new text goes without them.
const MAX_TABLES: usize = 8 * 1024 * 1024;

/// After this many new bytes of them, those that no cell uses any more are dropped.
const COLLECT_EVERY: usize = 1024 * 1024;

/// The most bytes of one cluster. Further code points that join it are dropped.
const MAX_CLUSTER: usize = 256;

/// How the text that comes next looks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pen {
    pub(super) fg: u32,
    pub(super) bg: u32,
    pub(super) extra: Extra,
    /// The number of `extra`, once text was written with it.
    number: Option<u32>,
}

impl Pen {
    pub(super) fn set_extra(&mut self, extra: Extra) {
        (self.extra, self.number) = (extra, None);
    }

    /// Must follow a change of underline or link.
    pub(super) fn update(&mut self) {
        if self.extra.counts() { self.bg |= EXTENDED } else { self.bg &= !EXTENDED }
    }
}

/// Modes that are on or off, and those with one of several values.
#[derive(Debug, Clone)]
pub(super) struct Modes {
    pub(super) insert: bool,
    pub(super) newline: bool,
    pub(super) cursor_keys: bool,
    pub(super) keypad: bool,
    pub(super) origin: bool,
    pub(super) wraparound: bool,
    pub(super) reverse_wraparound: bool,
    pub(super) focus: bool,
    pub(super) paste: bool,
    pub(super) synchronized: bool,
    pub(super) hidden: bool,
    pub(super) reverse_video: bool,
    /// The mode that says which mouse events are reported. 0 is none.
    pub(super) mouse: u16,
    /// The mode that says how they are encoded. 0 is the default encoding.
    pub(super) encoding: u16,
    /// The shape of the cursor, as in DECSCUSR. 0 is the terminal's default.
    pub(super) shape: u16,
    /// Whether the cursor blinks. `None` is the terminal's default.
    pub(super) blink: Option<bool>,
    /// Whether the wheel sends arrow keys on the alternate screen. `None` is the terminal's default.
    pub(super) alternate_scroll: Option<bool>,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            insert: false,
            newline: false,
            cursor_keys: false,
            keypad: false,
            origin: false,
            wraparound: true,
            reverse_wraparound: false,
            focus: false,
            paste: false,
            synchronized: false,
            hidden: false,
            reverse_video: false,
            mouse: 0,
            encoding: 0,
            shape: 0,
            blink: None,
            alternate_scroll: None,
        }
    }
}

pub(super) struct TerminalState {
    pub(super) normal: Buffer,
    pub(super) alternate: Buffer,
    pub(super) on_alternate: bool,
    pub(super) pen: Pen,
    pub(super) modes: Modes,
    pub(super) charsets: [Option<u8>; 4],
    /// Which of the four is in use.
    pub(super) invoked: usize,
    pub(super) charset: Option<u8>,
    /// What the next code point may join. `None` if something else than text came last.
    pub(super) join: Option<Join>,
    pub(super) keyboard: Keyboard,
    pub(super) palette: Palette,
    pub(super) colors: Colors,
    pub(super) title: String,
    pub(super) saved_titles: Vec<String>,
    pub(super) directory: String,
    /// Counts changes of title and directory.
    pub(super) title_revision: u64,
    pub(super) clusters: Table<Box<str>>,
    pub(super) extras: Table<Extra>,
    /// The parameters and the address of each link.
    pub(super) links: Table<(Box<str>, Box<str>)>,
    collect_at: usize,
    /// Answers to programs, which nobody has taken yet.
    pub(super) answers: Vec<u8>,
}

impl TerminalState {
    pub(super) fn new(size: Size) -> Self {
        let (cols, rows) = (size.cols.max(MIN_COLS).into(), size.rows.into());
        Self {
            normal: Buffer::new(cols, rows, true),
            alternate: Buffer::new(cols, rows, false),
            on_alternate: false,
            pen: Pen::default(),
            modes: Modes::default(),
            charsets: [None; 4],
            invoked: 0,
            charset: None,
            join: None,
            keyboard: Keyboard::default(),
            palette: Palette::default(),
            colors: Colors::default(),
            title: String::new(),
            saved_titles: Vec::new(),
            directory: String::new(),
            title_revision: 0,
            clusters: Table::default(),
            extras: Table::default(),
            links: Table::default(),
            collect_at: COLLECT_EVERY,
            answers: Vec::new(),
        }
    }

    pub(super) fn resize(&mut self, size: Size) {
        let (cols, rows) = (size.cols.max(MIN_COLS).into(), size.rows.into());
        self.normal.resize(cols, rows);
        self.alternate.resize(cols, rows);
        // The cursor may no longer be right after that text.
        self.join = None;
    }

    pub(super) fn buffer(&mut self) -> &mut Buffer {
        if self.on_alternate { &mut self.alternate } else { &mut self.normal }
    }

    pub(super) fn shown(&self) -> &Buffer {
        if self.on_alternate { &self.alternate } else { &self.normal }
    }

    /// How text that is written now looks.
    pub(super) fn look(&mut self) -> Look {
        let Pen { fg, bg, .. } = self.pen;
        if bg & EXTENDED == 0 {
            return Look { fg, bg, extra: 0 };
        }
        let has_room = self.has_room();
        let number = match self.pen.number {
            Some(number) => number,
            None if !has_room => 0,
            None => {
                let number = self.extras.intern(self.pen.extra, 3 * size_of::<Extra>());
                self.pen.number = Some(number);
                number
            }
        };
        Look { fg, bg, extra: number }
    }

    /// The colour that erasing leaves.
    pub(super) fn erasing(&self) -> u32 {
        Look { bg: self.pen.bg, ..Look::default() }.erasing()
    }

    pub(super) fn restrict(&mut self, most: usize) {
        let origin = self.modes.origin;
        let buffer = self.buffer();
        buffer.x = buffer.x.min(most);
        buffer.y = if origin { buffer.y.clamp(buffer.top, buffer.bottom) } else { buffer.y.min(buffer.rows - 1) };
    }

    /// Keeps the cursor within the columns.
    pub(super) fn restrict_cursor(&mut self) {
        let most = self.buffer().cols - 1;
        self.restrict(most);
    }

    pub(super) fn set_cursor(&mut self, x: usize, y: usize) {
        let origin = self.modes.origin;
        let buffer = self.buffer();
        buffer.x = x;
        buffer.y = if origin { buffer.top.saturating_add(y) } else { y };
        self.restrict_cursor();
    }

    /// Moves the cursor to the next line, and scrolls at the bottom margin. Returns whether the cursor is on another line.
    fn next_line(&mut self, wrapped: bool) -> bool {
        let bg = self.erasing();
        let buffer = self.buffer();
        buffer.y += 1;
        if buffer.y == buffer.bottom + 1 {
            buffer.y -= 1;
            buffer.scroll(bg, wrapped);
            return true;
        }
        let beyond = buffer.y >= buffer.rows;
        if beyond {
            buffer.y = buffer.rows - 1;
        }
        // A line feed at the last line, below the margins, changes nothing.
        if wrapped || !beyond {
            buffer.cursor_line().wrapped = wrapped;
        }
        !beyond
    }

    pub(super) fn line_feed(&mut self) {
        if self.modes.newline {
            self.buffer().x = 0;
        }
        self.next_line(false);
        let buffer = self.buffer();
        buffer.x = buffer.x.min(buffer.cols - 1);
    }

    /// IND: like a line feed, but does not change whether the next line counts as wrapped.
    pub(super) fn index(&mut self) {
        self.restrict_cursor();
        let bg = self.erasing();
        let buffer = self.buffer();
        buffer.y += 1;
        if buffer.y == buffer.bottom + 1 {
            buffer.y -= 1;
            buffer.scroll(bg, false);
        }
        self.restrict_cursor();
    }

    pub(super) fn reverse_index(&mut self) {
        self.restrict_cursor();
        let bg = self.erasing();
        let buffer = self.buffer();
        if buffer.y == buffer.top {
            let (top, bottom) = (buffer.top, buffer.bottom);
            buffer.move_down(top, bottom, bg);
        } else {
            buffer.y = buffer.y.saturating_sub(1);
            self.restrict_cursor();
        }
    }

    /// Writes a code point at the cursor.
    pub(super) fn write(&mut self, code: u32) {
        let code = match self.charset {
            Some(charset) if code < 127 => charsets::replace(charset, code as u8).map_or(code, u32::from),
            _ => code,
        };
        let look = self.look();
        let blank = Cell::new(0, 1, look);
        let (wraparound, insert) = (self.modes.wraparound, self.modes.insert);
        let placed = place(code, self.join);
        let old = if placed.joins { self.join.map_or(0, |join| join.width.into()) } else { 0 };
        let width = usize::from(placed.width);
        let buffer = self.buffer();
        let fits = buffer.x + width - old.min(width) <= buffer.cols;
        if !fits && !wraparound {
            // It replaces the last column, or there is no room for it.
            if placed.joins {
                return;
            }
            buffer.x = buffer.cols - 1;
            if width == 2 {
                self.join = None;
                return;
            }
        }
        self.join = Some(placed.state);

        let buffer = self.buffer();
        let x = buffer.x;
        let line = buffer.cursor_line();
        if x > 0 && line.get(x - 1).width() == 2 {
            line.set(x - 1, blank);
        }
        if !fits && wraparound {
            self.wrap(old, blank);
        }
        let buffer = self.buffer();
        let mut x = buffer.x;
        if placed.joins && x > 0 {
            let before = if buffer.cursor_line().get(x - 1).width() > 0 { 1 } else { 2 };
            self.join_to(x.saturating_sub(before), code, placed.width);
            let line = self.buffer().cursor_line();
            for _ in old..width {
                line.set(x, Cell::new(0, 0, look));
                x += 1;
            }
        } else {
            let line = buffer.cursor_line();
            if insert {
                line.insert(x, width, blank);
            }
            line.set(x, Cell::new(code, placed.width, look));
            x += 1;
            for _ in 1..width {
                line.set(x, Cell::new(0, 0, look));
                x += 1;
            }
        }
        self.wrote(x, blank);
    }

    /// Puts the cursor after the written text. If half of a wide character is left there, it becomes blank.
    fn wrote(&mut self, x: usize, blank: Cell) {
        let buffer = self.buffer();
        buffer.x = x;
        if x < buffer.cols {
            let line = buffer.cursor_line();
            let next = line.get(x);
            if next.width() == 0 && !next.has_text() {
                line.set(x, blank);
            }
        }
    }

    /// Continues in the next line. Moves the last `joined` columns there, because the next code point joins them.
    fn wrap(&mut self, joined: usize, blank: Cell) {
        let buffer = self.buffer();
        let from = buffer.x - joined;
        let cols = buffer.cols;
        let taken: Vec<Cell> = (from..from + joined).map(|at| buffer.cursor_line().get(at)).collect();
        buffer.x = joined;
        let moved = self.next_line(true);
        let buffer = self.buffer();
        let at = buffer.base + buffer.y;
        if let Some(old) = (if moved { at.checked_sub(1) } else { Some(at) }).and_then(|at| buffer.lines.get_mut(at)) {
            // In the scrollback it may be shorter.
            if old.cells.len() < cols {
                old.resize(cols);
            }
            for at in from..cols {
                old.set(at, blank);
            }
        }
        let line = buffer.cursor_line();
        for (at, cell) in taken.into_iter().enumerate() {
            line.set(at, cell);
        }
    }

    fn join_to(&mut self, at: usize, code: u32, width: u8) {
        let cell = self.buffer().cursor_line().get(at);
        let Some(character) = char::from_u32(code) else { return };
        let mut joined = cell;
        let before = match (cell.cluster(), cell.code().and_then(char::from_u32)) {
            (Some(number), _) => self.clusters.get(number).map_or(String::new(), |text| text.to_string()),
            (None, Some('\0') | None) => {
                joined = Cell::new(code, 1, Look { fg: cell.fg, bg: cell.bg, extra: cell.extra });
                String::new()
            }
            (None, Some(base)) => base.to_string(),
        };
        if !before.is_empty() && before.len() < MAX_CLUSTER && self.has_room() {
            let text = format!("{before}{character}");
            let weight = 2 * text.len() + 64;
            joined.set_cluster(self.clusters.intern(text.into(), weight));
        }
        joined.set_width(width);
        self.buffer().cursor_line().set(at, joined);
    }

    /// Writes printable ASCII, which is most of all output.
    pub(super) fn write_ascii(&mut self, mut text: &[u8]) {
        // These cases are rare.
        if self.charset.is_some() || self.modes.insert || !self.modes.wraparound {
            text.iter().for_each(|byte| self.write((*byte).into()));
            return;
        }
        if let Some((first, rest)) = text.split_first().filter(|_| self.join != Some(PLAIN)) {
            self.write((*first).into());
            text = rest;
        }
        let look = self.look();
        let blank = Cell::new(0, 1, look);
        while !text.is_empty() {
            let buffer = self.buffer();
            let (x, cols) = (buffer.x, buffer.cols);
            if x >= cols {
                self.write(text[0].into());
                text = &text[1..];
                continue;
            }
            let line = buffer.cursor_line();
            if x > 0 && line.get(x - 1).width() == 2 {
                line.set(x - 1, blank);
            }
            let (now, later) = text.split_at(text.len().min(cols - x));
            for (cell, byte) in line.cells[x..].iter_mut().zip(now) {
                *cell = Cell::new((*byte).into(), 1, look);
            }
            self.join = Some(PLAIN);
            self.wrote(x + now.len(), blank);
            text = later;
        }
    }

    /// Whether there is room for more clusters, links and underlines.
    pub(super) fn has_room(&self) -> bool {
        self.weight() < MAX_TABLES
    }

    fn weight(&self) -> usize {
        self.clusters.weight + self.extras.weight + self.links.weight
    }

    /// Drops unused clusters, links and underlines from time to time. The numbers of the others change.
    pub(super) fn collect_if_due(&mut self) {
        if self.weight() >= self.collect_at {
            self.collect();
            self.collect_at = (self.weight() + COLLECT_EVERY).min(MAX_TABLES.max(self.weight() + 1));
        }
    }

    /// Drops the clusters, links and underlines that no cell uses.
    fn collect(&mut self) {
        let (clusters, extras, links) =
            (std::mem::take(&mut self.clusters), std::mem::take(&mut self.extras), std::mem::take(&mut self.links));
        let (new_clusters, new_extras, new_links) = (&mut self.clusters, &mut self.extras, &mut self.links);
        let mut keep_extra = |extra: Extra| {
            let link = links.get(extra.link).map_or(0, |link| new_links.intern(link.clone(), link_weight(link)));
            Extra { link, ..extra }
        };
        for cell in [&mut self.normal, &mut self.alternate]
            .into_iter()
            .flat_map(|buffer| &mut buffer.lines)
            .flat_map(|line| &mut line.cells)
        {
            if let Some(text) = cell.cluster().and_then(|number| clusters.get(number)) {
                let weight = 2 * text.len() + 64;
                cell.set_cluster(new_clusters.intern(text.clone(), weight));
            }
            if let Some(extra) = extras.get(cell.extra) {
                cell.extra = new_extras.intern(keep_extra(*extra), 3 * size_of::<Extra>());
            }
        }
        let extra = keep_extra(self.pen.extra);
        self.pen.set_extra(extra);
    }
}

/// About how many bytes a link takes.
pub(super) fn link_weight((params, address): &(Box<str>, Box<str>)) -> usize {
    2 * (params.len() + address.len()) + 64
}
