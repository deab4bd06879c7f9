//! Who is at a session: its clients, which of them drives, and the size that
//! they agree on.
//!
//! Owns the rules of roles and sizes. Pure: no IO, no task, no clock.
//!
//! ```text
//!              join as driver · take control
//!   Viewer ────────────────────────────────────▶ Driver     one at a time
//!      ▲                                            │
//!      └───── another took control ◀────────────────┤
//!             left: the last to join that may drive follows
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::sandbox::Size;

/// Clients of one session, at most. Each costs a socket and two tasks' worth
/// of buffers; a lecture fits.
pub const MAX_CLIENTS: usize = 64;

/// Guests among them, at most: they never take the last places.
const MAX_GUESTS: usize = MAX_CLIENTS / 2;

/// Clients that left and may come back, whose input is still known. A window
/// that was reloaded is one.
const REMEMBERED: usize = 64;

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
    /// Whose it is, where it is a guest.
    pub guest: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Member {
    name: Arc<str>,
    /// Tells connections of the same name apart; counts up.
    connection: u64,
    may_drive: bool,
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
    /// It was told the end of the session.
    told: bool,
}

/// What a client comes as.
#[derive(Clone, Debug)]
pub(super) enum Seat {
    /// One of the session's user.
    Own(Role),
    /// A guest, who watches, with the person's name. Its client's name must be
    /// nobody's, or it takes that one's place.
    Guest(Arc<str>),
}

/// The clients of one session, in the order in which they joined.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    members: Vec<Member>,
    /// Connection of the driver.
    driver: Option<u64>,
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
    pub(super) fn taken_over(now: Instant) -> Self {
        Roster { taken_over: Some(now), ..Roster::default() }
    }

    /// A client comes. One of the same name gives way. A driver takes control.
    /// Returns its connection and how far its input has come; none when there
    /// are too many.
    pub(super) fn join(&mut self, name: Arc<str>, seat: Seat, size: Option<Size>) -> Option<(u64, Arc<Progress>)> {
        let (may_drive, guest) = match seat {
            Seat::Own(role) => (role == Role::Driver, None),
            Seat::Guest(person) => (false, Some(person)),
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
        self.members.push(Member { name, connection, may_drive, guest, size, progress: Arc::clone(&progress) });
        if may_drive {
            self.driver = Some(connection);
        }
        self.settle();
        Some((connection, progress))
    }

    /// A client goes at `now`, if its place was not taken.
    pub(super) fn leave(&mut self, connection: u64, now: Instant) {
        let Some(at) = self.members.iter().position(|member| member.connection == connection) else { return };
        let Member { name, progress, guest, .. } = self.members.remove(at);
        // The names of guests do not come back.
        if guest.is_none() {
            if self.left.len() >= REMEMBERED {
                self.left.pop_front();
            }
            self.left.push_back(Absent { name, progress, since: now, told: false });
        }
        self.settle();
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
        let may = self.members.iter().any(|member| member.connection == connection && member.may_drive);
        if may && self.driver != Some(connection) {
            self.driver = Some(connection);
            self.settle();
        }
        may
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
        there.then_some(if self.driver == Some(connection) { Role::Driver } else { Role::Viewer })
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

    /// All clients.
    pub(super) fn present(&self) -> Vec<Presence> {
        let present = |member: &Member| Presence {
            client: Arc::clone(&member.name),
            role: if self.driver == Some(member.connection) { Role::Driver } else { Role::Viewer },
            size: member.size,
            guest: member.guest.clone(),
        };
        self.members.iter().map(present).collect()
    }

    /// The size that they agree on; none where nobody says one.
    pub(super) fn size(&self, rule: SizeRule) -> Option<Size> {
        match rule {
            SizeRule::Driver => self.members.iter().find(|member| self.driver == Some(member.connection))?.size,
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

    /// Finds a driver where there is none, the last to join that may.
    fn settle(&mut self) {
        if !self.members.iter().any(|member| self.driver == Some(member.connection)) {
            self.driver = self.members.iter().rev().find(|member| member.may_drive).map(|member| member.connection);
        }
        self.version += 1;
    }
}
