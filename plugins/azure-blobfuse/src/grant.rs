//! What `prepare` or the last `renew` got: kept by the host and handed back to
//! every later call. Holds no credential, so nothing of it is sealed.

use sandbox_broker_sdk::mounter::{self, MountTarget};
use sandbox_broker_sdk::{Code, Error};
use serde::{Deserialize, Serialize};

use crate::sas::fnv;

/// Version of [`Grant`]'s layout.
const LAYOUT: u8 = 1;

/// Longest name of a policy, characters. The service's rule.
const MAX_POLICY: usize = 64;

/// Digits of a mount's id.
const ID: usize = 32;

/// What was prepared. One-letter names keep it small.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Grant {
    v: u8,
    /// Name of this mount's policy in the access list.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Whether the service was seen to follow that policy. It may take half a
    /// minute.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub active: bool,
    /// Which token of the operator's was prepared.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<u64>,
}

impl Grant {
    /// Tokens without a policy.
    pub fn plain() -> Self {
        Self { v: LAYOUT, policy: None, active: false, fingerprint: None }
    }

    /// Tokens under a policy.
    pub fn under(policy: String, active: bool) -> Self {
        Self { policy: Some(policy), active, ..Self::plain() }
    }

    /// The same, once the service has had the time to follow its policy.
    #[must_use]
    pub fn followed(self) -> Self {
        Self { active: self.policy.is_some(), ..self }
    }

    /// The operator's token.
    pub fn of_token(fingerprint: u64) -> Self {
        Self { fingerprint: Some(fingerprint), ..Self::plain() }
    }

    /// Reads what the host kept; none when nothing was prepared.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        if bytes.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice::<Self>(bytes).ok().filter(|grant| grant.v == LAYOUT).map(Some).ok_or_else(|| {
            Error::new(Code::FailedPrecondition, "the mount was prepared by another version of the plugin")
        })
    }

    /// For the host.
    pub fn kept(&self) -> mounter::Grant {
        mounter::Grant { kept: self.to_bytes(), sealed: Vec::new() }
    }

    /// For the host to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Whose a mount is, by the facts of its target.
#[derive(Debug)]
pub struct Owner<'a> {
    prefix: String,
    id: &'a str,
    live: Option<Vec<&'a str>>,
}

impl<'a> Owner<'a> {
    /// Reads a target.
    pub fn of(target: &'a MountTarget) -> Self {
        let attr = |name: &str| target.attrs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let broker = attr("broker");
        Self {
            prefix: prefix(broker.unwrap_or("sandbox-broker")),
            id: &target.id,
            // Without a name of its own a broker cannot tell what it left.
            live: broker.and(attr("live")).map(|live| live.split_whitespace().collect()),
        }
    }

    /// Name of this mount's policy.
    pub fn policy(&self) -> String {
        format!("{}{}", self.prefix, self.id)
    }

    /// Whether a policy was left behind by a crash of this broker.
    pub fn left_behind(&self, policy: &str) -> bool {
        let Some(live) = &self.live else { return false };
        policy.strip_prefix(&self.prefix).is_some_and(|id| {
            let is_id = id.len() == ID && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            is_id && id != self.id && !live.contains(&id)
        })
    }
}

/// The beginning of this broker's policies. A name that does not fit is cut,
/// and then a hash of all of it tells it from others.
fn prefix(broker: &str) -> String {
    let room = MAX_POLICY - ID - 1;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if broker.len() <= room && !broker.is_empty() && broker.chars().all(plain) {
        return format!("{broker}.");
    }
    let hash = format!("~{:016x}", fnv(broker));
    let cut: String = broker.chars().filter(|c| plain(*c)).take(room - hash.len()).collect();
    format!("{cut}{hash}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{ID_A, ID_B, ID_C, target};

    #[test]
    fn a_grant_comes_back_as_it_was() {
        for grant in [Grant::plain(), Grant::under("b.1".into(), true), Grant::of_token(u64::MAX)] {
            assert_eq!(Grant::parse(&grant.to_bytes()).expect("ours"), Some(grant));
        }
        assert_eq!(Grant::parse(b"").expect("nothing"), None);
        assert_eq!(Grant::plain().to_bytes(), br#"{"v":1}"#);
        for other in [&b"{}"[..], b"{\"v\":2}", b"x"] {
            assert_eq!(Grant::parse(other).expect_err("not ours").code, Code::FailedPrecondition);
        }
    }

    #[test]
    fn only_this_brokers_dead_mounts_are_left_behind() {
        let mut target = target();
        target.attrs = vec![("broker".into(), "one".into()), ("live".into(), format!("{ID_B} {ID_C}"))];
        let owner = Owner::of(&target);
        assert_eq!(owner.policy(), format!("one.{ID_A}"));
        let dead = "d".repeat(32);
        assert!(owner.left_behind(&format!("one.{dead}")));
        for kept in [
            format!("one.{ID_A}"),
            format!("one.{ID_B}"),
            format!("two.{dead}"),
            format!("one-{dead}"),
            "one.reader".to_owned(),
            dead,
        ] {
            assert!(!owner.left_behind(&kept), "{kept}");
        }
    }

    #[test]
    fn without_the_facts_nothing_is_taken_for_left_behind() {
        for attrs in [vec![], vec![("broker".to_owned(), "one".to_owned())], vec![("live".to_owned(), String::new())]] {
            let mut target = target();
            target.attrs = attrs;
            let owner = Owner::of(&target);
            assert!(!owner.left_behind(&format!("{}{}", owner.prefix, "d".repeat(32))));
        }
    }

    #[test]
    fn names_fit_and_differ() {
        let long = "a-very-long-name-of-a-broker-in-a-far-region".to_owned();
        let names = ["", "a", "ä", "a b", "a.b", &long, &format!("{long}2"), "sandbox-broker"];
        let mut seen = Vec::new();
        for name in names {
            let prefix = prefix(name);
            assert!(prefix.len() + ID <= MAX_POLICY, "{prefix}");
            assert!(!seen.contains(&prefix), "{prefix}");
            seen.push(prefix);
        }
        assert_eq!(prefix("eu-1"), "eu-1.");
    }
}
