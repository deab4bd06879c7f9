//! The vocabulary of the broker: the ports to sandboxes and storage, secrets, signals, and text that is safe to show.
//!
//! Deliberately knows no provider, no session, no configuration and no wire.
//!
//! ```text
//! session ──► Provider, Mounter (the ports, here) ◄── plugin implements them
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | [`sandbox`] | the port to sandboxes: [`sandbox::Provider`], its values and errors |
//! | [`storage`] | the port to storage: [`storage::Mounter`] and the plan of a mount |
//! | [`secret`] | text that must not be printed |
//! | [`signal`] | the only list of signals |
//! | [`words`] | a stranger's text, made fit for a log or a terminal |
//! | [`certificate`] | why a certificate is not trusted |
//! | [`disk`] | which file system is full |
//! | [`lock`], [`hex`] | two small helpers that every crate needs |

pub mod certificate;
pub mod disk;
pub mod hex;
pub mod lock;
pub mod sandbox;
pub mod secret;
pub mod signal;
pub mod storage;
pub mod words;
