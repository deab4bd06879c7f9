//! The e2b plugin with only what the contract requires: real sandboxes of a
//! provider that has neither terminals nor files nor leases that can be moved.

use plugin_e2b::Plugin;
use sandbox_broker_sdk::stream::StreamReader;
use sandbox_broker_sdk::{Call, Error, Exit, SandboxRef, exec, manifest, sandbox};
use serde_json::{Value, json};

struct Bare;

impl manifest::Guest for Bare {
    fn describe() -> String {
        let mut description: Value = serde_json::from_str(&Plugin::describe()).unwrap();
        description["id"] = "e2b-bare".into();
        description["abilities"] = json!({ "lease": "none" });
        description.to_string()
    }

    fn config_schema() -> String {
        Plugin::config_schema()
    }

    fn validate(config: String) -> Vec<manifest::Diagnostic> {
        Plugin::validate(config)
    }
}

impl sandbox::Guest for Bare {
    async fn create(call: Call, config: String, spec: sandbox::Spec) -> Result<SandboxRef, Error> {
        Plugin::create(call, config, spec).await
    }

    async fn connect(call: Call, config: String, s: SandboxRef, ttl_ms: u64) -> Result<SandboxRef, Error> {
        Plugin::connect(call, config, s, ttl_ms).await
    }

    async fn kill(call: Call, config: String, s: SandboxRef) -> Result<(), Error> {
        Plugin::kill(call, config, s).await
    }

    async fn list(
        call: Call,
        config: String,
        labels: Vec<(String, String)>,
        cursor: Option<String>,
    ) -> Result<sandbox::Page, Error> {
        <Plugin as sandbox::Guest>::list(call, config, labels, cursor).await
    }
}

impl exec::Guest for Bare {
    async fn run(
        call: Call,
        config: String,
        s: SandboxRef,
        command: exec::Command,
        stdin: StreamReader<u8>,
    ) -> Result<exec::Process, Error> {
        Plugin::run(call, config, s, command, stdin).await
    }

    async fn exit_of(
        call: Call,
        config: String,
        s: SandboxRef,
        id: String,
        report: Result<String, Error>,
    ) -> Result<Exit, Error> {
        <Plugin as exec::Guest>::exit_of(call, config, s, id, report).await
    }

    async fn signal(call: Call, config: String, s: SandboxRef, id: String, name: String) -> Result<(), Error> {
        <Plugin as exec::Guest>::signal(call, config, s, id, name).await
    }
}

#[cfg(target_family = "wasm")]
sandbox_broker_sdk::export_sandbox_provider!(Bare);
