//! The states of a session, and what it remembers beside them.
//!
//! Owns the start and the questions that change nothing. The steps between the
//! states are in the files beside this one.

use bytes::BytesMut;
use sandbox_broker_core::sandbox::{SandboxRef, Size};
use std::time::Duration;
use tokio::time::Instant;

use super::away::Away;
use super::vocabulary::{Effect, Terms};
use crate::outcome::Outcome;

/// Bytes of input that are kept until the shell runs. What a person types or
/// pastes while waiting fits. Beyond it the mailbox is not read, so only that
/// socket waits. One more chunk may come on top.
pub const PENDING_INPUT: usize = 64 * 1024;

#[derive(Debug)]
pub(super) enum ShellState {
    Preparing,
    Creating,
    Mounting,
    Opening,
    Running {
        drained: bool,
    },
    /// It has ended or has to end, since then. Once `drained` is true the
    /// terminal is closed.
    Draining {
        outcome: Outcome,
        drained: bool,
        since: Instant,
    },
    /// The end was told then. Clients may come for it for as long as a session
    /// is kept.
    Ended {
        exited: bool,
        since: Instant,
    },
    Over,
}

#[derive(Debug)]
pub(super) enum SandboxState {
    Unmade,
    Making,
    Made(SandboxRef),
    /// The shell exited. The sandbox stays for clients that were here and have
    /// not been told.
    Kept(SandboxRef),
    Cleaning,
    Gone,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum StorageState {
    Preparing,
    Prepared,
    /// Mounting has begun.
    Mounted,
    Unmounting,
    Releasing,
    /// Released, or there is none.
    Gone,
}

/// The state of one session.
#[derive(Debug)]
pub struct Machine {
    pub(super) shell: ShellState,
    pub(super) sandbox: SandboxState,
    pub(super) storage: StorageState,
    pub(super) idle_timeout: Duration,
    /// How long the session lives on without a client. None if it ends with its
    /// last client.
    pub(super) keep: Option<Duration>,
    pub(super) away: Away,
    /// An earlier broker made its sandbox.
    pub(super) taken_over: bool,
    /// Clients know of it: its shell has run.
    pub(super) known: bool,
    /// A person ended it, or the broker shuts down. Then its end is not kept
    /// here.
    pub(super) killed: bool,
    pub(super) stops: bool,
    /// When somebody last typed or the shell last printed.
    pub(super) active: Instant,
    /// When the step that runs began.
    pub(super) step_began: Instant,
    /// Input that came before the shell ran.
    pub(super) pending: BytesMut,
    /// The size that clients want.
    pub(super) size: Size,
    /// The size that the terminal has or was last asked to take. None after a
    /// failure.
    pub(super) asked: Option<Size>,
    /// A Resize is unanswered.
    pub(super) resizing: bool,
}

impl Machine {
    /// A new session, and what to do first.
    pub fn start(size: Size, terms: Terms, now: Instant) -> (Self, Vec<Effect>) {
        let Terms { idle_timeout, keep, storage, taken_over } = terms;
        let mut machine = Machine {
            shell: ShellState::Preparing,
            sandbox: SandboxState::Unmade,
            storage: StorageState::Gone,
            idle_timeout,
            keep,
            away: Away::new(taken_over.then_some(now)),
            taken_over,
            known: taken_over,
            killed: false,
            stops: false,
            active: now,
            step_began: now,
            pending: BytesMut::new(),
            size,
            asked: None,
            resizing: false,
        };
        let mut effects = Vec::new();
        if storage {
            machine.storage = StorageState::Preparing;
            effects.push(Effect::Prepare);
        } else {
            machine.create(now, &mut effects);
        }
        (machine, effects)
    }

    /// Whether there is nothing left to do or to wait for.
    pub fn is_finished(&self) -> bool {
        matches!(
            (&self.shell, &self.sandbox, &self.storage),
            (ShellState::Over, SandboxState::Gone, StorageState::Gone)
        )
    }

    /// Whether the machine takes more input now.
    pub fn wants_input(&self) -> bool {
        match self.shell {
            ShellState::Preparing | ShellState::Creating | ShellState::Mounting | ShellState::Opening => {
                self.pending.len() < PENDING_INPUT
            }
            ShellState::Running { .. } => true,
            ShellState::Draining { .. } | ShellState::Ended { .. } | ShellState::Over => false,
        }
    }

    /// Whether the outcome was told.
    pub(super) fn is_told(&self) -> bool {
        matches!(self.shell, ShellState::Ended { .. } | ShellState::Over)
    }
}
