//! The storage provider for Azure Blob Storage, mounted by blobfuse2.
//!
//! Owns everything that is Azure's or blobfuse2's: what a token must allow, the
//! access list of a container, what the service's answers mean, the program's
//! configuration and the scripts that mount, watch and unmount. It has neither
//! network nor processes: it words requests and plans, and the host carries
//! them out. The account key stays with the host, which signs requests and makes
//! tokens with it.
//!
//! | module | what |
//! |---|---|
//! | [`config`], [`grant`], [`host`] | what is configured, what the host keeps for us, what it does for us |
//! | [`container`] | where the container is |
//! | [`sas`] | the token for the sandbox |
//! | [`acl`], [`errors`] | the container's access list; answers in words |
//! | [`conversation`], [`prepare`], [`release`] | what is asked of the service, and in which order |
//! | [`blobfuse`], [`plan`], [`explain`] | the program's configuration, the steps in the sandbox, its failures in words |
//! | `manifest`, `mounter` | the exported interfaces |

#![allow(unreachable_pub, reason = "a plugin's crate has no users but its exports")]

pub mod acl;
pub mod blobfuse;
pub mod config;
pub mod container;
pub mod conversation;
pub mod endpoint;
pub mod errors;
pub mod explain;
pub mod grant;
mod header;
pub mod host;
mod manifest;
mod mounter;
pub mod plan;
pub mod prepare;
pub mod release;
pub mod sas;
#[cfg(test)]
mod tests;

/// The plugin: what its exports are implemented on. It has no state; every
/// call brings all it needs.
pub struct Plugin;

#[cfg(target_family = "wasm")]
sandbox_broker_sdk::export_storage_provider!(Plugin);
