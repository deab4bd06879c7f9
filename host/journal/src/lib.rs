//! What outlives the broker's process: which sessions there are, which sandbox
//! each has or was about to make, and who answers for it until when; and the
//! sign-ins of the page.
//!
//! Owns the port [`Journal`] and its words. Deliberately knows no session, no
//! provider and no clock: who asks brings the time along. Nothing written here
//! is a secret, so a sandbox's state, which may hold a token, is not.

#[cfg(any(test, feature = "memory"))]
pub mod memory;
mod sign_ins;
mod sqlite;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use sign_ins::SignIn;
pub use sqlite::Sqlite;

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
    /// Counts the owners: 1 for who made it, one more with each claim. Who
    /// comes with an older one has lost the session.
    pub epoch: u64,
    /// Until then no other broker may claim it. Kept to the millisecond.
    pub lease_ends: SystemTime,
    /// What is known of it.
    pub entry: Entry,
}

/// How far a session is, as far as its sandbox goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A sandbox is about to be made, or was, and nobody wrote down the
    /// answer: look for its nonce.
    Intent,
    /// There is a sandbox, and no shell in it yet.
    Made,
    /// The shell runs.
    Running,
    /// The session is over and its sandbox is to be ended.
    Ending,
}

/// Where the shell's output is found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Terminal {
    /// A recorder in the sandbox keeps it.
    Recorded {
        /// The recorder's directory, an absolute path in the sandbox.
        directory: String,
    },
    /// The provider alone has it, and gives what comes from now on.
    Plain {
        /// The provider's id of the process.
        pty: String,
    },
}

/// What is known of a session. Its members are closed: to change them is to
/// change the version of what is stored.
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
    /// Whether it is kept for its clients when the broker goes. Otherwise it
    /// is here only so that its sandbox is ended.
    pub durable: bool,
    /// Name of the token with which it was opened, where one was needed.
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

/// Storage of a session: what it takes to go on with its mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The mount's id, unique for all time.
    pub id: String,
    /// Section of the configuration whose plugin plans it.
    pub provider: String,
    /// Tells the settings of that section from others. Of other settings
    /// nobody can go on with the mount.
    pub settings: String,
    /// Absolute path of the mount point.
    pub path: String,
    /// Whether writing is refused.
    pub read_only: bool,
    /// How often mounting it was begun. Each time has a workspace of its own.
    pub begun: u32,
    /// What the plugin wants to see again, in base64; none before it was
    /// prepared. By the plugin's contract no secret.
    pub grant: Option<String>,
}

/// Why the journal did not do what it was asked. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is a session with this id.
    #[error("the journal has a session with this id already")]
    AlreadyExists,
    /// There is none.
    #[error("the journal has no session with this id")]
    NotFound,
    /// Another one has claimed the session since: leave it alone.
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
        /// What failed, whose turn it is and what to do.
        String,
    ),
}

/// Result of an operation on the journal.
pub type Result<T> = std::result::Result<T, Error>;

/// Records of sessions that several brokers may share: every change names the
/// epoch that it is based on, so of two that act at once one is told
/// [`Error::Stale`].
///
/// When a call has answered `Ok`, its change outlives the process. Dropping a
/// future gives the call up; the change may still be made. Whether a broker
/// may live without its journal is for who asks to decide.
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

    /// Forgets a session, if `epoch` is still its epoch. Success also when it
    /// is already gone.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Failed`].
    async fn remove(&self, id: &str, epoch: u64) -> Result<()>;

    /// Sets the end of the lease of all sessions of this very process, and
    /// returns how many they are.
    ///
    /// # Errors
    /// [`Error::Failed`].
    async fn renew(&self, owner: &Owner, lease_ends: SystemTime) -> Result<u64>;

    /// Takes over a session that was read with `epoch`: at once from an
    /// earlier process of the same broker, from another broker when its lease
    /// has ended by `now`. Returns it with its new owner and epoch.
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

    /// Makes sure that what is written here outlives the process. What was
    /// taken away from under it is put back, whole.
    ///
    /// # Errors
    /// [`Error::Failed`], while a new session cannot be added.
    async fn keep(&self) -> Result<()>;

    /// All sessions, of every owner, by id.
    ///
    /// # Errors
    /// [`Error::Failed`].
    async fn list(&self) -> Result<Vec<Record>>;
}
