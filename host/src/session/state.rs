//! The policy of a session: what happens next, without doing it.
//!
//! Owns every decision about a session's life. Pure: no IO, no task, no
//! clock; the driver tells what happened and when, and does what it is told.
//!
//! Two lives run side by side. The shell, which is what clients see:
//!
//! ```text
//!            created              opened              exited
//!  Creating ─────────▶ Opening ───────────▶ Running ─────────▶ Draining
//!     │                   │                    │                   │
//!     │  failed · last client gone · shutdown · lease lost · idle  │ drained
//!     └───────────────────┴─────────┬──────────┴───────────────────┘
//!                                   ▼
//!                                 Over        the outcome is told here, once
//! ```
//!
//! and the sandbox, which must not outlive it:
//!
//! ```text
//!          created            the shell ended, or is Over
//!  Making ─────────▶ Made ─────────────── Kill ──────────────┐
//!    ├── created, but the shell is Over ─── Kill ────────────┤
//!    ├── failed, yet it may exist ────── FindAndKill ────────┤
//!    │                                                       ▼
//!    │                                                   Cleaning
//!    │                                                       │ cleaned
//!    └── failed, and surely none was made ─────────────────▶ Gone
//! ```
//!
//! The session is finished when the shell is Over and the sandbox Gone.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::{Outcome, Progress, Stage, Step};
use crate::sandbox::{CHUNK_BYTES, Code, Error, Exit, Fault, Result, SandboxRef, Size};

/// Bytes of input kept until the shell runs. What somebody types or pastes
/// while waiting fits; beyond it the mailbox is not read, so only that socket
/// waits. One more chunk may come on top.
pub const PENDING_INPUT: usize = 64 * 1024;

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The create has answered.
    Created(Result<SandboxRef>),
    /// The shell runs, or could not start.
    Opened(Result<()>),
    /// A client typed.
    Input(Bytes),
    /// A client wants this size.
    Resize(Size),
    /// The resize has answered.
    Resized(Result<()>),
    /// The shell printed something.
    Output,
    /// All output there will ever be was printed.
    Drained,
    /// The shell, or the connection to it, ended.
    Exited(Result<Exit>),
    /// The sandbox is gone by the provider's word.
    LeaseLost(Error),
    /// No client is left.
    ClientsGone,
    /// The broker shuts down.
    Shutdown,
    /// Time went by: [`Machine::deadline`] may have come.
    Time,
    /// Kill or FindAndKill is done, or has given up.
    Cleaned,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Effect {
    /// Make the sandbox.
    Create,
    /// Renew the sandbox's lease until Kill.
    KeepAlive(SandboxRef),
    /// Start the shell.
    Open(SandboxRef, Size),
    /// Send input to the shell, at most [`CHUNK_BYTES`].
    Write(Bytes),
    /// Set the terminal's size; never while another Resize is unanswered.
    Resize(Size),
    /// Refuse all further input.
    CloseInput,
    /// Let go of the terminal; what it has already delivered still counts.
    HangUp,
    /// End the sandbox for certain; gives up an unanswered Open.
    Kill(SandboxRef),
    /// End whatever the failed create has made.
    FindAndKill,
    /// Tell clients of a step.
    Stage(Stage),
    /// Tell clients that the shell runs with this size.
    Ready(Size),
    /// Tell clients how it ended.
    End(Outcome),
}

#[derive(Debug)]
enum Shell {
    Creating,
    Opening { size: Size },
    Running { drained: bool },
    Draining(Outcome),
    Over,
}

#[derive(Debug)]
enum Sandbox {
    Making,
    Made(SandboxRef),
    Cleaning,
    Gone,
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Machine {
    shell: Shell,
    sandbox: Sandbox,
    idle_timeout: Duration,
    /// When somebody last typed or the shell last printed.
    active: Instant,
    /// When the step that runs began.
    step_began: Instant,
    /// Input from before the shell.
    pending: BytesMut,
    /// What clients want.
    size: Size,
    /// What the terminal has or was last asked for; none after a failure.
    asked: Option<Size>,
    /// A Resize is unanswered.
    resizing: bool,
}

impl Machine {
    /// A new session, and what to do first.
    pub(super) fn start(size: Size, idle_timeout: Duration, now: Instant) -> (Self, Vec<Effect>) {
        let machine = Machine {
            shell: Shell::Creating,
            sandbox: Sandbox::Making,
            idle_timeout,
            active: now,
            step_began: now,
            pending: BytesMut::new(),
            size,
            asked: None,
            resizing: false,
        };
        let stage = started(Step::Create, "Initializing sandbox...");
        (machine, vec![Effect::Stage(stage), Effect::Create])
    }

    /// Whether there is nothing left to do or to wait for.
    pub(super) fn is_finished(&self) -> bool {
        matches!((&self.shell, &self.sandbox), (Shell::Over, Sandbox::Gone))
    }

    /// Whether the next input may be brought.
    pub(super) fn wants_input(&self) -> bool {
        match self.shell {
            Shell::Creating | Shell::Opening { .. } => self.pending.len() < PENDING_INPUT,
            Shell::Running { .. } => true,
            Shell::Draining(_) | Shell::Over => false,
        }
    }

    /// When [`Event::Time`] is due. Each output and input moves it later
    /// only, so a timer may be set once and asked again when it fires.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.shell {
            Shell::Running { .. } | Shell::Draining(_) => self.active.checked_add(self.idle_timeout),
            Shell::Creating | Shell::Opening { .. } | Shell::Over => None,
        }
    }

    /// Takes in what happened at `now`; returns what to do, in order.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Created(result) => self.created(result, now, &mut effects),
            Event::Opened(result) => self.opened(result, now, &mut effects),
            Event::Input(bytes) => self.input(bytes, now, &mut effects),
            Event::Resize(size) => {
                self.size = size;
                self.resize(&mut effects);
            }
            Event::Resized(result) => {
                self.resizing = false;
                let failed = self.asked.take_if(|_| result.is_err());
                // The same again would fail again; a new wish may not.
                if failed != Some(self.size) {
                    self.resize(&mut effects);
                }
            }
            Event::Output => self.active = now,
            Event::Drained => self.drained(&mut effects),
            Event::Exited(result) => self.exited(result, &mut effects),
            Event::LeaseLost(error) => {
                let error = during("Lost the sandbox", error);
                self.over(Outcome::Failed(error), &mut effects);
            }
            Event::ClientsGone => self.over(Outcome::Detached, &mut effects),
            Event::Shutdown => self.over(Outcome::Shutdown, &mut effects),
            Event::Time => {
                if self.deadline().is_some_and(|deadline| now >= deadline) {
                    self.over(Outcome::Idle(self.idle_timeout), &mut effects);
                }
            }
            Event::Cleaned => self.sandbox = Sandbox::Gone,
        }
        effects
    }

    /// From Making, whatever the shell is.
    fn created(&mut self, result: Result<SandboxRef>, now: Instant, effects: &mut Vec<Effect>) {
        let over = matches!(self.shell, Shell::Over);
        match result {
            Ok(sandbox) if over => {
                self.sandbox = Sandbox::Made(sandbox);
                self.kill(effects);
            }
            Ok(sandbox) => {
                effects.push(Effect::Stage(self.finished(Step::Create, "Sandbox created", now)));
                effects.push(Effect::KeepAlive(sandbox.clone()));
                self.step_began = now;
                effects.push(Effect::Stage(started(Step::Shell, "Starting the shell...")));
                effects.push(Effect::Open(sandbox.clone(), self.size));
                self.sandbox = Sandbox::Made(sandbox);
                self.shell = Shell::Opening { size: self.size };
            }
            Err(error) => {
                if may_exist(&error) {
                    self.sandbox = Sandbox::Cleaning;
                    effects.push(Effect::FindAndKill);
                } else {
                    self.sandbox = Sandbox::Gone;
                }
                if !over {
                    self.fail(Step::Create, "Failed to create sandbox", error, now, effects);
                }
            }
        }
    }

    /// From Opening.
    fn opened(&mut self, result: Result<()>, now: Instant, effects: &mut Vec<Effect>) {
        let Shell::Opening { size } = self.shell else { return };
        match result {
            Ok(()) => {
                self.shell = Shell::Running { drained: false };
                self.active = now;
                self.asked = Some(size);
                effects.push(Effect::Stage(self.finished(Step::Shell, "Shell started", now)));
                effects.push(Effect::Ready(size));
                self.resize(effects);
                let mut pending = std::mem::take(&mut self.pending).freeze();
                while !pending.is_empty() {
                    effects.push(Effect::Write(pending.split_to(pending.len().min(CHUNK_BYTES))));
                }
            }
            Err(error) => self.fail(Step::Shell, "Failed to start the shell", error, now, effects),
        }
    }

    fn input(&mut self, bytes: Bytes, now: Instant, effects: &mut Vec<Effect>) {
        match self.shell {
            Shell::Creating | Shell::Opening { .. } => self.pending.extend_from_slice(&bytes),
            Shell::Running { .. } => {
                self.active = now;
                effects.push(Effect::Write(bytes));
            }
            Shell::Draining(_) | Shell::Over => {}
        }
    }

    /// Asks for the size that is wanted, one request at a time.
    fn resize(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.shell, Shell::Running { .. }) && !self.resizing && self.asked != Some(self.size) {
            self.resizing = true;
            self.asked = Some(self.size);
            effects.push(Effect::Resize(self.size));
        }
    }

    /// From Running. The sandbox goes at once; a client that reads slowly
    /// does not keep it.
    fn exited(&mut self, result: Result<Exit>, effects: &mut Vec<Effect>) {
        let Shell::Running { drained } = self.shell else { return };
        let outcome = match result {
            Ok(exit) => Outcome::Exited(exit),
            Err(error) => Outcome::Failed(during("Lost the terminal", error)),
        };
        effects.push(Effect::CloseInput);
        self.shell = Shell::Draining(outcome);
        if drained {
            self.drained(effects);
        }
        self.kill(effects);
    }

    /// From Running or Draining.
    fn drained(&mut self, effects: &mut Vec<Effect>) {
        match &mut self.shell {
            Shell::Running { drained } => *drained = true,
            Shell::Draining(outcome) => {
                let outcome = outcome.clone();
                self.over(outcome, effects);
            }
            Shell::Creating | Shell::Opening { .. } | Shell::Over => {}
        }
    }

    /// From any state but Over. The outcome of a shell that has ended stands.
    fn over(&mut self, outcome: Outcome, effects: &mut Vec<Effect>) {
        let outcome = match std::mem::replace(&mut self.shell, Shell::Over) {
            Shell::Over => return,
            Shell::Draining(exited) => exited,
            Shell::Creating | Shell::Opening { .. } | Shell::Running { .. } => {
                effects.push(Effect::CloseInput);
                outcome
            }
        };
        self.pending = BytesMut::new();
        effects.extend([Effect::HangUp, Effect::End(outcome)]);
        self.kill(effects);
    }

    fn fail(&mut self, step: Step, what: &str, error: Error, now: Instant, effects: &mut Vec<Effect>) {
        let error = during(what, error);
        let elapsed = now - self.step_began;
        effects.push(Effect::Stage(Stage {
            name: step,
            state: Progress::Failed,
            elapsed,
            message: error.message.clone(),
        }));
        self.over(Outcome::Failed(error), effects);
    }

    /// From Made; else it is on its way already, or there is none.
    fn kill(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.sandbox, Sandbox::Made(_))
            && let Sandbox::Made(sandbox) = std::mem::replace(&mut self.sandbox, Sandbox::Cleaning)
        {
            effects.push(Effect::Kill(sandbox));
        }
    }

    fn finished(&self, name: Step, what: &str, now: Instant) -> Stage {
        let elapsed = now - self.step_began;
        let message = format!("{what} in {:.2} s", elapsed.as_secs_f64());
        Stage { name, state: Progress::Done, elapsed, message }
    }
}

fn started(name: Step, message: &str) -> Stage {
    Stage { name, state: Progress::Started, elapsed: Duration::ZERO, message: message.to_owned() }
}

/// Says first what failed.
fn during(what: &str, mut error: Error) -> Error {
    error.message = format!("{what}: {}", error.message);
    error
}

/// Whether a sandbox may have been made in spite of this error of `create`.
fn may_exist(error: &Error) -> bool {
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
