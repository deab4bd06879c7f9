//! A stretch of the output that the recorder keeps.
//!
//! Owns its forms. Deliberately knows not how it is read.

use bytes::Bytes;
use sandbox_broker_core::sandbox::Size;

/// Part of what the recorder still has.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes from this offset on.
    Output(u64, Bytes),
    /// The bytes from here to there are gone.
    Gap(u64, u64),
    /// From this offset on the terminal had this size.
    Size(u64, Size),
}
