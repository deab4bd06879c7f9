//! What draws the state of a terminal on one that was reset: text that sets everything
//! that output can set, and asks for nothing.
//!
//! Written for the page's emulator, and understood by others. Lines are printed and wrap
//! where they wrapped, so that a later change of the width breaks them as it would have.

use std::borrow::Cow;
use std::fmt::Write as _;

use sandbox_recorder::wire::MAX_SCREEN;

use super::buffer::{Buffer, Saved};
use super::cells::{
    BLINK, BOLD, COLOR, Cell, DIM, EMPTY, EXTENDED, Extra, INDEXED_16, INDEXED_256, INVERSE, INVISIBLE, ITALIC, KIND,
    Line, Look, OVERLINE, PROTECTED, STRIKETHROUGH, UNDERLINE,
};
use super::graphemes::{Join, PLAIN, place};
use super::screen::Screen;
use super::sequences::NO_UNDERLINE_COLOR;

/// Makes what it joins two columns wide: the emoji presentation (VS16).
const WIDE: char = '\u{fe0f}';

/// Ends what text could join, and does nothing else: a string terminator (ST).
const NO_JOIN: &str = "\x1b\\";

/// Bytes of a cluster where there is little room: a family of four fits, with its skin
/// tones.
const SHORT_CLUSTER: usize = 48;

/// How much is drawn. A link is written again wherever it begins anew, and a cluster for
/// every cell, so a program can make a drawing hundreds of times as large as what it
/// printed.
#[derive(Clone, Copy)]
struct Detail {
    links: bool,
    history: bool,
    /// Bytes of a cluster, at most.
    cluster: usize,
}

/// The next is drawn where the one before takes more than [`MAX_SCREEN`].
const DETAILS: [Detail; 3] = [
    Detail { links: true, history: true, cluster: usize::MAX },
    Detail { links: false, history: true, cluster: usize::MAX },
    Detail { links: false, history: false, cluster: SHORT_CLUSTER },
];

impl Screen {
    /// What draws this state, as far as [`MAX_SCREEN`] bytes can; a little more where
    /// not even the least of it fits.
    pub(super) fn draw(&self) -> String {
        let mut text = String::new();
        for detail in DETAILS {
            let (look, extra) = <_>::default();
            let mut drawing = Drawing { screen: self, detail, text: String::new(), look, extra, join: None };
            drawing.all();
            text = drawing.text;
            if text.len() <= MAX_SCREEN {
                break;
            }
        }
        text
    }
}

struct Drawing<'a> {
    screen: &'a Screen,
    detail: Detail,
    text: String,
    /// How the next text will look.
    look: Look,
    extra: Extra,
    join: Option<Join>,
}

impl Drawing<'_> {
    fn all(&mut self) {
        let screen = self.screen;
        // A reset leaves these as they are.
        self.text.push_str("\x1b[20l");
        screen.palette.draw(&mut self.text);
        for title in &screen.titles {
            let _ = write!(self.text, "\x1b]2;{title}\x1b\\\x1b[22;2t");
        }
        if !(screen.title.is_empty() && screen.titles.is_empty()) {
            let _ = write!(self.text, "\x1b]2;{}\x1b\\", screen.title);
        }
        self.buffer(&screen.normal);
        screen.keyboard.normal.draw(&mut self.text);
        if screen.on_alternate {
            let Buffer { x, y, .. } = screen.normal;
            let _ = write!(self.text, "\x1b[{};{}H", y + 1, x.min(screen.normal.cols - 1) + 1);
            // The screen comes up in the colour that erasing leaves.
            self.wear(Look::default(), Extra::default());
            self.text.push_str("\x1b[?1047h\x1b[H");
            self.buffer(&screen.alternate);
            screen.keyboard.alternate.draw(&mut self.text);
        }
        self.modes();
        // The text that comes next has its link in any case.
        self.detail.links = true;
        self.cursor();
        // Last, so that nothing is moved by what is written here.
        if screen.modes.insert {
            self.text.push_str("\x1b[4h");
        }
    }

    /// Lines, tab stops, the saved cursor and margins of a buffer that is shown and empty.
    fn buffer(&mut self, buffer: &Buffer) {
        self.lines(buffer);
        if !buffer.has_default_tabs() {
            self.text.push_str("\x1b[3g");
            for at in (0..buffer.cols).filter(|at| buffer.tabs.get(*at).is_some_and(|set| *set)) {
                let _ = write!(self.text, "\x1b[{}G\x1bH", at + 1);
            }
        }
        let saved = buffer.saved;
        let y = saved.y.max(0) as usize;
        if saved != (Saved { y: saved.y, ..Saved::default() }) || y > 0 {
            self.saved(buffer, saved, y);
        }
        if (buffer.top, buffer.bottom) != (0, buffer.rows - 1) {
            let _ = write!(self.text, "\x1b[{};{}r", buffer.top + 1, buffer.bottom + 1);
        }
    }

    fn saved(&mut self, buffer: &Buffer, saved: Saved, y: usize) {
        let _ = write!(self.text, "\x1b[{};{}H", y.min(buffer.rows - 1) + 1, saved.x.min(buffer.cols - 1) + 1);
        if let Some(charset) = saved.charset {
            let _ = write!(self.text, "\x1b({}", char::from(charset));
        }
        self.wear(Look { fg: saved.fg, bg: saved.bg & !EXTENDED, extra: 0 }, Extra::default());
        self.text.push_str("\x1b7");
        self.wear(Look::default(), Extra::default());
        if saved.charset.is_some() {
            self.text.push_str("\x1b(B");
        }
    }

    fn lines(&mut self, buffer: &Buffer) {
        let cols = buffer.cols;
        let first = if self.detail.history { 0 } else { buffer.base };
        let mut lines = buffer.lines.iter().skip(first).map(|line| whole(line, cols)).peekable();
        // Columns of the line that its first character already took.
        let mut begun = 0;
        while let Some(line) = lines.next() {
            if self.text.len() > MAX_SCREEN {
                return;
            }
            let mut x = std::mem::take(&mut begun);
            let end = line.cells.iter().rposition(|cell| *cell != EMPTY).map_or(0, |at| at + 1).min(cols);
            self.cells(&line, &mut x, end);
            let Some(next) = lines.peek() else { break };
            if !next.wrapped {
                self.wear_no_color();
                self.text.push_str("\r\n");
                self.join = None;
                continue;
            }
            begun = self.wrap(&line, next, x, cols, buffer.rows > 1);
        }
    }

    /// Cells of a line from a column on, where the cursor is. What is empty is passed over.
    fn cells(&mut self, line: &Line, x: &mut usize, end: usize) {
        let mut skip = 0;
        while *x < end {
            let cell = line.get(*x);
            if cell == EMPTY {
                skip += 1;
                *x += 1;
                continue;
            }
            if skip > 0 {
                let _ = write!(self.text, "\x1b[{skip}C");
                self.join = None;
                skip = 0;
            }
            if !cell.has_text() && cell == Cell::erased(cell.bg & COLOR) {
                let run = (*x..end).take_while(|at| line.get(*at) == cell).count();
                self.wear(Look { bg: cell.bg, ..Look::default() }, Extra::default());
                let _ = write!(self.text, "\x1b[{run}X");
                self.join = None;
                skip = run;
                *x += run;
                continue;
            }
            *x += self.cell(cell);
        }
        // At the end nothing is passed over: the line may be full.
        *x -= skip;
    }

    /// Writes a cell: how many columns that took.
    fn cell(&mut self, cell: Cell) -> usize {
        let screen = self.screen;
        let extra = screen.extras.get(cell.extra).copied().unwrap_or_default();
        self.wear(Look { fg: cell.fg, bg: cell.bg, extra: cell.extra }, extra);
        let mut buffer = [0; 4];
        let code = cell.code().and_then(char::from_u32).filter(|character| *character != '\0').unwrap_or(' ');
        let cluster = cell.cluster().and_then(|number| screen.clusters.get(number));
        let text = cluster.map_or(&*code.encode_utf8(&mut buffer), |text| text);
        let text = &text[..text.floor_char_boundary(self.detail.cluster)];
        let first = text.chars().next().map_or(0, u32::from);
        if place(first, self.join).joins {
            self.text.push_str(NO_JOIN);
            self.join = None;
        }
        self.text.push_str(text);
        for character in text.chars() {
            self.join = Some(place(character.into(), self.join).state);
        }
        // What made it wide may have been cut.
        if cluster.is_some() && self.join.is_some_and(|join| join.width < cell.width()) {
            self.text.push(WIDE);
            self.join = Some(place(WIDE.into(), self.join).state);
        }
        usize::from(cell.width().max(1))
    }

    /// Brings the cursor to the next line by what wraps it: its first character. Then what
    /// is empty at the end of this one is made so. How many columns of the next line were
    /// written.
    fn wrap(&mut self, line: &Line, next: &Line, x: usize, cols: usize, can_go_back: bool) -> usize {
        let first = next.get(0);
        let gap = line.get(cols - 1);
        // A wide character leaves the last column to itself.
        let fits = x + 1 == cols && first.width() == 2 && !gap.has_text() && (gap.fg, gap.bg) == (first.fg, first.bg);
        let short = x < cols && !fits;
        if short {
            self.wear(Look::default(), Extra::default());
            self.text.push_str(&" ".repeat(cols - x));
            self.join = Some(PLAIN);
        }
        let empty = !first.has_text();
        if empty {
            self.wear(Look::default(), Extra::default());
        }
        let begun = if empty {
            self.text.push_str(NO_JOIN);
            self.text.push(' ');
            0
        } else {
            self.cell(first)
        };
        // A line that scrolled in has the colour of what wrapped.
        if !empty && first.bg & COLOR != 0 {
            self.wear(Look::default(), Extra::default());
            self.text.push_str("\x1b[K");
            self.join = None;
        }
        if short && can_go_back {
            let _ = write!(self.text, "\x1b[A\x1b[{}G", x + 1);
            let mut at = x;
            while at < cols {
                let cell = line.get(at);
                let run = (at..cols).take_while(|at| line.get(*at) == cell).count();
                self.wear(Look { bg: cell.bg & COLOR, ..Look::default() }, Extra::default());
                let _ = write!(self.text, "\x1b[{run}X");
                at += run;
                if at < cols {
                    let _ = write!(self.text, "\x1b[{run}C");
                }
            }
            self.text.push_str("\x1b[B");
        }
        if empty || (short && can_go_back) {
            self.text.push('\r');
            self.join = None;
        }
        if empty {
            self.wear(Look::default(), Extra::default());
            self.text.push_str("\x1b[X");
        } else if short && can_go_back {
            let _ = write!(self.text, "\x1b[{begun}C");
            // Where that is the whole line.
            if begun >= cols {
                self.text.push('\r');
                self.cell(first);
            }
        }
        begun
    }

    fn modes(&mut self) {
        let modes = &self.screen.modes;
        let private = [
            (modes.cursor_keys, 1),
            (modes.reverse_video, 5),
            (modes.reverse_wraparound, 45),
            (modes.focus, 1004),
            (modes.paste, 2004),
        ];
        for (_, mode) in private.iter().filter(|(on, _)| *on) {
            let _ = write!(self.text, "\x1b[?{mode}h");
        }
        for (set, mode) in [(modes.blink, 12), (modes.alternate_scroll, 1007)] {
            if let Some(on) = set {
                let _ = write!(self.text, "\x1b[?{mode}{}", if on { 'h' } else { 'l' });
            }
        }
        for mode in [modes.mouse, modes.encoding].into_iter().filter(|mode| *mode != 0) {
            let _ = write!(self.text, "\x1b[?{mode}h");
        }
        if modes.keypad {
            self.text.push_str("\x1b=");
        }
        if modes.shape != 0 {
            let _ = write!(self.text, "\x1b[{} q", modes.shape);
        }
        if modes.hidden {
            self.text.push_str("\x1b[?25l");
        }
        if self.screen.keyboard.modify_other != 0 {
            let _ = write!(self.text, "\x1b[>4;{}m", self.screen.keyboard.modify_other);
        }
        if self.screen.keyboard.format_other != 0 {
            let _ = write!(self.text, "\x1b[>4;{}f", self.screen.keyboard.format_other);
        }
        if modes.newline {
            self.text.push_str("\x1b[20h");
        }
        if !modes.wraparound {
            self.text.push_str("\x1b[?7l");
        }
        if modes.origin {
            self.text.push_str("\x1b[?6h");
        }
    }

    fn charsets(&mut self) {
        for (designator, charset) in "()*+".chars().zip(self.screen.charsets) {
            if let Some(charset) = charset {
                let _ = write!(self.text, "\x1b{designator}{}", char::from(charset));
            }
        }
        match self.screen.level {
            0 => {}
            1 => self.text.push('\x0e'),
            2 => self.text.push_str("\x1bn"),
            _ => self.text.push_str("\x1bo"),
        }
        if self.restored() {
            let Saved { fg, bg, .. } = self.screen.shown().saved;
            self.text.push_str("\x1b8");
            self.look = Look { fg, bg: bg & !EXTENDED, extra: 0 };
        }
    }

    /// The charset is not the one of its level: a restored cursor brought it back.
    fn restored(&self) -> bool {
        let Screen { charset, charsets, level, .. } = self.screen;
        *charset != charsets[*level] && *charset == self.screen.shown().saved.charset
    }

    /// The pen and the cursor, and the last character once more where the next may join
    /// it or wrap after it.
    fn cursor(&mut self) {
        let screen = self.screen;
        let pen = screen.pen;
        let buffer = screen.shown();
        let (x, y) = (buffer.x, buffer.y.saturating_sub(if screen.modes.origin { buffer.top } else { 0 }));
        let line = buffer.lines.get(buffer.base + buffer.y).map(|line| whole(line, buffer.cols));
        let before = |at: usize| line.as_ref().map_or(EMPTY, |line| line.get(at));
        // The character that ends where the cursor is.
        let width = if x >= 2 && before(x - 1).width() == 0 { 2 } else { 1 };
        let joins = screen.join.is_some() && !screen.modes.insert;
        // A new size may have put the cursor on the second half of a character.
        let inside = x >= 1 && before(x - 1).width() == 2;
        let again = x >= width && !inside && (joins || x >= buffer.cols);
        let from = if again { x - width } else { x.min(buffer.cols - 1) };
        let look = Look { fg: pen.fg, bg: pen.bg, extra: 0 };
        let place = format!("\x1b[{};{}H", y + 1, from + 1);
        if again && screen.join.is_none() && !self.restored() {
            // It looks as it does; what comes after it moves nothing.
            self.text.push_str(&place);
            self.join = None;
            self.cell(before(from));
            self.text.push_str(NO_JOIN);
            self.charsets();
            self.wear(look, pen.extra);
            return;
        }
        self.charsets();
        self.wear(look, pen.extra);
        self.text.push_str(&place);
        if again {
            self.join = None;
            self.cell(before(from));
            if screen.join.is_none() {
                self.text.push_str(NO_JOIN);
                self.wear(look, pen.extra);
            }
        }
    }

    /// Nothing that an erased line would take its colour from.
    fn wear_no_color(&mut self) {
        if self.look.bg & COLOR != 0 {
            self.wear(Look::default(), Extra::default());
        }
    }

    /// Makes the next text look so.
    fn wear(&mut self, look: Look, extra: Extra) {
        let extra = if look.bg & EXTENDED == 0 { Extra { underline: 0, link: 0, ..extra } } else { extra };
        let underlined = |look: Look, extra: Extra| if look.fg & UNDERLINE == 0 { 0 } else { extra.underline.max(1) };
        let link = |extra: Extra| self.screen.links.get(extra.link).filter(|_| self.detail.links);
        if link(extra) != link(self.extra) {
            let (params, address) = link(extra).map_or(("", ""), |(params, address)| (params, address));
            let _ = write!(self.text, "\x1b]8;{params};{address}\x1b\\");
            self.join = None;
        }
        let plain =
            |look: Look, extra: Extra| (look.fg, look.bg & !EXTENDED, underlined(look, extra), extra.underline_color);
        if plain(look, extra) != plain(self.look, self.extra) {
            self.attributes(look, underlined(look, extra), extra.underline_color);
            self.join = None;
        }
        (self.look, self.extra) = (look, extra);
    }

    fn attributes(&mut self, look: Look, underline: u8, underline_color: u32) {
        let text = &mut self.text;
        text.push_str("\x1b[0");
        for (flag, attribute) in [(BOLD, 1), (BLINK, 5), (INVERSE, 7), (INVISIBLE, 8), (STRIKETHROUGH, 9)] {
            if look.fg & flag != 0 {
                let _ = write!(text, ";{attribute}");
            }
        }
        for (flag, attribute) in [(DIM, 2), (ITALIC, 3), (OVERLINE, 53)] {
            if look.bg & flag != 0 {
                let _ = write!(text, ";{attribute}");
            }
        }
        match underline {
            0 => {}
            1 => text.push_str(";4"),
            style => {
                let _ = write!(text, ";4:{style}");
            }
        }
        color(text, look.fg, 30);
        color(text, look.bg, 40);
        if underline_color & COLOR == NO_UNDERLINE_COLOR {
            text.push_str(";59");
        } else {
            color(text, underline_color, 50);
        }
        text.push('m');
        let protected = |look: Look| look.bg & PROTECTED != 0;
        if protected(look) {
            text.push_str("\x1b[1\"q");
        }
    }
}

/// A line with blanks instead of halves of wide characters. A new width and columns that
/// are moved leave those, but no text draws them.
fn whole(line: &Line, cols: usize) -> Cow<'_, Line> {
    let is_half = |at: usize| match line.get(at).width() {
        2 => at + 1 >= cols || line.get(at + 1).width() != 0,
        0 => at == 0 || line.get(at - 1).width() != 2,
        _ => false,
    };
    let mut whole = Cow::Borrowed(line);
    for at in (0..line.cells.len().min(cols)).filter(|at| is_half(*at)) {
        let Cell { fg, bg, extra, .. } = line.get(at);
        whole.to_mut().set(at, Cell::new(0, 1, Look { fg, bg, extra }));
    }
    whole
}

/// A colour as SGR has it; `base` is 30, 40 or, of underlines, 50.
fn color(text: &mut String, color: u32, base: u32) {
    let number = color & 0xff;
    let _ = match color & KIND {
        0 => return,
        INDEXED_16 if base < 50 => match number {
            0..8 => write!(text, ";{}", base + number),
            _ => write!(text, ";{}", base + 60 + number - 8),
        },
        INDEXED_16 | INDEXED_256 => write!(text, ";{};5;{number}", base + 8),
        _ => write!(text, ";{};2;{};{};{number}", base + 8, color >> 16 & 0xff, color >> 8 & 0xff),
    };
}
