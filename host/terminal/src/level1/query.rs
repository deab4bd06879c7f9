//! What a client asks for in its URL.
//!
//! Owns the members' names and bounds. Deliberately does not know which sessions
//! exist.

use std::sync::Arc;

use url::form_urlencoded;

use crate::frames::level1::{MAX_NAME, MAX_OFFSET};
use sandbox_broker_core::sandbox::Size;
use sandbox_broker_session::{Invitation, Join, Role, new_id};

/// The members of `/terminal?…`; see `docs/terminal-protocol.md`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) session: Option<String>,
    /// The session is made if it does not exist.
    pub(crate) create: bool,
    pub(crate) since: Option<u64>,
    pub(crate) epoch: Option<u64>,
    client: Option<Arc<str>>,
    role: Role,
    size: Option<Size>,
    invitation: Option<Invitation>,
    pub(crate) catch_up: CatchUp,
}

/// What a client wants instead of output that it missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CatchUp {
    /// Every byte that the recorder still has.
    #[default]
    Bytes,
    /// The screen and what scrolled out of it, once that is less.
    Screen,
}

/// A member of the query that is not what it must be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{member}` in the address must be {expected}")]
pub(crate) struct WrongMember {
    member: &'static str,
    expected: &'static str,
}

impl Query {
    /// Reads the query of a URL. Unknown members are ignored. If a member is there
    /// twice, the last one counts.
    pub(crate) fn parse(query: &str) -> Result<Self, WrongMember> {
        let mut found = Query::default();
        let (mut cols, mut rows) = (None, None);
        for (member, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*member {
                "session" => {
                    let good = value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
                    found.session = Some(value.to_ascii_lowercase()).filter(|_| good);
                    found
                        .session
                        .as_ref()
                        .ok_or_else(|| wrong("session", "the id of a session, 32 hexadecimal digits"))?;
                }
                "create" if value == "1" => found.create = true,
                "create" => return Err(wrong("create", "1, or not there")),
                "since" => {
                    let since = number("since", &value)?;
                    found.since = Some(since).filter(|since| *since <= MAX_OFFSET);
                    found.since.ok_or_else(|| wrong("since", "an offset that some `ready` could have told"))?;
                }
                "epoch" => found.epoch = Some(number("epoch", &value)?),
                "client" => {
                    let good = (1..=MAX_NAME).contains(&value.len())
                        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
                    let name = good.then(|| Arc::from(&*value));
                    found.client = Some(name.ok_or_else(|| wrong("client", "1 to 64 of A-Z, a-z, 0-9, - and _"))?);
                }
                "role" => {
                    found.role = match &*value {
                        "driver" => Role::Driver,
                        "viewer" => Role::Viewer,
                        _ => return Err(wrong("role", "driver or viewer")),
                    }
                }
                "invitation" => {
                    let shown = Invitation::shown(&value);
                    found.invitation =
                        Some(shown.ok_or_else(|| wrong("invitation", "as long as in the link that was copied"))?);
                }
                "catch_up" => {
                    found.catch_up = match &*value {
                        "bytes" => CatchUp::Bytes,
                        "screen" => CatchUp::Screen,
                        _ => return Err(wrong("catch_up", "bytes or screen")),
                    }
                }
                "cols" => cols = Some(number("cols", &value)?),
                "rows" => rows = Some(number("rows", &value)?),
                _ => {}
            }
        }
        found.size = size(cols, rows)?;
        if found.invitation.is_some() && found.session.is_none() {
            return Err(wrong("session", "there together with `invitation`"));
        }
        if found.create && (found.session.is_none() || found.invitation.is_some()) {
            return Err(wrong("create", "there together with `session`, and without `invitation`"));
        }
        Ok(found)
    }

    /// Who joins. A client without a name gets one of its own.
    pub(crate) fn join(&self, user: Option<Arc<str>>) -> Join {
        let client = self.client.clone().unwrap_or_else(new_id);
        Join {
            client,
            returns: self.client.is_some(),
            role: self.role,
            size: self.size,
            user,
            invitation: self.invitation.clone(),
        }
    }
}

/// Reads the size from its two members.
fn size(cols: Option<u64>, rows: Option<u64>) -> Result<Option<Size>, WrongMember> {
    match (cols, rows) {
        (None, None) => Ok(None),
        // A page that is not laid out yet has no size.
        (Some(cols), Some(rows)) => Ok(Size::new(cols.min(Size::MAX.into()), rows.min(Size::MAX.into()))),
        (None, _) => Err(wrong("cols", "there together with `rows`")),
        (_, None) => Err(wrong("rows", "there together with `cols`")),
    }
}

fn wrong(member: &'static str, expected: &'static str) -> WrongMember {
    WrongMember { member, expected }
}

fn number(member: &'static str, value: &str) -> Result<u64, WrongMember> {
    value.parse().map_err(|_| wrong(member, "a whole number from 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_may_ask_for() {
        let id = "0123456789abcdef0123456789abcdef";
        let query =
            Query::parse(&format!("session={id}&since=7&epoch=2&client=w-1&role=viewer&cols=80&rows=24&x=y")).unwrap();
        assert_eq!((query.session.as_deref(), query.since, query.epoch), (Some(id), Some(7), Some(2)));
        let join = query.join(Some("ada".into()));
        assert_eq!((&*join.client, join.role, join.size), ("w-1", Role::Viewer, Size::new(80, 24)));
        let (one, other) = (Query::parse("").unwrap().join(None), Query::parse("").unwrap().join(None));
        assert_ne!(one.client, other.client, "a client without a name gets one of its own");
        let size = |query| Query::parse(query).unwrap().join(None).size;
        assert_eq!((size("cols=0&rows=24"), size("cols=1200&rows=24")), (None, Size::new(1000, 24)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, member) in [
            ("session=1", "session"),
            ("session=0123456789abcdef0123456789abcdeg", "session"),
            ("since=-1", "since"),
            ("since=18446744073709551616", "since"),
            ("client=", "client"),
            ("client=a/b", "client"),
            ("role=root", "role"),
            ("create=1", "create"),
            ("create=yes&session=0123456789abcdef0123456789abcdef", "create"),
            ("catch_up=all", "catch_up"),
            ("session=0123456789abcdef0123456789abcdef&invitation=short", "invitation"),
            ("invitation=0123456789abcdef0123456789abcdef01234567890", "session"),
            ("cols=80", "rows"),
            ("rows=24", "cols"),
            ("cols=-1&rows=24", "cols"),
            ("since=9007199254740993", "since"),
        ] {
            let wrong = Query::parse(query).unwrap_err();
            assert_eq!(wrong.member, member, "{query}");
        }
        assert!(Query::parse(&format!("client={}", "a".repeat(65))).is_err());
    }
}
