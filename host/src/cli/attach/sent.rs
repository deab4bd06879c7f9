//! Input that was sent and is not acknowledged.
//!
//! Owns the numbers of this client's input and how much of it may be under way.
//! Deliberately sends nothing.

use std::collections::VecDeque;

/// Bytes of input that are not acknowledged, at most. A broker holds more than
/// that for a shell that takes none, so it never stops reading.
const MAX_UNDER_WAY: usize = 32 * 1024;

/// The input under way.
#[derive(Debug, Default)]
pub(super) struct SentInput {
    /// Number of the last input.
    seq: u64,
    /// What is not acknowledged: the number of each input and its bytes.
    under_way: VecDeque<(u64, usize)>,
}

impl SentInput {
    /// Bytes that may still be sent.
    pub(super) fn room(&self) -> usize {
        MAX_UNDER_WAY.saturating_sub(self.under_way.iter().map(|(_, len)| len).sum())
    }

    /// Whether everything is acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Notes an input of `len` bytes and returns its number. Call it before the
    /// bytes are sent: what is given up halfway may have arrived.
    pub(super) fn begin(&mut self, len: usize) -> u64 {
        self.seq += 1;
        self.under_way.push_back((self.seq, len));
        self.seq
    }

    /// The broker has every input up to the number `seq`.
    pub(super) fn acknowledged(&mut self, seq: u64) {
        while self.under_way.pop_front_if(|(sent, _)| *sent <= seq).is_some() {}
    }

    /// Forgets what is under way and returns how many bytes that is.
    pub(super) fn give_up(&mut self) -> usize {
        self.under_way.drain(..).map(|(_, len)| len).sum()
    }
}
