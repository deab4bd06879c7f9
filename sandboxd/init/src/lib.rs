//! The first process of a sandbox: it starts processes, reaps them, and opens files for the server outside.
//!
//! It is the server's own binary, executed again inside the namespaces that `bwrap` made. Its standard input is a
//! socket to the server. It only hands out descriptors and results; no byte of a terminal or a file passes through it.
//! It does not know HTTP, leases, or who asks.
//!
//! The server depends on this crate and never the other way. So what the two say to each other is here too.
//!
//! The files by role:
//!
//! | files | role |
//! |---|---|
//! | [`invocation`], [`wire`] | the command line of this program, and its messages to and from the server |
//! | [`privileges`], [`addresses`] | constants that the server and this program must agree on |
//! | `main_loop` | takes messages, reaps processes, answers |
//! | `harden`, `namespace`, `filter` | what it gives up before any program of the sandbox runs |
//! | `network` | makes the sandbox's network namespace, before `bwrap` runs |
//! | `spawn`, `users` | starts a process as a user of the sandbox |
//! | `files`, `open`, `entry`, `remove` | file operations with the rights of the acting user |
//! | `closing` | ends a sandbox that may mount: programs, mounts, daemons |
//! | [`chore`] | work of the server in a process outside of any sandbox: removing and measuring directory trees |
//!
//! A program that embeds the server must call [`main`] when its first argument is [`ARGUMENT`], before it starts a
//! thread or an async runtime:
//!
//! ```no_run
//! if std::env::args_os().nth(1).is_some_and(|argument| argument == sandboxd_init::ARGUMENT) {
//!     sandboxd_init::main();
//! }
//! ```
//!
//! The init ends when the server closes the socket or dies. Because it is process 1 of its namespace, every process of
//! the sandbox then ends too.

pub mod addresses;
pub mod chore;
mod closing;
mod entry;
mod files;
mod filter;
mod harden;
pub mod invocation;
mod main_loop;
mod namespace;
mod network;
mod open;
pub mod privileges;
mod remove;
mod spawn;
mod users;
pub mod wire;

pub use crate::invocation::ARGUMENT;
pub use crate::main_loop::main;
