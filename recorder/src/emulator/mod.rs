//! An emulator of a terminal: output in, and out of it what draws its state, what it
//! answers to programs, its title and the shell's directory.
//!
//! It is to be one with the page's emulator (xterm.js with its graphemes), cell by cell;
//! [decision 12](../../../docs/decisions/0012-the-recorders-emulator-is-the-pages.md) says why it is written here. Knows no ring and no
//! broker.
//!
//! | part | what |
//! |---|---|
//! | `parser` | bytes into text, controls and sequences |
//! | `sequences`, `commands`, `screen` | what they do |
//! | `answers` | what is answered to programs |
//! | `buffer`, `reflow`, `cells` | lines, and what is on them |
//! | `graphemes`, `widths`, `charsets`, `colors`, `keyboard` | what they are named for |
//! | `draw` | text that draws all of it |

use sandbox_recorder::wire::Size;

mod answers;
mod buffer;
mod cells;
mod charsets;
mod colors;
mod commands;
mod draw;
mod graphemes;
mod keyboard;
pub(crate) mod parser;
mod reflow;
mod screen;
mod sequences;
#[cfg(test)]
mod tests;
mod widths;

pub(crate) use colors::Colors;

use parser::Parser;
use screen::Screen;

/// A terminal's state, as output made it.
pub(crate) struct Emulator {
    size: Size,
    parser: Parser,
    screen: Screen,
}

impl Emulator {
    /// A terminal whose output begins at an offset.
    pub(crate) fn new(size: Size, at: u64) -> Self {
        Self { size, parser: Parser::new(at), screen: Screen::new(size) }
    }

    /// Takes the output that follows.
    pub(crate) fn feed(&mut self, output: &[u8]) {
        self.screen.tidy();
        self.parser.feed(output, &mut self.screen);
    }

    /// Output is missing up to an offset.
    pub(crate) fn skip_to(&mut self, at: u64) {
        self.parser.skip_to(at);
    }

    pub(crate) fn resize(&mut self, size: Size) {
        if size != self.size {
            self.size = size;
            self.screen.resize(size);
        }
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// What draws the state, and the offset from which output goes on: where an
    /// unfinished sequence or code point begins, or the end of the output. That of a
    /// sequence without end is drawn, so it is never far back.
    pub(crate) fn draw(&self) -> (u64, String) {
        let (offset, unfinished) = self.parser.whole();
        (offset, self.screen.draw() + unfinished)
    }

    /// What programs asked is answered with this; the next call has what came after.
    pub(crate) fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.screen.answers)
    }

    pub(crate) fn set_colors(&mut self, colors: Colors) {
        self.screen.colors = colors;
    }

    pub(crate) fn title(&self) -> &str {
        &self.screen.title
    }

    /// Empty where no program told it.
    pub(crate) fn directory(&self) -> &str {
        &self.screen.directory
    }

    /// A number that changes with title and directory.
    pub(crate) fn renamed(&self) -> u64 {
        self.screen.renamed
    }
}
