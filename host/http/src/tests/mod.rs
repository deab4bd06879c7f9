//! The broker's door, tried from outside: the real accept loop on a port of
//! its own, handmade requests and a client that knows only level 0.

mod auth;
mod conformance;
mod disk;
mod fake;
mod files;
mod guard;
mod harness;
mod page;
mod serve;
mod sessions;
mod terminal;
