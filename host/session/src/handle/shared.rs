//! What a session's handles and the session's task have in common.
//!
//! Owns the session's wishes, its status and the ways to its log and its record.
//! Deliberately decides nothing: the session's task writes the status, the handles read
//! it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sandbox_broker_core::sandbox::{SandboxRef, Size};
use sandbox_stdx::lock::lock;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::join::Join;
use super::summary::{Phase, Summary};
use super::wishes::Wishes;
use super::workspace::Workspace;
use crate::blueprint::{Blueprint, SlowClient};
use crate::input::mailbox::{Input, MAILBOX};
use crate::invitation::Invitation;
use crate::ledger::Ledger;
use crate::live_sandbox::LiveSandbox;
use crate::output::event::Durability;
use crate::output::reader::ReaderSource;
use crate::recorder::looks::About;
use crate::recorder::tape::Tape;
use sandbox_broker_policy::answers::Answered;
use sandbox_broker_policy::machine::CLOSED;
use sandbox_broker_policy::outcome::Outcome;
use sandbox_broker_policy::roster::{Roster, SizeRule};

/// What the task tells about itself.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) phase: Phase,
    pub(super) sandbox: Option<LiveSandbox>,
    /// While the shell runs.
    pub(super) workspace: Option<Workspace>,
    pub(super) durability: Option<Durability>,
    /// The terminal's size, once the shell runs.
    pub(super) size: Option<Size>,
    /// Where the recorder keeps the output.
    pub(super) tape: Option<Tape>,
    /// What the recorder hears programs say of themselves.
    pub(super) about: Option<watch::Receiver<About>>,
    /// How it ended, and when that was told.
    pub(super) ended: Option<(Outcome, Instant)>,
    /// No client may come any more.
    pub(super) closed: bool,
}

/// What a session's handles and the session's task have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: Arc<str>,
    pub(crate) provider: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) opened: Instant,
    pub(crate) user: Option<Arc<str>>,
    /// Whether clients may come back.
    pub(crate) kept: bool,
    /// Lets others watch, if clients may come at all.
    pub(super) invitation: Option<Invitation>,
    /// Which numbering of the output this is. Offsets of different epochs do
    /// not compare.
    pub(crate) epoch: u64,
    pub(crate) rule: SizeRule,
    pub(super) slow: SlowClient,
    pub(super) keep: Duration,
    pub(crate) wishes: watch::Sender<Wishes>,
    /// Used if there is no recorder.
    pub(super) answered: Mutex<Answered>,
    pub(super) mailbox: mpsc::Sender<Input>,
    pub(super) output: ReaderSource,
    pub(super) status: Mutex<Status>,
    pub(super) ledger: Ledger,
}

/// What a session has from its beginning on, beside its blueprint.
pub(crate) struct Identity {
    pub(crate) id: Arc<str>,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) kept: bool,
    pub(crate) epoch: u64,
    pub(crate) size: Size,
    /// An earlier broker had it.
    pub(crate) taken_over: bool,
}

impl Shared {
    /// A session without clients, and the session's task's end of its mailbox.
    pub(crate) fn new(
        identity: Identity,
        blueprint: &Blueprint,
        ledger: Ledger,
        output: ReaderSource,
    ) -> (Arc<Self>, mpsc::Receiver<Input>) {
        let (mailbox, inbox) = mpsc::channel(MAILBOX);
        let now = Instant::now();
        let age = ledger.entry().created.elapsed().unwrap_or_default();
        let Identity { id, user, kept, epoch, size, taken_over } = identity;
        let Blueprint { generation, size: rule, slow, keep, .. } = *blueprint;
        let driver = ledger.entry().driver.map(Arc::from);
        let roster = if taken_over { Roster::taken_over(driver, now) } else { Roster::default() };
        let status = Status {
            phase: Phase::Creating,
            sandbox: None,
            workspace: None,
            durability: None,
            size: None,
            tape: None,
            about: None,
            ended: None,
            closed: false,
        };
        let shared = Shared {
            invitation: kept.then(|| blueprint.invitations.to(&id)),
            id,
            provider: blueprint.provider.name().into(),
            generation,
            opened: now.checked_sub(age).unwrap_or(now),
            user,
            kept,
            epoch,
            rule,
            slow,
            keep,
            wishes: watch::Sender::new(Wishes {
                size,
                roster,
                shutdown: false,
                kill: false,
                colors: None,
                touched: now,
            }),
            answered: Mutex::default(),
            mailbox,
            output,
            status: Mutex::new(status),
            ledger,
        };
        (Arc::new(shared), inbox)
    }

    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        lock(&self.status)
    }

    /// Enters any phase but Running, for which there is
    /// [`Shared::set_running`]. After the end was told the phase does not
    /// change any more.
    pub(crate) fn set_phase(&self, phase: Phase) {
        let mut status = self.status();
        if status.ended.is_none() {
            (status.phase, status.workspace) = (phase, None);
        }
    }

    /// The outcome is told. Clients may come for it until it is closed.
    pub(crate) fn set_ended(&self, outcome: Outcome) {
        let mut status = self.status();
        (status.phase, status.workspace) = (Phase::Ended, None);
        status.ended = Some((outcome, Instant::now()));
    }

    /// Admits no more clients.
    pub(crate) fn close(&self) {
        let mut status = self.status();
        (status.phase, status.closed) = (Phase::Ending, true);
    }

    /// Its sandbox is gone, with what the recorder had.
    pub(crate) fn set_gone(&self) {
        let mut status = self.status();
        (status.sandbox, status.tape) = (None, None);
    }

    /// When the session ended, if it is here only for clients that may come for
    /// its end.
    pub(crate) fn is_only_kept(&self) -> Option<Instant> {
        let status = self.status();
        let only = status.phase == Phase::Ended && status.sandbox.is_none();
        status.ended.as_ref().filter(|_| only).map(|(_, at)| *at)
    }

    /// Notes which size the terminal has, and returns the size that is wanted.
    /// If no client has told one, that is the same.
    pub(crate) fn has_size(&self, size: Size) -> Size {
        self.set_size(size);
        let mut wanted = size;
        self.wishes.send_if_modified(|wishes| {
            wishes.size = wishes.roster.size(self.rule).unwrap_or(size);
            wanted = wishes.size;
            false // who asks for it is told
        });
        wanted
    }

    /// The terminal has this size now.
    pub(crate) fn set_size(&self, size: Size) {
        self.status().size = Some(size);
    }

    /// Changes who is there. Wakes nobody if nothing has changed.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Roster) -> T) -> T {
        let mut result = None;
        self.wishes.send_if_modified(|wishes| {
            let before = wishes.roster.version();
            result = Some(wishes.change_roster(self.rule, change));
            wishes.roster.version() != before
        });
        result.expect("it is called once")
    }

    /// Gives control to another client if the holder was waited for long enough
    /// by `now`.
    pub(crate) fn pass_on(&self, now: Instant) {
        self.change(|roster| roster.pass_on(now));
    }

    /// What happens to its output, once it runs.
    pub(crate) fn durability(&self) -> Option<Durability> {
        self.status().durability
    }

    /// Whether this client may join: the session's user may, and whoever shows
    /// its invitation.
    pub(crate) fn admits(&self, join: &Join) -> bool {
        match &join.invitation {
            Some(shown) => self.invitation.as_ref() == Some(shown),
            None => self.kept && self.user == join.user,
        }
    }

    /// Whether no client may come any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.status().closed
    }

    pub(crate) fn set_sandbox(&self, sandbox: LiveSandbox) {
        self.status().sandbox = Some(sandbox);
    }

    /// The shell runs. `workspace` makes the workspace for its sandbox.
    pub(crate) fn set_running(
        &self,
        workspace: impl FnOnce(SandboxRef) -> Workspace,
        recorded: Option<(Tape, watch::Receiver<About>)>,
    ) {
        let mut status = self.status();
        status.phase = Phase::Running;
        status.workspace = status.sandbox.as_ref().map(LiveSandbox::get).map(workspace);
        status.durability = Some(if recorded.is_some() { Durability::Durable } else { Durability::BestEffort });
        (status.tape, status.about) = recorded.unzip();
    }

    pub(crate) fn summary(&self) -> Summary {
        let (clients, alone, keep) = {
            let roster = &self.wishes.borrow().roster;
            let closed = roster.is_closed(self.keep, Instant::now());
            (roster.present(self.rule), roster.alone_since(), if closed { self.keep.min(CLOSED) } else { self.keep })
        };
        let status = self.status();
        Summary {
            id: Arc::clone(&self.id),
            provider: Arc::clone(&self.provider),
            generation: self.generation,
            phase: status.phase,
            outcome: status.ended.as_ref().map(|(outcome, _)| outcome.clone()),
            sandbox: status.sandbox.as_ref().map(|sandbox| sandbox.get().id),
            age: self.opened.elapsed(),
            kept_for: alone.filter(|_| self.kept).map(|since| keep.saturating_sub(since.elapsed())),
            user: self.user.clone(),
            name: self.ledger.name(),
            kept: self.kept,
            durability: status.durability,
            size: status.size,
            about: status.about.as_ref().map(|about| about.borrow().clone()).unwrap_or_default(),
            clients,
        }
    }
}
