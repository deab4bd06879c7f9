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
use std::time::Duration;

use tokio::time::Instant;

use sandbox_broker_core::sandbox::Size;

use crate::input::progress::InputProgress;

/// Largest number of clients of one session. Each costs a socket and the
/// buffers of two tasks. A lecture fits.
pub const MAX_CLIENTS: usize = 64;

/// Largest number of guests among them. Guests never take the last places.
const MAX_GUESTS: usize = MAX_CLIENTS / 2;

/// Number of clients that left and whose input is still known, in case they
/// come back. A reloaded window is one.
const REMEMBERED: usize = 64;

/// How long control waits for a client whose window went away: the time of a
/// reload.
const RELOAD: Duration = Duration::from_secs(5);

/// How long control waits for a client whose connection was lost, or that an
/// earlier broker served. It is twice the longest pause of a client between two
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

/// Which client's size the terminal takes. It is never a guest's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SizeRule {
    /// The driver's.
    #[default]
    Driver,
    /// The fewest columns and the fewest rows of all clients.
    Smallest,
}

/// A client as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Its name: a window's, not a person's.
    pub client: Arc<str>,
    /// What it may do now.
    pub role: Role,
    /// Its size, if it has told one.
    pub size: Option<Size>,
    /// Its size, or one side of it, is the terminal's.
    pub sets_size: bool,
    /// The person who watches, if it is a guest.
    pub guest: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Member {
    name: Arc<str>,
    /// Tells connections of the same name apart. It counts up.
    connection: u64,
    may_drive: bool,
    /// It may come back by this name.
    returns: bool,
    /// The person, if it is here by an invitation. A guest's size and presence
    /// change nothing for the others.
    guest: Option<Arc<str>>,
    size: Option<Size>,
    progress: Arc<InputProgress>,
}

/// A client that left.
#[derive(Clone, Debug)]
struct Departed {
    name: Arc<str>,
    progress: Arc<InputProgress>,
    since: Instant,
    how: Leaving,
    /// It was told the end of the session.
    told: bool,
}

/// How a client is admitted.
#[derive(Clone, Debug)]
pub(crate) enum Admission {
    /// As a client of the session's user. If `returns`, it may come back by its
    /// name.
    Own { role: Role, returns: bool },
    /// As a guest, who watches, with the person's name. The client's name must
    /// be new, or the guest takes the place of the client that has it.
    Guest(Arc<str>),
}

/// Who has control of a session.
#[derive(Clone, Debug)]
struct Control {
    holder: Arc<str>,
    /// The client that gets control back when it returns. The holder got
    /// control in that client's absence and has not used it yet.
    in_place_of: Option<Arc<str>>,
    /// The holder is absent. Control waits for it until then.
    waits_until: Option<Instant>,
}

/// The clients of one session, in the order in which they joined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    members: Vec<Member>,
    control: Option<Control>,
    left: VecDeque<Departed>,
    /// When the session was taken over from an earlier broker. This broker does
    /// not know that one's clients.
    taken_over: Option<Instant>,
    next: u64,
    /// Counts changes that others see.
    version: u64,
}

impl Roster {
    /// For a session that an earlier broker had until now. `driver` had
    /// control, if that is known.
    pub(crate) fn taken_over(driver: Option<Arc<str>>, now: Instant) -> Self {
        let waits_until = now.checked_add(RETURN);
        let control = driver.map(|holder| Control { holder, in_place_of: None, waits_until });
        Roster { control, taken_over: Some(now), ..Roster::default() }
    }

    /// Adds a client at `now`. A client of the same name gives way. The new one
    /// gets control if it had it before, or if nobody has it and nobody is
    /// waited for. Returns its connection and how far its input has come. None
    /// if there are too many clients.
    pub(crate) fn join(
        &mut self,
        name: Arc<str>,
        admission: Admission,
        size: Option<Size>,
        now: Instant,
    ) -> Option<(u64, Arc<InputProgress>)> {
        let (may_drive, returns, guest) = match admission {
            Admission::Own { role, returns } => (role == Role::Driver, returns, None),
            Admission::Guest(person) => (false, false, Some(person)),
        };
        let before = self.members.iter().position(|member| member.name == name);
        let guests = self.members.len() - self.own();
        if before.is_none() && (self.members.len() >= MAX_CLIENTS || (guest.is_some() && guests >= MAX_GUESTS)) {
            return None;
        }
        let progress = match before {
            Some(at) => self.members.remove(at).progress,
            None => self.remembered(&name).unwrap_or_else(InputProgress::new),
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

    /// Removes a client at `now`, unless another one has taken its place.
    pub(crate) fn leave(&mut self, connection: u64, how: Leaving, now: Instant) {
        let Some(at) = self.members.iter().position(|member| member.connection == connection) else { return };
        let Member { name, progress, returns, guest, .. } = self.members.remove(at);
        match &mut self.control {
            Some(control) if control.holder == name && (how == Leaving::Detached || !returns) => self.control = None,
            Some(control) if control.holder == name => control.waits_until = now.checked_add(how.grace()),
            _ => {}
        }
        // Guests do not come back by their names.
        if guest.is_none() {
            if self.left.len() >= REMEMBERED {
                self.left.pop_front();
            }
            self.left.push_back(Departed { name, progress, since: now, how, told: false });
        }
        self.settle(now);
    }

    /// Whether no client of the session's user is here, and all that were here
    /// `lately` have closed their windows.
    pub(crate) fn is_closed(&self, lately: Duration, now: Instant) -> bool {
        let recent = |since: Instant| since + lately > now;
        let mut left = self.left.iter().filter(|departed| recent(departed.since)).peekable();
        self.own() == 0
            && !self.taken_over.is_some_and(recent)
            && left.peek().is_some()
            && left.all(|departed| departed.how == Leaving::Closed)
    }

    /// A client that left has answered the end of the session.
    pub(crate) fn told(&mut self, name: &str) {
        self.left.iter_mut().filter(|departed| &*departed.name == name).for_each(|departed| departed.told = true);
    }

    /// Whether a client has not been told yet of an end at `ended`: a client
    /// that is here, or one that was here `lately` and may come back. Guests do
    /// not count. If an earlier broker served the session lately, its clients
    /// may come back.
    pub(crate) fn awaits(&self, ended: Instant, lately: Duration) -> bool {
        let recent = |since: Instant| since + lately > ended;
        self.own() > 0
            || self.left.iter().any(|departed| !departed.told && recent(departed.since))
            || self.taken_over.is_some_and(recent)
    }

    /// Gives control to a client. Returns false if it may not drive.
    pub(crate) fn take_control(&mut self, connection: u64) -> bool {
        let found = self.members.iter().find(|member| member.connection == connection && member.may_drive);
        let Some(holder) = found.map(|member| Arc::clone(&member.name)) else { return false };
        if self.control.as_ref().is_none_or(|control| control.holder != holder) {
            self.version += 1;
        }
        self.control = Some(Control { holder, in_place_of: None, waits_until: None });
        true
    }

    /// Whether the driver has control only until another client comes back.
    pub(crate) fn stands_in(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.in_place_of.is_some())
    }

    /// The driver uses control. From now on it keeps control, even if the other
    /// client comes back.
    pub(crate) fn used(&mut self) {
        if let Some(control) = &mut self.control {
            control.in_place_of = None;
        }
    }

    /// Name of the client that has control, present or not. None if that client
    /// cannot come back by its name.
    pub(crate) fn driver(&self) -> Option<&Arc<str>> {
        let returns = self.driving().is_none_or(|member| member.returns);
        self.control.as_ref().filter(|_| returns).map(|control| &control.holder)
    }

    /// When [`Roster::pass_on`] gives control to another client, unless the
    /// holder is back before. None if the holder is here, or if no other client
    /// may drive.
    pub(crate) fn passes_at(&self) -> Option<Instant> {
        let waits_until = self.control.as_ref()?.waits_until?;
        self.members.iter().any(|member| member.may_drive).then_some(waits_until)
    }

    /// Gives control to another client if the holder was waited for long enough
    /// by `now`.
    pub(crate) fn pass_on(&mut self, now: Instant) {
        if self.passes_at().is_some_and(|at| at <= now) {
            self.settle(now);
        }
    }

    pub(crate) fn resize(&mut self, connection: u64, size: Size) {
        if let Some(member) = self.members.iter_mut().find(|member| member.connection == connection)
            && member.size.replace(size) != Some(size)
        {
            self.version += 1;
        }
    }

    /// What a client may do. None if another one took its place.
    pub(crate) fn role(&self, connection: u64) -> Option<Role> {
        let there = self.members.iter().any(|member| member.connection == connection);
        there.then_some(if self.drives(connection) { Role::Driver } else { Role::Viewer })
    }

    fn drives(&self, connection: u64) -> bool {
        self.driving().is_some_and(|member| member.connection == connection)
    }

    /// The driver, if it is here.
    fn driving(&self) -> Option<&Member> {
        let control = self.control.as_ref()?;
        self.members.iter().find(|member| member.may_drive && member.name == control.holder)
    }

    /// Number of clients that are not guests. The session lives for these.
    pub(crate) fn own(&self) -> usize {
        self.members.iter().filter(|member| member.guest.is_none()).count()
    }

    /// Since when no client is here but guests. None while one is here, or if
    /// there never was one.
    pub(crate) fn alone_since(&self) -> Option<Instant> {
        let last = self.left.iter().map(|departed| departed.since).chain(self.taken_over).max();
        last.filter(|_| self.own() == 0)
    }

    /// Counts changes that [`Roster::present`] shows.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// All clients. Says of each whether the terminal has its size by `rule`.
    pub(crate) fn present(&self, rule: SizeRule) -> Vec<Presence> {
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

    /// The size that the clients agree on. None if no client has told one.
    pub(crate) fn size(&self, rule: SizeRule) -> Option<Size> {
        match rule {
            SizeRule::Driver => self.driving()?.size,
            SizeRule::Smallest => {
                let own = || self.members.iter().filter(|member| member.guest.is_none());
                let sizes = || own().filter_map(|member| member.size);
                Some(Size { cols: sizes().map(|s| s.cols).min()?, rows: sizes().map(|s| s.rows).min()? })
            }
        }
    }

    fn remembered(&mut self, name: &str) -> Option<Arc<InputProgress>> {
        let at = self.left.iter().position(|departed| &*departed.name == name)?;
        self.left.remove(at).map(|departed| departed.progress)
    }

    /// If there is no driver and none is waited for, gives control to the
    /// client that joined last and may drive.
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
