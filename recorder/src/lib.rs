//! What the recorder's program and the broker share: the frames that they exchange
//! and the decoding of output.
//!
//! The program itself is in `main.rs`. A broker needs only this library, which has
//! no dependencies.

pub mod text;
pub mod wire;
