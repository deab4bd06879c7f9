//! What operating system commands (OSC) set: titles, the shell's directory, links and colours.

use sandbox_recorder::wire::{MAX_DIRECTORY, MAX_TITLE};

use crate::emulator::cells::Extra;
use crate::emulator::colors;
use crate::emulator::state::{TerminalState, link_weight};

/// The most bytes of a link's address. A longer one makes no link.
const MAX_ADDRESS: usize = 4096;

impl TerminalState {
    pub(super) fn set_title(&mut self, text: &str) {
        let mut title: String = text.chars().filter(|character| !character.is_control()).collect();
        title.truncate(title.floor_char_boundary(MAX_TITLE));
        if title != self.title {
            self.title = title;
            self.title_revision += 1;
        }
    }

    /// OSC 7: `file://HOST/PATH`, with special characters as `%XX`.
    pub(super) fn set_directory(&mut self, text: &str) {
        let Some(path) = text.strip_prefix("file://").and_then(|rest| rest.find('/').map(|at| &rest[at..])) else {
            return;
        };
        let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
        while let [first, after @ ..] = rest {
            let decoded = (*first == b'%').then(|| path_byte(after)).flatten();
            bytes.push(decoded.unwrap_or(*first));
            rest = if decoded.is_some() { &after[2..] } else { after };
        }
        let directory: String =
            String::from_utf8_lossy(&bytes).chars().filter(|character| !character.is_control()).collect();
        if directory.len() <= MAX_DIRECTORY && directory != self.directory {
            self.directory = directory;
            self.title_revision += 1;
        }
    }

    pub(super) fn set_link(&mut self, text: &str) {
        let Some((params, address)) = text.split_once(';') else { return };
        let id = params.split(':').find(|param| param.starts_with("id=") && param.len() > 3).unwrap_or_default();
        let link = (Box::from(id), Box::from(address));
        let number = if address.is_empty() || address.len() > MAX_ADDRESS || !self.has_room() {
            0
        } else {
            let weight = link_weight(&link);
            self.links.intern(link, weight)
        };
        self.pen.set_extra(Extra { link: number, ..self.pen.extra });
        self.pen.update();
    }

    pub(super) fn set_palette(&mut self, text: &str) {
        let mut parts = text.split(';');
        while let (Some(index), Some(color)) = (parts.next(), parts.next()) {
            let Ok(index) = index.parse::<u8>() else { continue };
            if color == "?" {
                self.answer_color(&format!("4;{index}"), self.palette.get(index, &self.colors));
            } else if let Some(color) = colors::parse(color) {
                self.palette.set(index, color);
            }
        }
    }

    pub(super) fn set_dynamic_colors(&mut self, first: usize, text: &str) {
        for (number, color) in (first..3).zip(text.split(';')) {
            if color == "?" {
                self.answer_color(&(10 + number).to_string(), self.palette.dynamic(number, &self.colors));
            } else if let Some(color) = colors::parse(color) {
                self.palette.set_dynamic(number, Some(color));
            }
        }
    }
}

/// Decodes the two hexadecimal digits at the beginning.
fn path_byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..2)?).ok()?;
    u8::from_str_radix(digits, 16).ok()
}
