//! Sandboxes: the interface `sandbox`, over the control plane.

use sandbox_broker_sdk::sandbox::{Guest, Page, Spec};
use sandbox_broker_sdk::{Call, Error, SandboxRef};

use crate::Plugin;
use crate::api::Api;
use crate::config::Config;

impl Guest for Plugin {
    async fn create(_call: Call, config: String, spec: Spec) -> Result<SandboxRef, Error> {
        Api::new(&Config::parse(&config)?).create(&spec).await
    }

    async fn connect(_call: Call, config: String, sandbox: SandboxRef, ttl_ms: u64) -> Result<SandboxRef, Error> {
        Api::new(&Config::parse(&config)?).connect(&sandbox.id, ttl_ms).await
    }

    async fn kill(_call: Call, config: String, sandbox: SandboxRef) -> Result<(), Error> {
        Api::new(&Config::parse(&config)?).kill(&sandbox.id).await
    }

    async fn list(
        _call: Call,
        config: String,
        labels: Vec<(String, String)>,
        cursor: Option<String>,
    ) -> Result<Page, Error> {
        Api::new(&Config::parse(&config)?).list(&labels, cursor.as_deref()).await
    }
}
