//! Draws the state of a terminal as text for a terminal that was reset. The text sets everything that output can set, and
//! asks nothing.
//!
//! It is written for the page's emulator, but others understand it. Lines are printed so that they wrap where they wrapped
//! before. So a later change of the width breaks them in the same places. Changes nothing in the state.

use std::borrow::Cow;
use std::fmt::Write as _;

use sandbox_recorder::wire::MAX_SCREEN;

use super::buffer::{Buffer, Saved};
use super::cells::{
    BLINK, BOLD, COLOR, Cell, DIM, EMPTY, EXTENDED, Extra, INDEXED_16, INDEXED_256, INVERSE, INVISIBLE, ITALIC, KIND,
    Line, Look, NO_UNDERLINE_COLOR, OVERLINE, PROTECTED, STRIKETHROUGH, UNDERLINE,
};
use super::graphemes::{Join, PLAIN, place};
use super::state::TerminalState;

/// The emoji presentation (VS16). It makes the character that it joins two columns wide.
const WIDE: char = '\u{fe0f}';

/// A string terminator (ST). The next text joins nothing across it, and it does nothing else.
const NO_JOIN: &str = "\x1b\\";

/// The most bytes of a cluster when there is little room. A family of four with skin tones fits.
const SHORT_CLUSTER: usize = 48;

/// How much is drawn. A link is written again at each place where it begins, and a cluster in every cell. So the drawing can
/// be hundreds of times as large as what the program printed.
#[derive(Clone, Copy)]
struct Detail {
    links: bool,
    scrollback: bool,
    /// The most bytes of a cluster.
    cluster: usize,
}

/// Each is tried if the one before takes more than [`MAX_SCREEN`].
const DETAILS: [Detail; 3] = [
    Detail { links: true, scrollback: true, cluster: usize::MAX },
    Detail { links: false, scrollback: true, cluster: usize::MAX },
    Detail { links: false, scrollback: false, cluster: SHORT_CLUSTER },
];

impl TerminalState {
    /// Returns text that draws this state within [`MAX_SCREEN`] bytes. It is a little more if even the least detail does not
    /// fit.
    pub(super) fn draw(&self) -> String {
        let mut text = String::new();
        for detail in DETAILS {
            let (look, extra) = <_>::default();
            let mut drawing = Drawing { state: self, detail, text: String::new(), look, extra, join: None };
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
    state: &'a TerminalState,
    detail: Detail,
    text: String,
    /// How the next text looks in the terminal that reads the drawing.
    look: Look,
    extra: Extra,
    join: Option<Join>,
}

impl Drawing<'_> {
    fn all(&mut self) {
        let state = self.state;
        // A reset does not change these.
        self.text.push_str("\x1b[20l");
        state.palette.draw(&mut self.text);
        for title in &state.saved_titles {
            let _ = write!(self.text, "\x1b]2;{title}\x1b\\\x1b[22;2t");
        }
        if !(state.title.is_empty() && state.saved_titles.is_empty()) {
            let _ = write!(self.text, "\x1b]2;{}\x1b\\", state.title);
        }
        self.buffer(&state.normal);
        state.keyboard.normal.draw(&mut self.text);
        if state.on_alternate {
            let Buffer { x, y, .. } = state.normal;
            let _ = write!(self.text, "\x1b[{};{}H", y + 1, x.min(state.normal.cols - 1) + 1);
            // The alternate buffer opens in the colour that erasing leaves.
            self.set_look(Look::default(), Extra::default());
            self.text.push_str("\x1b[?1047h\x1b[H");
            self.buffer(&state.alternate);
            state.keyboard.alternate.draw(&mut self.text);
        }
        self.modes();
        // The text that comes next keeps its link in any case.
        self.detail.links = true;
        self.cursor();
        // This is last, so that the drawing itself inserts nothing.
        if state.modes.insert {
            self.text.push_str("\x1b[4h");
        }
    }

    /// Draws the lines, tab stops, saved cursor and margins of a buffer, which is shown and empty.
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
        self.set_look(Look { fg: saved.fg, bg: saved.bg & !EXTENDED, extra: 0 }, Extra::default());
        self.text.push_str("\x1b7");
        self.set_look(Look::default(), Extra::default());
        if saved.charset.is_some() {
            self.text.push_str("\x1b(B");
        }
    }

    fn lines(&mut self, buffer: &Buffer) {
        let cols = buffer.cols;
        let first = if self.detail.scrollback { 0 } else { buffer.base };
        let mut lines = buffer.lines.iter().skip(first).map(|line| without_halves(line, cols)).peekable();
        // The columns of the line that are already drawn, because its first character made the line before wrap.
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
                self.reset_background();
                self.text.push_str("\r\n");
                self.join = None;
                continue;
            }
            begun = self.wrap(&line, next, x, cols, buffer.rows > 1);
        }
    }

    /// Draws the cells of a line from column `x` on, where the cursor is. Skips empty cells.
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
                self.set_look(Look { bg: cell.bg, ..Look::default() }, Extra::default());
                let _ = write!(self.text, "\x1b[{run}X");
                self.join = None;
                skip = run;
                *x += run;
                continue;
            }
            *x += self.cell(cell);
        }
        // Empty cells at the end are not skipped with the cursor, because the line may be full.
        *x -= skip;
    }

    /// Writes a cell. Returns how many columns that took.
    fn cell(&mut self, cell: Cell) -> usize {
        let state = self.state;
        let extra = state.extras.get(cell.extra).copied().unwrap_or_default();
        self.set_look(Look { fg: cell.fg, bg: cell.bg, extra: cell.extra }, extra);
        let mut buffer = [0; 4];
        let code = cell.code().and_then(char::from_u32).filter(|character| *character != '\0').unwrap_or(' ');
        let cluster = cell.cluster().and_then(|number| state.clusters.get(number));
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
        // The code point that made it wide may have been cut off.
        if cluster.is_some() && self.join.is_some_and(|join| join.width < cell.width()) {
            self.text.push(WIDE);
            self.join = Some(place(WIDE.into(), self.join).state);
        }
        usize::from(cell.width().max(1))
    }

    /// Makes the line wrap by writing the first character of the next one. Then erases what is empty at the end of this
    /// line. Returns how many columns of the next line are written.
    fn wrap(&mut self, line: &Line, next: &Line, x: usize, cols: usize, can_go_back: bool) -> usize {
        let first = next.get(0);
        let gap = line.get(cols - 1);
        // A wide character that does not fit leaves the last column empty by itself.
        let fits = x + 1 == cols && first.width() == 2 && !gap.has_text() && (gap.fg, gap.bg) == (first.fg, first.bg);
        let short = x < cols && !fits;
        if short {
            self.set_look(Look::default(), Extra::default());
            self.text.push_str(&" ".repeat(cols - x));
            self.join = Some(PLAIN);
        }
        let empty = !first.has_text();
        if empty {
            self.set_look(Look::default(), Extra::default());
        }
        let begun = if empty {
            self.text.push_str(NO_JOIN);
            self.text.push(' ');
            0
        } else {
            self.cell(first)
        };
        // A line that scrolled in got the background colour of the character that wrapped.
        if !empty && first.bg & COLOR != 0 {
            self.set_look(Look::default(), Extra::default());
            self.text.push_str("\x1b[K");
            self.join = None;
        }
        if short && can_go_back {
            let _ = write!(self.text, "\x1b[A\x1b[{}G", x + 1);
            let mut at = x;
            while at < cols {
                let cell = line.get(at);
                let run = (at..cols).take_while(|at| line.get(*at) == cell).count();
                self.set_look(Look { bg: cell.bg & COLOR, ..Look::default() }, Extra::default());
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
            self.set_look(Look::default(), Extra::default());
            self.text.push_str("\x1b[X");
        } else if short && can_go_back {
            let _ = write!(self.text, "\x1b[{begun}C");
            // The first character takes the whole line.
            if begun >= cols {
                self.text.push('\r');
                self.cell(first);
            }
        }
        begun
    }

    fn modes(&mut self) {
        let modes = &self.state.modes;
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
        if self.state.keyboard.modify_other != 0 {
            let _ = write!(self.text, "\x1b[>4;{}m", self.state.keyboard.modify_other);
        }
        if self.state.keyboard.format_other != 0 {
            let _ = write!(self.text, "\x1b[>4;{}f", self.state.keyboard.format_other);
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
        for (designator, charset) in "()*+".chars().zip(self.state.charsets) {
            if let Some(charset) = charset {
                let _ = write!(self.text, "\x1b{designator}{}", char::from(charset));
            }
        }
        match self.state.invoked {
            0 => {}
            1 => self.text.push('\x0e'),
            2 => self.text.push_str("\x1bn"),
            _ => self.text.push_str("\x1bo"),
        }
        if self.restored() {
            let Saved { fg, bg, .. } = self.state.shown().saved;
            self.text.push_str("\x1b8");
            self.look = Look { fg, bg: bg & !EXTENDED, extra: 0 };
        }
    }

    /// The charset in use is not the invoked one, because a restored cursor brought it back.
    fn restored(&self) -> bool {
        let TerminalState { charset, charsets, invoked, .. } = self.state;
        *charset != charsets[*invoked] && *charset == self.state.shown().saved.charset
    }

    /// Draws the pen and the cursor. Writes the last character once more if the next one may join it or wrap after it.
    fn cursor(&mut self) {
        let state = self.state;
        let pen = state.pen;
        let buffer = state.shown();
        let (x, y) = (buffer.x, buffer.y.saturating_sub(if state.modes.origin { buffer.top } else { 0 }));
        let line = buffer.lines.get(buffer.base + buffer.y).map(|line| without_halves(line, buffer.cols));
        let before = |at: usize| line.as_ref().map_or(EMPTY, |line| line.get(at));
        // The width of the character before the cursor.
        let width = if x >= 2 && before(x - 1).width() == 0 { 2 } else { 1 };
        let joins = state.join.is_some() && !state.modes.insert;
        // A new size may have put the cursor onto the second half of a character.
        let inside = x >= 1 && before(x - 1).width() == 2;
        let again = x >= width && !inside && (joins || x >= buffer.cols);
        let from = if again { x - width } else { x.min(buffer.cols - 1) };
        let look = Look { fg: pen.fg, bg: pen.bg, extra: 0 };
        let place = format!("\x1b[{};{}H", y + 1, from + 1);
        if again && state.join.is_none() && !self.restored() {
            // It keeps its own look. What follows it does not move the cursor.
            self.text.push_str(&place);
            self.join = None;
            self.cell(before(from));
            self.text.push_str(NO_JOIN);
            self.charsets();
            self.set_look(look, pen.extra);
            return;
        }
        self.charsets();
        self.set_look(look, pen.extra);
        self.text.push_str(&place);
        if again {
            self.join = None;
            self.cell(before(from));
            if state.join.is_none() {
                self.text.push_str(NO_JOIN);
                self.set_look(look, pen.extra);
            }
        }
    }

    /// Resets the look if it has a background colour, which a new line would take.
    fn reset_background(&mut self) {
        if self.look.bg & COLOR != 0 {
            self.set_look(Look::default(), Extra::default());
        }
    }

    /// Sets how the next text looks.
    fn set_look(&mut self, look: Look, extra: Extra) {
        let extra = if look.bg & EXTENDED == 0 { Extra { underline: 0, link: 0, ..extra } } else { extra };
        let underlined = |look: Look, extra: Extra| if look.fg & UNDERLINE == 0 { 0 } else { extra.underline.max(1) };
        let link = |extra: Extra| self.state.links.get(extra.link).filter(|_| self.detail.links);
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

/// Returns the line with blanks instead of single halves of wide characters. A new width or moved columns can leave such
/// halves, but no text can draw them.
fn without_halves(line: &Line, cols: usize) -> Cow<'_, Line> {
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

/// Appends a colour for SGR. `base` is 30 for the text, 40 for the background and 50 for underlines.
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
