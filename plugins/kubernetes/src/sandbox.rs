//! Sandboxes: the interface `sandbox`, each a Pod.

use sandbox_broker_sdk::sandbox::{Guest, Page, Spec};
use sandbox_broker_sdk::{Call, Code, Error, SandboxRef};

use crate::Plugin;
use crate::api::{Api, left_over, patience};
use crate::config::Config;
use crate::pod;

/// A Pod's name says all, so there is no state.
fn reference(id: String) -> SandboxRef {
    SandboxRef { id, state: Vec::new() }
}

impl Guest for Plugin {
    async fn create(call: Call, config: String, spec: Spec) -> Result<SandboxRef, Error> {
        let config = Config::parse(&config)?;
        let api = Api::new(&config);
        let id = api.create(&pod::body(&config, &spec)?).await?;
        let Err(error) = api.ready(&id, patience(call.deadline_ms)).await else { return Ok(reference(id)) };
        if let Err(left) = api.kill(&id).await {
            left_over(&id, &left);
        }
        // A Pod that ended before it was ready was not found by nobody: it failed.
        Err(Error { code: if error.code == Code::NotFound { Code::FailedPrecondition } else { error.code }, ..error })
    }

    async fn connect(call: Call, config: String, sandbox: SandboxRef, _ttl_ms: u64) -> Result<SandboxRef, Error> {
        let config = Config::parse(&config)?;
        match Api::new(&config).ready(&sandbox.id, patience(call.deadline_ms)).await {
            Ok(_) => Ok(reference(sandbox.id)),
            // It is there, and may come back with its node.
            Err(e) if e.code == Code::DeadlineExceeded => Err(Error { code: Code::Unavailable, ..e }),
            Err(e) => Err(e),
        }
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
