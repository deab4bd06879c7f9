//! The files of a session, for the page's panel and for programs.
//!
//! Owns the routes below `/api/sessions/{id}/files`, the shape of their answers
//! and the rules of what may be touched. Deliberately touches no file itself:
//! each operation is one of the port's, done as the session's user in its
//! sandbox. `docs/files-api.md` says what clients may rely on.
//!
//! | file | what it is |
//! |---|---|
//! | `routes` | listing, making, renaming and removing |
//! | `download` | a file's bytes to the client |
//! | `upload` | a file's bytes from the client |
//! | `request` | what a request works on, and how an entry is described |
//! | `path` | what a path may look like |
//! | `resolve` | where a path leads in the sandbox, and what its user may do there |
//! | `change` | changes, each made by a process of that user |
//! | `process` | runs a short process in the sandbox |
//! | `pace` | how long a transfer may stand still, and that it is use of the session |

mod change;
mod download;
mod pace;
pub(crate) mod path;
mod process;
mod request;
mod resolve;
pub(crate) mod routes;
mod upload;
