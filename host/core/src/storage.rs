//! The port: what a session needs of a storage provider, in domain words.
//!
//! Owns the vocabulary of a mount (target, steps, plan) and the trait [`Mounter`]. Deliberately knows no plugin engine, no
//! storage service, and not how a plan is carried out: the crate `session` does that, through the sandbox provider. The
//! crate `plugin` implements the trait with components. The meaning of every item is in `wit/storage.wit`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::sandbox::{Call, Code, Result};

/// Bytes of a file of a plan, at most.
pub const FILE_BYTES: usize = 64 * 1024;

/// Bytes of [`Grant::kept`], at most.
pub const KEPT_BYTES: usize = 4 * 1024;

/// Bytes of [`Grant::sealed`], at most.
pub const SEALED_BYTES: usize = 16 * 1024;

/// Where storage is to appear, and the identity of that mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// 32 lower-case hexadecimal digits, unique for all time.
    pub id: String,
    /// Absolute path of the mount point.
    pub path: String,
    /// Absolute path of a directory on the sandbox's disk, for root only.
    pub workspace: String,
    /// Whether writing must be refused.
    pub read_only: bool,
    /// Who must be able to use it; the sandbox's default user when none.
    pub user: Option<String>,
    /// This broker's name, the same after a restart.
    pub broker: String,
}

/// What [`Mounter::prepare`] or the last [`Mounter::renew`] returned and the other calls want to see again. Empty when
/// nothing was prepared. Neither part is ever printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Written down for a later process of the broker. By the plugin's contract it holds no secret.
    pub kept: Bytes,
    /// Credentials that the service made. They stay in memory, so a later process has none.
    pub sealed: Bytes,
}

impl Grant {
    /// Whether nothing was prepared.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.sealed.is_empty()
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grant({} bytes kept, {} sealed)", self.kept.len(), self.sealed.len())
    }
}

/// A file to put into the sandbox, by rename over an older one, as root.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute path; its directory exists.
    pub path: String,
    /// At most [`FILE_BYTES`]; may hold a credential.
    pub content: Bytes,
    /// Permission bits.
    pub mode: u32,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// A process of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments; never empty, never a secret.
    pub argv: Vec<String>,
    /// Added to the sandbox's environment.
    pub env: BTreeMap<String, String>,
    /// The user whose process it is; root when `None`.
    pub user: Option<String>,
    /// A process that still runs after this time has failed.
    pub timeout: Duration,
    /// Explains a failure by what the process printed. The first explanation whose pattern occurs counts.
    pub explain: Vec<Explanation>,
}

/// Words for a known failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Plain text to find.
    pub pattern: String,
    /// What kind of failure it is.
    pub code: Code,
    /// What failed and what to do.
    pub message: String,
}

/// One thing to do in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put a file there.
    WriteFile(File),
    /// Run a process to its end; a status other than 0 is a failure.
    Run(Command),
    /// Start a process that lives as long as the mount.
    Supervise(Command),
}

/// How to mount, prove, watch and unmount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For people.
    pub title: String,
    /// Mounts, in order.
    pub mount: Vec<Step>,
    /// Proves that the mount works; repeated while it fails.
    pub verify: Vec<Command>,
    /// Bounds `mount` and `verify` together; a minute at most.
    pub mount_timeout: Duration,
    /// Checks that a live mount still works.
    pub watch: Vec<Command>,
    /// Flushes and unmounts.
    pub unmount: Vec<Step>,
    /// Bounds `unmount` and the end of the supervised process after it; two
    /// minutes at most, less while the broker shuts down.
    pub unmount_timeout: Duration,
    /// Clears away what a mount that died left behind.
    pub clear: Vec<Step>,
    /// When to ask for [`Mounter::renew`]; never when none.
    pub renew_after: Option<Duration>,
}

/// Fresh credentials for a live mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Puts them there.
    pub steps: Vec<Step>,
    /// What to remember from now on.
    pub grant: Grant,
    /// When to ask again.
    pub renew_after: Option<Duration>,
}

/// A storage provider as configured: one section of the configuration at one
/// generation.
///
/// Every method is bounded in time by the implementation and may be called at
/// any time, at the same time as others. Dropping a future gives the call up.
#[async_trait]
pub trait Mounter: Send + Sync + fmt::Debug {
    /// The section's name, such as `azure`.
    fn name(&self) -> &str;

    /// Name for people, such as "Azure Blob Storage".
    fn title(&self) -> &str;

    /// Identifies its settings: equal in every process with the same settings. Secrets are not part of it.
    fn settings(&self) -> &str;

    /// Checks that the storage exists and gets what the other calls need for it. However it ends, the caller must call
    /// [`release`](Self::release) afterwards.
    async fn prepare(&self, call: &Call, target: &Target) -> Result<Grant>;

    /// Plans the mount. Asks the storage's service nothing while the grant is empty.
    async fn plan(&self, call: &Call, target: &Target, grant: &Grant) -> Result<Plan>;

    /// Gets and plans fresh credentials for the live mount.
    async fn renew(&self, call: &Call, target: &Target, grant: &Grant) -> Result<Renewal>;

    /// Takes back what `prepare` got. `grant` is empty when `prepare` was cut off. It may be repeated.
    async fn release(&self, call: &Call, target: &Target, grant: &Grant) -> Result<()>;
}
