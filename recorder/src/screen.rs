//! `screen`: what draws the state of the terminal at an offset.
//!
//! Owns the replay of what is held through an emulator. Only what the emulator and
//! [`crate::modes`] remember is drawn: a query leaves no trace in either.

use std::io;
use std::path::Path;

use sandbox_recorder::wire::Size;

use crate::history::{Event, tell};
use crate::modes::Modes;
use crate::ring::Ring;
use crate::text::Lossy;

/// Draws the screen as all held output below `at` made it, with the size it has there.
///
/// Unfinished at the end are a code point, which is left out, and a control sequence,
/// which is kept, so that output from `at` on completes it.
pub(crate) fn draw(dir: &Path, ring: &Ring, at: u64) -> io::Result<(Size, String)> {
    let mut screen = None;
    // A torn beginning is mostly the rest of a line or of a sequence.
    let mut torn = ring.start() > 0;
    tell(dir, ring, at, |_, event| {
        match event {
            Event::Size(size) => match &mut screen {
                None => screen = Some(Screen::new(size)?),
                Some(screen) => screen.resize(size),
            },
            Event::Output(bytes) => {
                let from = if std::mem::take(&mut torn) { whole(bytes) } else { 0 };
                if let Some(screen) = &mut screen {
                    screen.feed(&bytes[from..]);
                }
            }
            Event::Gap(..) => {
                torn = true;
                screen = screen.as_ref().map(|screen| Screen::new(screen.size)).transpose()?;
            }
        }
        Ok(())
    })?;
    let screen = screen.ok_or(io::ErrorKind::InvalidData)?;
    Ok((screen.size, screen.draw()))
}

/// Where something begins anew in output whose beginning is missing.
fn whole(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| matches!(byte, b'\x1b' | b'\r' | b'\n')).unwrap_or(0)
}

struct Screen {
    size: Size,
    emulator: avt::Terminal,
    text: Lossy,
    modes: Modes,
    parser: vte::Parser,
}

impl Screen {
    fn new(size: Size) -> io::Result<Self> {
        let emulator = avt::Terminal::new(size.cols.into(), size.rows.into()).map_err(io::Error::other)?;
        Ok(Self { size, emulator, text: Lossy::default(), modes: Modes::default(), parser: vte::Parser::new() })
    }

    fn resize(&mut self, size: Size) {
        self.size = size;
        self.emulator.resize(size.cols.into(), size.rows.into());
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.emulator.feed(self.text.decode(bytes));
        self.parser.advance(&mut self.modes, bytes);
    }

    /// The emulator last: its drawing may end in an unfinished sequence.
    fn draw(&self) -> String {
        let mut text = self.modes.draw();
        for character in self.emulator.dump().chars() {
            match character {
                // Not every terminal knows the controls of 8 bits.
                '\u{80}'..='\u{9f}' => text.extend(['\x1b', char::from(character as u8 - 0x40)]),
                character => text.push(character),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
