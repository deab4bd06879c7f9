//! The way to a shell, and the input and size of one that runs.
//!
//! Owns the steps from the storage to the shell. What happens when one fails
//! is in `ending`.

use bytes::Bytes;
use sandbox_broker_core::sandbox::{CHUNK_BYTES, Error, Result, SandboxRef, Size};
use tokio::time::Instant;

use super::state::{Machine, SandboxState, ShellState, StorageState};
use super::vocabulary::{Effect, may_exist};
use crate::outcome::{Outcome, during};
use crate::stage::{Stage, Step};

impl Machine {
    /// Legal in Preparing. In any other state the answer comes too late.
    pub(super) fn prepared(&mut self, result: Result<()>, now: Instant, effects: &mut Vec<Effect>) {
        if self.storage != StorageState::Preparing {
            return;
        }
        match result {
            Ok(()) => {
                self.storage = StorageState::Prepared;
                self.create(now, effects);
            }
            Err(error) => self.over(Outcome::Failed(error), now, effects),
        }
    }

    pub(super) fn create(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.shell = ShellState::Creating;
        self.sandbox = SandboxState::Making;
        self.step_began = now;
        let words = if self.taken_over { "Finding the sandbox again..." } else { "Initializing sandbox..." };
        effects.push(Effect::Stage(Stage::started(Step::Create, words)));
        effects.push(Effect::Create);
    }

    /// Legal in Making, in every state of the shell.
    pub(super) fn created(&mut self, result: Result<SandboxRef>, now: Instant, effects: &mut Vec<Effect>) {
        let over = self.is_told();
        match result {
            Ok(sandbox) if over => {
                self.sandbox = SandboxState::Made(sandbox);
                self.leave(now, effects);
            }
            Ok(sandbox) => {
                let what = if self.taken_over { "Sandbox found" } else { "Sandbox created" };
                effects.push(Effect::Stage(Stage::done(Step::Create, what, now - self.step_began)));
                effects.push(Effect::KeepAlive(sandbox.clone()));
                self.sandbox = SandboxState::Made(sandbox.clone());
                if self.storage == StorageState::Prepared {
                    self.shell = ShellState::Mounting;
                    self.storage = StorageState::Mounted;
                    effects.push(Effect::Mount(sandbox));
                } else {
                    self.open(sandbox, now, effects);
                }
            }
            Err(error) => {
                if may_exist(&error) {
                    self.sandbox = SandboxState::Cleaning;
                    effects.push(Effect::FindAndKill);
                } else {
                    self.sandbox = SandboxState::Gone;
                }
                if !over {
                    let what =
                        if self.taken_over { "Failed to find the sandbox again" } else { "Failed to create sandbox" };
                    self.fail(Step::Create, what, error, now, effects);
                }
            }
        }
    }

    /// Legal in Mounting. In any other state the answer comes too late.
    pub(super) fn mounted(&mut self, result: Result<()>, now: Instant, effects: &mut Vec<Effect>) {
        let (ShellState::Mounting, SandboxState::Made(sandbox)) = (&self.shell, &self.sandbox) else { return };
        match result {
            Ok(()) => self.open(sandbox.clone(), now, effects),
            Err(error) => self.over(Outcome::Failed(error), now, effects),
        }
    }

    fn open(&mut self, sandbox: SandboxRef, now: Instant, effects: &mut Vec<Effect>) {
        self.step_began = now;
        effects.push(Effect::Stage(Stage::started(Step::Shell, "Starting the shell...")));
        effects.push(Effect::Open(sandbox, self.size));
        self.shell = ShellState::Opening;
    }

    /// Legal in Opening.
    pub(super) fn opened(&mut self, result: Result<Option<Size>>, now: Instant, effects: &mut Vec<Effect>) {
        if !matches!(self.shell, ShellState::Opening) {
            return;
        }
        match result {
            Ok(size) => {
                self.shell = ShellState::Running { drained: false };
                self.active = now;
                self.known = true;
                self.away.began();
                self.asked = size;
                effects.push(Effect::Stage(Stage::done(Step::Shell, "Shell started", now - self.step_began)));
                effects.push(Effect::Ready(size.unwrap_or(self.size)));
                self.resize(effects);
                let mut pending = std::mem::take(&mut self.pending).freeze();
                while !pending.is_empty() {
                    effects.push(Effect::Write(pending.split_to(pending.len().min(CHUNK_BYTES))));
                }
            }
            Err(error) => {
                let what =
                    if self.taken_over { "The shell cannot be reached any more" } else { "Failed to start the shell" };
                self.fail(Step::Shell, what, error, now, effects);
            }
        }
    }

    pub(super) fn input(&mut self, bytes: Bytes, now: Instant, effects: &mut Vec<Effect>) {
        match self.shell {
            ShellState::Preparing | ShellState::Creating | ShellState::Mounting | ShellState::Opening => {
                self.pending.extend_from_slice(&bytes);
            }
            ShellState::Running { .. } => {
                self.active = now;
                effects.push(Effect::Write(bytes));
            }
            ShellState::Draining { .. } | ShellState::Ended { .. } | ShellState::Over => {}
        }
    }

    /// Asks for the size that clients want, one request at a time.
    pub(super) fn resize(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.shell, ShellState::Running { .. }) && !self.resizing && self.asked != Some(self.size) {
            self.resizing = true;
            self.asked = Some(self.size);
            effects.push(Effect::Resize(self.size));
        }
    }

    fn fail(&mut self, step: Step, what: &str, error: Error, now: Instant, effects: &mut Vec<Effect>) {
        let error = during(what, error);
        effects.push(Effect::Stage(Stage::failed(step, error.message.clone(), now - self.step_began)));
        self.over(Outcome::Failed(error), now, effects);
    }
}
