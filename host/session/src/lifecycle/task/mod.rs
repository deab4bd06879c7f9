//! The one task that owns a session.
//!
//! Owns the session's calls to the provider, its terminal and the writing end
//! of its log. Deliberately decides nothing: it tells the machine what happened
//! and does what the machine says. No call to the provider ever stands in the
//! way of a byte: each runs beside the loop until it answers.
//!
//! ```text
//!  calls, terminal, clients, clock ──Wakeup──▶ run ──MachineEvent──▶ machine
//!                                                ◀──────Effect────────┘
//!        ▲                                       │
//!        └── calls · ends · terminal ◀── effects ┘
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `parts` | what the task holds, and why its loop wakes |
//! | `run` | the loop: waits for the next wakeup and handles it |
//! | `effects` | does what the machine says |
//! | `terminal` | the live terminal: its output, its input, its end |
//! | `calls` | the calls that lead to a shell, and the resize |
//! | `ends` | the calls of a session that is over |

mod calls;
mod effects;
mod ends;
mod parts;
mod run;
mod terminal;

pub(crate) use parts::{Left, SessionTask};
