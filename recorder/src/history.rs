//! Replays what a recording holds, in order: output with its times, and sizes.
//!
//! Joins the ring and the marks. Does not know what becomes of the events.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use sandbox_recorder::wire::{MAX_DATA, Size};

use crate::marks::{Mark, Reader};
use crate::ring::{Piece, Ring};

/// The size that is assumed when the marks are lost.
const UNKNOWN: Size = Size { cols: 80, rows: 24 };

/// Something that happened in a recording.
pub(crate) enum Event<'a> {
    /// The terminal has this size. Comes first, and then at each change.
    Size(Size),
    /// Output, at most [`MAX_DATA`] bytes.
    Output(&'a [u8]),
    /// Output is missing here, because it was overwritten while it was read.
    Gap(u64, u64),
}

/// Passes every event below the offset `to` to `take`, with the milliseconds since the recording began.
pub(crate) fn replay(
    dir: &Path,
    ring: &Ring,
    to: u64,
    mut take: impl FnMut(u64, Event<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut marks = Reader::open(dir, ring)?.peekable();
    let mut at = ring.start().min(to);
    let mut now = Mark { offset: at, ms: 0, resized: true, size: marks.peek().map_or(UNKNOWN, |mark| mark.size) };
    let first = at;
    while let Some(mark) = marks.next_if(|mark| mark.offset <= first) {
        now = mark;
    }
    take(now.ms, Event::Size(now.size))?;

    let mut buffer = vec![0; MAX_DATA];
    loop {
        let next = marks.peek().map_or(to, |mark| mark.offset.min(to));
        ring.walk(at, next, &mut buffer, |piece| match piece {
            Piece::Bytes(_, bytes) => take(now.ms, Event::Output(bytes)),
            Piece::Gap(from, to) => take(now.ms, Event::Gap(from, to)),
        })?;
        at = at.max(next);
        let Some(mark) = marks.next_if(|mark| mark.offset <= to) else { return Ok(()) };
        if mark.resized && mark.size != now.size {
            take(mark.ms, Event::Size(mark.size))?;
        }
        now = mark;
    }
}

/// The size at an offset, if it is known, and each change after it.
pub(crate) fn sizes(dir: &Path, ring: &Ring, from: u64) -> VecDeque<(u64, Size)> {
    let mut sizes: VecDeque<(u64, Size)> = VecDeque::new();
    for Mark { offset, size, .. } in Reader::open(dir, ring).into_iter().flatten() {
        if offset <= from {
            sizes.clear();
        }
        if sizes.back().is_none_or(|(_, last)| *last != size) {
            // The oldest mark also gives the size of older output.
            sizes.push_back((if sizes.is_empty() { from } else { offset }, size));
        }
    }
    sizes
}
