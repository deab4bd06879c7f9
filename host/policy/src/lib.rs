//! The policy of a session: decisions, without doing anything about them.
//!
//! Pure: no IO, no task, no lock and no clock. Whoever asks says what happened
//! and what time it is. The session's task carries the answers out.
//!
//! ```text
//!            MachineEvent, now              Effects, in order
//!   task ─────────────────────▶ Machine ─────────────────────▶ task
//!
//!   clients' wishes, now ─────▶ Roster ──────▶ who drives, and the size
//! ```
//!
//! | file | what it decides or says |
//! |---|---|
//! | [`machine`] | what happens next in a session's life, with the drawing of its states |
//! | [`roster`] | who is there, who drives, whose size counts |
//! | [`answers`] | which client's terminal answers what programs ask |
//! | [`progress`] | how far one client's input has come |
//! | [`stage`], [`outcome`], [`duration`] | what clients are told, in words |

pub mod answers;
pub mod duration;
pub mod machine;
pub mod outcome;
pub mod progress;
pub mod roster;
pub mod stage;
#[cfg(test)]
mod tests;
