//! Text of a client that may be cut in the middle of a UTF-16 code point.
//!
//! Owns half a surrogate pair between two messages. A page that sends the text
//! of each input event may send the two halves of an emoji one by one. JSON can
//! express half a pair (RFC 8259 section 8.2), UTF-8 cannot. Deliberately knows
//! no message.

use bytes::Bytes;

/// The replacement character, for half a pair without its partner.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// Bytes of half a pair, as WTF-8 writes it: 0xED, 0xA0 to 0xBF, one more.
const HALF: usize = 3;

/// Joins halves of surrogate pairs over pieces of text.
#[derive(Debug, Default)]
pub(super) struct Surrogates {
    /// The high half at the end of the last piece.
    high: Option<u32>,
}

impl Surrogates {
    /// Returns the UTF-8 text of a piece of WTF-8, which may contain halves of
    /// pairs. A high half at its end waits for the next piece. Every other half
    /// without a partner becomes U+FFFD.
    pub(super) fn push(&mut self, piece: Bytes) -> Bytes {
        if self.high.is_none() && str::from_utf8(&piece).is_ok() {
            return piece;
        }
        let mut text = Vec::with_capacity(piece.len() + HALF);
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let half = half(rest);
            match (self.high.take(), half) {
                (Some(high), Some(low @ 0xDC00..)) => {
                    let joined = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                    let joined = char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER);
                    text.extend_from_slice(joined.encode_utf8(&mut [0; 4]).as_bytes());
                }
                (before, half) => {
                    if before.is_some() {
                        text.extend_from_slice(REPLACEMENT);
                    }
                    match half {
                        Some(high @ ..0xDC00) => self.high = Some(high),
                        Some(_) => text.extend_from_slice(REPLACEMENT),
                        None => text.push(rest[0]),
                    }
                }
            }
            rest = &rest[if half.is_some() { HALF } else { 1 }..];
        }
        text.into()
    }
}

/// Returns the half of a pair with which this text begins.
fn half(text: &[u8]) -> Option<u32> {
    match *text {
        [0xED, second @ 0xA0..=0xBF, third, ..] => {
            Some(0xD000 | u32::from(second & 0x3F) << 6 | u32::from(third & 0x3F))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As serde_json writes it.
    fn wtf8(units: &[u16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for unit in char::decode_utf16(units.iter().copied()) {
            match unit {
                Ok(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(half) => {
                    let half = half.unpaired_surrogate();
                    bytes.extend([0xED, 0x80 | (half >> 6 & 0x3F) as u8, 0x80 | (half & 0x3F) as u8]);
                }
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn pieces_join_to_what_a_lossy_decoder_makes_of_all(
            pieces in prop::collection::vec(
                prop::collection::vec(prop_oneof![0xD7FE..0xE002_u16, 0x20..0x7F_u16, any::<u16>()], 0..4), 0..8),
        ) {
            let mut surrogates = Surrogates::default();
            let mut text: Vec<u8> = pieces.iter().flat_map(|piece| surrogates.push(wtf8(piece).into())).collect();
            // What ends the last message waits for one more.
            text.extend_from_slice(&surrogates.push(b"."[..].into()));
            let all: Vec<u16> = pieces.concat().into_iter().chain([u16::from(b'.')]).collect();
            prop_assert_eq!(String::from_utf8(text).unwrap(), String::from_utf16_lossy(&all));
        }
    }
}
