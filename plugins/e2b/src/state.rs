//! What the host keeps for us with each sandbox: how to reach its agent.

use sandbox_broker_sdk::{Code, Error, SandboxRef};
use serde::{Deserialize, Serialize};

use crate::config::is_domain;
use crate::urls::is_id;

/// Longest access token that is kept, in bytes: within the contract's 4 KiB.
const MAX_TOKEN: usize = 3 << 10;

/// What the control plane says about a sandbox at `create` and `connect`.
#[derive(Clone, Debug, Deserialize)]
pub struct Sandbox {
    #[serde(rename = "sandboxID")]
    pub id: String,
    #[serde(rename = "envdVersion", default)]
    pub envd_version: Option<String>,
    #[serde(rename = "envdAccessToken", default)]
    pub token: Option<String>,
    #[serde(default)]
    pub domain: Option<String>,
    /// Whether the agent's calls for files have no more rights than the user
    /// that they name. `sandboxd` says so, E2B does not.
    #[serde(rename = "filesAsUser", default)]
    pub files_as_user: bool,
}

/// The state of a `sandbox-ref`. One-letter names keep it small.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct State {
    /// Version of this layout.
    v: u8,
    /// Access token of the agent.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Domain of this sandbox, where it differs from the configured one.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Version of the agent.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    envd: Option<String>,
    /// As [`Sandbox::files_as_user`].
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    pub files_as_user: bool,
}

const LAYOUT: u8 = 1;

impl Sandbox {
    /// The reference for the host. `internal` for an answer that would lead
    /// requests astray.
    pub fn into_ref(self) -> Result<SandboxRef, Error> {
        let odd = |what: &str| Error::new(Code::Internal, format!("the service answered with an unusable {what}"));
        if !is_id(&self.id) {
            return Err(odd("sandbox id"));
        }
        let domain = self.domain.filter(|d| !d.is_empty());
        if domain.as_deref().is_some_and(|d| !is_domain(d)) {
            return Err(odd("domain"));
        }
        let fits = |token: &String| token.len() <= MAX_TOKEN && token.bytes().all(|b| b.is_ascii_graphic());
        if self.token.as_ref().is_some_and(|token| !fits(token)) {
            return Err(odd("access token"));
        }
        let envd = self.envd_version.filter(|v| v.len() <= 64);
        let state = State { v: LAYOUT, token: self.token, domain, envd, files_as_user: self.files_as_user };
        let state = serde_json::to_vec(&state).expect("texts are json");
        Ok(SandboxRef { id: self.id, state })
    }
}

impl State {
    /// Reads the state of a reference. `failed-precondition` when there is
    /// none, as after a listing: `connect` brings it.
    pub fn of(sandbox: &SandboxRef) -> Result<Self, Error> {
        let stale =
            || Error::new(Code::FailedPrecondition, format!("sandbox {} has to be connected to first", sandbox.id));
        if sandbox.state.is_empty() {
            return Err(stale());
        }
        let state: Self = serde_json::from_slice(&sandbox.state).map_err(|_| stale())?;
        if state.v == LAYOUT { Ok(state) } else { Err(stale()) }
    }

    /// Version of the agent; the newest when it did not say.
    pub fn envd(&self) -> Version {
        self.envd.as_deref().map_or(Version::NEWEST, Version::parse)
    }
}

/// A version of the agent, by its first three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    const NEWEST: Self = Self(u32::MAX, 0, 0);

    /// Reads `1.2.3`, also with a `v` before and a suffix behind; what is no
    /// version counts as the newest.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('v').unwrap_or(text);
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = core.split('.').map(|n| n.parse().ok());
        match (numbers.next().flatten(), numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor), Some(patch)) => Self(major, minor, patch),
            _ => Self::NEWEST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str) -> Sandbox {
        serde_json::from_str(json).expect("an answer")
    }

    #[test]
    fn state_survives_the_host_and_stays_small() {
        let sandbox = answer(
            r#"{"templateID":"tpl","sandboxID":"iabc123","clientID":"c","envdVersion":"0.6.13",
            "envdAccessToken":"tok","domain":null}"#,
        );
        let reference = sandbox.into_ref().expect("usable");
        assert_eq!(reference.id, "iabc123");
        assert_eq!(reference.state, br#"{"v":1,"t":"tok","e":"0.6.13"}"#);
        let state = State::of(&reference).expect("our own");
        assert_eq!(state.token.as_deref(), Some("tok"));
        assert_eq!(state.envd(), Version(0, 6, 13));
        assert!(!state.files_as_user, "as nobody said so");
        let ours = answer(r#"{"sandboxID":"i","filesAsUser":true}"#).into_ref().expect("usable");
        assert!(State::of(&ours).expect("our own").files_as_user);

        let mut longest = answer(r#"{"sandboxID":"i","filesAsUser":true}"#);
        longest.id = "i".repeat(128);
        longest.token = Some("t".repeat(MAX_TOKEN));
        longest.domain = Some(["d".repeat(60).as_str(); 4].join("."));
        longest.envd_version = Some("9".repeat(64));
        assert!(longest.into_ref().expect("usable").state.len() <= 4 << 10);
    }

    #[test]
    fn answers_that_would_lead_requests_astray_are_refused() {
        for bad in [
            r#"{"sandboxID":"../x"}"#,
            r#"{"sandboxID":"i","domain":"evil.test/p?"}"#,
            r#"{"sandboxID":"i","envdAccessToken":"a\r\nb"}"#,
        ] {
            assert_eq!(answer(bad).into_ref().expect_err("unusable").code, Code::Internal, "{bad}");
        }
    }

    #[test]
    fn without_state_the_host_is_told_to_connect() {
        for state in [&b""[..], b"{}", br#"{"v":2}"#] {
            let reference = SandboxRef { id: "i".into(), state: state.to_vec() };
            assert_eq!(State::of(&reference).expect_err("no state").code, Code::FailedPrecondition);
        }
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(Version::parse("0.5.10") > Version(0, 5, 7));
        assert_eq!(Version::parse("v0.6.4-rc1"), Version(0, 6, 4));
        assert!(Version::parse("dev") > Version(99, 99, 99));
    }
}
