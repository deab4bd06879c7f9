//! The broker from outside: the real program, real sandboxes, real plugins.

#![allow(unreachable_pub, missing_docs, reason = "a test has no public interface")]

mod cleanup;
mod e2b;
mod hostile;
mod reload;
mod support;
mod terminal;
