//! What the host keeps for us beside a container's id: its lease. Pure.

use sandbox_broker_sdk::{Code, Error, SandboxRef};
use serde::{Deserialize, Serialize};

use crate::engine::is_id;

/// Changes when [`State`] does.
const LAYOUT: u8 = 1;

/// The longest lease of a broker, in seconds, and what `USR2` makes of any.
pub const DAY: u64 = 24 * 60 * 60;

/// What is kept.
#[derive(Debug, Deserialize, Serialize)]
struct State {
    v: u8,
    /// The lease in seconds.
    lease: u64,
}

/// The reference to a container with this lease.
pub fn reference(id: &str, lease: u64) -> SandboxRef {
    let state = serde_json::to_vec(&State { v: LAYOUT, lease }).expect("numbers are json");
    SandboxRef { id: id.to_owned(), state }
}

/// The lease of a container in seconds, if the host knows it.
pub fn lease(sandbox: &SandboxRef) -> Option<u64> {
    let state: State = serde_json::from_slice(&sandbox.state).ok()?;
    (state.v == LAYOUT).then_some(state.lease)
}

/// A time of the host as a lease, rounded up.
pub fn seconds(ttl_ms: u64) -> u64 {
    ttl_ms.div_ceil(1000).clamp(1, DAY)
}

/// The container's id, fit for a path.
pub fn id(sandbox: &SandboxRef) -> Result<&str, Error> {
    if is_id(&sandbox.id) {
        Ok(&sandbox.id)
    } else {
        Err(Error::new(Code::InvalidArgument, "the sandbox's id is not one of Docker"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_survives_the_host() {
        assert_eq!(lease(&reference("abc", 120)), Some(120));
        for state in [&b""[..], b"{}", br#"{"v":2,"lease":1}"#] {
            assert_eq!(lease(&SandboxRef { id: "abc".into(), state: state.to_vec() }), None);
        }
        assert_eq!([0, 1, 1000, 1001, u64::MAX].map(seconds), [1, 1, 1, 2, DAY]);
    }

    #[test]
    fn an_id_of_another_provider_is_refused() {
        assert!(id(&reference("abc", 1)).is_ok());
        assert_eq!(id(&reference("../x", 1)).expect_err("unfit").code, Code::InvalidArgument);
    }
}
