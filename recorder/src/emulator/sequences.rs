//! What controls and sequences do: ECMA-48, the VT220's, xterm's (ctlseqs), and those of
//! newer terminals that programs use.
//!
//! Each does what the page's emulator makes of it, also where terminals differ.

use super::buffer::{Buffer, Saved};
use super::cells::{
    BLINK, BOLD, COLOR, Cell, DIM, EXTENDED, Extra, INDEXED_16, INDEXED_256, INVERSE, INVISIBLE, ITALIC, KIND, Look,
    OVERLINE, PROTECTED, RGB, STRIKETHROUGH, UNDERLINE,
};
use super::charsets;
use super::keyboard;
use super::parser::{Act, Params, name};
use super::screen::{Modes, Pen, Screen};

/// Titles that are put aside; xterm's own bound.
const MAX_TITLES: usize = 10;

/// xterm's "no colour of its own" for underlines, as the page's emulator keeps it.
pub(super) const NO_UNDERLINE_COLOR: u32 = COLOR;

impl Act for Screen {
    fn print(&mut self, code: u32) {
        self.write(code);
    }

    fn print_ascii(&mut self, text: &[u8]) {
        self.write_ascii(text);
    }

    fn execute(&mut self, code: u8) {
        match code {
            0x08 => self.backspace(),
            0x09 => {
                let buffer = self.buffer();
                if buffer.x < buffer.cols {
                    buffer.x = buffer.next_tab(buffer.x);
                }
            }
            0x0a..=0x0c => self.line_feed(),
            0x0d => self.buffer().x = 0,
            0x0e => self.set_level(1),
            0x0f => self.set_level(0),
            0x84 => self.index(),
            0x85 => {
                self.buffer().x = 0;
                self.index();
            }
            0x88 => self.set_tab(),
            _ => {}
        }
        self.join = None;
    }

    fn escape(&mut self, sequence: u32) {
        const SAVE: u32 = name(b"7");
        const RESTORE: u32 = name(b"8");
        const IND: u32 = name(b"D");
        const NEL: u32 = name(b"E");
        const HTS: u32 = name(b"H");
        const RI: u32 = name(b"M");
        const KEYPAD: u32 = name(b"=");
        const NO_KEYPAD: u32 = name(b">");
        const RIS: u32 = name(b"c");
        const ALIGNMENT: u32 = name(b"#8");
        const DEFAULT: u32 = name(b"%@");
        const UTF8: u32 = name(b"%G");
        match sequence {
            SAVE => self.save_cursor(),
            RESTORE => self.restore_cursor(),
            IND => self.index(),
            NEL => {
                self.buffer().x = 0;
                self.index();
            }
            HTS => self.set_tab(),
            RI => self.reverse_index(),
            KEYPAD => self.modes.keypad = true,
            NO_KEYPAD => self.modes.keypad = false,
            RIS => self.reset(),
            ALIGNMENT => self.align(),
            DEFAULT | UTF8 => {
                self.set_level(0);
                self.designate(0, None);
            }
            0x1_0000.. => {}
            _ => match [(sequence >> 8) as u8, sequence as u8] {
                [0, b'n' | b'}'] => self.set_level(2),
                [0, b'o' | b'|'] => self.set_level(3),
                [0, b'~'] => self.set_level(1),
                [b'(', set] => self.designate_known(0, set),
                [b')' | b'-', set] => self.designate_known(1, set),
                [b'*' | b'.', set] => self.designate_known(2, set),
                [b'+', set] => self.designate_known(3, set),
                _ => {}
            },
        }
        self.join = None;
    }

    fn control(&mut self, sequence: u32, params: &Params) {
        let repeated = std::mem::take(&mut self.join);
        if sequence > 0xff_ffff {
            return;
        }
        match [(sequence >> 16) as u8, (sequence >> 8) as u8, sequence as u8] {
            [0, 0, b'@'] => {
                self.restrict_cursor();
                let (fill, count) = (Cell::erased(self.erasing()), params.count(0));
                let x = self.buffer().x;
                self.buffer().cursor_line().insert(x, count, fill);
            }
            [0, b' ', b'@'] => self.shift_columns(0, params.count(0), false),
            [0, b' ', b'A'] => self.shift_columns(0, params.count(0), true),
            [0, b'\'', b'}'] => {
                let x = self.x();
                self.shift_columns(x, params.count(0), true);
            }
            [0, b'\'', b'~'] => {
                let x = self.x();
                self.shift_columns(x, params.count(0), false);
            }
            [0, 0, b'A'] => self.cursor_up(params.count(0)),
            [0, 0, b'B'] => self.cursor_down(params.count(0)),
            [0, 0, b'C' | b'a'] => self.move_cursor(params.count(0) as isize, 0),
            [0, 0, b'D'] => self.move_cursor(-(params.count(0) as isize), 0),
            [0, 0, b'E'] => {
                self.cursor_down(params.count(0));
                self.buffer().x = 0;
            }
            [0, 0, b'F'] => {
                self.cursor_up(params.count(0));
                self.buffer().x = 0;
            }
            [0, 0, b'G' | b'`'] => {
                self.restrict_cursor();
                self.buffer().x = params.count(0) - 1;
                self.restrict_cursor();
            }
            [0, 0, b'H' | b'f'] => self.set_cursor(params.count(1) - 1, params.count(0) - 1),
            [0, 0, b'I'] => self.tabs(params.count(0), true),
            [0, 0, b'Z'] => self.tabs(params.count(0), false),
            [0, prefix @ (0 | b'?'), b'J'] => self.erase_display(params.get(0), prefix == b'?'),
            [0, prefix @ (0 | b'?'), b'K'] => self.erase_line(params.get(0), prefix == b'?'),
            [0, 0, b'L'] => self.shift_lines(params.count(0), true),
            [0, 0, b'M'] => self.shift_lines(params.count(0), false),
            [0, 0, b'P'] => {
                self.restrict_cursor();
                let (fill, count) = (Cell::erased(self.erasing()), params.count(0));
                let x = self.buffer().x;
                self.buffer().cursor_line().delete(x, count, fill);
            }
            [0, 0, b'S'] => self.scroll_region(params.count(0), true),
            [0, 0, b'T'] => self.scroll_region(params.count(0), false),
            [0, 0, b'X'] => {
                self.restrict_cursor();
                let (fill, count) = (Cell::erased(self.erasing()), params.count(0));
                let x = self.buffer().x;
                self.buffer().cursor_line().replace(x, x.saturating_add(count), fill, false);
            }
            [0, 0, b'b'] => self.repeat(repeated, params.count(0)),
            [0, 0, b'd'] => {
                let x = self.buffer().x;
                self.set_cursor(x, params.count(0) - 1);
            }
            [0, 0, b'e'] => self.move_cursor(0, params.count(0) as isize),
            [0, 0, b'g'] => match params.get(0) {
                0 => {
                    let x = self.x();
                    self.buffer().set_tab(x, false);
                }
                3 => self.buffer().tabs.clear(),
                _ => {}
            },
            [0, 0, b'h' | b'l'] => params.iter().for_each(|mode| match mode {
                4 => self.modes.insert = sequence as u8 == b'h',
                20 => self.modes.newline = sequence as u8 == b'h',
                _ => {}
            }),
            [0, b'?', b'h' | b'l'] => params.iter().for_each(|mode| self.set_mode(mode, sequence as u8 == b'h')),
            [0, 0, b'm'] => self.attributes(params),
            [0, b'>', b'm'] => {
                self.keyboard.modify_other = keyboard::resource(params, 2).unwrap_or(self.keyboard.modify_other);
            }
            [0, b'>', b'n'] if params.get(0) == keyboard::OTHER => self.keyboard.modify_other = 0,
            [0, b'>', b'f'] => {
                self.keyboard.format_other = keyboard::resource(params, 1).unwrap_or(self.keyboard.format_other);
            }
            [0, b'!', b'p'] => self.soft_reset(),
            [0, b' ', b'q'] => self.modes.shape = params.get(0).clamp(0, 6) as u16,
            [0, b'"', b'q'] => match params.get(0) {
                1 => self.pen.bg |= PROTECTED,
                0 | 2 => self.pen.bg &= !PROTECTED,
                _ => {}
            },
            [0, 0, b'r'] => self.set_margins(params),
            [0, 0, b's'] => self.save_cursor(),
            [0, 0, b'u'] => self.restore_cursor(),
            [0, b'>', b'u'] => self.keys().push(params.get(0)),
            [0, b'<', b'u'] => self.keys().pop(params.count(0)),
            [0, b'=', b'u'] => self.keys().set(params.get(0), params.get(1)),
            // 1 is the icon's.
            [0, 0, b't'] if matches!(params.get(1), 0 | 2) => match params.get(0) {
                22 => {
                    if self.titles.len() == MAX_TITLES {
                        self.titles.remove(0);
                    }
                    self.titles.push(self.title.clone());
                }
                23 => {
                    if let Some(title) = self.titles.pop() {
                        self.set_title(&title);
                    }
                }
                _ => {}
            },
            _ => self.answer_control(sequence, params),
        }
    }

    fn command(&mut self, number: u32, text: &str) {
        match number {
            0 | 2 => self.set_title(text),
            4 => self.set_palette(text),
            7 => self.set_directory(text),
            8 => self.set_link(text),
            10..=12 => self.set_special_colors(number as usize - 10, text),
            104 if text.is_empty() => self.palette.restore(None),
            104 => text
                .split(';')
                .filter_map(|index| index.parse().ok())
                .for_each(|index| self.palette.restore(Some(index))),
            110..=112 => self.palette.set_special(number as usize - 110, None),
            _ => {}
        }
        self.join = None;
    }

    fn device(&mut self, sequence: u32, text: &str) {
        if sequence == name(b"$q") {
            self.answer_status(text);
        }
        self.join = None;
    }
}

impl Screen {
    fn x(&mut self) -> usize {
        self.buffer().x
    }

    fn keys(&mut self) -> &mut keyboard::Stack {
        if self.on_alternate { &mut self.keyboard.alternate } else { &mut self.keyboard.normal }
    }

    fn backspace(&mut self) {
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
            // What did not fit there is on the line after.
            buffer.x = cols - 1 - usize::from(last.width() > 0 && !last.has_text());
        }
        self.restrict_cursor();
    }

    fn set_tab(&mut self) {
        let x = self.x();
        self.buffer().set_tab(x, true);
    }

    fn tabs(&mut self, count: usize, forward: bool) {
        let buffer = self.buffer();
        if buffer.x >= buffer.cols {
            return;
        }
        for _ in 0..count.min(buffer.cols) {
            buffer.x = if forward { buffer.next_tab(buffer.x) } else { buffer.tab_before(buffer.x) };
        }
    }

    fn move_cursor(&mut self, x: isize, y: isize) {
        self.restrict_cursor();
        let buffer = self.buffer();
        buffer.x = buffer.x.saturating_add_signed(x);
        buffer.y = buffer.y.saturating_add_signed(y);
        self.restrict_cursor();
    }

    fn cursor_up(&mut self, count: usize) {
        let buffer = self.buffer();
        let most = if buffer.y >= buffer.top { buffer.y - buffer.top } else { usize::MAX };
        self.move_cursor(0, -(count.min(most) as isize));
    }

    fn cursor_down(&mut self, count: usize) {
        let buffer = self.buffer();
        let most = if buffer.y <= buffer.bottom { buffer.bottom - buffer.y } else { usize::MAX };
        self.move_cursor(0, count.min(most) as isize);
    }

    fn erase_lines(&mut self, lines: std::ops::Range<usize>, protect: bool) {
        let fill = Cell::erased(self.erasing());
        let buffer = self.buffer();
        let cols = buffer.cols;
        for y in lines {
            let line = buffer.line(y);
            line.replace(0, cols, fill, protect);
            line.wrapped = false;
        }
    }

    fn erase_display(&mut self, what: i32, protect: bool) {
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
            3 => buffer.clear_history(),
            _ => {}
        }
    }

    fn erase_line(&mut self, what: i32, protect: bool) {
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

    fn between_margins(&mut self) -> bool {
        let buffer = self.buffer();
        (buffer.top..=buffer.bottom).contains(&buffer.y)
    }

    fn shift_lines(&mut self, count: usize, down: bool) {
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

    fn scroll_region(&mut self, count: usize, up: bool) {
        let bg = self.erasing();
        let buffer = self.buffer();
        let (top, bottom) = (buffer.top, buffer.bottom);
        for _ in 0..count.min(bottom - top + 1) {
            if up { buffer.move_up(top, bottom, bg) } else { buffer.move_down(top, bottom, 0) }
        }
    }

    fn shift_columns(&mut self, at: usize, count: usize, right: bool) {
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

    fn repeat(&mut self, join: Option<super::graphemes::Join>, count: usize) {
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

    fn set_mode(&mut self, mode: i32, on: bool) {
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

    fn show_alternate(&mut self, on: bool) {
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

    fn save_cursor(&mut self) {
        let Pen { fg, bg, .. } = self.pen;
        let charset = self.charset;
        let buffer = self.buffer();
        buffer.saved = Saved { x: buffer.x, y: buffer.y as isize, fg, bg, charset };
    }

    fn restore_cursor(&mut self) {
        let buffer = self.buffer();
        let Saved { x, y, fg, bg, charset } = buffer.saved;
        (buffer.x, buffer.y) = (x, y.max(0) as usize);
        (self.pen.fg, self.pen.bg) = (fg, bg);
        self.charset = charset;
        // A link that is open stays so, and of underlines only that there is one was put aside.
        let Extra { underline, .. } = self.pen.extra;
        let underline = if fg & UNDERLINE == 0 { 0 } else { underline.max(1) };
        self.pen.set_extra(Extra { underline, ..self.pen.extra });
        self.pen.update();
        self.restrict_cursor();
    }

    fn set_margins(&mut self, params: &Params) {
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

    fn set_level(&mut self, level: usize) {
        self.level = level;
        self.charset = self.charsets[level];
    }

    fn designate(&mut self, level: usize, charset: Option<u8>) {
        self.charsets[level] = charset;
        if self.level == level {
            self.charset = charset;
        }
    }

    fn designate_known(&mut self, level: usize, byte: u8) {
        let charset = charsets::designated(byte);
        if charset.is_some() || byte == b'B' {
            self.designate(level, charset);
        }
    }

    /// DECALN: the pattern fills the screen, and ends margins and origin mode.
    fn align(&mut self) {
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

    fn soft_reset(&mut self) {
        let Modes { newline, reverse_video, mouse, encoding, blink, alternate_scroll, .. } = self.modes;
        self.modes = Modes { newline, reverse_video, mouse, encoding, blink, alternate_scroll, ..Modes::default() };
        let buffer = self.buffer();
        (buffer.top, buffer.bottom) = (0, buffer.rows - 1);
        buffer.saved = Saved::default();
        self.reset_pen();
    }

    fn reset_pen(&mut self) {
        self.pen = Pen::default();
        self.charsets = [None; 4];
        (self.level, self.charset) = (0, None);
    }

    /// RIS. What the page's emulator holds as settings stays, as do titles.
    fn reset(&mut self) {
        let (cols, rows) = (self.normal.cols, self.normal.rows);
        let Modes { newline, blink, .. } = self.modes;
        self.modes = Modes { newline, blink, ..Modes::default() };
        self.normal = Buffer::new(cols, rows, true);
        self.alternate = Buffer::new(cols, rows, false);
        self.on_alternate = false;
        self.keyboard = Default::default();
        self.reset_pen();
    }

    fn attributes(&mut self, params: &Params) {
        let mut at = 0;
        while at < params.len() {
            let pen = &mut self.pen;
            match params.get(at) {
                0 => {
                    (pen.fg, pen.bg) = (0, 0);
                    pen.set_extra(Extra { link: pen.extra.link, ..Extra::default() });
                    pen.update();
                }
                1 => pen.fg |= BOLD,
                2 => pen.bg |= DIM,
                3 => pen.bg |= ITALIC,
                4 => {
                    let style = params.parts(at).first().copied().unwrap_or(1);
                    self.underline(style);
                }
                5 => pen.fg |= BLINK,
                7 => pen.fg |= INVERSE,
                8 => pen.fg |= INVISIBLE,
                9 => pen.fg |= STRIKETHROUGH,
                21 => self.underline(2),
                22 => {
                    pen.fg &= !BOLD;
                    pen.bg &= !DIM;
                }
                23 => pen.bg &= !ITALIC,
                24 => self.underline(0),
                25 => pen.fg &= !BLINK,
                27 => pen.fg &= !INVERSE,
                28 => pen.fg &= !INVISIBLE,
                29 => pen.fg &= !STRIKETHROUGH,
                color @ 30..=37 => pen.fg = pen.fg & !COLOR | INDEXED_16 | (color - 30) as u32,
                39 => pen.fg &= !COLOR,
                color @ 40..=47 => pen.bg = pen.bg & !COLOR | INDEXED_16 | (color - 40) as u32,
                49 => pen.bg &= !COLOR,
                53 => pen.bg |= OVERLINE,
                55 => pen.bg &= !OVERLINE,
                59 => {
                    pen.set_extra(Extra { underline_color: NO_UNDERLINE_COLOR, ..pen.extra });
                    pen.update();
                }
                color @ 90..=97 => pen.fg = pen.fg & !COLOR | INDEXED_16 | (color - 90 + 8) as u32,
                color @ 100..=107 => pen.bg = pen.bg & !COLOR | INDEXED_16 | (color - 100 + 8) as u32,
                38 | 48 | 58 => at += self.extended_color(params, at),
                _ => {}
            }
            at += 1;
        }
    }

    fn underline(&mut self, style: i32) {
        let style = if (0..=5).contains(&style) { style as u8 } else { 1 };
        let pen = &mut self.pen;
        pen.set_extra(Extra { underline: style, ..pen.extra });
        if style == 0 {
            pen.fg &= !UNDERLINE
        } else {
            pen.fg |= UNDERLINE
        }
        pen.update();
    }

    /// A colour of 256 or of three parts, in parameters of its own or in parts of one. How
    /// many parameters it took beyond the first.
    fn extended_color(&mut self, params: &Params, at: usize) -> usize {
        // What is set; kind; space of colours, which may be left out; three values.
        let mut given = [0, 0, -1, 0, 0, 0];
        let (mut taken, mut space) = (0, 0);
        loop {
            given[taken + space] = params.get(at + taken);
            let parts = params.parts(at + taken);
            if !parts.is_empty() {
                for (number, part) in parts.iter().enumerate() {
                    if given[1] == 5 {
                        space = 1;
                    }
                    let Some(place) = given.get_mut(taken + number + 1 + space) else { break };
                    *place = *part;
                }
                break;
            }
            if (given[1] == 5 && taken + space >= 2) || (given[1] == 2 && taken + space >= 5) {
                break;
            }
            if given[1] != 0 {
                space = 1;
            }
            taken += 1;
            if at + taken >= params.len() || taken + space >= given.len() {
                break;
            }
        }
        let value = |value: i32| (value.max(0) & 0xff) as u32;
        let color = |before: u32| match given[1] {
            2 => before & !COLOR | RGB | value(given[3]) << 16 | value(given[4]) << 8 | value(given[5]),
            5 => before & !(KIND | 0xff) | INDEXED_256 | value(given[3]),
            _ => before,
        };
        let pen = &mut self.pen;
        match given[0] {
            38 => pen.fg = color(pen.fg),
            48 => pen.bg = color(pen.bg),
            _ => {
                let underline_color = color(pen.extra.underline_color);
                pen.set_extra(Extra { underline_color, ..pen.extra });
            }
        }
        taken
    }
}
