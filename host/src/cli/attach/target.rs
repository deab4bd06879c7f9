//! Which session of which broker the command's arguments mean.
//!
//! Owns the reading of an id, a name and an address. Deliberately opens no terminal.

use url::Url;

use crate::cli::remote::{Broker, Remote};
use crate::cli::which::{self, is_id};

/// Where to go, and as whom.
pub(super) struct Target {
    pub(super) broker: Broker,
    /// The session to join, as the person calls it until it is [found](Target::found); none for a new one.
    pub(super) session: Option<String>,
    /// Watches and cannot type.
    pub(super) viewer: bool,
    /// The right to watch somebody else's session.
    pub(super) invitation: Option<String>,
}

impl Target {
    /// Reads the argument `target`: a session, an address, or none for a new session.
    ///
    /// # Errors
    /// When it is neither, or its members do not fit together.
    pub(super) fn of(target: Option<&str>, remote: &Remote, view: bool) -> anyhow::Result<Self> {
        let Some(target) = target else {
            return Ok(Target { broker: remote.broker()?, session: None, viewer: view, invitation: None });
        };
        let url = match Url::parse(target) {
            Ok(url) if target.contains("://") => url,
            _ => {
                let session = Some(target.to_owned());
                return Ok(Target { broker: remote.broker()?, session, viewer: view, invitation: None });
            }
        };
        let member = |name: &str| url.query_pairs().find(|(member, _)| member == name).map(|(_, value)| value);
        let session = member("session").map(String::from);
        if let Some(session) = session.as_ref().filter(|session| !is_id(session)) {
            anyhow::bail!("{session:?} in the address is no session's id, 32 hexadecimal digits");
        }
        let viewer = match member("role").as_deref() {
            None | Some("driver") => view,
            Some("viewer") => true,
            Some(other) => anyhow::bail!("`role` in the address must be driver or viewer, found {other:?}"),
        };
        let invitation = member("invitation").map(String::from);
        let viewer = viewer || invitation.is_some();
        Ok(Target { broker: Broker::at(target)?, session, viewer, invitation })
    }

    /// Asks the broker for the id of the session, if there is one.
    pub(super) async fn found(mut self) -> anyhow::Result<Self> {
        if let Some(session) = &self.session {
            self.session = Some(which::session(&self.broker, session).await?);
        }
        Ok(self)
    }
}
