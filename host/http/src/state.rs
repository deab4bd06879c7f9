//! What every handler can reach.
//!
//! Owns whose session a request may have. Deliberately knows no route.

use std::sync::Arc;
use std::time::Instant;

use crate::access::auth::{Auth, Pass};
use crate::api::handshakes::Handshakes;
use crate::api::refusal::Refusal;
use crate::api::slots::Slots;
use crate::app::{App, Settings};
use sandbox_broker_session::Session;

/// Characters of an id that a refusal repeats, at most: twice a real one's.
const MAX_ID: usize = 64;

/// The state, shared by all handlers.
pub(crate) type Shared = Arc<State>;

/// What every handler can reach.
pub(crate) struct State {
    pub(crate) app: App,
    pub(crate) auth: Arc<Auth>,
    pub(crate) slots: Slots,
    pub(crate) handshakes: Handshakes,
    pub(crate) started: Instant,
}

impl State {
    /// The state when the server starts.
    pub(crate) fn new(app: App) -> Shared {
        let auth = Arc::new(Auth::new(&app.broker, Arc::clone(&app.sign_ins), app.kept.clone()));
        let (slots, handshakes) = (Slots::default(), Handshakes::default());
        Arc::new(State { app, auth, slots, handshakes, started: Instant::now() })
    }

    /// The settings that hold now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.app.settings.borrow().clone()
    }

    /// The session with this id, if it is the caller's own. For anybody else's the
    /// refusal is the same as for one that does not exist.
    pub(crate) fn session(&self, pass: &Pass, id: &str) -> Result<Session, Refusal> {
        let own = |session: &Session| self.auth.owns(&self.settings(), pass, session.user());
        let found = self.app.sessions.get(id).filter(own);
        found.ok_or_else(|| Refusal::NoSession(id.chars().take(MAX_ID).collect()))
    }
}
