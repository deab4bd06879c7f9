//! A session: one terminal in one sandbox, from the request for it until the
//! sandbox is gone and nobody may come for the end any more.
//!
//! Owns the life of a session and its output. Deliberately knows no transport,
//! no plugin engine and no configuration file. It uses Tokio's clock, which
//! tests pause and advance, and the wall clock only for the journal's times.
//!
//! `registry` opens a session, starts its task and returns a `Client` for each
//! connection. After that, data flows like this:
//!
//! ```text
//!  client ── input ──▶ handle ── mailbox ──▶ lifecycle/task ── input ──▶ recorder ──▶ sandbox
//!         ── wishes ─▶ handle ── watch ────▶   │ events  ▲
//!                                              ▼         │ effects
//!                                           the policy crate
//!
//!  client ◀── reader ── output ◀── append ── lifecycle/task ◀── output ── recorder ◀── sandbox
//!         ◀── playback, for a client that is far behind ───────────────── recorder
//!
//!                                            lifecycle/task ── orders ──▶ storage ───▶ sandbox
//! ```
//!
//! The crate `sandbox-broker-policy` decides what happens next, who drives and
//! whose size counts. In this table a row may import the rows below it, never those above.
//!
//! | folder or file | what it is |
//! |---|---|
//! | `registry` | the table of sessions; the reaper of sandboxes that no session knows |
//! | `lifecycle` | the task that drives one session, and the calls that it makes |
//! | `storage` | mounts in the sandbox; a task of their own keeps them working |
//! | `handle` | the handle by which the rest of the broker uses one session |
//! | `recorder` | the broker's side of the recorder: installs it, connects to it, reads old output back |
//! | `output` | the log that clients read, each from its own offset |
//! | `blueprint` | what a new session is made of |
//! | `input` | input on its way to the task, and who is waiting to learn that it was handed on |
//! | `ledger` | the session's record in the journal |
//! | `live_sandbox` | the newest reference to the sandbox |
//! | `reports` | what a call reports of itself, and how often clients are told |
//! | `retry`, `replaced`, `failure` | retries; the error that says that another broker took over; how failures are logged |
//! | `invitation` | lets others watch |
//! | `shutdown`, `id` | how long a shutdown may take; ids that nobody can guess |

mod blueprint;
mod failure;
mod handle;
mod id;
mod input;
mod invitation;
mod ledger;
mod lifecycle;
mod live_sandbox;
mod output;
mod recorder;
mod registry;
mod replaced;
mod reports;
mod retry;
mod shutdown;
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
pub use output::contents::{KEPT, WINDOW};
pub use output::event::{Durability, Event};
pub use output::reader::Reader;
pub use recorder::looks::{About, Colors};
pub use recorder::piece::Piece;
pub use recorder::playback::Playback;
pub use recorder::screens::{Asker, Picture};
pub use recorder::tape::{CAST_END, Tape};
pub use recorder::trial::try_shell;
pub use registry::reaper::reap;
pub use registry::refused::Refused;
pub use registry::sessions::Sessions;
pub use sandbox_broker_policy::machine::PENDING_INPUT;
pub use sandbox_broker_policy::outcome::Outcome;
pub use sandbox_broker_policy::roster::{Leaving, MAX_CLIENTS, Presence, Role, SizeRule};
pub use sandbox_broker_policy::stage::{Stage, StageState, Step};
pub use sandbox_recorder::wire::MAX_SCREEN;
pub use shutdown::SHUTDOWN_DEADLINE;
pub use storage::WORKSPACES;
