//! The policy of a session: what happens next, without doing it.
//!
//! Owns every decision about a session's life. Pure: no IO, no task, no
//! clock; the task tells what happened and when, and does what it is told.
//!
//! Three lives run side by side. The first is the shell, which is what clients
//! see. What is in brackets exists only with storage:
//!
//! ```text
//!   prepared          created             mounted             opened              exited
//! [Preparing ───▶] Creating ───▶ [Mounting ───────▶] Opening ───────▶ Running ───────▶ Draining
//!      │              │              │                  │                │  idle          │
//!      │              │              │                  │                │  shutdown ────▶│
//!      │ failed · last client gone · shutdown · sandbox lost             │                │ drained
//!      └──────────────┴──────────────┴─────────┬────────┴────────────────┘                │ [and unmounted]
//!                                              ▼                                          │
//!                                            Ended ◀──────────────────────────────────────┘
//!                                              │ the outcome is told here, once
//!                                              │ nobody may come for it · keep has passed · killed · shutdown
//!                                              ▼
//!                                            Over
//! ```
//!
//! A session without storage in which nothing goes wrong takes this way:
//!
//! - It starts in Creating, with [`Effect::Create`].
//! - The sandbox is there. Its lease is renewed from now on
//!   ([`Effect::KeepAlive`]), and the shell is asked for ([`Effect::Open`]):
//!   Opening.
//! - The shell runs. Clients are told ([`Effect::Ready`]), and input that came
//!   early is written: Running.
//! - The shell exits. No more input is taken ([`Effect::CloseInput`]), but its
//!   last output may still be on the way: Draining.
//! - All output has come. The outcome is told ([`Effect::End`]), and the sandbox
//!   is killed ([`Effect::Kill`]), or kept for a client that may come for the
//!   rest: Ended, then Over.
//!
//! A client may come back for the end of a kept session, if the shell exited or
//! idled, or if it failed after clients knew of it. The client is told the
//! output and the outcome as if it had been there. For every other end, Ended
//! takes no time. A shell that exited keeps its sandbox meanwhile, as long as a
//! client that was here lately has not been told: the sandbox has the output
//! that the log no longer holds, and it has the outcome if this broker dies.
//!
//! Without storage, Draining takes no time on idle and shutdown. A kept session
//! does not end when its last client goes. It ends when no client has come back
//! in time. A shutdown leaves its shell, its sandbox and its storage to the
//! next broker. A session that was taken over from an earlier broker begins the
//! same way, but its storage is prepared and mounted already, and its sandbox
//! is found instead of made.
//!
//! The second is the sandbox, which must not outlive the shell:
//!
//! ```text
//!                    created            the shell ended, or is Over,
//! [Unmade ──▶] Making ─────▶ Made ────── [and all is unmounted] ── Kill ──┐
//!    │           │            └── it exited ── Kept ── fetched · Over ── Kill ┤
//!    │           ├── created, but the shell is Over ───────────── Kill ───┤
//!    │           ├── failed, yet it may exist ──────────── FindAndKill ───┤
//!    │           │                                                        ▼
//!    │           │  (left to another broker, from Made or Kept: Leave) Cleaning
//!    │ Over      │                                                        │ cleaned
//!    │           └── failed, and surely none was made ───────────────┐    │
//!    └───────────────────────────────────────────────────────────────┴──▶ Gone
//! ```
//!
//! The third is the storage, which must be unmounted while there is a sandbox:
//!
//! ```text
//!            prepared             created             the shell ended, or is Over
//!  Preparing ───────▶ Prepared ──── Mount ──▶ Mounted ──── Unmount ──▶ Unmounting
//!     │ Over             │ Over                  │ sandbox lost            │ unmounted
//!     └──────────────────┴─────────── Release ───┴─────────────────────────┤ sandbox lost
//!                                                                          ▼
//!                          Gone ◀──────────── released ───────────────  Releasing
//! ```
//!
//! The session is finished when the shell is Over and the others are Gone.
//!
//! | file | what it is |
//! |---|---|
//! | `state` | the states and what a session remembers beside them |
//! | `step` | takes in an event and returns the effects |
//! | `starting` | the way to a shell, and the shell's input and size |
//! | `ending` | the way from a shell to nothing |
//! | `deadlines` | when time alone is an event |
//! | `away` | how long a session goes on while no client is there |
//! | `vocabulary` | what the machine is told and what it answers |

mod away;
mod deadlines;
mod ending;
mod starting;
mod state;
mod step;
mod vocabulary;

pub use away::CLOSED;
pub use state::Machine;
pub use state::PENDING_INPUT;
pub use vocabulary::{Attendance, Effect, MachineEvent, Terms};
