//! What a new session is made of.
//!
//! Owns the blueprint and the labels of a sandbox. Deliberately knows no
//! configuration file: whoever opens sessions fills a blueprint in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandbox_broker_core::sandbox::{Choices, Command, Provider};
use sandbox_broker_core::storage::Mounter;
use sandbox_broker_journal::{self as journal, Journal, Owner};

use crate::id::new_id;
use crate::invitation::Invitations;
use sandbox_broker_policy::roster::SizeRule;

/// Label of every sandbox that a broker makes; its value names the broker.
pub const LABEL_BROKER: &str = "sandbox-broker";

/// Label of every sandbox that a broker makes; its value is the session's id.
pub const LABEL_SESSION: &str = "sandbox-broker-session";

/// Label of every sandbox that a broker makes; its value is new with each
/// attempt to make one.
pub const LABEL_NONCE: &str = "sandbox-broker-nonce";

/// What happens when a client of a kept session does not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowClient {
    /// Nobody waits. The client misses what the recorder no longer has.
    #[default]
    Gap,
    /// The shell waits, if this client drives.
    Pause,
}

/// What a new session is made of. A session keeps the blueprint that it began
/// with, so a change of configuration never touches a live session. Only the
/// secrets of its provider and its storage change.
#[derive(Clone)]
pub struct Blueprint {
    /// Makes and ends the sandbox.
    pub provider: Arc<dyn Provider>,
    /// Value of [`LABEL_BROKER`]. It tells this broker's sandboxes from others.
    pub broker_id: String,
    /// The shell.
    pub command: Command,
    /// Environment of every process in the sandbox; may hold secrets.
    pub sandbox_env: BTreeMap<String, String>,
    /// What the sandbox is like.
    pub choices: Choices,
    /// A session without input and output for this long ends.
    pub idle_timeout: Duration,
    /// A session of this age ends, even if it is in use.
    pub max_age: Option<Duration>,
    /// The sandbox ends by itself this long after the broker's last sign of
    /// life. The lease is renewed three times in that time.
    pub lease: Duration,
    /// Number of the configuration that this comes from. It counts up.
    pub generation: u64,
    /// Largest number of sessions at once. A session counts until its sandbox
    /// has ended.
    pub max_sessions: usize,
    /// Largest number of sessions of one person, if people sign in.
    pub max_sessions_per_user: usize,
    /// Storage in every sandbox, in the order in which it is mounted. The
    /// shell starts in the first one.
    pub mounts: Vec<Mount>,
    /// How long a kept session lives on without a client.
    pub keep: Duration,
    /// What happens when a client does not read.
    pub slow: SlowClient,
    /// Which client's size the terminal takes.
    pub size: SizeRule,
    /// The recorder, a program that keeps output in the sandbox of a kept
    /// session. Without it such a session uses the provider's own terminal.
    pub recorder: Option<Bytes>,
    /// Where sessions are written down.
    pub journal: Arc<dyn Journal>,
    /// In whose name they are written down.
    pub owner: Owner,
    /// Makes the invitations to its sessions.
    pub invitations: Invitations,
}

/// Storage at a path.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Plans how it is mounted.
    pub mounter: Arc<dyn Mounter>,
    /// Absolute path of the mount point.
    pub path: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

impl Mount {
    /// Returns the journal's record of a new mount.
    pub(crate) fn to_record(&self) -> journal::Mount {
        journal::Mount {
            id: new_id().to_string(),
            provider: self.mounter.name().to_owned(),
            settings: self.mounter.settings().to_owned(),
            path: self.path.clone(),
            read_only: self.read_only,
            begun: 0,
            grant: None,
        }
    }
}
