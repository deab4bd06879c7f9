//! The part of the recorder that the broker uses too: the frames that both exchange, and the decoding of output as text.
//!
//! The recorder itself is the program in `main.rs`, whose front page describes it. This library has no dependencies and does
//! no I/O.
//!
//! ```text
//! broker ── ToRecorder: input, size, acknowledgements, colours, signals ──► recorder
//!        ◄── ToBroker: output with offsets, gaps, sizes, titles, the exit ──
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | [`wire`] | the frames in both directions, their bounds, and how they are encoded and decoded |
//! | [`text`] | a stream of bytes as text |

pub mod text;
pub mod wire;
