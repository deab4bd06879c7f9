//! The pace of a transfer: it may take as long as it moves, and while it moves the
//! session is in use.
//!
//! Deliberately knows no bytes.

use std::time::Duration;

use tokio::time::Instant;

use sandbox_broker_session::Session;

/// How long a transfer may stand still on either side: longer than a phone needs to
/// change its network.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// How often a moving transfer counts as use of the session.
const TOUCH_EVERY: Duration = Duration::from_secs(5);

/// Tells a session now and then that it is in use.
pub(super) struct SessionUse {
    pub(super) session: Session,
    told: Instant,
}

impl SessionUse {
    /// Tells it for the first time.
    pub(super) fn begin(session: Session) -> Self {
        session.touch();
        SessionUse { session, told: Instant::now() }
    }

    /// Notes that the transfer moves.
    pub(super) fn goes_on(&mut self) {
        if self.told.elapsed() >= TOUCH_EVERY {
            self.told = Instant::now();
            self.session.touch();
        }
    }
}
