//! What the rest of the broker holds of one session.
//!
//! Owns the ways in: a bounded mailbox for input, and wishes of which only
//! the latest counts. Deliberately decides nothing; the driver does.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::log::{Reader, Source};
use crate::sandbox::{CHUNK_BYTES, Size};

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
    /// The provider makes the sandbox.
    Creating,
    /// The shell starts.
    Opening,
    /// The shell runs.
    Running,
    /// The shell has ended; its sandbox is being ended.
    Ending,
}

impl Phase {
    /// Its name for a person or a status page.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Creating => "creating",
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

/// What clients wish of the driver; only the latest counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    pub(super) size: Size,
    pub(super) clients: usize,
    pub(super) shutdown: bool,
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
    status: Mutex<(Phase, Option<String>)>,
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
        let shared = Shared {
            id,
            provider,
            generation,
            opened: Instant::now(),
            wishes: watch::Sender::new(Wishes { size, clients: 1, shutdown: false }),
            mailbox,
            output,
            status: Mutex::new((Phase::Creating, None)),
        };
        (Arc::new(shared), inbox)
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).0 = phase;
    }

    pub(super) fn set_sandbox(&self, id: &str) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(id.to_owned());
    }

    pub(super) fn summary(&self) -> Summary {
        let (phase, sandbox) = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Summary {
            id: Arc::clone(&self.id),
            provider: Arc::clone(&self.provider),
            generation: self.generation,
            phase,
            sandbox,
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
