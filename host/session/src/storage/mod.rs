//! Storage in a session's sandbox: prepared before there is one, mounted in
//! it, kept mounted, saved and unmounted at the end, and released.
//!
//! One task owns a session's mounts. The session's task gives it orders, and it tells
//! what has come of them. An order ends what was going on before it.
//! Deliberately decides neither when to mount nor when to release: the machine
//! does.
//!
//! | file | what it is |
//! |---|---|
//! | `task` | the task, and the session's task's end of it |
//! | `news` | the orders, and what the task tells |
//! | `live_mount` | what was mounted last: its plan and its processes |
//! | `mount` | one mount: planned, mounted, watched, renewed, mounted again, unmounted |
//! | `renewal` | when a mount's credentials are renewed |
//! | `record` | what the journal has of one mount |
//! | `inside` | files and processes in the sandbox |

mod inside;
mod live_mount;
mod mount;
mod news;
mod record;
mod renewal;
mod task;

pub use mount::WORKSPACES;
pub(crate) use news::{StorageNews, StorageOrder};
#[cfg(test)]
pub(crate) use task::{PREPARE_DEADLINE, SHUTDOWN_SHARE};
pub(crate) use task::{Storage, release};
