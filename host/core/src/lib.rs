//! The vocabulary of the broker: the ports to sandboxes and storage, secrets and signals.
//!
//! Deliberately knows no provider, no session, no configuration and no wire.
//!
//! ```text
//! session ──► Provider, Mounter (the ports, here) ◄── plugin implements them
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | [`sandbox`] | the port to sandboxes: [`sandbox::Provider`] and its values |
//! | [`error`] | failures that say who has to act |
//! | [`abilities`] | what a provider can do |
//! | [`progress`] | news of a call that takes long |
//! | [`storage`] | the port to storage: [`storage::Mounter`] and the plan of a mount |
//! | [`secret`] | text that must not be printed |
//! | [`signal`] | the only list of signals |
//! | [`certificate`] | why a certificate is not trusted |
//! | [`disk`] | which file system is full |

pub mod abilities;
pub mod certificate;
pub mod disk;
pub mod error;
pub mod progress;
pub mod sandbox;
pub mod secret;
pub mod signal;
pub mod storage;
