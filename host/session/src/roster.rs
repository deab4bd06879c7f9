//! Who is at a session: its clients, which of them drives, and the size that
//! they agree on.
//!
//! Owns the rules of control and sizes. Pure: no IO, no task, no clock.
//!
//! Control belongs to a client's name, whether or not it is connected:
//!
//! ```text
//!           joins, and nobody has it
//!   nobody ────────────────────────▶ A has it ◀─────────────────┐
//!     ▲                               │ │  ▲                    │ A is back, and B
//!     │ A detached, and               │ │  │ A is back          │ has not used it
//!     │ nobody may follow             │ │  │                    │
//!     └───────────────────────────────┘ │  │   grace over   B has it in the
//!                              A left ──▶ A is waited for ──▶ place of A
//!                                                               │ B types or takes it
//!   B takes control, at any time ──────────────────────────▶ B has it
//! ```
//!
//! B is the client that joined last and may drive. No join, reconnect or look
//! takes control from a client that is there or is waited for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use sandbox_broker_core::sandbox::Size;

/// Clients of one session, at most. Each costs a socket and two tasks' worth
/// of buffers; a lecture fits.
pub const MAX_CLIENTS: usize = 64;

/// Guests among them, at most: they never take the last places.
const MAX_GUESTS: usize = MAX_CLIENTS / 2;

/// Clients that left and may come back, whose input is still known. A window
/// that was reloaded is one.
const REMEMBERED: usize = 64;

/// How long control waits for a client whose window went away: the time of a
/// reload.
const RELOAD: Duration = Duration::from_secs(5);

/// How long control waits for a client whose connection was lost, or that an
/// earlier broker served. Twice the longest pause of a client between two
/// tries.
const RETURN: Duration = Duration::from_secs(30);

/// How a client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It said so.
    Detached,
    /// Its window was closed, or loads again.
    Closed,
    /// Its connection was lost.
    Lost,
}

impl Leaving {
    /// How long control waits for it.
    fn grace(self) -> Duration {
        match self {
            Leaving::Detached => Duration::ZERO,
            Leaving::Closed => RELOAD,
            Leaving::Lost => RETURN,
        }
    }
}

/// What a client may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Types, and may set the size.
    #[default]
    Driver,
    /// Watches.
    Viewer,
}

impl Role {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Driver => "driver",
            Role::Viewer => "viewer",
        }
    }
}

/// Whose size the terminal has. Never a guest's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SizeRule {
    /// The driver's.
    #[default]
    Driver,
    /// The least columns and the least rows of all clients.
    Smallest,
}

/// How far a client's input has come; outlives its connection.
#[derive(Debug)]
pub(super) struct Progress {
    /// Highest number that was taken in.
    seen: AtomicU64,
    /// Highest number that was handed to the sandbox.
    pub(super) handed: watch::Sender<u64>,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Progress { seen: AtomicU64::new(0), handed: watch::Sender::new(0) })
    }

    /// Whether this number was not taken in before; then it is now.
    pub(super) fn take(&self, seq: u64) -> bool {
        self.seen.fetch_max(seq, Ordering::Relaxed) < seq
    }
}

/// A client as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Its name: a window's, not a person's.
    pub client: Arc<str>,
    /// What it may do now.
    pub role: Role,
    /// Its size, where it has told one.
    pub size: Option<Size>,
    /// Its size is the terminal's, or a side of it is.
    pub sets_size: bool,
    /// Whose it is, where it is a guest.
    pub guest: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Member {
    name: Arc<str>,
    /// Tells connections of the same name apart; counts up.
    connection: u64,
    may_drive: bool,
    /// It may come back by this name.
    returns: bool,
    /// Whose, where it is here by an invitation. A guest's size and presence
    /// change nothing for the others.
    guest: Option<Arc<str>>,
    size: Option<Size>,
    progress: Arc<Progress>,
}

/// A client that left.
#[derive(Clone, Debug)]
struct Absent {
    name: Arc<str>,
    progress: Arc<Progress>,
    since: Instant,
    how: Leaving,
    /// It was told the end of the session.
    told: bool,
}

/// What a client comes as.
#[derive(Clone, Debug)]
pub(super) enum Seat {
    /// One of the session's user, that may come back by its name.
    Own { role: Role, returns: bool },
    /// A guest, who watches, with the person's name. Its client's name must be
    /// nobody's, or it takes that one's place.
    Guest(Arc<str>),
}

/// Who has control of a session.
#[derive(Clone, Debug)]
struct Control {
    holder: Arc<str>,
    /// Who has it again when it comes back: the holder was left alone with
    /// control and has not used it yet.
    in_place_of: Option<Arc<str>>,
    /// The holder is not there, and is waited for until then.
    waits_until: Option<Instant>,
}

/// The clients of one session, in the order in which they joined.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    members: Vec<Member>,
    control: Option<Control>,
    left: VecDeque<Absent>,
    /// When the session was taken over from an earlier broker, whose clients
    /// nobody here knows.
    taken_over: Option<Instant>,
    next: u64,
    /// Counts changes that others see.
    version: u64,
}

impl Roster {
    /// Of a session that an earlier broker had until now.
    /// `driver` had control of it, where that is known.
    pub(super) fn taken_over(driver: Option<Arc<str>>, now: Instant) -> Self {
        let waits_until = now.checked_add(RETURN);
        let control = driver.map(|holder| Control { holder, in_place_of: None, waits_until });
        Roster { control, taken_over: Some(now), ..Roster::default() }
    }

    /// A client comes at `now`. One of the same name gives way. It gets control
    /// where it had it, or where nobody has it and nobody is waited for.
    /// Returns its connection and how far its input has come; none when there
    /// are too many.
    pub(super) fn join(
        &mut self,
        name: Arc<str>,
        seat: Seat,
        size: Option<Size>,
        now: Instant,
    ) -> Option<(u64, Arc<Progress>)> {
        let (may_drive, returns, guest) = match seat {
            Seat::Own { role, returns } => (role == Role::Driver, returns, None),
            Seat::Guest(person) => (false, false, Some(person)),
        };
        let before = self.members.iter().position(|member| member.name == name);
        let guests = self.members.len() - self.own();
        if before.is_none() && (self.members.len() >= MAX_CLIENTS || (guest.is_some() && guests >= MAX_GUESTS)) {
            return None;
        }
        let progress = match before {
            Some(at) => self.members.remove(at).progress,
            None => self.remembered(&name).unwrap_or_else(Progress::new),
        };
        let connection = self.next;
        self.next += 1;
        match &mut self.control {
            Some(control) if control.holder == name => {
                control.waits_until = (!may_drive).then_some(now);
            }
            Some(control) if may_drive && control.in_place_of.as_ref() == Some(&name) => {
                *control = Control { holder: Arc::clone(&name), in_place_of: None, waits_until: None };
            }
            _ => {}
        }
        let kept = Arc::clone(&progress);
        self.members.push(Member { name, connection, may_drive, returns, guest, size, progress: kept });
        self.settle(now);
        Some((connection, progress))
    }

    /// A client goes at `now`, if its place was not taken.
    pub(super) fn leave(&mut self, connection: u64, how: Leaving, now: Instant) {
        let Some(at) = self.members.iter().position(|member| member.connection == connection) else { return };
        let Member { name, progress, returns, guest, .. } = self.members.remove(at);
        match &mut self.control {
            Some(control) if control.holder == name && (how == Leaving::Detached || !returns) => self.control = None,
            Some(control) if control.holder == name => control.waits_until = now.checked_add(how.grace()),
            _ => {}
        }
        // The names of guests do not come back.
        if guest.is_none() {
            if self.left.len() >= REMEMBERED {
                self.left.pop_front();
            }
            self.left.push_back(Absent { name, progress, since: now, how, told: false });
        }
        self.settle(now);
    }

    /// Whether nobody of the session's own is there and all that were here
    /// `lately` have closed their windows.
    pub(super) fn is_closed(&self, lately: Duration, now: Instant) -> bool {
        let recent = |since: Instant| since + lately > now;
        let mut left = self.left.iter().filter(|absent| recent(absent.since)).peekable();
        self.own() == 0
            && !self.taken_over.is_some_and(recent)
            && left.peek().is_some()
            && left.all(|absent| absent.how == Leaving::Closed)
    }

    /// A client that left has answered the end of the session.
    pub(super) fn told(&mut self, name: &str) {
        self.left.iter_mut().filter(|absent| &*absent.name == name).for_each(|absent| absent.told = true);
    }

    /// Whether somebody is yet to be told of an end at `ended`: a client that is
    /// here, or that was here `lately` and may come back. Never a guest. All
    /// that were with an earlier broker lately may.
    pub(super) fn awaits(&self, ended: Instant, lately: Duration) -> bool {
        let recent = |since: Instant| since + lately > ended;
        self.own() > 0
            || self.left.iter().any(|absent| !absent.told && recent(absent.since))
            || self.taken_over.is_some_and(recent)
    }

    /// A client wants to drive; false when it may not.
    pub(super) fn take_control(&mut self, connection: u64) -> bool {
        let found = self.members.iter().find(|member| member.connection == connection && member.may_drive);
        let Some(holder) = found.map(|member| Arc::clone(&member.name)) else { return false };
        if self.control.as_ref().is_none_or(|control| control.holder != holder) {
            self.version += 1;
        }
        self.control = Some(Control { holder, in_place_of: None, waits_until: None });
        true
    }

    /// Whether the driver has control only in the place of another one.
    pub(super) fn stands_in(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.in_place_of.is_some())
    }

    /// The driver uses control: it keeps it, whoever comes back.
    pub(super) fn used(&mut self) {
        if let Some(control) = &mut self.control {
            control.in_place_of = None;
        }
    }

    /// Name of the client that has control, there or not, if it may come back
    /// by it.
    pub(super) fn driver(&self) -> Option<&Arc<str>> {
        let returns = self.driving().is_none_or(|member| member.returns);
        self.control.as_ref().filter(|_| returns).map(|control| &control.holder)
    }

    /// When control passes on, by [`Roster::pass_on`], unless its holder is
    /// back before. None where nobody waits for it.
    pub(super) fn passes_at(&self) -> Option<Instant> {
        let waits_until = self.control.as_ref()?.waits_until?;
        self.members.iter().any(|member| member.may_drive).then_some(waits_until)
    }

    /// Gives control to another client, where its holder was waited for long
    /// enough by `now`.
    pub(super) fn pass_on(&mut self, now: Instant) {
        if self.passes_at().is_some_and(|at| at <= now) {
            self.settle(now);
        }
    }

    pub(super) fn resize(&mut self, connection: u64, size: Size) {
        if let Some(member) = self.members.iter_mut().find(|member| member.connection == connection)
            && member.size.replace(size) != Some(size)
        {
            self.version += 1;
        }
    }

    /// What a client may do; none when another took its place.
    pub(super) fn role(&self, connection: u64) -> Option<Role> {
        let there = self.members.iter().any(|member| member.connection == connection);
        there.then_some(if self.drives(connection) { Role::Driver } else { Role::Viewer })
    }

    fn drives(&self, connection: u64) -> bool {
        self.driving().is_some_and(|member| member.connection == connection)
    }

    /// The driver, where it is there.
    fn driving(&self) -> Option<&Member> {
        let control = self.control.as_ref()?;
        self.members.iter().find(|member| member.may_drive && member.name == control.holder)
    }

    /// How many there are that are no guests: those for whom the session
    /// lives.
    pub(super) fn own(&self) -> usize {
        self.members.iter().filter(|member| member.guest.is_none()).count()
    }

    /// Since when nobody is there for whom the session lives; none while
    /// somebody is, or where nobody ever was.
    pub(super) fn alone_since(&self) -> Option<Instant> {
        let last = self.left.iter().map(|absent| absent.since).chain(self.taken_over).max();
        last.filter(|_| self.own() == 0)
    }

    /// Counts changes that [`Roster::present`] shows.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// All clients, with whose size the terminal has by `rule`.
    pub(super) fn present(&self, rule: SizeRule) -> Vec<Presence> {
        let agreed = self.size(rule);
        let sets_size = |member: &Member| match (rule, member.size, agreed) {
            (SizeRule::Driver, Some(_), _) => self.drives(member.connection),
            (SizeRule::Smallest, Some(own), Some(agreed)) if member.guest.is_none() => {
                own.cols == agreed.cols || own.rows == agreed.rows
            }
            _ => false,
        };
        let present = |member: &Member| Presence {
            client: Arc::clone(&member.name),
            role: if self.drives(member.connection) { Role::Driver } else { Role::Viewer },
            size: member.size,
            sets_size: sets_size(member),
            guest: member.guest.clone(),
        };
        self.members.iter().map(present).collect()
    }

    /// The size that they agree on; none where nobody says one.
    pub(super) fn size(&self, rule: SizeRule) -> Option<Size> {
        match rule {
            SizeRule::Driver => self.driving()?.size,
            SizeRule::Smallest => {
                let own = || self.members.iter().filter(|member| member.guest.is_none());
                let sizes = || own().filter_map(|member| member.size);
                Some(Size { cols: sizes().map(|s| s.cols).min()?, rows: sizes().map(|s| s.rows).min()? })
            }
        }
    }

    fn remembered(&mut self, name: &str) -> Option<Arc<Progress>> {
        let at = self.left.iter().position(|absent| &*absent.name == name)?;
        self.left.remove(at).map(|absent| absent.progress)
    }

    /// Finds a driver where there is none and none is waited for, the last to
    /// join that may.
    fn settle(&mut self, now: Instant) {
        let waits = |control: &Control| control.waits_until.is_none_or(|until| until > now);
        let heir = self.members.iter().rev().find(|member| member.may_drive).map(|member| Arc::clone(&member.name));
        if let Some(holder) = heir.filter(|_| !self.control.as_ref().is_some_and(waits)) {
            let before = self.control.take().map(|control| control.in_place_of.unwrap_or(control.holder));
            let in_place_of = before.filter(|before| *before != holder);
            self.control = Some(Control { holder, in_place_of, waits_until: None });
        }
        self.version += 1;
    }
}
