//! The sandbox broker as a library: a terminal in a sandbox of any provider.
//!
//! ARCHITECTURE.md follows a typed byte through all crates and draws how they
//! depend on each other. Cargo keeps that in one direction.
//!
//! This crate has what joins them:
//!
//! | module | what it owns |
//! |---|---|
//! | [`broker`] | start, reload and shutdown |
//! | [`cli`] | the commands |
//! | [`embedded`] | the broker's own `sandboxd` |
//! | [`heap`] | giving memory back to the system |

pub mod broker;
pub mod cli;
pub mod embedded;
pub mod heap;
