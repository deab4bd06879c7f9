//! Small helpers that the broker and `sandboxd` miss in the standard library.
//!
//! Deliberately knows nothing of sandboxes, and no crate but the standard
//! library. What only one crate uses belongs to that crate.
//!
//! | file | what it owns |
//! |---|---|
//! | [`words`] | a stranger's text, made fit for a log or a terminal |
//! | [`log`] | one event of a log is one line |
//! | [`lock`] | a mutex that a panic elsewhere does not close |
//! | [`hex`] | bytes as hexadecimal digits |

pub mod hex;
pub mod lock;
pub mod log;
pub mod words;
