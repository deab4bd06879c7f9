//! A session: one terminal in one sandbox, from the request for it until the
//! sandbox is gone.
//!
//! Owns the life of a session and its output. Deliberately knows no transport,
//! no plugin engine, no configuration file and no clock but Tokio's, which
//! tests stop and turn.
//!
//! `registry` opens a session, starts its task and hands out its clients. From
//! then on:
//!
//! ```text
//!  client ── input ──▶ handle ── mailbox ──▶ lifecycle/task ── input ──▶ recorder ──▶ sandbox
//!         ── wishes ─▶ handle ── watch ────▶   │ events  ▲
//!                                              ▼         │ effects
//!                                             policy/machine
//!
//!  client ◀── reader ── output ◀── append ── lifecycle/task ◀── output ── recorder ◀── sandbox
//!         ◀── playback, for a client that is far behind ───────────────── recorder
//!
//!                                            lifecycle/task ── orders ──▶ storage ───▶ sandbox
//! ```
//!
//! Folders use those below them in this table, never those above.
//!
//! | folder or file | what it is |
//! |---|---|
//! | `registry` | the table of sessions; the reaper of sandboxes that no session knows |
//! | `lifecycle` | the task that drives one session, and the calls that it makes |
//! | `storage` | mounts in the sandbox, kept true by a task of their own |
//! | `handle` | what the rest of the broker holds of one session |
//! | `recorder` | the program in the sandbox that keeps output while no broker does |
//! | `output` | the log that clients read, each from its own offset |
//! | `blueprint` | what a new session is made of |
//! | `policy` | what happens next, who drives, whose size counts; pure |
//! | `input` | input on its way to the task, and who waits to hear of it |
//! | `ledger` | the session's record in the journal |
//! | `retry`, `replaced`, `failure` | when what failed is tried again, and what is logged |
//! | `invitation` | lets others watch |
//! | `stage`, `outcome`, `duration` | what clients are told, in words |
//! | `shutdown`, `id` | the time of a shutdown; names that nobody can guess |

mod blueprint;
mod duration;
mod failure;
mod handle;
mod id;
mod input;
mod invitation;
mod ledger;
mod lifecycle;
mod outcome;
mod output;
mod policy;
mod recorder;
mod registry;
mod replaced;
mod retry;
mod shutdown;
mod stage;
mod storage;
#[cfg(test)]
mod tests;

pub use blueprint::{Blueprint, LABEL_BROKER, LABEL_NONCE, LABEL_SESSION, Mount, SlowClient};
pub use handle::client::{Client, Denied};
pub use handle::company::{Company, Receipt};
pub use handle::join::Join;
pub use handle::session::{Ended, Session};
pub use handle::summary::{Phase, Summary};
pub use handle::workspace::Workspace;
pub use id::new_id;
pub use invitation::{Invitation, Invitations};
pub use outcome::Outcome;
pub use output::contents::{KEPT, WINDOW};
pub use output::event::{Durability, Event};
pub use output::reader::Reader;
pub use policy::machine::PENDING_INPUT;
pub use policy::roster::{Leaving, MAX_CLIENTS, Presence, Role, SizeRule};
pub use recorder::looks::{About, Colors};
pub use recorder::piece::Piece;
pub use recorder::playback::Playback;
pub use recorder::screens::{Asker, Picture};
pub use recorder::tape::{CAST_END, Tape};
pub use registry::reaper::reap;
pub use registry::refused::Refused;
pub use registry::sessions::Sessions;
pub use sandbox_recorder::wire::MAX_SCREEN;
pub use shutdown::SHUTDOWN_DEADLINE;
pub use stage::{Stage, StageState, Step};
pub use storage::WORKSPACES;
