//! One real server on a free port per test, driven from outside over HTTP.

#![allow(clippy::unwrap_used, reason = "a failure here is the result, with its place")]

mod bombs;
mod client;
mod control;
mod files;
mod flood;
mod fuse;
mod isolation;
mod kernel;
mod neighbours;
mod network;
mod process;
mod races;
mod sdk;
mod trees;
