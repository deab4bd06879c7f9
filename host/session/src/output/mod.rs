//! What clients read, and where each of them is in it.
//!
//! The log of a session: its stages, its readiness, its output with news
//! between it, and its end, in that order. Output is an append-only sequence
//! with absolute byte offsets, and each reader has its own place in it. News
//! stands between two bytes. One source serves any number of readers, so there
//! is no seam between old and new output. Deliberately knows neither where
//! bytes come from nor who reads them.
//!
//! ```text
//!   let go of      held                                next byte
//!  ──────────────┬────────────┬──────────────────┬─────────▶ offsets
//!              start   slowest that holds       end
//!                              └── < WINDOW ─────┘
//! ```
//!
//! A reader that *holds* makes the appender wait when it is a window behind.
//! That stops the shell and not the broker. A reader that does not hold is left
//! behind: it is told which bytes it has missed, and finds them elsewhere or
//! not at all. The last `keep` bytes stay for readers that come later. Memory
//! is bounded either way.
//!
//! | file | what it is |
//! |---|---|
//! | `contents` | what is held, and where each reader is; pure |
//! | `log` | the lock around it, and the two signals |
//! | `appender` | the writing end |
//! | `reader` | the reading ends |
//! | `event` | what a reader is told |
//! | `sizes` | which size the terminal had at which byte; pure |

pub(crate) mod appender;
pub(crate) mod contents;
pub(crate) mod event;
pub(crate) mod log;
pub(crate) mod reader;
pub(crate) mod sizes;
