//! Input on its way from clients to the shell.
//!
//! | file | what it is |
//! |---|---|
//! | `mailbox` | a chunk of input on its way to the session's task |
//! | `handing` | which clients wait to be told that input was handed on |

pub(crate) mod handing;
pub(crate) mod mailbox;
