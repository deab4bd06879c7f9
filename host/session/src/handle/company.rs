//! What a client hears of the others, and how a client that has left confirms
//! that it got the end.
//!
//! Owns how often a client hears of the others. Deliberately decides nothing
//! about roles.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::shared::Shared;
use super::wishes::Wishes;
use sandbox_broker_policy::roster::{Presence, Role, SizeRule};

/// Time between two lists of who is there. Each list goes to every client. If
/// two of 64 clients took control in turn, lists would flood all of them.
const TOLD_EVERY: Duration = Duration::from_millis(40);

/// Says that a client has got the end of its session. Without it the end is
/// kept for that client as long as it may come back.
#[derive(Debug)]
pub struct Receipt {
    shared: Arc<Shared>,
    name: Arc<str>,
}

impl Receipt {
    /// For the client of this name.
    pub(crate) fn of(shared: Arc<Shared>, name: Arc<str>) -> Self {
        Receipt { shared, name }
    }

    /// The client has shown that it got all that it was sent.
    pub fn confirm(self) {
        let Receipt { shared, name } = self;
        shared.wishes.send_modify(|wishes| wishes.roster.told(&name));
    }
}

/// News of who is at a session.
#[derive(Debug)]
pub struct Company {
    wishes: watch::Receiver<Wishes>,
    version: Option<u64>,
    connection: u64,
    rule: SizeRule,
    /// No list is told before this time.
    next: Option<Instant>,
}

impl Company {
    /// For the client with this connection.
    pub(crate) fn of(wishes: watch::Receiver<Wishes>, connection: u64, rule: SizeRule) -> Self {
        Company { wishes, version: None, connection, rule, next: None }
    }

    /// Waits for a change. The first call returns at once. Returns who is there
    /// and what this client may do. The role is none if the client's place was
    /// taken. Changes in quick succession are told together. Cancel-safe. Never
    /// returns once the session is gone.
    pub async fn changed(&mut self) -> (Option<Role>, Vec<Presence>) {
        loop {
            if let Some(next) = self.next {
                sleep_until(next).await;
                self.next = None;
            }
            {
                let wishes = self.wishes.borrow_and_update();
                let version = Some(wishes.roster.version());
                if self.version != version {
                    self.version = version;
                    self.next = Some(Instant::now() + TOLD_EVERY);
                    return (wishes.roster.role(self.connection), wishes.roster.present(self.rule));
                }
            }
            if self.wishes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
