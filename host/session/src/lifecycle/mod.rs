//! A session's life, from the first call to the end of its sandbox.
//!
//! | file | what it is |
//! |---|---|
//! | `age` | when a session ends although it is in use |
//! | `task` | the one task that owns a session and does what the machine says |
//! | `opening` | from a sandbox to a shell: a new one, or an earlier broker's |
//! | `directory` | makes the directory that a shell starts in |
//! | `terminal_output` | what the shell prints, on its way into the log |
//! | `waits` | what the session's task waits for of a live terminal |
//! | `lease` | keeps the sandbox alive while the session lives |
//! | `cleanup` | ends the sandbox for certain, found by label if need be |

pub(crate) mod age;
pub(crate) mod cleanup;
mod directory;
mod lease;
mod opening;
pub(crate) mod task;
mod terminal_output;
mod waits;
