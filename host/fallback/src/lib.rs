//! What a provider lacks, done by processes in its sandboxes.
//!
//! Owns how the broker's one program, the recorder, gets into a sandbox and how it is found there, and files by way of it.
//! Deliberately knows no
//! session, no wire and no plugin engine: it needs nothing of a provider but [`Provider::run`].
//!
//! ```text
//! session, http ──► FilesByExec ──► the program, run as `files` ──► Provider::run
//!
//! session ──► install ──► Provider::write, if the plugin exports `files`
//!                    └──► Provider::run: `sh` takes the program from its standard input
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | [`program`] | where the program is, and how it is run |
//! | [`install`] | how it gets there, and the rights to it |
//! | [`files`] | the port's files, each operation one process |
//! | `answers`, `upload` | what such a process says, and the bytes that it gets |
//! | `process` | a short process, its output and its end |
//!
//! [`Provider::run`]: sandbox_broker_core::sandbox::Provider::run

mod answers;
pub mod files;
pub mod install;
mod process;
pub mod program;
mod upload;
