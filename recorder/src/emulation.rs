//! The emulator of a recording, with the output that it has not processed yet.
//!
//! Owns the order of output, sizes and drawings, and the length of a turn. A few bytes of a program can cost the emulator
//! milliseconds, and nothing else may wait for that. Knows neither the ring nor the broker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sandbox_recorder::wire::{MAX_DATA, Size};

use crate::emulator::Emulator;

/// The most bytes that wait for the emulator. Beyond that the shell waits, as it does for every slow terminal.
const BACKLOG: usize = 1024 * 1024;

/// A turn begins no further piece after this time.
const TURN: Duration = Duration::from_millis(1);

/// The bytes of a piece. It is small because a sequence of four bytes can clear the screen.
const PIECE: usize = 256;

/// The number of sizes and drawings that wait for their place in the output. The broker asks for one drawing at a time
/// and for 25 sizes a second. Beyond the bound only the newest size counts.
const MAX_TASKS: usize = 256;

/// What is to be done once the emulator has processed all output before an offset.
enum Task<D> {
    Resize(Size),
    Draw(D),
}

/// An emulator and its backlog. `D` is who waits for a drawing.
pub(crate) struct Emulation<D> {
    emulator: Emulator,
    backlog: Vec<u8>,
    /// The number of bytes of the backlog that the emulator has processed.
    taken: usize,
    /// The offset of the end of all output.
    end: u64,
    tasks: VecDeque<(u64, Task<D>)>,
}

impl<D> Emulation<D> {
    pub(crate) fn new(size: Size) -> Self {
        Self { emulator: Emulator::new(size, 0), backlog: Vec::new(), taken: 0, end: 0, tasks: VecDeque::new() }
    }

    /// The emulator, as far as it has come.
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

    /// Notes that the terminal has this size after the output so far.
    pub(crate) fn resize(&mut self, size: Size) {
        let is_full = self.tasks.len() >= MAX_TASKS;
        match self.tasks.back_mut() {
            Some((_, Task::Resize(last))) if is_full => *last = size,
            _ => self.tasks.push_back((self.end, Task::Resize(size))),
        }
    }

    /// Asks for a drawing after the output so far. Does nothing if too many tasks wait already.
    pub(crate) fn request_drawing(&mut self, who: D) {
        if self.tasks.len() < MAX_TASKS {
            self.tasks.push_back((self.end, Task::Draw(who)));
        }
    }

    /// No more output may be pushed.
    pub(crate) fn is_full(&self) -> bool {
        self.backlog.len() >= BACKLOG
    }

    /// Somebody waits for the emulator, so that it must run even if other things are ready.
    pub(crate) fn is_urgent(&self) -> bool {
        self.is_full() || !self.tasks.is_empty()
    }

    /// There is nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.backlog.is_empty() && self.tasks.is_empty()
    }

    /// Works for one turn. Passes each drawing that is due to `draw`.
    pub(crate) fn run_turn(&mut self, mut draw: impl FnMut(D, &Emulator)) {
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
        let mut emulation = Emulation::new(Size { cols: 4, rows: 4 });
        let drawn = |emulator: &Emulator| emulator.draw().1;
        emulation.request_drawing("before");
        emulation.push(b"abcdef");
        emulation.request_drawing("narrow");
        emulation.resize(Size { cols: 6, rows: 4 });
        emulation.push(b"\r\nghijkl");
        emulation.request_drawing("wide");
        let mut got = Vec::new();
        while !emulation.is_idle() {
            emulation.run_turn(|who, emulator| got.push((who, drawn(emulator))));
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
        let mut emulation = Emulation::new(SIZE);
        emulation.push(&vec![b'x'; BACKLOG]);
        for number in 0..10_000 {
            emulation.request_drawing(number);
            emulation.resize(Size { cols: 2 + number % 500, rows: 50 });
        }
        assert!(emulation.is_full() && emulation.is_urgent());
        assert!(emulation.tasks.len() <= MAX_TASKS + 1, "{} tasks", emulation.tasks.len());
        while !emulation.is_idle() {
            emulation.run_turn(|_, _| {});
        }
        assert_eq!(emulation.emulator().size().cols, 2 + 9_999 % 500);
    }
}
