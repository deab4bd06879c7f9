//! How the text that comes next looks (SGR).

use crate::emulator::cells::{
    BLINK, BOLD, COLOR, DIM, Extra, INDEXED_16, INDEXED_256, INVERSE, INVISIBLE, ITALIC, KIND, NO_UNDERLINE_COLOR,
    OVERLINE, RGB, STRIKETHROUGH, UNDERLINE,
};
use crate::emulator::parser::Params;
use crate::emulator::state::TerminalState;

impl TerminalState {
    pub(super) fn attributes(&mut self, params: &Params) {
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

    pub(super) fn underline(&mut self, style: i32) {
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

    /// Sets one of 256 colours, or a colour by red, green and blue. It is written as several parameters or as the parts of
    /// one. Returns how many parameters it took beyond the first.
    pub(super) fn extended_color(&mut self, params: &Params, at: usize) -> usize {
        // What is set, the kind, the colour space (which may be left out), and three values.
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
