//! What the host keeps of a mount. The part that goes to its disk says only
//! that the mount was prepared; the sealed part has the credentials.

use jiff::Timestamp;
use sandbox_broker_sdk::mounter;
use sandbox_broker_sdk::{Code, Error};
use serde::{Deserialize, Serialize};

/// The layout of both parts.
const LAYOUT: u32 = 1;

/// What opens the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The key's id.
    pub id: String,
    /// The key.
    pub secret: String,
    /// The token of temporary ones.
    pub token: Option<String>,
    /// When temporary ones end.
    pub expires: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    v: u32,
}

/// For the host: credentials go into memory only, and the operator's own not
/// even there.
pub fn of(credentials: &Credentials) -> mounter::Grant {
    let kept = serde_json::to_vec(&Kept { v: LAYOUT }).unwrap_or_default();
    let sealed = match credentials.token {
        Some(_) => serde_json::to_vec(credentials).unwrap_or_default(),
        None => Vec::new(),
    };
    mounter::Grant { kept, sealed }
}

/// Whether the mount was prepared. An error for what another version wrote.
pub fn is_prepared(grant: &mounter::Grant) -> Result<bool, Error> {
    if grant.kept.is_empty() {
        return Ok(false);
    }
    let kept: Option<Kept> = serde_json::from_slice(&grant.kept).ok();
    match kept {
        Some(Kept { v: LAYOUT }) => Ok(true),
        _ => Err(Error::new(Code::FailedPrecondition, "the mount was prepared by another version of the plugin")),
    }
}

/// The credentials of the sealed part, unless they end within `rest` seconds.
/// A broker that was restarted has none.
pub fn credentials(grant: &mounter::Grant, now: Timestamp, rest: i64) -> Option<Credentials> {
    let found: Credentials = serde_json::from_slice(&grant.sealed).ok()?;
    found.expires.is_some_and(|end| end.as_second() - now.as_second() > rest).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{credentials as some, now};

    #[test]
    fn credentials_are_sealed_and_never_kept() {
        let grant = of(&some());
        assert_eq!(grant.kept, br#"{"v":1}"#);
        assert_eq!(credentials(&grant, now(), 60), Some(some()));
        assert!(is_prepared(&grant).expect("ours"));
        let own = of(&Credentials { token: None, ..some() });
        assert_eq!((own.kept, own.sealed), (br#"{"v":1}"#.to_vec(), Vec::new()));
    }

    #[test]
    fn what_has_ended_or_is_of_another_version_is_not_used() {
        let grant = of(&some());
        let late = some().expires.expect("an end");
        assert_eq!(credentials(&grant, late, 0), None);
        let empty = mounter::Grant { kept: Vec::new(), sealed: Vec::new() };
        assert!(!is_prepared(&empty).expect("nothing"));
        let other = mounter::Grant { kept: b"{\"v\":2}".to_vec(), sealed: Vec::new() };
        assert_eq!(is_prepared(&other).expect_err("not ours").code, Code::FailedPrecondition);
    }
}
