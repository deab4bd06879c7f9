//! What controls and sequences do: those of ECMA-48, the VT220 and xterm (ctlseqs), and those of newer terminals that
//! programs use. This file says which operation each stands for.
//!
//! Each does what the page's emulator does, also where terminals differ. Does not know how bytes become sequences.
//!
//! | file | what it owns |
//! |---|---|
//! | `cursor` | cursor, tab stops, margins |
//! | `editing` | erase, insert, delete, scroll, repeat |
//! | `modes` | modes, character sets, resets |
//! | `attributes` | how the next text looks (SGR) |
//! | `osc` | titles, the shell's directory, links, colours (OSC) |
//! | `answers` | answers to programs |

use super::cells::PROTECTED;
use super::keyboard;
use super::parser::{Params, Perform, name};
use super::state::TerminalState;

mod answers;
mod attributes;
mod cursor;
mod editing;
mod modes;
mod osc;

/// The number of titles that can be saved. xterm has the same bound.
const MAX_TITLES: usize = 10;

impl Perform for TerminalState {
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
            0x0e => self.invoke_charset(1),
            0x0f => self.invoke_charset(0),
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

    fn esc(&mut self, sequence: u32) {
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
                self.invoke_charset(0);
                self.designate(0, None);
            }
            0x1_0000.. => {}
            _ => match [(sequence >> 8) as u8, sequence as u8] {
                [0, b'n' | b'}'] => self.invoke_charset(2),
                [0, b'o' | b'|'] => self.invoke_charset(3),
                [0, b'~'] => self.invoke_charset(1),
                [b'(', set] => self.designate_known(0, set),
                [b')' | b'-', set] => self.designate_known(1, set),
                [b'*' | b'.', set] => self.designate_known(2, set),
                [b'+', set] => self.designate_known(3, set),
                _ => {}
            },
        }
        self.join = None;
    }

    fn csi(&mut self, sequence: u32, params: &Params) {
        let repeated = std::mem::take(&mut self.join);
        if sequence > 0xff_ffff {
            return;
        }
        match [(sequence >> 16) as u8, (sequence >> 8) as u8, sequence as u8] {
            [0, 0, b'@'] => self.insert_cells(params.count(0)),
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
            [0, 0, b'P'] => self.delete_cells(params.count(0)),
            [0, 0, b'S'] => self.scroll_region(params.count(0), true),
            [0, 0, b'T'] => self.scroll_region(params.count(0), false),
            [0, 0, b'X'] => self.erase_cells(params.count(0)),
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
            // 1 stands for the icon's title, which does not exist here.
            [0, 0, b't'] if matches!(params.get(1), 0 | 2) => match params.get(0) {
                22 => {
                    if self.saved_titles.len() == MAX_TITLES {
                        self.saved_titles.remove(0);
                    }
                    self.saved_titles.push(self.title.clone());
                }
                23 => {
                    if let Some(title) = self.saved_titles.pop() {
                        self.set_title(&title);
                    }
                }
                _ => {}
            },
            _ => self.answer_csi(sequence, params),
        }
    }

    fn osc(&mut self, number: u32, text: &str) {
        match number {
            0 | 2 => self.set_title(text),
            4 => self.set_palette(text),
            7 => self.set_directory(text),
            8 => self.set_link(text),
            10..=12 => self.set_dynamic_colors(number as usize - 10, text),
            104 if text.is_empty() => self.palette.restore(None),
            104 => text
                .split(';')
                .filter_map(|index| index.parse().ok())
                .for_each(|index| self.palette.restore(Some(index))),
            110..=112 => self.palette.set_dynamic(number as usize - 110, None),
            _ => {}
        }
        self.join = None;
    }

    fn dcs(&mut self, sequence: u32, text: &str) {
        if sequence == name(b"$q") {
            self.answer_status(text);
        }
        self.join = None;
    }
}

impl TerminalState {
    fn x(&mut self) -> usize {
        self.buffer().x
    }

    fn keys(&mut self) -> &mut keyboard::Stack {
        if self.on_alternate { &mut self.keyboard.alternate } else { &mut self.keyboard.normal }
    }
}
