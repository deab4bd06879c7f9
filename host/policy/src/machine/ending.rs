//! The way from a shell to nothing: unmount, tell the end, end the sandbox.
//!
//! Owns the order of these and what is left to another broker. Deliberately
//! knows not how long each takes.

use std::time::Duration;

use bytes::BytesMut;
use sandbox_broker_core::sandbox::{Error, Exit, Result, SandboxRef};
use tokio::time::Instant;

use super::state::{Machine, SandboxState, ShellState, StorageState};
use super::vocabulary::Effect;
use crate::outcome::{Outcome, during};
use crate::stage::{Stage, Step};

impl Machine {
    /// Legal in Running. If the session is not kept, the sandbox ends as soon
    /// as its storage is unmounted: a slow client does not keep it.
    pub(super) fn exited(&mut self, result: Result<Exit>, now: Instant, effects: &mut Vec<Effect>) {
        let ShellState::Running { drained } = self.shell else { return };
        let outcome = match result {
            Ok(exit) => Outcome::Exited(exit),
            Err(error) => Outcome::Failed(during("Lost the terminal", error)),
        };
        effects.push(Effect::CloseInput);
        if drained {
            effects.push(Effect::HangUp);
        }
        self.shell = ShellState::Draining { outcome, drained, since: now };
        self.leave(now, effects);
    }

    /// Legal in Running and Draining.
    pub(super) fn drained(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match &mut self.shell {
            ShellState::Running { drained } => *drained = true,
            ShellState::Draining { drained: drained @ false, .. } => {
                *drained = true;
                effects.push(Effect::HangUp);
                self.leave(now, effects);
            }
            _ => {}
        }
    }

    /// Ends a running shell, and tells the outcome when nothing is left to
    /// save. A shell that does not run has nothing to save. If the shell has
    /// ended already, its outcome stands.
    pub(super) fn end(&mut self, outcome: Outcome, now: Instant, effects: &mut Vec<Effect>) {
        match &self.shell {
            ShellState::Running { .. } => {
                effects.extend([Effect::CloseInput, Effect::HangUp]);
                self.shell = ShellState::Draining { outcome, drained: true, since: now };
                self.leave(now, effects);
            }
            ShellState::Draining { .. } => self.drained(now, effects),
            ShellState::Ended { .. } => self.close(effects),
            _ => self.over(outcome, now, effects),
        }
    }

    /// Ends the session, or leaves it to the next broker. A shell that was
    /// taken over counts as running even if it is not found yet. The end of a
    /// shell that exited is left to the next broker too, unless its storage is
    /// still being released.
    pub(super) fn shutdown(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let stays = match self.shell {
            ShellState::Preparing | ShellState::Creating | ShellState::Mounting | ShellState::Opening => {
                self.taken_over
            }
            ShellState::Running { .. } => self.keep.is_some(),
            ShellState::Ended { .. } => {
                matches!(self.sandbox, SandboxState::Kept(_)) && self.storage == StorageState::Gone
            }
            ShellState::Draining { .. } | ShellState::Over => false,
        };
        if !stays {
            return self.end(Outcome::Shutdown, now, effects);
        }
        let sandbox = match std::mem::replace(&mut self.sandbox, SandboxState::Cleaning) {
            SandboxState::Made(sandbox) | SandboxState::Kept(sandbox) => Some(sandbox),
            _ => None,
        };
        self.abandon(sandbox, Outcome::Draining, effects);
    }

    /// Legal while the shell runs or is looked for, and while storage is
    /// unmounted or released. This broker does nothing more to what another
    /// broker has.
    pub(super) fn replaced(&mut self, effects: &mut Vec<Effect>) {
        let runs = matches!(self.shell, ShellState::Opening | ShellState::Running { .. });
        match self.storage {
            _ if runs => {}
            StorageState::Unmounting => {}
            // The call that ends the sandbox checks by itself who has the
            // session.
            StorageState::Releasing => return self.storage = StorageState::Gone,
            _ => return,
        }
        self.sandbox = SandboxState::Cleaning;
        self.abandon(None, Outcome::Replaced, effects);
    }

    fn abandon(&mut self, sandbox: Option<SandboxRef>, outcome: Outcome, effects: &mut Vec<Effect>) {
        let told = self.is_told();
        (self.shell, self.storage) = (ShellState::Over, StorageState::Gone);
        self.pending = BytesMut::new();
        if !told {
            effects.extend([Effect::CloseInput, Effect::HangUp]);
        }
        effects.push(Effect::Leave(sandbox));
        if !told {
            effects.push(Effect::End(outcome));
        }
        effects.push(Effect::Close);
    }

    /// Legal in Draining, Ended and Over.
    pub(super) fn unmounted(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.storage == StorageState::Unmounting {
            self.release(effects);
            self.leave(now, effects);
        }
    }

    /// The sandbox is gone, and with it everything that was not saved.
    pub(super) fn lost(&mut self, error: Error, now: Instant, effects: &mut Vec<Effect>) {
        let told = self.is_told();
        if matches!(self.storage, StorageState::Mounted | StorageState::Unmounting) {
            if matches!(self.shell, ShellState::Running { .. } | ShellState::Draining { .. }) {
                let message = "The sandbox was lost with its storage mounted: files that were still open are not saved";
                effects.push(Effect::Stage(Stage::failed(Step::Mount, message, Duration::ZERO)));
            }
            self.release(effects);
        }
        if told {
            self.discard(effects);
            self.leave(now, effects);
        } else {
            self.over(Outcome::Failed(during("Lost the sandbox", error)), now, effects);
        }
    }

    /// Tells the outcome at once, even if something is still to be saved. Legal
    /// in every state in which it was not told. If the shell has ended already,
    /// its outcome stands.
    pub(super) fn over(&mut self, outcome: Outcome, now: Instant, effects: &mut Vec<Effect>) {
        if self.is_told() {
            return;
        }
        let outcome = match std::mem::replace(&mut self.shell, ShellState::Over) {
            ShellState::Draining { outcome, drained, .. } => {
                if !drained {
                    effects.push(Effect::HangUp);
                }
                outcome
            }
            _ => {
                effects.extend([Effect::CloseInput, Effect::HangUp]);
                outcome
            }
        };
        self.pending = BytesMut::new();
        self.tell(outcome, false, now, effects);
        self.leave(now, effects);
    }

    /// Tells the outcome, and keeps it for clients that may come for it. If the
    /// sandbox `lives` and the shell has exited, the sandbox is kept too.
    fn tell(&mut self, outcome: Outcome, lives: bool, now: Instant, effects: &mut Vec<Effect>) {
        let asked_for = match outcome {
            Outcome::Exited(_) | Outcome::Idle(_) | Outcome::Aged(_) => true,
            Outcome::Failed(_) => self.known,
            Outcome::Shutdown | Outcome::Draining | Outcome::Replaced | Outcome::Detached | Outcome::Killed => false,
        };
        let kept = asked_for && self.keep.is_some_and(|keep| now.checked_add(keep).is_some());
        let exited = lives && matches!(outcome, Outcome::Exited(_));
        self.shell = if kept { ShellState::Ended { exited, since: now } } else { ShellState::Over };
        effects.push(Effect::End(outcome));
        if !kept {
            effects.push(Effect::Close);
        }
    }

    /// Legal in Ended.
    pub(super) fn close(&mut self, effects: &mut Vec<Effect>) {
        self.shell = ShellState::Over;
        effects.push(Effect::Close);
        self.discard(effects);
    }

    /// Ends a sandbox that was kept. Nobody needs it any more.
    pub(super) fn discard(&mut self, effects: &mut Vec<Effect>) {
        match std::mem::replace(&mut self.sandbox, SandboxState::Cleaning) {
            SandboxState::Kept(sandbox) => effects.push(Effect::Kill(sandbox)),
            other => self.sandbox = other,
        }
    }

    /// Takes the next step when the shell no longer needs its storage and its
    /// sandbox: unmount, then tell, then kill or keep the sandbox. Legal in
    /// Draining, Ended and Over. A step that is on its way is not begun again.
    pub(super) fn leave(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match self.storage {
            StorageState::Preparing | StorageState::Prepared => self.release(effects),
            StorageState::Mounted => {
                self.storage = StorageState::Unmounting;
                effects.push(Effect::Unmount);
            }
            StorageState::Unmounting | StorageState::Releasing | StorageState::Gone => {}
        }
        if self.storage == StorageState::Unmounting {
            return;
        }
        if let ShellState::Draining { outcome, drained: true, .. } = &self.shell {
            let outcome = outcome.clone();
            self.tell(outcome, true, now, effects);
        }
        match std::mem::replace(&mut self.sandbox, SandboxState::Cleaning) {
            // The last output has not come yet.
            SandboxState::Made(sandbox) if matches!(self.shell, ShellState::Draining { .. }) && self.keep.is_some() => {
                self.sandbox = SandboxState::Made(sandbox);
            }
            SandboxState::Made(sandbox) if matches!(self.shell, ShellState::Ended { exited: true, .. }) => {
                self.sandbox = SandboxState::Kept(sandbox);
                effects.push(Effect::Await);
            }
            SandboxState::Made(sandbox) => effects.push(Effect::Kill(sandbox)),
            SandboxState::Unmade => self.sandbox = SandboxState::Gone,
            other => self.sandbox = other,
        }
    }

    fn release(&mut self, effects: &mut Vec<Effect>) {
        self.storage = StorageState::Releasing;
        effects.push(Effect::Release);
    }
}
