//! An E2B-compatible sandbox server for one machine.
//!
//! It speaks two protocols of [E2B](https://e2b.dev) on one port: that of the control plane and that of the daemon in a
//! sandbox. So the unmodified official SDKs, and any other client of these protocols, get sandboxes on this machine. A
//! sandbox is a set of Linux namespaces made by [bubblewrap](https://github.com/containers/bubblewrap).
//!
//! **All sandboxes share one kernel.** A sandbox cannot see the host's home directories, processes or sockets in the
//! file system. It cannot change the host's programs or the kernel's settings, and there are limits on what it takes.
//! It has a network of its own where slirp4netns can provide one. If the server runs as root, root in a sandbox has the
//! host's uid 0, but not its rights. The README says what isolates a sandbox and what does not.
//!
//! The files by role:
//!
//! | files | role |
//! |---|---|
//! | `server`, `options` | starts and stops everything; passes each request to a sandbox or to the control plane |
//! | `listen`, `visitors`, `secret` | who may connect, and how long an unknown connection may stay |
//! | `control` | the REST API that creates, finds and kills sandboxes |
//! | `envd`, `connect` | the API of one sandbox: processes, file system, file contents |
//! | `sandbox` | one sandbox from its creation to its end, its processes and watches; the registry of all |
//! | `isolation`, `network`, `limits` | what a sandbox sees, reaches and may take |
//! | `link` | the server's end of the socket to the init of a sandbox |
//! | `machine`, `activity`, `announcement`, `complaint`, `descriptor` | helpers that know nothing of the others |
//!
//! Two crates lie below this one:
//!
//! | crate | role |
//! |---|---|
//! | `sandboxd-init` | what runs inside a sandbox or in a child process, and its messages to and from the server |
//! | `sandboxd-gatekeeper` | whether a connection comes from a sandbox; the broker asks it too |
//!
//! The path of a terminal's byte, from the client to the shell and back:
//!
//! | step | place | what happens |
//! |---|---|---|
//! | 1 | `server::connections`, `server::dispatch` | accepts the connection, finds the sandbox by headers or host name |
//! | 2 | `envd::process` | decodes `SendInput` or a message of `StreamInput` |
//! | 3 | `sandbox::process::handle` | writes to the terminal's master, waits while that is full |
//! | 4 | kernel | the shell reads and writes |
//! | 5 | `sandbox::process::pump` | reads the master when the kernel has output, encodes one frame |
//! | 6 | `connect::stream` | a bounded queue per listener; a full one holds back the process |
//! | 7 | `connect::stream` | the frame is one chunk of the answer, sent at once |
//!
//! Bytes of terminals and files never pass through the sandbox's [`init`]: it opens descriptors and hands them over.
//!
//! To embed the server: flatten [`Options`] into a command, call [`run`], and route [`init::ARGUMENT`] to [`init::main`]
//! before anything else.

mod activity;
mod announcement;
mod complaint;
mod connect;
mod control;
mod descriptor;
mod envd;
mod isolation;
mod limits;
mod link;
mod listen;
mod machine;
mod network;
mod options;
mod sandbox;
mod secret;
mod server;
mod visitors;

pub use crate::announcement::build;
pub use crate::network::{Network, NetworkError};
pub use crate::options::{
    DEFAULT_LISTEN, DEFAULT_MAX_DISK_MIB, DEFAULT_MAX_MEMORY_MIB, DEFAULT_MAX_PROCESSES, DEFAULT_MAX_SANDBOXES,
    DEFAULT_MAX_TIMEOUT, Options,
};
pub use crate::server::{Error, Server, run};

/// The first process inside a sandbox, as far as a program that embeds the server must know it.
pub mod init {
    pub use sandboxd_init::{ARGUMENT, main};
}
