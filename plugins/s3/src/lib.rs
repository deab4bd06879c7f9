//! The storage provider for services that speak S3, mounted by rclone.
//!
//! Owns everything that is S3's or rclone's: how temporary credentials are asked
//! for and what they may do, what the service's answers mean, the program's
//! configuration and the scripts that mount, watch and unmount. It has neither
//! network nor processes: it words requests and plans, and the host carries
//! them out. The operator's secret key stays with the host, which signs the
//! requests to the token service with it.
//!
//! | module | what |
//! |---|---|
//! | [`config`], [`host`], [`grant`] | what is configured, what the host does for us, what it keeps for us |
//! | [`bucket`], [`endpoint`], [`presign`] | where the bucket is, and requests to it that carry their signature in the URL |
//! | [`sts`] | temporary credentials for one bucket and prefix |
//! | [`answers`], [`errors`] | what the service answers, in words |
//! | [`conversation`], [`prepare`] | what is asked of the service, and in which order |
//! | [`rclone`], [`plan`], [`explain`] | the program's files, the steps in the sandbox, its failures in words |
//! | `manifest`, `mounter` | the exported interfaces |

#![allow(unreachable_pub, reason = "a plugin's crate has no users but its exports")]

pub mod answers;
pub mod bucket;
pub mod config;
pub mod conversation;
pub mod endpoint;
pub mod errors;
pub mod explain;
pub mod grant;
pub mod host;
mod manifest;
mod mounter;
pub mod plan;
pub mod prepare;
pub mod presign;
pub mod rclone;
pub mod sts;
#[cfg(test)]
mod tests;

/// The plugin: what its exports are implemented on. It has no state; every
/// call brings all it needs.
pub struct Plugin;

#[cfg(target_family = "wasm")]
sandbox_broker_sdk::export_storage_provider!(Plugin);
