//! What the rest of the broker holds of one session.
//!
//! Owns the ways in: a bounded mailbox for input, and wishes of which only
//! the latest counts. Deliberately decides nothing; the driver does.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::log::{Reader, Source};
use crate::sandbox::{CHUNK_BYTES, Call, Provider, SandboxRef, Size};

/// Chunks of input that wait for the driver, each of at most [`CHUNK_BYTES`].
/// Beyond it [`Session::input`] waits. Small, because the pipe to the shell
/// behind it queues too.
const MAILBOX: usize = 4;

/// The session takes no input any more; its reader says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub struct Ended;

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The storage is looked at.
    Preparing,
    /// The provider makes the sandbox.
    Creating,
    /// The storage is mounted in it.
    Mounting,
    /// The shell starts.
    Opening,
    /// The shell runs.
    Running,
    /// The shell has ended; its storage is saved and its sandbox ended.
    Ending,
}

impl Phase {
    /// Its name for a person or a status page.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Preparing => "preparing",
            Phase::Creating => "creating",
            Phase::Mounting => "mounting",
            Phase::Opening => "opening",
            Phase::Running => "running",
            Phase::Ending => "ending",
        }
    }
}

/// One line of a list of sessions.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The session's id.
    pub id: Arc<str>,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The configuration that it began with.
    pub generation: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// The provider's id of its sandbox, once there is one.
    pub sandbox: Option<String>,
    /// Since it was opened.
    pub age: Duration,
}

/// What it takes to work on a session's files beside its shell.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Reaches the sandbox; the one that the session began with.
    pub provider: Arc<dyn Provider>,
    /// Where the shell runs.
    pub sandbox: SandboxRef,
    /// Names the session in every request.
    pub call: Call,
    /// Absolute paths below which the session's files are: its mounts in their
    /// order, then the shell's directory where it is another one.
    pub roots: Vec<String>,
    /// Those of `roots` that are storage.
    pub mounts: Vec<String>,
    /// Whose files; the sandbox's default user when none.
    pub user: Option<String>,
}

/// What clients wish of the driver; only the latest counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    pub(super) size: Size,
    pub(super) clients: usize,
    pub(super) shutdown: bool,
    /// When somebody last used the session other than through its terminal.
    pub(super) touched: Instant,
}

/// What the driver tells about itself.
#[derive(Debug)]
struct Status {
    phase: Phase,
    sandbox: Option<SandboxRef>,
    /// While the shell runs.
    workspace: Option<Workspace>,
}

/// What a session's handles and its driver have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: Arc<str>,
    pub(super) provider: Arc<str>,
    pub(super) generation: u64,
    pub(super) opened: Instant,
    pub(super) wishes: watch::Sender<Wishes>,
    mailbox: mpsc::Sender<Bytes>,
    output: Source,
    status: Mutex<Status>,
}

impl Shared {
    /// A session with one client, and the driver's end of its mailbox.
    pub(super) fn new(
        id: Arc<str>,
        provider: Arc<str>,
        generation: u64,
        size: Size,
        output: Source,
    ) -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let (mailbox, inbox) = mpsc::channel(MAILBOX);
        let opened = Instant::now();
        let shared = Shared {
            id,
            provider,
            generation,
            opened,
            wishes: watch::Sender::new(Wishes { size, clients: 1, shutdown: false, touched: opened }),
            mailbox,
            output,
            status: Mutex::new(Status { phase: Phase::Creating, sandbox: None, workspace: None }),
        };
        (Arc::new(shared), inbox)
    }

    /// A panic elsewhere must not spread to those who ask.
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From any phase but Running, which is [`Shared::set_running`].
    pub(super) fn set_phase(&self, phase: Phase) {
        let mut status = self.status();
        (status.phase, status.workspace) = (phase, None);
    }

    pub(super) fn set_sandbox(&self, sandbox: SandboxRef) {
        self.status().sandbox = Some(sandbox);
    }

    /// The shell runs. `workspace` makes what it takes to work beside it.
    pub(super) fn set_running(&self, workspace: impl FnOnce(SandboxRef) -> Workspace) {
        let mut status = self.status();
        status.phase = Phase::Running;
        status.workspace = status.sandbox.clone().map(workspace);
    }

    pub(super) fn summary(&self) -> Summary {
        let status = self.status();
        Summary {
            id: Arc::clone(&self.id),
            provider: Arc::clone(&self.provider),
            generation: self.generation,
            phase: status.phase,
            sandbox: status.sandbox.as_ref().map(|sandbox| sandbox.id.clone()),
            age: self.opened.elapsed(),
        }
    }
}

/// A live or ended session. Cheap to clone; holding one keeps no session
/// alive, a [`Client`] does.
#[derive(Clone, Debug)]
pub struct Session(pub(super) Arc<Shared>);

impl Session {
    /// Its id: 128 random bits in 32 lower-case hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Sends input to the shell, or keeps it until there is one.
    ///
    /// Waits while the shell does not take input and the queues to it are
    /// full. Dropping it then delivers a prefix of `bytes` in whole chunks of
    /// [`CHUNK_BYTES`]: nothing of what fits one. Order is kept among calls
    /// of which each begins after the last one has returned.
    pub async fn input(&self, mut bytes: Bytes) -> Result<(), Ended> {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(CHUNK_BYTES));
            self.0.mailbox.send(chunk).await.map_err(|_| Ended)?;
        }
        Ok(())
    }

    /// Sets the terminal's size, or the one that the shell will start with.
    /// Never waits; the latest wins, and one that the terminal has is not sent.
    pub fn resize(&self, size: Size) {
        self.0.wishes.send_modify(|wishes| wishes.size = size);
    }

    /// Counts as use of the session, as a key does: its time without use
    /// begins anew. Never waits.
    pub fn touch(&self) {
        self.0.wishes.send_modify(|wishes| wishes.touched = Instant::now());
    }

    /// What it takes to work on the session's files; some while its shell
    /// runs. What was begun with it may outlive that by as long as the sandbox
    /// does, and then fails.
    pub fn workspace(&self) -> Option<Workspace> {
        self.0.status().workspace.clone()
    }

    /// Reads what the session tells, from the oldest output that is still
    /// held: everything for the first reader.
    ///
    /// A reader that exists and does not read stops the shell when it is
    /// [`WINDOW`](super::WINDOW) behind.
    pub fn reader(&self) -> Reader {
        self.0.output.reader()
    }
}

/// A session's client. When the last one is dropped the session ends at once,
/// whatever it is doing, and its sandbox with it.
#[derive(Debug)]
pub struct Client(Session);

impl Client {
    /// The client that `shared` was made with.
    pub(super) fn first(shared: Arc<Shared>) -> Self {
        Client(Session(shared))
    }

    /// The session without the guard, for a task beside the client's own.
    pub fn session(&self) -> &Session {
        &self.0
    }
}

impl Deref for Client {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.0.wishes.send_modify(|wishes| wishes.clients -= 1);
    }
}
