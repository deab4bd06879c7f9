//! `screen`: its frames, and the drawing when the daemon is gone.
//!
//! Without a daemon, everything that the ring holds goes through a new emulator. Does not know who asked.

use std::io;
use std::path::Path;

use sandbox_recorder::wire::{MAX_DATA, Size, ToBroker};

use crate::emulator::Emulator;
use crate::history::{Event, replay};
use crate::ring::Ring;

/// A screen as frames. The last one is empty.
pub(crate) fn frames(offset: u64, size: Size, text: &str) -> Vec<u8> {
    let mut frames = Vec::with_capacity(text.len() + text.len() / MAX_DATA * 32 + 64);
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.floor_char_boundary(MAX_DATA));
        ToBroker::Screen { offset, size, text: part }.encode(&mut frames);
        rest = after;
    }
    ToBroker::Screen { offset, size, text: "" }.encode(&mut frames);
    frames
}

/// Returns the offset from which output continues, the size there, and the text that draws the screen.
pub(crate) fn draw(dir: &Path, ring: &Ring) -> io::Result<(u64, Size, String)> {
    let mut emulator = None;
    let mut at = ring.start();
    // After a gap, the output mostly begins inside a line or a sequence.
    let mut torn = at > 0;
    replay(dir, ring, ring.end(), |_, event| {
        match event {
            Event::Size(size) => emulator.get_or_insert_with(|| Emulator::new(size, at)).resize(size),
            Event::Output(bytes) => {
                let from = if std::mem::take(&mut torn) { first_boundary(bytes) } else { 0 };
                if let Some(emulator) = &mut emulator {
                    if from > 0 {
                        emulator.skip_to(at + from as u64);
                    }
                    emulator.feed(&bytes[from..]);
                }
                at += bytes.len() as u64;
            }
            Event::Gap(_, to) => {
                (torn, at) = (true, to);
                emulator = emulator.as_ref().map(|emulator| Emulator::new(emulator.size(), to));
            }
        }
        Ok(())
    })?;
    let emulator = emulator.ok_or(io::ErrorKind::InvalidData)?;
    let (offset, text) = emulator.draw();
    Ok((offset, emulator.size(), text))
}

/// The first place where a line or a sequence begins.
fn first_boundary(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| matches!(byte, b'\x1b' | b'\r' | b'\n')).unwrap_or(0)
}
