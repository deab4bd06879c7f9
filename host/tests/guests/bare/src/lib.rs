//! A sandbox provider with only what the contract requires, and without
//! sandboxes. It reports what its creation does.

use std::future::pending;
use std::time::Duration;

use sandbox_broker_sdk::stream::{StreamReader, bytes, outcome};
use sandbox_broker_sdk::{Call, Ending, Error, Exit, SandboxRef, exec, manifest, progress, sandbox, spawn, time};

struct Plugin;

/// What takes so long.
async fn work() {
    let _ = time::timeout(PULL, pending::<()>()).await;
}

/// Time between two reports, longer than the pace at which a client is told.
const PULL: Duration = Duration::from_millis(400);

impl manifest::Guest for Plugin {
    fn describe() -> String {
        r#"{"id":"bare","version":"0.1.0","title":"Bare","kind":"sandbox","abilities":{"lease":"none","root":false}}"#
            .into()
    }

    fn config_schema() -> String {
        r#"{"type":"object","additionalProperties":false}"#.into()
    }

    fn validate(_: String) -> Vec<manifest::Diagnostic> {
        Vec::new()
    }
}

impl sandbox::Guest for Plugin {
    async fn create(call: Call, _: String, _: sandbox::Spec) -> Result<SandboxRef, Error> {
        progress::report("pulling the image", Some(40));
        work().await;
        let left = if call.deadline_ms > 0 { "in time" } else { "late" };
        progress::say(&format!("starting {left}"));
        work().await;
        Ok(SandboxRef { id: format!("bare-{}", call.id), state: Vec::new() })
    }

    async fn connect(_: Call, _: String, s: SandboxRef, _: u64) -> Result<SandboxRef, Error> {
        Ok(s)
    }

    async fn kill(_: Call, _: String, _: SandboxRef) -> Result<(), Error> {
        Ok(())
    }

    async fn list(_: Call, _: String, _: Vec<(String, String)>, _: Option<String>) -> Result<sandbox::Page, Error> {
        Ok(sandbox::Page { sandboxes: Vec::new(), next: None })
    }
}

impl exec::Guest for Plugin {
    /// Ends at once, as a sandbox without any program.
    async fn run(
        _: Call,
        _: String,
        _: SandboxRef,
        _: exec::Command,
        _: StreamReader<u8>,
    ) -> Result<exec::Process, Error> {
        let ((out, stdout), (err, stderr)) = (bytes(), bytes());
        let (end, done) = outcome();
        spawn(async move {
            drop((out, err));
            let _ = end.write(Ok(Exit::Code(127))).await;
        });
        Ok(exec::Process { id: "1".into(), stdout, stderr, done: Ending::Told(done) })
    }

    async fn exit_of(_: Call, _: String, _: SandboxRef, _: String, _: Result<String, Error>) -> Result<Exit, Error> {
        Err(Error::never_reported())
    }

    async fn signal(_: Call, _: String, _: SandboxRef, _: String, _: String) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(target_family = "wasm")]
sandbox_broker_sdk::export_sandbox_provider!(Plugin);
