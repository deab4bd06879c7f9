//! Input that the recorder has not yet taken.
//!
//! Owns the bytes until then, and their bound. Deliberately knows no
//! connection.

use std::collections::VecDeque;

use bytes::{Buf as _, BytesMut};
use sandbox_recorder::wire;

/// Largest number of bytes that the recorder has not taken. The recorder holds
/// as many. They are kept so that a broken connection neither loses nor doubles
/// input. Beyond it the shell's own queue is full, and input waits.
pub(super) const UNTAKEN: usize = wire::MAX_DATA;

/// Largest size in bytes of a piece that is joined from small ones.
const JOINED: usize = 4 * 1024;

/// Input that the recorder has not confirmed.
#[derive(Default)]
pub(super) struct Untaken {
    /// Position of the first byte in all input ever.
    pub(super) base: u64,
    /// Small pieces are joined, so that keys cost no more than their bytes.
    pub(super) chunks: VecDeque<BytesMut>,
    pub(super) len: usize,
}

impl Untaken {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.chunks.back_mut() {
            Some(last) if last.len() + bytes.len() <= JOINED => last.extend_from_slice(bytes),
            _ => self.chunks.push_back(bytes.into()),
        }
    }

    pub(super) fn taken(&mut self, until: u64) {
        let mut count = until.saturating_sub(self.base).min(self.len as u64) as usize;
        self.base += count as u64;
        self.len -= count;
        while let Some(first) = self.chunks.front_mut() {
            if first.len() > count {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as there may be, a key each: a connection that is made again has
    /// little to send.
    #[test]
    fn input_that_is_not_taken_costs_its_bytes_and_not_its_pieces() {
        let keys: Vec<u8> = (0..UNTAKEN).map(|n| (n % 251) as u8).collect();
        let mut untaken = Untaken { base: 7, ..Untaken::default() };
        keys.iter().for_each(|key| untaken.push(&[*key]));
        assert_eq!(untaken.chunks.len(), UNTAKEN / JOINED);
        for taken in [1, JOINED, JOINED + 1, UNTAKEN - 1, UNTAKEN] {
            untaken.taken(7 + taken as u64);
            let left: Vec<u8> = untaken.chunks.iter().flatten().copied().collect();
            assert_eq!((untaken.len, &left[..]), (UNTAKEN - taken, &keys[taken..]));
        }
        assert!(untaken.chunks.is_empty());
    }
}
