//! The port [`Journal`] and its words: what is written down of a session, and who answers for it.
//!
//! Deliberately knows no session, no provider, no file and no clock: the caller passes the time. Nothing written here is a
//! secret. The state of a sandbox may hold a token, so it is not written.

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Who answers for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The broker, by the name in its state directory: the same for every
    /// process that was or will be started there.
    pub broker: String,
    /// The process: random, and new with each start.
    pub instance: String,
}

/// One session as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The session's id.
    pub id: String,
    /// Who answers for it.
    pub owner: Owner,
    /// Counts the owners: 1 for the first, one more with each claim. A broker that names an older epoch has lost the
    /// session.
    pub epoch: u64,
    /// No other broker may claim it before. Kept to the millisecond.
    pub lease_ends: SystemTime,
    /// What is known of it.
    pub entry: Entry,
}

/// How far a session has come with its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A sandbox is about to be made, or was made and its id was not written down: look for its nonce.
    Intent,
    /// There is a sandbox, and no shell in it yet.
    Made,
    /// The shell runs.
    Running,
    /// The session is over and its sandbox is to be ended.
    Ending,
}

/// Where a later broker finds the shell's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Terminal {
    /// A recorder in the sandbox keeps it.
    Recorded {
        /// The recorder's directory, an absolute path in the sandbox.
        directory: String,
    },
    /// Only the provider has it, and it gives only new output.
    Plain {
        /// The provider's id of the process.
        pty: String,
    },
}

/// What is known of a session. Its members are a closed set: a change of them is a new version of the stored format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// How far it is.
    pub state: State,
    /// Section of the configuration whose provider has the sandbox.
    pub provider: String,
    /// Label of the attempt to make the sandbox.
    pub nonce: String,
    /// The provider's id of the sandbox, once there is one.
    pub sandbox: Option<String>,
    /// Where the shell is, once it runs.
    pub terminal: Option<Terminal>,
    /// Whether its clients can come back to it when the broker goes. Otherwise the entry serves only to end its sandbox.
    pub durable: bool,
    /// Name of the token with which it was opened, if a token was needed.
    pub user: Option<String>,
    /// What its user calls it.
    pub name: Option<String>,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// When it was opened.
    pub created: SystemTime,
    /// Its storage, in the order in which it is mounted.
    pub storage: Vec<Mount>,
    /// Name of the client that has control.
    pub driver: Option<String>,
}

/// Storage of a session: what a later broker needs to go on with its mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The mount's id, unique for all time.
    pub id: String,
    /// Section of the configuration whose plugin plans it.
    pub provider: String,
    /// Digest of that section's settings. With other settings, nobody can go on with the mount.
    pub settings: String,
    /// Absolute path of the mount point.
    pub path: String,
    /// Whether writing is refused.
    pub read_only: bool,
    /// How often mounting was begun. Each try has a workspace of its own.
    pub begun: u32,
    /// What the plugin wants to see again, in base64; `None` before it was prepared. By the contract, it is no secret.
    pub grant: Option<String>,
}

/// Why the journal did not do what it was asked. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is a session with this id.
    #[error("the journal has a session with this id already")]
    AlreadyExists,
    /// There is no session with this id.
    #[error("the journal has no session with this id")]
    NotFound,
    /// Another owner has claimed the session since. The caller must leave it alone.
    #[error("another broker has taken the session over")]
    Stale,
    /// Another broker answers for it.
    #[error("another broker serves the session")]
    Held {
        /// When its lease ends.
        until: SystemTime,
    },
    /// The journal cannot be read or written.
    #[error("{0}")]
    Failed(
        /// What failed, who has to act and how.
        String,
    ),
}

/// Result of an operation on the journal.
pub type Result<T> = std::result::Result<T, Error>;

/// Records of sessions that several brokers may share: every change names the
/// epoch that it is based on, so of two that act at once one is told
/// [`Error::Stale`].
///
/// When a call has answered `Ok`, its change outlives the process. Dropping a future gives the call up; the change may
/// still be made. The caller decides whether a broker may go on without its journal.
#[async_trait]
pub trait Journal: Send + Sync + fmt::Debug {
    /// Adds a session and returns its epoch, 1.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::Failed`].
    async fn create(&self, id: &str, owner: &Owner, entry: &Entry, lease_ends: SystemTime) -> Result<u64>;

    /// Writes what is known of a session now, if `epoch` is still its epoch.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::NotFound`], [`Error::Failed`].
    async fn update(&self, id: &str, epoch: u64, entry: &Entry) -> Result<()>;

    /// Forgets a session, if `epoch` is still its epoch. Succeeds when it is already gone.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Failed`].
    async fn remove(&self, id: &str, epoch: u64) -> Result<()>;

    /// Sets the end of the lease of all sessions of this process, and returns how many there are.
    ///
    /// # Errors
    /// [`Error::Failed`].
    async fn renew(&self, owner: &Owner, lease_ends: SystemTime) -> Result<u64>;

    /// Takes over a session that was read with `epoch`: from an earlier process of the same broker at once, from another
    /// broker when its lease has ended by `now`. Returns the session with its new owner and epoch.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Held`], [`Error::NotFound`], [`Error::Failed`].
    async fn claim(
        &self,
        id: &str,
        epoch: u64,
        owner: &Owner,
        now: SystemTime,
        lease_ends: SystemTime,
    ) -> Result<Record>;

    /// Makes sure that what is written outlives the process. A file that was removed while the broker ran is written again
    /// with all its content.
    ///
    /// # Errors
    /// [`Error::Failed`] while no session can be added.
    async fn keep(&self) -> Result<()>;

    /// All sessions, of every owner, by id.
    ///
    /// # Errors
    /// [`Error::Failed`].
    async fn list(&self) -> Result<Vec<Record>>;
}
