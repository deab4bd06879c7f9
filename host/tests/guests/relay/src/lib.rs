//! A sandbox provider without sandboxes, whose processes are connections of the host. How it treats them is told by its
//! configuration.

use sandbox_broker_sdk::net::{self, Failure, Framing, Request};
use sandbox_broker_sdk::stream::{StreamReader, bytes};
use sandbox_broker_sdk::{Call, Code, Ending, Error, Exit, SandboxRef, exec, manifest, sandbox, spawn};
use serde::Deserialize;

struct Plugin;

#[derive(Deserialize)]
struct Config {
    /// Where to.
    #[serde(default)]
    url: String,
    /// `fetch`, `upgrade`, `websocket`, `connect` or `rpc`.
    #[serde(default)]
    how: String,
    /// `raw`, `docker` or `kubernetes`.
    #[serde(default)]
    framing: String,
    /// Sub-protocols of a WebSocket.
    #[serde(default)]
    protocols: Vec<String>,
    /// The body of an upgrade.
    #[serde(default)]
    body: String,
    /// `read`: reads four bytes first. `own`: copies the output itself. Otherwise it hands back what it got.
    #[serde(default)]
    touches: String,
}

impl manifest::Guest for Plugin {
    fn describe() -> String {
        r#"{"id":"relay","version":"0.1.0","title":"Relay","kind":"sandbox","abilities":{"lease":"none"}}"#.into()
    }

    fn config_schema() -> String {
        r#"{"type":"object"}"#.into()
    }

    fn validate(_: String) -> Vec<manifest::Diagnostic> {
        Vec::new()
    }
}

impl sandbox::Guest for Plugin {
    async fn create(call: Call, _: String, _: sandbox::Spec) -> Result<SandboxRef, Error> {
        Ok(SandboxRef { id: call.id, state: Vec::new() })
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

/// A refusal, with what the server said.
fn refused(failure: Failure) -> Error {
    match failure {
        Failure::Failed(error) => error,
        Failure::Refused(refusal) => Error::new(
            Error::code_of_status(refusal.status),
            format!("refused with {}: {}", refusal.status, String::from_utf8_lossy(&refusal.body)),
        ),
    }
}

impl exec::Guest for Plugin {
    async fn run(
        _: Call,
        config: String,
        _: SandboxRef,
        command: exec::Command,
        stdin: StreamReader<u8>,
    ) -> Result<exec::Process, Error> {
        let config: Config = serde_json::from_str(&config).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        let framing = match config.framing.as_str() {
            "docker" => Framing::Docker,
            "kubernetes" => Framing::Kubernetes,
            _ => Framing::Raw,
        };
        let headers = command.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut request = Request { method: "POST".into(), url: config.url.clone(), headers };
        let (mut first, second, ended) = match config.how.as_str() {
            "fetch" => {
                let answer = net::fetch(&request, Some(stdin)).await?;
                (answer.body, None, answer.ended)
            }
            "connect" => {
                let open = net::connect(&config.url, stdin).await?;
                (open.first, Some(open.second), open.ended)
            }
            "rpc" => {
                let call = net::RpcCall {
                    url: request.url,
                    headers: request.headers,
                    message: "{}".into(),
                    opens: "begun".into(),
                    first: "out".into(),
                    second: Some("err".into()),
                    closes: "closed".into(),
                    silence_ms: 10_000,
                };
                let (_, open) = net::rpc(&call).await.map_err(refused)?;
                (open.first, Some(open.second), open.ended)
            }
            "websocket" => {
                request.method = "GET".into();
                let open = net::websocket(&request, &config.protocols, framing, stdin).await.map_err(refused)?;
                (open.first, Some(open.second), open.ended)
            }
            _ => {
                request.headers.push(("upgrade".into(), "tcp".into()));
                let open = net::upgrade(&request, config.body.as_bytes(), framing, stdin).await.map_err(refused)?;
                (open.first, Some(open.second), open.ended)
            }
        };
        let second = second.unwrap_or_else(|| bytes().1);
        match config.touches.as_str() {
            "read" => {
                let (_, _) = first.read(Vec::with_capacity(4)).await;
            }
            "own" => {
                let (mut own, output) = bytes();
                let mut theirs = std::mem::replace(&mut first, output);
                spawn(async move {
                    loop {
                        let (status, chunk) = theirs.read(Vec::with_capacity(4096)).await;
                        let left = own.write_all(chunk).await;
                        if !left.is_empty() || !matches!(status, sandbox_broker_sdk::stream::StreamResult::Complete(_))
                        {
                            break;
                        }
                    }
                });
            }
            _ => {}
        }
        Ok(exec::Process { id: "1".into(), stdout: first, stderr: second, done: Ending::Reported(ended) })
    }

    /// The report is JSON of Kubernetes, or nothing.
    async fn exit_of(
        _: Call,
        _: String,
        _: SandboxRef,
        _: String,
        report: Result<String, Error>,
    ) -> Result<Exit, Error> {
        let report = report?;
        if report.is_empty() {
            return Ok(Exit::Code(7));
        }
        let report: serde_json::Value =
            serde_json::from_str(&report).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        Ok(if report["status"] == "Success" { Exit::Code(0) } else { Exit::Unknown })
    }

    async fn signal(_: Call, _: String, _: SandboxRef, _: String, _: String) -> Result<(), Error> {
        Err(Error::new(Code::Unimplemented, "it only relays"))
    }
}

#[cfg(target_family = "wasm")]
sandbox_broker_sdk::export_sandbox_provider!(Plugin);
