//! Leases: the interface `lease`. The engine has none: the first process in a container keeps it, and ends with it.
//!
//! A signal renews it. That needs no process in the container and no file, and works whatever the user in there may do.

use sandbox_broker_sdk::lease::Guest;
use sandbox_broker_sdk::{Call, Error, SandboxRef};

use crate::Plugin;
use crate::config::Config;
use crate::container::inspect;
use crate::engine::Engine;
use crate::errors::Asked;
use crate::reference::{DAY, id, lease, reference, seconds};

impl Guest for Plugin {
    async fn extend(_call: Call, config: String, sandbox: SandboxRef, ttl_ms: u64) -> Result<SandboxRef, Error> {
        let config = Config::parse(&config)?;
        let engine = Engine::new(&config);
        let id = id(&sandbox)?;
        let lease = match lease(&sandbox) {
            Some(lease) => Some(lease),
            None => inspect(&engine, id).await?.lease(),
        };
        renew(&engine, id, lease, ttl_ms).await
    }
}

/// Renews the lease of a container that runs: for as long as it was made with, which its first process knows, and for a
/// day when that is shorter than `ttl_ms` or not known.
pub async fn renew(engine: &Engine<'_>, id: &str, lease: Option<u64>, ttl_ms: u64) -> Result<SandboxRef, Error> {
    let (signal, lease) = signal(lease, ttl_ms);
    let answer = engine.post(&format!("/containers/{id}/kill"), &[("signal", signal)]).await?;
    if answer.is_ok() { Ok(reference(id, lease)) } else { Err(answer.error(Asked::Sandbox(id))) }
}

fn signal(lease: Option<u64>, ttl_ms: u64) -> (&'static str, u64) {
    match lease {
        Some(lease) if lease >= seconds(ttl_ms) => ("USR1", lease),
        _ => ("USR2", DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_renewed_for_what_it_is_and_never_for_less() {
        assert_eq!(signal(Some(120), 120_000), ("USR1", 120));
        assert_eq!(signal(Some(120), 3_000), ("USR1", 120));
        assert_eq!(signal(Some(120), 120_001), ("USR2", DAY));
        assert_eq!(signal(Some(DAY), 120_001), ("USR1", DAY));
        assert_eq!(signal(None, 1), ("USR2", DAY));
    }
}
