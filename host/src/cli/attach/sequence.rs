//! The parts of a control sequence (ECMA-48 section 5.4).
//!
//! Deliberately knows no meaning of any sequence.

/// The parts of a control sequence.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) prefix: Option<u8>,
    pub(super) params: Vec<u8>,
    /// Intermediate bytes.
    pub(super) between: Vec<u8>,
    pub(super) last: u8,
}

impl Sequence {
    /// Takes apart the bytes of a whole sequence after its introducer. Control
    /// characters within it act on their own and are left out.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut sequence = Sequence { prefix: None, params: Vec::new(), between: Vec::new(), last: 0 };
        for &byte in body {
            match byte {
                b'<'..=b'?' => sequence.prefix = Some(byte),
                b'0'..=b';' => sequence.params.push(byte),
                b' '..=b'/' => sequence.between.push(byte),
                0x40..=0x7e => sequence.last = byte,
                _ => {}
            }
        }
        sequence
    }
}

/// Reads the number that these digits write. One that is too large becomes
/// [`u16::MAX`].
pub(super) fn value(digits: &[u8]) -> u16 {
    digits
        .iter()
        .filter(|b| b.is_ascii_digit())
        .fold(0u16, |n, b| n.saturating_mul(10).saturating_add((b - b'0').into()))
}
