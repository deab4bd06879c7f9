//! What the machine is told and what it answers.
//!
//! Owns the words between the machine and the session's task. Deliberately decides
//! nothing.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::outcome::Outcome;
use crate::stage::Stage;
use sandbox_broker_core::sandbox::{Code, Error, Exit, Fault, Result, SandboxRef, Size};

/// What happened.
#[derive(Debug)]
pub enum MachineEvent {
    /// The storage is there, or cannot be used.
    Prepared(Result<()>),
    /// `create` has answered.
    Created(Result<SandboxRef>),
    /// All storage is mounted, or some cannot be.
    Mounted(Result<()>),
    /// News of the storage for clients.
    News(Stage),
    /// All storage is unmounted, as far as it could be.
    Unmounted,
    /// Release is done, or has given up.
    Released,
    /// The shell runs, in a terminal of this size if that is known; or could
    /// not start.
    Opened(Result<Option<Size>>),
    /// A client typed.
    Input(Bytes),
    /// A client wants this size.
    Resize(Size),
    /// The resize has answered.
    Resized(Result<()>),
    /// Somebody used the session at this time other than through its
    /// terminal.
    Touched(Instant),
    /// The shell printed something.
    Output,
    /// All output was printed.
    Drained,
    /// The shell, or the connection to it, ended.
    Exited(Result<Exit>),
    /// Another broker serves the session now.
    Replaced,
    /// Every client that was here lately was told the end.
    Fetched,
    /// The sandbox is gone by the provider's word.
    LeaseLost(Error),
    /// Who is there, guests not counted.
    Clients(Attendance),
    /// It has reached its greatest age.
    Aged(Duration),
    /// A client or an operator ends the session.
    Kill,
    /// The broker shuts down.
    Shutdown,
    /// Time went by: [`Machine::deadline`](super::Machine::deadline) may have come.
    Time,
    /// Kill, FindAndKill or Leave is done, or has given up.
    Cleaned,
}

/// Whether clients are at a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attendance {
    /// At least one is.
    Here,
    /// None is, and at least one of those that were here lately did not leave
    /// by closing its window.
    Away,
    /// None is. All that were here lately closed their windows.
    Closed,
}

/// What to do.
#[derive(Debug)]
pub enum Effect {
    /// Check the storage and get what is needed to mount it.
    Prepare,
    /// Make the sandbox.
    Create,
    /// Renew the sandbox's lease until Kill.
    KeepAlive(SandboxRef),
    /// Mount the storage and keep it mounted until Unmount.
    Mount(SandboxRef),
    /// Start the shell.
    Open(SandboxRef, Size),
    /// Send input to the shell, at most [`CHUNK_BYTES`](sandbox_broker_core::sandbox::CHUNK_BYTES).
    Write(Bytes),
    /// Set the terminal's size; never while another Resize is unanswered.
    Resize(Size),
    /// Refuse all further input.
    CloseInput,
    /// Close the terminal. What it has already delivered still counts.
    HangUp,
    /// Save what is in the storage and unmount it. Gives up an unanswered Open.
    Unmount,
    /// Release what Prepare got. Gives up everything else about the storage.
    Release,
    /// End the sandbox for certain. Gives up an unanswered Open.
    Kill(SandboxRef),
    /// End whatever the failed create has made.
    FindAndKill,
    /// Leave the session to another broker as it is: give up all calls, and
    /// leave the storage mounted. If there is a sandbox that this broker may
    /// still act on, renew its lease once more.
    Leave(Option<SandboxRef>),
    /// Tell with [`MachineEvent::Fetched`] when every client that was here lately was
    /// told the end.
    Await,
    /// Tell clients of a step.
    Stage(Stage),
    /// Tell clients that the shell runs with this size.
    Ready(Size),
    /// Tell clients how it ended, also those that come later.
    End(Outcome),
    /// Admit no more clients.
    Close,
}

/// The terms of a session's life.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// It ends after this long without input and output, while a client is
    /// there.
    pub idle_timeout: Duration,
    /// It lives on this long without a client. None ends it with its last
    /// client.
    pub keep: Option<Duration>,
    /// It has storage.
    pub storage: bool,
    /// An earlier broker made its sandbox. Then there is no client yet.
    pub taken_over: bool,
}

/// Whether a sandbox may have been made in spite of this error of `create`.
pub(super) fn may_exist(error: &Error) -> bool {
    match error.code {
        Code::InvalidArgument
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::ResourceExhausted
        | Code::OutOfRange
        | Code::Unimplemented => error.fault == Fault::Plugin,
        Code::AlreadyExists
        | Code::Aborted
        | Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::DataLoss
        | Code::Internal
        | Code::Unknown => true,
    }
}
