//! The recorder in a session's sandbox: a terminal whose output has numbers,
//! and what is left of that output on the recorder's disk.
//!
//! Deliberately decides nothing about the session, and knows of the sandbox no
//! more than that it runs processes. How the recorder gets there is the crate
//! `fallback`'s.
//!
//! ```text
//!  task ──input──▶ ┌──────────────┐ ──stdin──▶ ┌──────────┐ ──▶ PTY
//!       ◀─output── │ RecorderLink │            │ recorder │ ──▶ ring on disk
//!                  └──────────────┘ ◀─stdout── └──────────┘ ◀── PTY
//!  readers that are behind ◀── Playback ◀──── ring
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `tape` | the recorder of one sandbox, and how one of its commands is run |
//! | `attachment` | one connection to it |
//! | `link` | the task that serves connections, one after the other |
//! | `untaken` | input that the recorder has not yet taken |
//! | `playback` | old output, read from the ring |
//! | `trial` | a shell without a session |
//! | `piece` | a stretch of output, its absence, or a size |
//! | `drawing` | the screen, drawn by the recorder |
//! | `screens` | one drawing for all clients that wait for a screen |
//! | `said` | what the recorder says, checked |
//! | `ended` | why one of its processes ended |
//! | `looks` | a terminal's colors, title and directory |

pub(crate) mod attachment;
pub(crate) mod drawing;
pub(crate) mod ended;
pub(crate) mod link;
pub(crate) mod looks;
pub(crate) mod piece;
pub(crate) mod playback;
pub(crate) mod said;
pub(crate) mod screens;
pub(crate) mod tape;
pub(crate) mod trial;
pub(crate) mod untaken;
