//! Which session of which broker the command's arguments mean.
//!
//! Owns the reading of an id and of an address. Deliberately connects nowhere.

use url::Url;

use crate::cli::remote::{Broker, Remote};

/// Where to go, and as whom.
pub(super) struct Target {
    pub(super) broker: Broker,
    /// The session to join; none for a new one.
    pub(super) session: Option<String>,
    /// Watches and cannot type.
    pub(super) viewer: bool,
    /// The right to watch somebody else's session.
    pub(super) invitation: Option<String>,
}

impl Target {
    /// Reads the argument `target`: an id, an address, or none for a new session.
    ///
    /// # Errors
    /// When it is neither, or its members do not fit together.
    pub(super) fn of(target: Option<&str>, remote: &Remote, view: bool) -> anyhow::Result<Self> {
        let Some(target) = target else {
            return Ok(Target { broker: remote.broker()?, session: None, viewer: view, invitation: None });
        };
        if is_id(target) {
            let session = Some(target.to_owned());
            return Ok(Target { broker: remote.broker()?, session, viewer: view, invitation: None });
        }
        let Ok(url) = Url::parse(target) else {
            anyhow::bail!("{target:?} is neither a session's id, 32 hexadecimal digits, nor an address");
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
}

/// Whether this is the id of a session: 32 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
