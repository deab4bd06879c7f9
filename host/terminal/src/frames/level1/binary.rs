//! Binary frames: one byte for the kind, a number of eight bytes in network
//! order, and the terminal's own bytes.
//!
//! Deliberately knows no JSON and no order of messages.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::MAX_OFFSET;

/// First byte of a frame with output. The number is the offset of its first
/// byte in the session's output.
const OUTPUT: u8 = 0x01;

/// First byte of a frame with input. The number counts a client's input from 1.
const INPUT: u8 = 0x02;

/// Bytes before the terminal's own.
pub(super) const HEADER: usize = 9;

/// A binary message that is no output. Its `Display` goes on a sentence that
/// begins with "it sent".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOutput {
    /// It has another kind, or no bytes of the terminal.
    #[error("a binary message that is no output")]
    NotOutput,
    /// It ends above [`MAX_OFFSET`].
    #[error("output at the offset {0}")]
    TooFar(u64),
}

/// Writes a frame of output that begins at `offset`.
pub fn output<'a>(offset: u64, parts: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let mut frame = header(OUTPUT, offset, parts.clone().map(Bytes::len).sum());
    parts.for_each(|part| frame.extend_from_slice(part));
    frame.freeze()
}

/// Reads a frame of output: its offset, and its bytes, which are never empty
/// and end at [`MAX_OFFSET`] at the latest. Total.
pub fn decode_output(message: Bytes) -> Result<(u64, Bytes), BadOutput> {
    let (offset, bytes) = decode(OUTPUT, message).ok_or(BadOutput::NotOutput)?;
    match offset.checked_add(bytes.len() as u64) {
        Some(end) if end <= MAX_OFFSET => Ok((offset, bytes)),
        _ => Err(BadOutput::TooFar(offset)),
    }
}

/// Writes a frame of input with the number `seq`.
pub fn input(seq: u64, bytes: &[u8]) -> Bytes {
    let mut frame = header(INPUT, seq, bytes.len());
    frame.put_slice(bytes);
    frame.freeze()
}

/// Reads a frame of input: its number, from 1, and its bytes, which are never
/// empty.
pub(super) fn decode_input(message: Bytes) -> Option<(u64, Bytes)> {
    decode(INPUT, message).filter(|(seq, _)| *seq > 0)
}

/// The beginning of a frame, with room for `len` bytes after it.
fn header(kind: u8, number: u64, len: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEADER + len);
    frame.put_u8(kind);
    frame.put_u64(number);
    frame
}

fn decode(kind: u8, mut message: Bytes) -> Option<(u64, Bytes)> {
    if message.first() != Some(&kind) || message.len() <= HEADER {
        return None;
    }
    message.advance(1);
    let number = message.get_u64();
    Some((number, message))
}
