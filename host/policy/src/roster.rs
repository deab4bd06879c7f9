//! Who is at a session: its clients, which of them drives, and the size that
//! the terminal should have as a result.
//!
//! Owns the rules of control and sizes. Pure: no I/O and no task; callers pass the time.
//!
//! Control belongs to a client's name, whether or not it is connected:
//!
//! | what happens | who has control then |
//! |---|---|
//! | A joins, and nobody has control | A |
//! | A detaches | B, if there is one; else nobody |
//! | A's window closes or its connection breaks | A, for 5 s after a closed window and 30 s after a lost connection; if A has no name to come back by, as after a detach |
//! | A returns in that time | A |
//! | the time is over | B stands in for A, at once or as soon as there is a B; until then A |
//! | A returns, and B has not used control | A |
//! | B, who stands in, types or takes control | B, for good |
//! | any client that may drive takes control | that client |
//!
//! Of the clients that may drive, B is the one that joined last. Joining or
//! watching never takes control from a driver that is here or is waited for.
//! Only A, when it returns, takes back what it had before B.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use sandbox_broker_core::sandbox::Size;

use crate::progress::InputProgress;

/// Largest number of clients of one session. Each costs a socket and the
/// buffers of two tasks. It is enough for a lecture.
pub const MAX_CLIENTS: usize = 64;

/// Largest number of guests among them. Half of the places stay free for the
/// session's own clients.
const MAX_GUESTS: usize = MAX_CLIENTS / 2;

/// How many clients that left are remembered, with how far their input had come,
/// in case they come back, as a reloaded window does.
const REMEMBERED: usize = 64;

/// How long control waits for a client whose window went away: the time of a
/// reload.
const RELOAD: Duration = Duration::from_secs(5);

/// How long control waits for a client whose connection was lost, or that an
/// earlier broker served. It is twice the longest pause between two tries of a
/// client to reconnect.
const RETURN: Duration = Duration::from_secs(30);

/// How a client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It said so.
    Detached,
    /// Its window was closed or reloaded.
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
    /// The fewest columns and the fewest rows of all clients but guests.
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
    /// It has acknowledged the end of the session.
    told: bool,
}

/// How a client is admitted.
#[derive(Clone, Debug)]
pub enum Admission {
    /// As a client of the session's user.
    Own {
        /// What it asks to do. A driver types only while it has control.
        role: Role,
        /// It may come back by its name.
        returns: bool,
    },
    /// As a guest, who watches, with the person's name. The caller gives
    /// the guest a new name: with a client's name it would replace that client.
    Guest(Arc<str>),
}

/// Who has control of a session.
#[derive(Clone, Debug)]
struct Control {
    holder: Arc<str>,
    /// The client that gets control back when it returns. The holder got
    /// control in that client's absence and has not used it yet.
    in_place_of: Option<Arc<str>>,
    /// Until when control waits for a holder that is absent. For one that came
    /// back only to watch, when it came. None while the holder is here and may
    /// drive.
    waits_until: Option<Instant>,
}

/// The clients of one session, in the order in which they joined.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    members: Vec<Member>,
    control: Option<Control>,
    left: VecDeque<Departed>,
    /// When the session was taken over from an earlier broker. The earlier
    /// broker's clients are unknown to this one.
    taken_over: Option<Instant>,
    next: u64,
    /// Counts changes that others see.
    version: u64,
}

impl Roster {
    /// The roster of a session that was just taken over from an earlier broker. `driver` had
    /// control, if that is known.
    pub fn taken_over(driver: Option<Arc<str>>, now: Instant) -> Self {
        let waits_until = now.checked_add(RETURN);
        let control = driver.map(|holder| Control { holder, in_place_of: None, waits_until });
        Roster { control, taken_over: Some(now), ..Roster::default() }
    }

    /// Adds a client at `now`. It replaces a client of the same name. If the new one
    /// may drive, it gets control if it is still the holder, if another client
    /// only stands in for it, or if there is no driver and none is waited for. Returns its connection and how far its input has come. None
    /// if there are too many clients.
    pub fn join(
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
    pub fn leave(&mut self, connection: u64, how: Leaving, now: Instant) {
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

    /// Whether the user's windows were all closed: none is here, at least one left
    /// within the last `lately`, every one that left in that time was closed, and
    /// the session was not taken over in it.
    pub fn is_closed(&self, lately: Duration, now: Instant) -> bool {
        let recent = |since: Instant| since + lately > now;
        let mut left = self.left.iter().filter(|departed| recent(departed.since)).peekable();
        self.own() == 0
            && !self.taken_over.is_some_and(recent)
            && left.peek().is_some()
            && left.all(|departed| departed.how == Leaving::Closed)
    }

    /// Marks that a client that left has acknowledged the end of the session.
    pub fn told(&mut self, name: &str) {
        self.left.iter_mut().filter(|departed| &*departed.name == name).for_each(|departed| departed.told = true);
    }

    /// Whether some client still has to be told that the session ended at `ended`: a client
    /// that is here, or one that left less than `lately` before then and has not
    /// acknowledged the end. Guests do not count. If an earlier broker served the session lately, its clients
    /// may come back.
    pub fn awaits(&self, ended: Instant, lately: Duration) -> bool {
        let recent = |since: Instant| since + lately > ended;
        self.own() > 0
            || self.left.iter().any(|departed| !departed.told && recent(departed.since))
            || self.taken_over.is_some_and(recent)
    }

    /// Gives control to a client. Returns false if it may not drive.
    pub fn take_control(&mut self, connection: u64) -> bool {
        let found = self.members.iter().find(|member| member.connection == connection && member.may_drive);
        let Some(holder) = found.map(|member| Arc::clone(&member.name)) else { return false };
        if self.control.as_ref().is_none_or(|control| control.holder != holder) {
            self.version += 1;
        }
        self.control = Some(Control { holder, in_place_of: None, waits_until: None });
        true
    }

    /// Whether the driver has control only until another client comes back.
    pub fn stands_in(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.in_place_of.is_some())
    }

    /// Records that the driver used its control. From now on it keeps control, even
    /// if the other client comes back.
    pub fn used(&mut self) {
        if let Some(control) = &mut self.control {
            control.in_place_of = None;
        }
    }

    /// Name of the client that has control, present or not. None if that client
    /// cannot come back by its name.
    pub fn driver(&self) -> Option<&Arc<str>> {
        let returns = self.driving().is_none_or(|member| member.returns);
        self.control.as_ref().filter(|_| returns).map(|control| &control.holder)
    }

    /// When [`Roster::pass_on`] gives control to another client, unless the
    /// holder returns first. None if the holder is here, or if no other client
    /// may drive.
    pub fn passes_at(&self) -> Option<Instant> {
        let waits_until = self.control.as_ref()?.waits_until?;
        self.members.iter().any(|member| member.may_drive).then_some(waits_until)
    }

    /// Gives control to another client if the holder was waited for long enough
    /// by `now`.
    pub fn pass_on(&mut self, now: Instant) {
        if self.passes_at().is_some_and(|at| at <= now) {
            self.settle(now);
        }
    }

    /// A client tells its size. Nothing happens if it is gone.
    pub fn resize(&mut self, connection: u64, size: Size) {
        if let Some(member) = self.members.iter_mut().find(|member| member.connection == connection)
            && member.size.replace(size) != Some(size)
        {
            self.version += 1;
        }
    }

    /// What a client may do. None if this connection has left or was replaced.
    pub fn role(&self, connection: u64) -> Option<Role> {
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
    pub fn own(&self) -> usize {
        self.members.iter().filter(|member| member.guest.is_none()).count()
    }

    /// When the last client that is no guest left, or when the session was taken
    /// over if that is later. None while one is here, or if neither ever happened.
    pub fn alone_since(&self) -> Option<Instant> {
        let last = self.left.iter().map(|departed| departed.since).chain(self.taken_over).max();
        last.filter(|_| self.own() == 0)
    }

    /// Counts changes that [`Roster::present`] shows.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All clients, each with whether its size determines the terminal's under
    /// `rule`.
    pub fn present(&self, rule: SizeRule) -> Vec<Presence> {
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

    /// The size that the terminal should have under `rule`. None if nobody whose
    /// size counts has told one.
    pub fn size(&self, rule: SizeRule) -> Option<Size> {
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
