//! The policy of a session: what happens next, without doing it.
//!
//! Owns every decision about a session's life. Pure: no IO, no task, no
//! clock; the driver tells what happened and when, and does what it is told.
//!
//! Three lives run side by side. The shell, which is what clients see, in
//! brackets what there is only with storage:
//!
//! ```text
//!   prepared          created             mounted             opened              exited
//! [Preparing ───▶] Creating ───▶ [Mounting ───────▶] Opening ───────▶ Running ───────▶ Draining
//!      │              │              │                  │                │  idle          │
//!      │              │              │                  │                │  shutdown ────▶│
//!      │ failed · last client gone · shutdown · sandbox lost             │                │ drained
//!      └──────────────┴──────────────┴─────────┬────────┴────────────────┘                │ [and unmounted]
//!                                              ▼                                          │
//!                                            Ended ◀──────────────────────────────────────┘
//!                                              │ the outcome is told here, once
//!                                              │ nobody may come for it · keep has passed · killed · shutdown
//!                                              ▼
//!                                            Over
//! ```
//!
//! A client may come for the end of a session that is kept: of a shell that
//! exited or idled, and of one that failed after clients knew of it. It is told
//! the output and the outcome as if it had been there. For every other end
//! Ended takes no time. A shell that exited keeps its sandbox meanwhile, as
//! long as a client that was here lately is yet to be told: what the log no
//! longer holds is there, and so is the outcome if this broker does not live.
//!
//! Without storage Draining on idle and shutdown takes no time. A session that
//! is kept does not end when the last client goes but when none has come back
//! in time, and a shutdown leaves its shell, its sandbox and its storage to the
//! next broker. A session that was taken over from an earlier broker begins the
//! same way: its storage is prepared and mounted already, and its sandbox is
//! found instead of made.
//!
//! The sandbox, which must not outlive the shell:
//!
//! ```text
//!                    created            the shell ended, or is Over,
//! [Unmade ──▶] Making ─────▶ Made ────── [and all is unmounted] ── Kill ──┐
//!    │           │            └── it exited ── Kept ── fetched · Over ── Kill ┤
//!    │           ├── created, but the shell is Over ───────────── Kill ───┤
//!    │           ├── failed, yet it may exist ──────────── FindAndKill ───┤
//!    │           │                                                        ▼
//!    │           │  (left to another broker, from Made or Kept: Leave) Cleaning
//!    │ Over      │                                                        │ cleaned
//!    │           └── failed, and surely none was made ───────────────┐    │
//!    └───────────────────────────────────────────────────────────────┴──▶ Gone
//! ```
//!
//! And the storage, which must be let go of while there is a sandbox:
//!
//! ```text
//!            prepared             created             the shell ended, or is Over
//!  Preparing ───────▶ Prepared ──── Mount ──▶ Mounted ──── Unmount ──▶ Unmounting
//!     │ Over             │ Over                  │ sandbox lost            │ unmounted
//!     └──────────────────┴─────────── Release ───┴─────────────────────────┤ sandbox lost
//!                                                                          ▼
//!                          Gone ◀──────────── released ───────────────  Releasing
//! ```
//!
//! The session is finished when the shell is Over and the others are Gone.

mod away;
mod words;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use away::Away;
pub(super) use away::CLOSED;
use words::may_exist;
pub(super) use words::{Effect, Event, Presence, Terms};

use super::{Outcome, Stage, Step, during};
use sandbox_broker_core::sandbox::{CHUNK_BYTES, Error, Exit, Result, SandboxRef, Size};

/// Bytes of input kept until the shell runs. What somebody types or pastes
/// while waiting fits; beyond it the mailbox is not read, so only that socket
/// waits. One more chunk may come on top.
pub const PENDING_INPUT: usize = 64 * 1024;

/// How long the end of a shell keeps its sandbox for clients that are yet to be
/// told, at most: a sandbox costs money and can do nothing any more.
const HELD: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
enum Shell {
    Preparing,
    Creating,
    Mounting,
    Opening,
    Running {
        drained: bool,
    },
    /// It has ended, or has to, since then. Once `drained` the terminal is let
    /// go of.
    Draining {
        outcome: Outcome,
        drained: bool,
        since: Instant,
    },
    /// That was told then. Clients may come for it for as long as a session is
    /// kept.
    Ended {
        exited: bool,
        since: Instant,
    },
    Over,
}

#[derive(Debug)]
enum Sandbox {
    Unmade,
    Making,
    Made(SandboxRef),
    /// Of a shell that exited, for clients that were here and are yet to be
    /// told.
    Kept(SandboxRef),
    Cleaning,
    Gone,
}

#[derive(Debug, PartialEq, Eq)]
enum Storage {
    Preparing,
    Prepared,
    /// Mounting has begun.
    Mounted,
    Unmounting,
    Releasing,
    /// Let go of, or there is none.
    Gone,
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Machine {
    shell: Shell,
    sandbox: Sandbox,
    storage: Storage,
    idle_timeout: Duration,
    /// How long the session lives on without a client; none where it ends with
    /// its last one.
    keep: Option<Duration>,
    away: Away,
    /// Its sandbox was made by an earlier broker.
    taken_over: bool,
    /// Clients know of it: its shell has run.
    known: bool,
    /// It was ended by hand; the broker shuts down. Then its end is not kept here.
    killed: bool,
    stops: bool,
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
    pub(super) fn start(size: Size, terms: Terms, now: Instant) -> (Self, Vec<Effect>) {
        let Terms { idle_timeout, keep, storage, taken_over } = terms;
        let mut machine = Machine {
            shell: Shell::Preparing,
            sandbox: Sandbox::Unmade,
            storage: Storage::Gone,
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
            machine.storage = Storage::Preparing;
            effects.push(Effect::Prepare);
        } else {
            machine.create(now, &mut effects);
        }
        (machine, effects)
    }

    /// Whether there is nothing left to do or to wait for.
    pub(super) fn is_finished(&self) -> bool {
        matches!((&self.shell, &self.sandbox, &self.storage), (Shell::Over, Sandbox::Gone, Storage::Gone))
    }

    /// Whether the next input may be brought.
    pub(super) fn wants_input(&self) -> bool {
        match self.shell {
            Shell::Preparing | Shell::Creating | Shell::Mounting | Shell::Opening => self.pending.len() < PENDING_INPUT,
            Shell::Running { .. } => true,
            Shell::Draining { .. } | Shell::Ended { .. } | Shell::Over => false,
        }
    }

    /// When [`Event::Time`] is due. Each output and input moves it later
    /// only, so a timer may be set once and asked again when it fires.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.idle_at(), self.away_at(), self.closes_at(), self.frees_at()].into_iter().flatten().min()
    }

    /// While nobody is there the time that a session is kept counts instead.
    fn idle_at(&self) -> Option<Instant> {
        match self.shell {
            _ if self.keep.is_some() && self.away.is_away() => None,
            Shell::Running { .. } | Shell::Draining { drained: false, .. } => {
                self.active.checked_add(self.idle_timeout)
            }
            _ => None,
        }
    }

    /// From any state in which the shell has not ended.
    fn away_at(&self) -> Option<Instant> {
        match self.shell {
            Shell::Draining { .. } | Shell::Ended { .. } | Shell::Over => None,
            _ => self.away.ends_at(self.active, self.keep?),
        }
    }

    /// When its end is kept for nobody any more. The last output of a shell
    /// that a slow driver holds back is not waited for longer than that.
    fn closes_at(&self) -> Option<Instant> {
        match self.shell {
            Shell::Draining { drained: false, since, .. } => since.checked_add(self.keep?.min(HELD)),
            Shell::Ended { since, .. } => since.checked_add(self.keep?),
            _ => None,
        }
    }

    /// When the sandbox of an end that is kept goes, whoever is yet to be told.
    fn frees_at(&self) -> Option<Instant> {
        match (&self.shell, &self.sandbox) {
            (Shell::Ended { since, .. }, Sandbox::Kept(_)) => since.checked_add(self.keep?.min(HELD)),
            _ => None,
        }
    }

    /// Takes in what happened at `now`; returns what to do, in order.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Prepared(result) => self.prepared(result, now, &mut effects),
            Event::Created(result) => self.created(result, now, &mut effects),
            Event::Mounted(result) => self.mounted(result, now, &mut effects),
            Event::News(stage) => {
                if !self.is_told() {
                    effects.push(Effect::Stage(stage));
                }
            }
            Event::Unmounted => self.unmounted(now, &mut effects),
            Event::Released => self.storage = Storage::Gone,
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
            Event::Touched(at) => self.active = self.active.max(at),
            Event::Output => self.active = now,
            Event::Drained => self.drained(now, &mut effects),
            Event::Exited(result) => self.exited(result, now, &mut effects),
            Event::Replaced => self.replaced(&mut effects),
            Event::Fetched => self.discard(&mut effects),
            Event::LeaseLost(error) => self.lost(error, now, &mut effects),
            Event::Clients(presence) if presence != Presence::Here && self.keep.is_none() => {
                self.over(Outcome::Detached, now, &mut effects);
            }
            // Who comes back uses it.
            Event::Clients(presence) => {
                let runs = matches!(self.shell, Shell::Running { .. });
                if self.away.changed(presence, runs, now) {
                    self.active = now;
                }
            }
            // An end that is kept for its clients is over already.
            Event::Aged(_) if matches!(self.shell, Shell::Ended { .. }) => {}
            Event::Aged(limit) => self.end(Outcome::Aged(limit), now, &mut effects),
            Event::Kill => {
                self.killed = true;
                self.end(Outcome::Killed, now, &mut effects);
            }
            Event::Shutdown => {
                self.stops = true;
                self.shutdown(now, &mut effects);
            }
            Event::Time => self.time(now, &mut effects),
            Event::Cleaned => self.sandbox = Sandbox::Gone,
        }
        // Ordered before the end was told.
        if matches!(self.shell, Shell::Ended { .. }) {
            if self.killed {
                self.close(&mut effects);
            } else if self.stops {
                self.shutdown(now, &mut effects);
            }
        }
        effects
    }

    fn time(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| now >= deadline);
        if passed(self.away_at()) {
            self.over(Outcome::Detached, now, effects);
        } else if passed(self.closes_at()) {
            match self.shell {
                Shell::Draining { .. } => self.drained(now, effects),
                _ => self.close(effects),
            }
        } else if passed(self.frees_at()) {
            self.discard(effects);
        } else if passed(self.idle_at()) {
            self.end(Outcome::Idle(self.idle_timeout), now, effects);
        }
    }

    /// Whether the outcome was told.
    fn is_told(&self) -> bool {
        matches!(self.shell, Shell::Ended { .. } | Shell::Over)
    }

    /// From Preparing; later it was too late.
    fn prepared(&mut self, result: Result<()>, now: Instant, effects: &mut Vec<Effect>) {
        if self.storage != Storage::Preparing {
            return;
        }
        match result {
            Ok(()) => {
                self.storage = Storage::Prepared;
                self.create(now, effects);
            }
            Err(error) => self.over(Outcome::Failed(error), now, effects),
        }
    }

    fn create(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.shell = Shell::Creating;
        self.sandbox = Sandbox::Making;
        self.step_began = now;
        let words = if self.taken_over { "Finding the sandbox again..." } else { "Initializing sandbox..." };
        effects.push(Effect::Stage(Stage::started(Step::Create, words)));
        effects.push(Effect::Create);
    }

    /// From Making, whatever the shell is.
    fn created(&mut self, result: Result<SandboxRef>, now: Instant, effects: &mut Vec<Effect>) {
        let over = self.is_told();
        match result {
            Ok(sandbox) if over => {
                self.sandbox = Sandbox::Made(sandbox);
                self.leave(now, effects);
            }
            Ok(sandbox) => {
                let what = if self.taken_over { "Sandbox found" } else { "Sandbox created" };
                effects.push(Effect::Stage(Stage::done(Step::Create, what, now - self.step_began)));
                effects.push(Effect::KeepAlive(sandbox.clone()));
                self.sandbox = Sandbox::Made(sandbox.clone());
                if self.storage == Storage::Prepared {
                    self.shell = Shell::Mounting;
                    self.storage = Storage::Mounted;
                    effects.push(Effect::Mount(sandbox));
                } else {
                    self.open(sandbox, now, effects);
                }
            }
            Err(error) => {
                if may_exist(&error) {
                    self.sandbox = Sandbox::Cleaning;
                    effects.push(Effect::FindAndKill);
                } else {
                    self.sandbox = Sandbox::Gone;
                }
                if !over {
                    let what =
                        if self.taken_over { "Failed to find the sandbox again" } else { "Failed to create sandbox" };
                    self.fail(Step::Create, what, error, now, effects);
                }
            }
        }
    }

    /// From Mounting; later it was too late.
    fn mounted(&mut self, result: Result<()>, now: Instant, effects: &mut Vec<Effect>) {
        let (Shell::Mounting, Sandbox::Made(sandbox)) = (&self.shell, &self.sandbox) else { return };
        match result {
            Ok(()) => self.open(sandbox.clone(), now, effects),
            Err(error) => self.over(Outcome::Failed(error), now, effects),
        }
    }

    fn open(&mut self, sandbox: SandboxRef, now: Instant, effects: &mut Vec<Effect>) {
        self.step_began = now;
        effects.push(Effect::Stage(Stage::started(Step::Shell, "Starting the shell...")));
        effects.push(Effect::Open(sandbox, self.size));
        self.shell = Shell::Opening;
    }

    /// From Opening.
    fn opened(&mut self, result: Result<Option<Size>>, now: Instant, effects: &mut Vec<Effect>) {
        if !matches!(self.shell, Shell::Opening) {
            return;
        }
        match result {
            Ok(size) => {
                self.shell = Shell::Running { drained: false };
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

    fn input(&mut self, bytes: Bytes, now: Instant, effects: &mut Vec<Effect>) {
        match self.shell {
            Shell::Preparing | Shell::Creating | Shell::Mounting | Shell::Opening => {
                self.pending.extend_from_slice(&bytes);
            }
            Shell::Running { .. } => {
                self.active = now;
                effects.push(Effect::Write(bytes));
            }
            Shell::Draining { .. } | Shell::Ended { .. } | Shell::Over => {}
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

    /// From Running. Of a session that is not kept the sandbox goes as soon as
    /// its storage is unmounted; a client that reads slowly does not keep it.
    fn exited(&mut self, result: Result<Exit>, now: Instant, effects: &mut Vec<Effect>) {
        let Shell::Running { drained } = self.shell else { return };
        let outcome = match result {
            Ok(exit) => Outcome::Exited(exit),
            Err(error) => Outcome::Failed(during("Lost the terminal", error)),
        };
        effects.push(Effect::CloseInput);
        if drained {
            effects.push(Effect::HangUp);
        }
        self.shell = Shell::Draining { outcome, drained, since: now };
        self.leave(now, effects);
    }

    /// From Running or Draining.
    fn drained(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match &mut self.shell {
            Shell::Running { drained } => *drained = true,
            Shell::Draining { drained: drained @ false, .. } => {
                *drained = true;
                effects.push(Effect::HangUp);
                self.leave(now, effects);
            }
            _ => {}
        }
    }

    /// Ends a shell that runs, and tells so when nothing is left to save. One
    /// that does not run has nothing to save. The outcome of a shell that has
    /// ended stands.
    fn end(&mut self, outcome: Outcome, now: Instant, effects: &mut Vec<Effect>) {
        match &self.shell {
            Shell::Running { .. } => {
                effects.extend([Effect::CloseInput, Effect::HangUp]);
                self.shell = Shell::Draining { outcome, drained: true, since: now };
                self.leave(now, effects);
            }
            Shell::Draining { .. } => self.drained(now, effects),
            Shell::Ended { .. } => self.close(effects),
            _ => self.over(outcome, now, effects),
        }
    }

    /// Ends the session, or leaves it to the next broker. A shell that was
    /// taken over runs, whether or not it is found yet. The end of one that
    /// exited is left to the next broker too, unless its storage is only now
    /// being released.
    fn shutdown(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let stays = match self.shell {
            Shell::Preparing | Shell::Creating | Shell::Mounting | Shell::Opening => self.taken_over,
            Shell::Running { .. } => self.keep.is_some(),
            Shell::Ended { .. } => matches!(self.sandbox, Sandbox::Kept(_)) && self.storage == Storage::Gone,
            Shell::Draining { .. } | Shell::Over => false,
        };
        if !stays {
            return self.end(Outcome::Shutdown, now, effects);
        }
        let sandbox = match std::mem::replace(&mut self.sandbox, Sandbox::Cleaning) {
            Sandbox::Made(sandbox) | Sandbox::Kept(sandbox) => Some(sandbox),
            _ => None,
        };
        self.abandon(sandbox, Outcome::Draining, effects);
    }

    /// From a shell that runs, or that is looked for, or from a session whose
    /// storage was about to be unmounted or given back. Nothing more is done to
    /// what another broker has.
    fn replaced(&mut self, effects: &mut Vec<Effect>) {
        let runs = matches!(self.shell, Shell::Opening | Shell::Running { .. });
        match self.storage {
            _ if runs => {}
            Storage::Unmounting => {}
            // Whether its sandbox is ended is decided where that is tried.
            Storage::Releasing => return self.storage = Storage::Gone,
            _ => return,
        }
        self.sandbox = Sandbox::Cleaning;
        self.abandon(None, Outcome::Replaced, effects);
    }

    fn abandon(&mut self, sandbox: Option<SandboxRef>, outcome: Outcome, effects: &mut Vec<Effect>) {
        let told = self.is_told();
        (self.shell, self.storage) = (Shell::Over, Storage::Gone);
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

    /// From Draining, Ended or Over.
    fn unmounted(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.storage == Storage::Unmounting {
            self.release(effects);
            self.leave(now, effects);
        }
    }

    /// The sandbox is gone, and with it what could have been saved.
    fn lost(&mut self, error: Error, now: Instant, effects: &mut Vec<Effect>) {
        let told = self.is_told();
        if matches!(self.storage, Storage::Mounted | Storage::Unmounting) {
            if matches!(self.shell, Shell::Running { .. } | Shell::Draining { .. }) {
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

    /// Tells the outcome, whatever is still to be saved. From any state in
    /// which it was not told. The outcome of a shell that has ended stands.
    fn over(&mut self, outcome: Outcome, now: Instant, effects: &mut Vec<Effect>) {
        if self.is_told() {
            return;
        }
        let outcome = match std::mem::replace(&mut self.shell, Shell::Over) {
            Shell::Draining { outcome, drained, .. } => {
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

    /// Tells the outcome, and keeps it for clients that may come for it. With
    /// its sandbox, where that `lives` and the shell has exited.
    fn tell(&mut self, outcome: Outcome, lives: bool, now: Instant, effects: &mut Vec<Effect>) {
        let asked_for = match outcome {
            Outcome::Exited(_) | Outcome::Idle(_) | Outcome::Aged(_) => true,
            Outcome::Failed(_) => self.known,
            Outcome::Shutdown | Outcome::Draining | Outcome::Replaced | Outcome::Detached | Outcome::Killed => false,
        };
        let kept = asked_for && self.keep.is_some_and(|keep| now.checked_add(keep).is_some());
        let exited = lives && matches!(outcome, Outcome::Exited(_));
        self.shell = if kept { Shell::Ended { exited, since: now } } else { Shell::Over };
        effects.push(Effect::End(outcome));
        if !kept {
            effects.push(Effect::Close);
        }
    }

    /// From Ended.
    fn close(&mut self, effects: &mut Vec<Effect>) {
        self.shell = Shell::Over;
        effects.push(Effect::Close);
        self.discard(effects);
    }

    /// Nobody needs a sandbox that was kept.
    fn discard(&mut self, effects: &mut Vec<Effect>) {
        match std::mem::replace(&mut self.sandbox, Sandbox::Cleaning) {
            Sandbox::Kept(sandbox) => effects.push(Effect::Kill(sandbox)),
            other => self.sandbox = other,
        }
    }

    fn fail(&mut self, step: Step, what: &str, error: Error, now: Instant, effects: &mut Vec<Effect>) {
        let error = during(what, error);
        effects.push(Effect::Stage(Stage::failed(step, error.message.clone(), now - self.step_began)));
        self.over(Outcome::Failed(error), now, effects);
    }

    /// What is next when the shell needs its storage and its sandbox no more,
    /// in Draining, Ended and Over: unmount, then tell, then kill, or keep the
    /// sandbox. What is on its way already stays so.
    fn leave(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match self.storage {
            Storage::Preparing | Storage::Prepared => self.release(effects),
            Storage::Mounted => {
                self.storage = Storage::Unmounting;
                effects.push(Effect::Unmount);
            }
            Storage::Unmounting | Storage::Releasing | Storage::Gone => {}
        }
        if self.storage == Storage::Unmounting {
            return;
        }
        if let Shell::Draining { outcome, drained: true, .. } = &self.shell {
            let outcome = outcome.clone();
            self.tell(outcome, true, now, effects);
        }
        match std::mem::replace(&mut self.sandbox, Sandbox::Cleaning) {
            // Its last output is yet to come.
            Sandbox::Made(sandbox) if matches!(self.shell, Shell::Draining { .. }) && self.keep.is_some() => {
                self.sandbox = Sandbox::Made(sandbox);
            }
            Sandbox::Made(sandbox) if matches!(self.shell, Shell::Ended { exited: true, .. }) => {
                self.sandbox = Sandbox::Kept(sandbox);
                effects.push(Effect::Await);
            }
            Sandbox::Made(sandbox) => effects.push(Effect::Kill(sandbox)),
            Sandbox::Unmade => self.sandbox = Sandbox::Gone,
            other => self.sandbox = other,
        }
    }

    fn release(&mut self, effects: &mut Vec<Effect>) {
        self.storage = Storage::Releasing;
        effects.push(Effect::Release);
    }
}
