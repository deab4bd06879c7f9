//! The screen as all output made it: the emulator, and what it has yet to take.
//!
//! Owns the order of output, sizes and drawings, and how long a turn may be: a few bytes
//! of a program can cost the emulator milliseconds, and nobody else may wait for that.
//! Knows neither ring nor broker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sandbox_recorder::wire::{MAX_DATA, Size};

use crate::emulator::Emulator;

/// Output that the emulator has not taken yet, in bytes. With more the shell waits, as
/// for every terminal.
const BACKLOG: usize = 1024 * 1024;

/// How long a turn lasts, but for its last piece,
const TURN: Duration = Duration::from_millis(1);

/// and bytes of a piece. A sequence of four can clear the screen.
const PIECE: usize = 256;

/// Sizes and drawings that wait for their place in the output. The broker asks for one
/// drawing at a time and for 25 sizes a second, of which at last only the newest counts.
const MAX_TASKS: usize = 256;

/// What is to be done when all output before an offset was taken.
enum Task<D> {
    Resize(Size),
    Draw(D),
}

/// `D` is who waits for a drawing.
pub(crate) struct Picture<D> {
    emulator: Emulator,
    backlog: Vec<u8>,
    /// Of the backlog, what the emulator has taken.
    taken: usize,
    /// Offset of the end of all output.
    end: u64,
    tasks: VecDeque<(u64, Task<D>)>,
}

impl<D> Picture<D> {
    pub(crate) fn new(size: Size) -> Self {
        Self { emulator: Emulator::new(size, 0), backlog: Vec::new(), taken: 0, end: 0, tasks: VecDeque::new() }
    }

    /// As far as it has come.
    pub(crate) fn emulator(&self) -> &Emulator {
        &self.emulator
    }

    pub(crate) fn emulator_mut(&mut self) -> &mut Emulator {
        &mut self.emulator
    }

    pub(crate) fn push(&mut self, output: &[u8]) {
        self.backlog.extend_from_slice(output);
        self.end += output.len() as u64;
    }

    /// The terminal has this size after the output so far.
    pub(crate) fn resize(&mut self, size: Size) {
        let is_full = self.tasks.len() >= MAX_TASKS;
        match self.tasks.back_mut() {
            Some((_, Task::Resize(last))) if is_full => *last = size,
            _ => self.tasks.push_back((self.end, Task::Resize(size))),
        }
    }

    /// `who` gets a drawing after the output so far. Not where too much waits already.
    pub(crate) fn want(&mut self, who: D) {
        if self.tasks.len() < MAX_TASKS {
            self.tasks.push_back((self.end, Task::Draw(who)));
        }
    }

    /// No more output may come.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog.len() >= BACKLOG
    }

    /// Somebody waits for it, so that it may not wait for a moment without anything else.
    pub(crate) fn is_urgent(&self) -> bool {
        self.is_full() || !self.tasks.is_empty()
    }

    /// There is nothing to be done.
    pub(crate) fn is_idle(&self) -> bool {
        self.backlog.is_empty() && self.tasks.is_empty()
    }

    /// Does a part of what is to be done. `draw` takes a drawing.
    pub(crate) fn turn(&mut self, mut draw: impl FnMut(D, &Emulator)) {
        let began = Instant::now();
        loop {
            let at = self.end - (self.backlog.len() - self.taken) as u64;
            while let Some((_, task)) = self.tasks.pop_front_if(|(offset, _)| *offset <= at) {
                match task {
                    Task::Resize(size) => self.emulator.resize(size),
                    Task::Draw(who) => draw(who, &self.emulator),
                }
            }
            let rest = &self.backlog[self.taken..];
            if rest.is_empty() || began.elapsed() >= TURN {
                break;
            }
            let most = self.tasks.front().map_or(PIECE, |(offset, _)| PIECE.min((offset - at) as usize));
            let piece = &rest[..rest.len().min(most)];
            self.emulator.feed(piece);
            self.taken += piece.len();
        }
        self.backlog.drain(..std::mem::take(&mut self.taken));
        if self.backlog.is_empty() {
            self.backlog.shrink_to(MAX_DATA);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { cols: 200, rows: 50 };

    #[test]
    fn sizes_and_drawings_have_their_place_in_the_output() {
        let mut picture = Picture::new(Size { cols: 4, rows: 4 });
        let drawn = |emulator: &Emulator| emulator.draw().1;
        picture.want("before");
        picture.push(b"abcdef");
        picture.want("narrow");
        picture.resize(Size { cols: 6, rows: 4 });
        picture.push(b"\r\nghijkl");
        picture.want("wide");
        let mut got = Vec::new();
        while !picture.is_idle() {
            picture.turn(|who, emulator| got.push((who, drawn(emulator))));
        }
        let mut emulator = Emulator::new(Size { cols: 4, rows: 4 }, 0);
        let mut expected = vec![("before", drawn(&emulator))];
        emulator.feed(b"abcdef");
        expected.push(("narrow", drawn(&emulator)));
        emulator.resize(Size { cols: 6, rows: 4 });
        emulator.feed(b"\r\nghijkl");
        expected.push(("wide", drawn(&emulator)));
        assert_eq!(got, expected);
    }

    #[test]
    fn what_waits_is_bounded_and_the_last_size_counts() {
        let mut picture = Picture::new(SIZE);
        picture.push(&vec![b'x'; BACKLOG]);
        for number in 0..10_000 {
            picture.want(number);
            picture.resize(Size { cols: 2 + number % 500, rows: 50 });
        }
        assert!(picture.is_full() && picture.is_urgent());
        assert!(picture.tasks.len() <= MAX_TASKS + 1, "{} tasks", picture.tasks.len());
        while !picture.is_idle() {
            picture.turn(|_, _| {});
        }
        assert_eq!(picture.emulator().size().cols, 2 + 9_999 % 500);
    }
}
