//! The broker from outside: the real program, real sandboxes, real plugins.

#![allow(unreachable_pub, missing_docs, reason = "a test has no public interface")]
#![allow(clippy::unwrap_used, reason = "a surprise fails the test")]

mod answers;
mod attach;
mod catching_up;
mod cleanup;
mod connections;
mod contract;
mod control;
mod credentials;
mod durable;
mod e2b;
mod ends;
mod fallback;
mod files;
mod flood;
mod hostile;
mod languages;
mod late;
mod level1;
mod mount;
mod neighbours;
mod operations;
mod orphans;
mod proved;
mod providers;
mod proxies;
mod reload;
mod rights;
mod services;
mod sessions;
mod soak;
mod storage;
mod storage_plugin;
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod support;
mod terminal;
mod trouble;
mod workdir;
