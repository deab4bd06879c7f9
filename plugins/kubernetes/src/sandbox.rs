//! Sandboxes: the interface `sandbox`, each a Pod that the plugin or a controller makes.

use sandbox_broker_sdk::sandbox::{Guest, Page, Spec};
use sandbox_broker_sdk::{Call, Code, Error, SandboxRef};

use crate::Plugin;
use crate::api::{Api, left_over, patience};
use crate::config::Config;
use crate::pod;
use crate::state::Pod;

/// The name of a Pod, and what tells it from another one of that name.
fn reference(pod: Pod) -> SandboxRef {
    SandboxRef { id: pod.metadata.name, state: pod.metadata.uid.into_bytes() }
}

impl Guest for Plugin {
    async fn create(call: Call, config: String, spec: Spec) -> Result<SandboxRef, Error> {
        let config = Config::parse(&config)?;
        let api = Api::new(&config);
        let id = api.create(&pod::body(&config, &spec)?).await?;
        let error = match api.ready(&id, patience(call.deadline_ms)).await {
            Ok(pod) => return Ok(reference(pod)),
            Err(error) => error,
        };
        if let Err(left) = api.kill(&id).await {
            left_over(&id, &left);
        }
        // A Pod that ended before it was ready was not found by nobody: it failed.
        Err(Error { code: if error.code == Code::NotFound { Code::FailedPrecondition } else { error.code }, ..error })
    }

    async fn connect(call: Call, config: String, sandbox: SandboxRef, _ttl_ms: u64) -> Result<SandboxRef, Error> {
        let config = Config::parse(&config)?;
        match Api::new(&config).ready(&sandbox.id, patience(call.deadline_ms)).await {
            Ok(pod) => {
                let found = reference(pod);
                // References of earlier versions have no state.
                if found.state == sandbox.state || sandbox.state.is_empty() {
                    return Ok(found);
                }
                Err(Error::new(Code::NotFound, "the Pod is gone, and agent-sandbox has made another one in its place"))
            }
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
