//! An E2B-compatible sandbox server for one machine.
//!
//! It speaks the control plane and the in-sandbox daemon's protocol of [E2B](https://e2b.dev), on one port, so that the
//! unmodified official SDKs and any other client of that protocol get sandboxes on this machine. A sandbox is a set of
//! Linux namespaces made by [bubblewrap](https://github.com/containers/bubblewrap).
//!
//! **It is one kernel.** A sandbox cannot see the host's home directories, processes and sockets in the file system, cannot
//! change the host's programs or the kernel's settings, and has limits for what it takes. It shares the host's kernel, and has a
//! network of its own where slirp4netns can give one; where the server runs as root, root in a sandbox has the host's uid 0 without its rights. What holds it and what
//! does not is in the README.
//!
//! The path of a terminal's byte, from the client to the shell and back:
//!
//! | step | place | what happens |
//! |---|---|---|
//! | 1 | `server`, `route` | accepts the connection, finds the sandbox by headers or host name |
//! | 2 | `envd::process` | decodes `SendInput` or a message of `StreamInput` |
//! | 3 | `process` | writes to the terminal's master, waits while that is full |
//! | 4 | kernel | the shell reads and writes |
//! | 5 | `process::pump` | reads the master when the kernel has output, encodes one frame |
//! | 6 | `process::subscriber` | bounded queue per listener; a full one holds back the process |
//! | 7 | `connect::stream` | the frame is one chunk of the answer, flushed at once |
//!
//! Terminal and file bytes never pass through the sandbox's [`init`]: it opens and hands over descriptors.
//!
//! To embed the server: flatten [`Options`] into a command, call [`run`], and route [`init::ARGUMENT`] to [`init::main`]
//! before anything else.

mod activity;
mod cgroup;
mod chore;
mod connect;
mod control;
mod disk;
mod envd;
mod forward;
mod gatekeeper;
pub mod init;
mod isolation;
mod limits;
mod link;
mod listen;
pub mod log;
mod machine;
mod network;
mod options;
mod process;
mod registry;
mod route;
mod sandbox;
mod secret;
mod server;
mod trash;
mod tree;
mod watch;
mod wire;

pub use crate::gatekeeper::{Gatekeeper, Peer, Question};
pub use crate::listen::build;
pub use crate::network::{Network, NetworkError};
pub use crate::options::{
    DEFAULT_LISTEN, DEFAULT_MAX_DISK_MIB, DEFAULT_MAX_MEMORY_MIB, DEFAULT_MAX_PROCESSES, DEFAULT_MAX_SANDBOXES,
    DEFAULT_MAX_TIMEOUT, Options,
};
pub use crate::server::{Error, Server, run};
