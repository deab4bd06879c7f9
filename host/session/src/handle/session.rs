//! A session, for whoever looks at it or types into it.
//!
//! Owns nothing but a way to the session. Deliberately keeps no session alive.

use std::sync::Arc;

use bytes::Bytes;
use sandbox_broker_core::sandbox::CHUNK_BYTES;
use tokio::time::Instant;

use super::shared::Shared;
use super::summary::Summary;
use super::workspace::Workspace;
use crate::input::mailbox::Input;
use crate::invitation::Invitation;
use crate::ledger::Noted;
use crate::live_sandbox::LiveSandbox;
use crate::output::reader::Reader;
use crate::recorder::tape::Tape;

/// The session takes no input any more; its reader says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub struct Ended;

/// A live or ended session. Cheap to clone. Holding one keeps no session alive;
/// a [`Client`](crate::Client) does.
#[derive(Clone, Debug)]
pub struct Session(pub(crate) Arc<Shared>);

impl Session {
    /// Its id: 128 random bits in 32 lower-case hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Sends input to the shell, or keeps it until there is one.
    ///
    /// Waits while the shell takes no input and the queues to it are full. If
    /// the future is dropped then, only whole chunks of [`CHUNK_BYTES`] were
    /// delivered: nothing, if all input fits into one chunk. Order is kept
    /// among calls that follow one another.
    pub async fn input(&self, mut bytes: Bytes) -> Result<(), Ended> {
        while !bytes.is_empty() {
            let bytes = bytes.split_to(bytes.len().min(CHUNK_BYTES));
            self.0.mailbox.send(Input { bytes, from: None }).await.map_err(|_| Ended)?;
        }
        Ok(())
    }

    /// Whose it is, if people sign in.
    pub fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    /// How it is now.
    pub fn summary(&self) -> Summary {
        self.0.summary()
    }

    /// Gives it this name, or none. The name outlives the broker. Returns false
    /// if another broker has the session by now.
    pub async fn rename(&self, name: Option<String>) -> bool {
        self.0.ledger.note(|entry| entry.name = name).await == Noted::Kept
    }

    /// Lets others watch it. None if no other client may come.
    pub fn invitation(&self) -> Option<&Invitation> {
        self.0.invitation.as_ref()
    }

    /// Ends the session with its sandbox, as its own end of the shell would.
    /// Never waits.
    pub fn kill(&self) {
        self.0.wishes.send_modify(|wishes| wishes.kill = true);
    }

    /// Where the recorder keeps the session's output. Some while the session
    /// runs with a recorder.
    pub fn tape(&self) -> Option<Tape> {
        self.0.status().tape.clone()
    }

    /// Counts as use of the session, as a typed key does: the idle time begins
    /// anew. Never waits.
    pub fn touch(&self) {
        self.0.wishes.send_modify(|wishes| wishes.touched = Instant::now());
    }

    /// What it takes to work on the session's files. Some while the shell runs.
    /// Work that was begun with it may go on for as long as the sandbox lives,
    /// and fails after that.
    pub fn workspace(&self) -> Option<Workspace> {
        let status = self.0.status();
        let newest = status.sandbox.as_ref().map(LiveSandbox::get);
        let workspace = status.workspace.clone()?;
        Some(Workspace { sandbox: newest.unwrap_or_else(|| workspace.sandbox.clone()), ..workspace })
    }

    /// Reads what the session tells, from the oldest output that is still
    /// held: everything for the first reader.
    ///
    /// A reader that exists and does not read stops the shell when it is
    /// [`WINDOW`](crate::WINDOW) behind.
    pub fn reader(&self) -> Reader {
        self.0.output.reader()
    }
}
