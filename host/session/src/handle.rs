//! What the rest of the broker holds of one session.
//!
//! Owns the ways in: a bounded mailbox for input, and wishes of which only
//! the latest counts. Deliberately decides nothing; the driver does.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::answers::Answered;
use super::company::{Company, Receipt};
use super::event::Durability;
use super::invitation::Invitation;
use super::ledger::{Ledger, Noted};
use super::log::{Reader, Source};
use super::looks::{About, Colors};
use super::roster::{Leaving, Presence, Progress, Role, Roster, Seat, SizeRule};
use super::sessions::{Join, new_id};
use super::state::CLOSED;
use super::tape::Tape;
use super::{Blueprint, Outcome, SlowClient};
use sandbox_broker_core::sandbox::{CHUNK_BYTES, Call, Provider, SandboxRef, Size};

/// Chunks of input that wait for the driver, each of at most [`CHUNK_BYTES`].
/// Beyond it [`Session::input`] waits. Small, because the pipe to the shell
/// behind it queues too.
const MAILBOX: usize = 4;

/// A guest's name where nobody signs in.
const SOMEBODY: &str = "somebody";

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
    /// How it ended was told. Clients may still come for it.
    Ended,
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
            Phase::Ended => "ended",
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
    /// How it ended, once that was told.
    pub outcome: Option<Outcome>,
    /// The provider's id of its sandbox, once there is one.
    pub sandbox: Option<String>,
    /// Since it was opened, by whichever broker.
    pub age: Duration,
    /// How long it lives on if nobody comes; none while a client of its user
    /// is there.
    pub kept_for: Option<Duration>,
    /// Whose it is, where people sign in.
    pub user: Option<Arc<str>>,
    /// What its user calls it.
    pub name: Option<String>,
    /// Whether its clients may come back.
    pub kept: bool,
    /// What becomes of its output, once it runs.
    pub durability: Option<Durability>,
    /// The terminal's size, once it runs.
    pub size: Option<Size>,
    /// What its programs say of themselves, as far as there is a recorder that
    /// hears it.
    pub about: About,
    /// Who is there.
    pub clients: Vec<Presence>,
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
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    pub(super) size: Size,
    pub(super) roster: Roster,
    pub(super) shutdown: bool,
    pub(super) kill: bool,
    /// How the driver's terminal looks, where it was told.
    pub(super) colors: Option<Colors>,
    /// When somebody last used the session other than through its terminal.
    pub(super) touched: Instant,
}

impl Wishes {
    /// Changes who is there, and what follows from it for the size.
    fn roster<T>(&mut self, rule: SizeRule, change: impl FnOnce(&mut Roster) -> T) -> T {
        let result = change(&mut self.roster);
        self.size = self.roster.size(rule).unwrap_or(self.size);
        result
    }
}

/// Input on its way to the driver.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) bytes: Bytes,
    /// Whose, and which of theirs, where they want to know.
    pub(super) from: Option<(Arc<Progress>, u64)>,
}

/// What the driver tells about itself.
#[derive(Debug)]
struct Status {
    phase: Phase,
    sandbox: Option<SandboxRef>,
    /// While the shell runs.
    workspace: Option<Workspace>,
    durability: Option<Durability>,
    /// That the terminal has, once the shell runs.
    size: Option<Size>,
    /// Where the recorder keeps the output.
    tape: Option<Tape>,
    /// What the recorder hears programs say of themselves.
    about: Option<watch::Receiver<About>>,
    /// How it ended, and when that was told.
    ended: Option<(Outcome, Instant)>,
    /// No client may come any more.
    closed: bool,
}

/// What a session's handles and its driver have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: Arc<str>,
    pub(super) provider: Arc<str>,
    pub(super) generation: u64,
    pub(super) opened: Instant,
    pub(super) user: Option<Arc<str>>,
    /// Whether clients may come back.
    pub(super) kept: bool,
    /// Lets others watch, where clients may come at all.
    invitation: Option<Invitation>,
    /// Tells numberings of output apart that began anew.
    pub(super) epoch: u64,
    pub(super) rule: SizeRule,
    slow: SlowClient,
    keep: Duration,
    pub(super) wishes: watch::Sender<Wishes>,
    /// Where there is no recorder.
    answered: Mutex<Answered>,
    mailbox: mpsc::Sender<Input>,
    output: Source,
    status: Mutex<Status>,
    ledger: Ledger,
}

/// What a session is from its beginning on, beside its blueprint.
pub(super) struct Identity {
    pub(super) id: Arc<str>,
    pub(super) user: Option<Arc<str>>,
    pub(super) kept: bool,
    pub(super) epoch: u64,
    pub(super) size: Size,
    /// An earlier broker had it.
    pub(super) taken_over: bool,
}

impl Shared {
    /// A session without clients, and the driver's end of its mailbox.
    pub(super) fn new(
        identity: Identity,
        blueprint: &Blueprint,
        ledger: Ledger,
        output: Source,
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

    /// A panic elsewhere must not spread to those who ask.
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From any phase but Running, which is [`Shared::set_running`]. What is
    /// done after the end was told is no phase of its own.
    pub(super) fn set_phase(&self, phase: Phase) {
        let mut status = self.status();
        if status.ended.is_none() {
            (status.phase, status.workspace) = (phase, None);
        }
    }

    /// How it ended is told. Clients may come for it until it is closed.
    pub(super) fn set_ended(&self, outcome: Outcome) {
        let mut status = self.status();
        (status.phase, status.workspace) = (Phase::Ended, None);
        status.ended = Some((outcome, Instant::now()));
    }

    /// Admits no more clients.
    pub(super) fn close(&self) {
        let mut status = self.status();
        (status.phase, status.closed) = (Phase::Ending, true);
    }

    /// Its sandbox is gone, with what the recorder had.
    pub(super) fn set_gone(&self) {
        let mut status = self.status();
        (status.sandbox, status.tape) = (None, None);
    }

    /// When it ended, of a session that is here only for clients that may come
    /// for its end.
    pub(super) fn is_only_kept(&self) -> Option<Instant> {
        let status = self.status();
        let only = status.phase == Phase::Ended && status.sandbox.is_none();
        status.ended.as_ref().filter(|_| only).map(|(_, at)| *at)
    }

    /// Tells which size the terminal has, and returns the one that is wanted:
    /// where no client has said any, that is the same.
    pub(super) fn has_size(&self, size: Size) -> Size {
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
    pub(super) fn set_size(&self, size: Size) {
        self.status().size = Some(size);
    }

    /// Changes who is there. What changes nothing wakes nobody.
    fn change<T>(&self, change: impl FnOnce(&mut Roster) -> T) -> T {
        let mut result = None;
        self.wishes.send_if_modified(|wishes| {
            let before = wishes.roster.version();
            result = Some(wishes.roster(self.rule, change));
            wishes.roster.version() != before
        });
        result.expect("it is called once")
    }

    /// Gives control to another client, where its holder was waited for long
    /// enough by `now`.
    pub(super) fn pass_on(&self, now: Instant) {
        self.change(|roster| roster.pass_on(now));
    }

    /// What becomes of its output, once it runs.
    pub(super) fn durability(&self) -> Option<Durability> {
        self.status().durability
    }

    /// Whether somebody may come: its user, or whoever shows an invitation.
    pub(super) fn admits(&self, join: &Join) -> bool {
        match &join.invitation {
            Some(shown) => self.invitation.as_ref() == Some(shown),
            None => self.kept && self.user == join.user,
        }
    }

    /// Whether no client may come any more.
    pub(super) fn is_closed(&self) -> bool {
        self.status().closed
    }

    pub(super) fn set_sandbox(&self, sandbox: SandboxRef) {
        self.status().sandbox = Some(sandbox);
    }

    /// The shell runs. `workspace` makes what it takes to work beside it.
    pub(super) fn set_running(
        &self,
        workspace: impl FnOnce(SandboxRef) -> Workspace,
        recorded: Option<(Tape, watch::Receiver<About>)>,
    ) {
        let mut status = self.status();
        status.phase = Phase::Running;
        status.workspace = status.sandbox.clone().map(workspace);
        status.durability = Some(if recorded.is_some() { Durability::Durable } else { Durability::BestEffort });
        (status.tape, status.about) = recorded.unzip();
    }

    pub(super) fn summary(&self) -> Summary {
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
            sandbox: status.sandbox.as_ref().map(|sandbox| sandbox.id.clone()),
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
            let bytes = bytes.split_to(bytes.len().min(CHUNK_BYTES));
            self.0.mailbox.send(Input { bytes, from: None }).await.map_err(|_| Ended)?;
        }
        Ok(())
    }

    /// Whose it is, where people sign in.
    pub fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    /// How it is now.
    pub fn summary(&self) -> Summary {
        self.0.summary()
    }

    /// Gives it this name, or none. The name outlives the broker. False where
    /// another broker has the session by now.
    pub async fn rename(&self, name: Option<String>) -> bool {
        self.0.ledger.note(|entry| entry.name = name).await == Noted::Kept
    }

    /// Lets others watch it; none where no other client may come.
    pub fn invitation(&self) -> Option<&Invitation> {
        self.0.invitation.as_ref()
    }

    /// Ends the session with its sandbox, as its own end of the shell would.
    /// Never waits.
    pub fn kill(&self) {
        self.0.wishes.send_modify(|wishes| wishes.kill = true);
    }

    /// Where the recorder keeps the session's output; some while it runs with
    /// one.
    pub fn tape(&self) -> Option<Tape> {
        self.0.status().tape.clone()
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

/// A session's client. When the last one of a session that is not kept is
/// dropped it ends at once, whatever it is doing, and its sandbox with it.
#[derive(Debug)]
pub struct Client {
    session: Session,
    name: Arc<str>,
    guest: bool,
    connection: u64,
    progress: Arc<Progress>,
    leaving: OnceLock<Leaving>,
}

/// What a client does not get to do, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It watches.
    #[error("this client is a viewer; it must take control to type")]
    Viewer,
    /// The session is over.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl Client {
    /// Joins, admitted; none when the session has as many clients as it may.
    pub(super) fn join(shared: Arc<Shared>, join: Join) -> Option<Self> {
        let Join { client, returns, role, size, user, invitation } = join;
        let guest = invitation.is_some();
        let (name, seat) = if guest {
            (new_id(), Seat::Guest(user.unwrap_or_else(|| SOMEBODY.into())))
        } else {
            (client, Seat::Own { role, returns })
        };
        let (connection, progress) =
            shared.change(|roster| roster.join(Arc::clone(&name), seat, size, Instant::now()))?;
        Some(Client { session: Session(shared), name, guest, connection, progress, leaving: OnceLock::new() })
    }

    /// The session without the guard, for a task beside the client's own.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it is here by an invitation: it watches, and no more.
    pub fn is_guest(&self) -> bool {
        self.guest
    }

    /// Sets this client's size, and the terminal's where the rule of sizes
    /// makes it so; or the one that the shell will start with. Never waits;
    /// the latest wins, and one that the terminal has is not sent.
    pub fn resize(&self, size: Size) {
        let shared = &self.session.0;
        shared.change(|roster| roster.resize(self.connection, size));
    }

    /// What it may do now; none when a newer connection took its place.
    pub fn role(&self) -> Option<Role> {
        self.session.0.wishes.borrow().roster.role(self.connection)
    }

    /// Becomes the driver, and the driver before it a viewer. False when this
    /// client joined as a viewer.
    pub fn take_control(&self) -> bool {
        self.session.0.change(|roster| roster.take_control(self.connection))
    }

    /// Says how this client is about to leave, which counts when it is dropped.
    /// The first word counts; without one its connection was lost.
    pub fn leaves(&self, how: Leaving) {
        self.leaving.get_or_init(|| how);
    }

    /// Input with a number of this client's own. A number that does not rise
    /// was sent before and changes nothing. Waits, and is given up, as
    /// [`Session::input`]. Nothing of it follows what a client types that took
    /// control meanwhile.
    pub async fn typed(&self, seq: u64, mut bytes: Bytes) -> Result<(), Denied> {
        let Shared { mailbox, wishes, .. } = &*self.session.0;
        let mut begun = false;
        loop {
            // Refused at once, whether or not there is room.
            if self.role() != Some(Role::Driver) {
                return Err(Denied::Viewer);
            }
            if wishes.borrow().roster.stands_in() {
                self.session.0.change(Roster::used);
            }
            // Reserved first: a call that is given up here has not taken the number.
            let place = mailbox.reserve().await.map_err(|_| Ended)?;
            // Nobody takes control between the look and what follows from it.
            let wishes = wishes.borrow();
            if wishes.roster.role(self.connection) != Some(Role::Driver) {
                return Err(Denied::Viewer);
            }
            if !std::mem::replace(&mut begun, true) && !self.progress.take(seq) {
                return Ok(());
            }
            let chunk = bytes.split_to(bytes.len().min(CHUNK_BYTES));
            let from = bytes.is_empty().then(|| (Arc::clone(&self.progress), seq));
            let last = from.is_some();
            place.send(Input { bytes: chunk, from });
            drop(wishes);
            if last {
                return Ok(());
            }
        }
    }

    /// Highest number of this client's input that was handed to the sandbox;
    /// changes as that goes on.
    pub fn handed(&self) -> watch::Receiver<u64> {
        self.progress.handed.subscribe()
    }

    /// This client, which drives, was sent the output before `offset`.
    pub fn sent(&self, offset: u64) {
        self.answered().sent(&self.name, offset);
    }

    /// From where on this client's terminal answers what programs ask, where no
    /// recorder does: it has the output before `since`, which ends at `end`.
    pub fn unanswered(&self, since: Option<u64>, end: u64) -> u64 {
        self.answered().unanswered(&self.name, since, end)
    }

    /// A panic elsewhere must not spread to those who ask.
    fn answered(&self) -> MutexGuard<'_, Answered> {
        self.session.0.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how this client's terminal looks. Of another one than the driver
    /// it changes nothing. Never waits.
    pub fn set_colors(&self, colors: Colors) {
        self.session.0.wishes.send_if_modified(|wishes| {
            let drives = wishes.roster.role(self.connection) == Some(Role::Driver);
            drives && wishes.colors.replace(colors) != Some(colors)
        });
    }

    /// Follows who is there.
    pub fn company(&self) -> Company {
        Company::of(self.session.0.wishes.subscribe(), self.connection, self.session.0.rule)
    }

    /// Tells numberings of the output apart that began anew: an offset counts
    /// only within its own.
    pub fn epoch(&self) -> u64 {
        self.session.0.epoch
    }

    /// How long the session lives on without a client.
    pub fn keep(&self) -> Duration {
        self.session.0.keep
    }

    /// What tells that this client has got the end, once it has left; none of a
    /// guest, for whom nothing is kept.
    pub fn receipt(&self) -> Option<Receipt> {
        let receipt = || Receipt::of(Arc::clone(&self.session.0), Arc::clone(&self.name));
        (!self.guest).then(receipt)
    }

    /// Whether the shell waits for its driver to read.
    pub fn shell_waits(&self) -> bool {
        self.session.0.slow == SlowClient::Pause
    }

    /// Reads the session from `since`. `holds` makes the shell wait for this
    /// reader when it is [`WINDOW`](super::WINDOW) behind.
    pub fn reader_at(&self, since: u64, holds: bool) -> Reader {
        self.session.0.output.reader_at(since, holds)
    }
}

impl Deref for Client {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let now = Instant::now();
        let how = self.leaving.get().copied().unwrap_or(Leaving::Lost);
        self.session.0.change(|roster| roster.leave(self.connection, how, now));
    }
}
