//! Bytes that wait for the terminal: input from the broker, and answers to programs that asked the terminal something.
//!
//! Owns their order: an answer goes between two pieces of input, never inside one, because a piece may be pasted text.
//! Does not know where the bytes come from.

use std::os::fd::AsFd;

use sandbox_recorder::wire::MAX_DATA;

/// The most bytes of answers that wait. An answer that does not fit is dropped, because no program reads.
const MAX_ANSWERS: usize = 64 * 1024;

/// What the terminal has not taken yet.
#[derive(Default)]
pub(crate) struct Pending {
    /// Below [`MAX_DATA`] the daemon reads more input, and one read brings at most as much again.
    input: Vec<u8>,
    answers: Vec<u8>,
    /// The terminal took only a part of the first answer. Nothing else is written before the rest of it.
    torn: bool,
    taken: u64,
}

impl Pending {
    /// The number of bytes of input that the terminal took so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.input.is_empty() && self.answers.is_empty()
    }

    /// Input waits.
    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// So much input waits that no more may be read.
    pub(crate) fn is_full(&self) -> bool {
        self.input.len() >= MAX_DATA
    }

    pub(crate) fn push_input(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Adds whole answers, if they fit. Returns whether they did.
    pub(crate) fn push_answers(&mut self, answers: &[u8]) -> bool {
        let fits = self.answers.len() + answers.len() <= MAX_ANSWERS;
        if fits {
            self.answers.extend_from_slice(answers);
        }
        fits
    }

    /// Forgets the input that the terminal did not take.
    pub(crate) fn drop_input(&mut self) {
        self.input = Vec::new();
    }

    /// Forgets everything that waits.
    pub(crate) fn clear(&mut self) {
        (self.input, self.answers) = (Vec::new(), Vec::new());
    }

    /// Writes as much as the terminal takes now. An error is ignored: the terminal is about to end.
    pub(crate) fn write(&mut self, terminal: impl AsFd) {
        if !self.answers.is_empty() && (self.torn || self.input.is_empty()) {
            if let Ok(count) = rustix::io::write(&terminal, &self.answers) {
                self.answers.drain(..count);
                self.torn |= count > 0;
            }
            self.torn &= !self.answers.is_empty();
        }
        if self.torn || self.input.is_empty() {
            return;
        }
        if let Ok(count) = rustix::io::write(&terminal, &self.input) {
            self.input.drain(..count);
            self.taken += count as u64;
        }
    }
}
