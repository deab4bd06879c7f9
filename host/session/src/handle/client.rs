//! One client of a session.
//!
//! Owns its place among the clients: a session that is not kept lives as long
//! as one is held. Deliberately knows no socket and no frame.

use std::ops::Deref;
use std::sync::{Arc, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use sandbox_broker_core::sandbox::{CHUNK_BYTES, Size};
use sandbox_stdx::lock::lock;
use tokio::sync::watch;
use tokio::time::Instant;

use super::company::{Company, Receipt};
use super::join::Join;
use super::session::{Ended, Session};
use super::shared::Shared;
use crate::blueprint::SlowClient;
use crate::id::new_id;
use crate::input::mailbox::Input;
use crate::output::reader::Reader;
use crate::recorder::looks::Colors;
use sandbox_broker_policy::answers::Answered;
use sandbox_broker_policy::progress::InputProgress;
use sandbox_broker_policy::roster::{Admission, Leaving, Role, Roster};

/// A guest's name if nobody signs in.
const SOMEBODY: &str = "somebody";

/// A session's client. If the session is not kept, it ends at once when its
/// last client is dropped, and its sandbox with it.
#[derive(Debug)]
pub struct Client {
    session: Session,
    name: Arc<str>,
    guest: bool,
    connection: u64,
    progress: Arc<InputProgress>,
    leaving: OnceLock<Leaving>,
}

/// Why a client may not type.
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
    /// Joins a session that admits the client. None if the session has as many
    /// clients as it may.
    pub(crate) fn join(shared: Arc<Shared>, join: Join) -> Option<Self> {
        let Join { client, returns, role, size, user, invitation } = join;
        let guest = invitation.is_some();
        let (name, admission) = if guest {
            (new_id(), Admission::Guest(user.unwrap_or_else(|| SOMEBODY.into())))
        } else {
            (client, Admission::Own { role, returns })
        };
        let (connection, progress) =
            shared.change(|roster| roster.join(Arc::clone(&name), admission, size, Instant::now()))?;
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

    /// Whether it is here by an invitation. A guest only watches.
    pub fn is_guest(&self) -> bool {
        self.guest
    }

    /// Sets this client's size. If the size rule says so, this becomes the
    /// terminal's size, or the size that the shell will start with. Never
    /// waits. The latest size wins, and a size that the terminal has is not
    /// sent.
    pub fn resize(&self, size: Size) {
        let shared = &self.session.0;
        shared.change(|roster| roster.resize(self.connection, size));
    }

    /// What it may do now. None if a newer connection took its place.
    pub fn role(&self) -> Option<Role> {
        self.session.0.wishes.borrow().roster.role(self.connection)
    }

    /// Makes this client the driver and the previous driver a viewer. Returns
    /// false if this client joined as a viewer.
    pub fn take_control(&self) -> bool {
        self.session.0.change(|roster| roster.take_control(self.connection))
    }

    /// Says how this client is about to leave. That counts when the client is
    /// dropped. Only the first call counts. Without a call the connection
    /// counts as lost.
    pub fn leaves(&self, how: Leaving) {
        self.leaving.get_or_init(|| how);
    }

    /// Sends input with a number of this client's own. A number that does not
    /// rise was sent before and changes nothing. Waits and can be dropped like
    /// [`Session::input`]. If another client takes control meanwhile, none of
    /// this input comes after that client's.
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
            // The room is reserved first: a call that is dropped here has not
            // taken the number.
            let place = mailbox.reserve().await.map_err(|_| Ended)?;
            // While this is borrowed, nobody can take control between the check
            // and the send.
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

    /// Highest number of this client's input that was handed to the sandbox.
    /// The value changes as more is handed on.
    pub fn handed(&self) -> watch::Receiver<u64> {
        self.progress.handed.subscribe()
    }

    /// This client, which drives, was sent the output before `offset`.
    pub fn sent(&self, offset: u64) {
        self.answered().sent(&self.name, offset);
    }

    /// Offset from which this client's terminal answers what programs ask, if
    /// no recorder does. The client has the output before `since`. The output
    /// ends at `end`.
    pub fn unanswered(&self, since: Option<u64>, end: u64) -> u64 {
        self.answered().unanswered(&self.name, since, end)
    }

    fn answered(&self) -> MutexGuard<'_, Answered> {
        lock(&self.session.0.answered)
    }

    /// Tells how this client's terminal looks. Counts only if this client
    /// drives. Never waits.
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

    /// Which numbering of the output this is. An offset counts only within its
    /// own epoch.
    pub fn epoch(&self) -> u64 {
        self.session.0.epoch
    }

    /// How long the session lives on without a client.
    pub fn keep(&self) -> Duration {
        self.session.0.keep
    }

    /// Confirms that this client got the end, after the client has left. None
    /// for a guest: nothing is kept for guests.
    pub fn receipt(&self) -> Option<Receipt> {
        let receipt = || Receipt::of(Arc::clone(&self.session.0), Arc::clone(&self.name));
        (!self.guest).then(receipt)
    }

    /// Whether the shell waits for its driver to read.
    pub fn shell_waits(&self) -> bool {
        self.session.0.slow == SlowClient::Pause
    }

    /// Reads the session from `since`. `holds` makes the shell wait for this
    /// reader when it is [`WINDOW`](crate::WINDOW) behind.
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
