//! One real server on a free port per test, driven from outside over HTTP.

mod client;
mod control;
mod files;
mod isolation;
mod process;
mod sdk;
