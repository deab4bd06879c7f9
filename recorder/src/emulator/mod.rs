//! A terminal emulator. Output goes in. Out come a drawing of the terminal's state, answers to programs, the title, and
//! the shell's directory.
//!
//! It equals the page's emulator (xterm.js with its grapheme addon) cell by cell.
//! [Decision 12](../../../docs/decisions/0012-the-recorders-emulator-is-the-pages.md) says why it is written here. Knows
//! neither the ring nor the broker.
//!
//! ```text
//! output ──► parser ──► sequences ──► state ──► draw ──► text that draws the screen
//!                           └──► answers to programs
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | `parser` | bytes into text, controls and sequences |
//! | `sequences` | what controls and sequences do, one file for each family |
//! | `state` | the state of the terminal, and what text does to it |
//! | `buffer`, `reflow`, `cells` | lines, and what is in them |
//! | `graphemes`, `widths` | which code points join, and how wide they are |
//! | `charsets`, `colors`, `keyboard` | character sets, colours, and keyboard protocols |
//! | `draw` | text that draws the whole state |

use sandbox_recorder::wire::Size;

mod buffer;
mod cells;
mod charsets;
mod colors;
mod draw;
mod graphemes;
mod keyboard;
pub(crate) mod parser;
mod reflow;
mod sequences;
mod state;
#[cfg(test)]
mod tests;
mod widths;

pub(crate) use colors::Colors;

use parser::Parser;
use state::TerminalState;

/// An emulated terminal.
pub(crate) struct Emulator {
    size: Size,
    parser: Parser,
    state: TerminalState,
}

impl Emulator {
    /// A new terminal, whose output begins at offset `at`.
    pub(crate) fn new(size: Size, at: u64) -> Self {
        Self { size, parser: Parser::new(at), state: TerminalState::new(size) }
    }

    /// Processes the output that follows.
    pub(crate) fn feed(&mut self, output: &[u8]) {
        self.state.collect_if_due();
        self.parser.feed(output, &mut self.state);
    }

    /// Continues at a later offset, because the output up to there is missing.
    pub(crate) fn skip_to(&mut self, at: u64) {
        self.parser.skip_to(at);
    }

    pub(crate) fn resize(&mut self, size: Size) {
        if size != self.size {
            self.size = size;
            self.state.resize(size);
        }
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Returns text that draws the state, and the offset from which output continues. That is the end of the output, or
    /// where an unfinished sequence or code point begins. If a sequence is too long, the text contains a beginning of it
    /// instead, so that the offset is never far back.
    pub(crate) fn draw(&self) -> (u64, String) {
        let (offset, unfinished) = self.parser.resume_point();
        (offset, self.state.draw() + unfinished)
    }

    /// Returns the answers to programs since the last call.
    pub(crate) fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.state.answers)
    }

    pub(crate) fn set_colors(&mut self, colors: Colors) {
        self.state.colors = colors;
    }

    pub(crate) fn title(&self) -> &str {
        &self.state.title
    }

    /// The shell's directory. Empty if no program reported it.
    pub(crate) fn directory(&self) -> &str {
        &self.state.directory
    }

    /// A number that changes when the title or the directory does.
    pub(crate) fn title_revision(&self) -> u64 {
        self.state.title_revision
    }
}
