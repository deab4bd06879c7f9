//! How the init's program is started: its command-line words and the settings that travel in its arguments.
//!
//! Both ends need this: the server, which starts the program, and the program itself. Does nothing.

use serde::{Deserialize, Serialize};

/// The hidden first argument that turns the embedding binary into the init of a sandbox.
pub const ARGUMENT: &str = "sandboxd-init";

/// The settings of an init, as the JSON of its second argument. None of them is secret.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Setup {
    /// Whether the sandbox may mount file systems in user space.
    pub may_mount: bool,
    /// The uid and gid of the only user inside, if the server cannot provide several.
    pub only_user: Option<u32>,
    /// The largest size of one file in bytes.
    pub file_bytes: u64,
    /// The largest number of processes, if no cgroup counts them.
    pub processes: Option<u64>,
    /// The most memory of one process in bytes, if no cgroup counts that of all.
    pub data_bytes: Option<u64>,
}

/// The second argument of the process that makes a network namespace. The third one is the ports to listen on there,
/// separated by commas. The following ones are the program that the process becomes.
pub const OWN_NETWORK: &str = "own-network";

/// The `oom_score_adj` of a sandbox's processes. When memory runs out, the kernel kills them before the server.
pub const OOM_SCORE_ADJUSTMENT: &str = "100";
