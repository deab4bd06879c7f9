//! Leases: the interface `lease`, over the control plane.

use sandbox_broker_sdk::lease::Guest;
use sandbox_broker_sdk::{Call, Error, SandboxRef};

use crate::Plugin;
use crate::api::Api;
use crate::config::Config;

impl Guest for Plugin {
    async fn extend(_call: Call, config: String, sandbox: SandboxRef, ttl_ms: u64) -> Result<SandboxRef, Error> {
        Api::new(&Config::parse(&config)?).extend(&sandbox.id, ttl_ms).await?;
        Ok(sandbox)
    }
}
