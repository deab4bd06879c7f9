//! The recorder as a broker meets it: the real program over real pipes, with real
//! shells on a real terminal.
//!
//! `BROKER_RECORDER` names the program that is shipped; without it the one that cargo
//! built is driven.

#![allow(clippy::unwrap_used, reason = "a surprise fails the test")]

mod answers;
mod client;
mod held;
mod history;
mod input;
mod life;
mod screen;
