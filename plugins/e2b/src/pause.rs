//! Sleeping sandboxes: the interface `pause`, over the control plane.

use sandbox_broker_sdk::pause::Guest;
use sandbox_broker_sdk::{Call, Error, SandboxRef};

use crate::Plugin;
use crate::api::Api;
use crate::config::Config;

impl Guest for Plugin {
    async fn pause(_call: Call, config: String, sandbox: SandboxRef) -> Result<(), Error> {
        Api::new(&Config::parse(&config)?).pause(&sandbox.id).await
    }
}
