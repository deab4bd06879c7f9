//! The language of the recorder: what its program and the broker say to each other.
//!
//! The program itself is in `main.rs`; a broker needs only [`wire`], which has no
//! dependencies.

pub mod wire;
