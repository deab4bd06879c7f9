//! Sleeping sandboxes: the interface `pause`. The engine freezes the processes; their memory stays taken.

use sandbox_broker_sdk::pause::Guest;
use sandbox_broker_sdk::{Call, Error, SandboxRef};

use crate::Plugin;
use crate::config::Config;
use crate::container::{Life, inspect};
use crate::engine::Engine;
use crate::errors::Asked;
use crate::reference::id;

impl Guest for Plugin {
    async fn pause(_call: Call, config: String, sandbox: SandboxRef) -> Result<(), Error> {
        let config = Config::parse(&config)?;
        let engine = Engine::new(&config);
        let id = id(&sandbox)?;
        let answer = engine.post(&format!("/containers/{id}/pause"), &[]).await?;
        if answer.is_ok() || inspect(&engine, id).await?.life() == Life::Sleeps {
            return Ok(());
        }
        Err(answer.error(Asked::Sandbox(id)))
    }
}
