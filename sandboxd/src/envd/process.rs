//! The service `process.Process`: its messages and their way to the sandbox's processes.
//!
//! Source: field names and behaviour of E2B's `envd` 0.6.13. Does not touch descriptors.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use serde::{Deserialize, Deserializer, Serialize};

use super::caller::{Caller, UnaryResult, acting_user};
use crate::connect::{self, Code, ConnectError, Messages};
use crate::sandbox::Sandbox;
use crate::sandbox::process::{ProcessError, Selector};
use sandboxd_init::wire::{ProcessSignal, Spawn, SpawnIo};

/// The size of a terminal if a request names none.
const DEFAULT_SIZE: (u16, u16) = (80, 24);

/// Routes of the service.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/process.Process/List", post(list))
        .route("/process.Process/Start", post(start))
        .route("/process.Process/Connect", post(attach))
        .route("/process.Process/Update", post(update))
        .route("/process.Process/SendInput", post(send_input))
        .route("/process.Process/StreamInput", post(stream_input))
        .route("/process.Process/SendSignal", post(send_signal))
        .route("/process.Process/CloseStdin", post(close_stdin))
}

#[derive(Debug, Deserialize)]
struct StartRequest {
    #[serde(default)]
    process: Option<ProcessConfig>,
    #[serde(default)]
    pty: Option<Pty>,
    #[serde(default)]
    tag: Option<String>,
    #[serde(default)]
    stdin: Option<bool>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ProcessConfig {
    cmd: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    envs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
}

/// In proto3 JSON, `null` means the same as an absent member.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
struct Pty {
    #[serde(default)]
    size: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Size {
    cols: u32,
    rows: u32,
}

impl Size {
    /// Cuts the size to 16 bits, as E2B's daemon does.
    #[expect(clippy::cast_possible_truncation, reason = "the protocol's own behaviour")]
    fn cut(&self) -> (u16, u16) {
        (self.cols as u16, self.rows as u16)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProcessSelector {
    pid: Option<u32>,
    tag: Option<String>,
}

impl ProcessSelector {
    fn selector(self) -> Result<Selector, ConnectError> {
        match self {
            Self { pid: Some(pid), .. } => Ok(Selector::Pid(pid)),
            Self { tag: Some(tag), .. } => Ok(Selector::Tag(tag)),
            Self { .. } => {
                Err(ConnectError::new(Code::InvalidArgument, "the request names no process: give pid or tag"))
            }
        }
    }
}

fn selector(process: Option<ProcessSelector>) -> Result<Selector, ConnectError> {
    process.unwrap_or_default().selector()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProcessRequest {
    process: Option<ProcessSelector>,
    pty: Option<Pty>,
    input: Option<Input>,
    signal: Signal,
}

/// `process.Signal`, by name or by number.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Signal {
    Name(String),
    Number(i32),
    #[default]
    Unspecified,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Input {
    stdin: Option<String>,
    pty: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamInputRequest {
    start: Option<ProcessRequest>,
    data: Option<ProcessRequest>,
}

#[derive(Debug, Serialize)]
struct Empty {}

impl From<ProcessError> for ConnectError {
    fn from(error: ProcessError) -> Self {
        let code = match &error {
            ProcessError::NotFound(_) => Code::NotFound,
            ProcessError::TooMany | ProcessError::TooManyListeners(_) => Code::ResourceExhausted,
            ProcessError::NoTerminal(_)
            | ProcessError::OnTerminal(_)
            | ProcessError::StdinClosed(_)
            | ProcessError::Write { .. } => Code::Internal,
            ProcessError::Refused(failure) => return failure.clone().into(),
        };
        match std::error::Error::source(&error) {
            Some(cause) => Self::new(code, format!("{error}: {cause}")),
            None => Self::new(code, error.to_string()),
        }
    }
}

async fn list(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    #[derive(Deserialize)]
    struct ListRequest {}
    #[derive(Serialize)]
    struct ProcessInfo {
        config: ProcessConfig,
        pid: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
    }
    #[derive(Serialize)]
    struct ListResponse {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        processes: Vec<ProcessInfo>,
    }
    let ListRequest {} = connect::read_unary(&headers, body).await?;
    let processes = sandbox.processes.list().into_iter().map(|process| {
        let description = process.description.clone();
        let config = ProcessConfig {
            cmd: description.cmd,
            args: description.args,
            envs: description.envs.into_iter().collect(),
            cwd: description.cwd,
        };
        ProcessInfo { config, pid: process.pid, tag: description.tag }
    });
    Ok(connect::unary(&ListResponse { processes: processes.collect() }))
}

async fn start(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> Response {
    start_stream(&sandbox, &headers, body).await.unwrap_or_else(ConnectError::into_stream)
}

async fn start_stream(sandbox: &Sandbox, headers: &HeaderMap, body: Body) -> UnaryResult {
    let timeout = connect::timeout(headers)?;
    let request: StartRequest = connect::read_stream_request(headers, body).await?;
    let config = request.process.unwrap_or_default();
    let io = match request.pty {
        Some(pty) => {
            let (cols, rows) = pty.size.map_or(DEFAULT_SIZE, |size| size.cut());
            SpawnIo::Pty { cols, rows }
        }
        None => SpawnIo::Pipes { stdin: request.stdin.unwrap_or(true) },
    };
    let own: Vec<(String, String)> = config.envs.into_iter().collect();
    let spawn = Spawn {
        user: acting_user(headers),
        cmd: config.cmd,
        args: config.args,
        envs: sandbox.environment().into_iter().chain(own.iter().cloned()).collect(),
        cwd: config.cwd.filter(|cwd| !cwd.is_empty()),
        io,
    };
    let subscription = sandbox.processes.start(spawn, own, request.tag, timeout).await?;
    Ok(connect::streaming(Body::new(subscription.into_body(connect::keepalive(headers), timeout))))
}

async fn attach(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> Response {
    attach_stream(&sandbox, &headers, body).await.unwrap_or_else(ConnectError::into_stream)
}

async fn attach_stream(sandbox: &Sandbox, headers: &HeaderMap, body: Body) -> UnaryResult {
    let timeout = connect::timeout(headers)?;
    let request: ProcessRequest = connect::read_stream_request(headers, body).await?;
    let subscription = sandbox.processes.connect(&selector(request.process)?).await?;
    Ok(connect::streaming(Body::new(subscription.into_body(connect::keepalive(headers), timeout))))
}

async fn update(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let request: ProcessRequest = connect::read_unary(&headers, body).await?;
    let process = sandbox.processes.find(&selector(request.process)?)?;
    if let Some(size) = request.pty.and_then(|pty| pty.size) {
        let (cols, rows) = size.cut();
        process.resize(cols, rows)?;
        tracing::debug!(sandbox = %sandbox.id, pid = process.pid, cols, rows, "terminal resized");
    }
    Ok(connect::unary(&Empty {}))
}

async fn send_input(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let request: ProcessRequest = connect::read_unary(&headers, body).await?;
    write(&sandbox, &selector(request.process)?, request.input).await?;
    Ok(connect::unary(&Empty {}))
}

async fn write(sandbox: &Sandbox, selector: &Selector, input: Option<Input>) -> Result<(), ConnectError> {
    let process = sandbox.processes.find(selector)?;
    let (terminal, encoded) = match input {
        Some(Input { pty: Some(encoded), .. }) => (true, encoded),
        Some(Input { stdin: Some(encoded), .. }) => (false, encoded),
        _ => {
            return Err(ConnectError::new(Code::Unimplemented, "the request holds no input: give pty or stdin"));
        }
    };
    let bytes = decode(encoded)?;
    Ok(process.write(terminal, &bytes).await?)
}

/// Decodes base64 as proto3 JSON allows it: either alphabet, with or without padding.
fn decode(mut encoded: String) -> Result<Vec<u8>, ConnectError> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    if encoded.contains(['-', '_']) {
        encoded = encoded.replace('-', "+").replace('_', "/");
    }
    ENGINE.decode(encoded).map_err(|_| ConnectError::new(Code::InvalidArgument, "the input is not base64"))
}

async fn stream_input(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> Response {
    match stream_input_to_the_end(&sandbox, &headers, body).await {
        Ok(()) => {
            let mut answer = connect::message(&Empty {}).to_vec();
            answer.extend_from_slice(&connect::end_of_stream());
            connect::streaming(Body::from(answer))
        }
        Err(error) => error.into_stream(),
    }
}

async fn stream_input_to_the_end(sandbox: &Sandbox, headers: &HeaderMap, body: Body) -> Result<(), ConnectError> {
    let mut messages = Messages::new(headers, body)?;
    let mut target = None;
    while let Some(StreamInputRequest { start, data }) = messages.next().await? {
        if let Some(start) = start {
            target = Some(selector(start.process)?);
        }
        if let Some(data) = data {
            let target =
                target.as_ref().ok_or_else(|| ConnectError::new(Code::InvalidArgument, "data came before start"))?;
            write(sandbox, target, data.input).await?;
        }
    }
    Ok(())
}

async fn send_signal(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let request: ProcessRequest = connect::read_unary(&headers, body).await?;
    let signal = match &request.signal {
        Signal::Name(name) if name == "SIGNAL_SIGKILL" => ProcessSignal::Kill,
        Signal::Name(name) if name == "SIGNAL_SIGTERM" => ProcessSignal::Terminate,
        Signal::Number(9) => ProcessSignal::Kill,
        Signal::Number(15) => ProcessSignal::Terminate,
        _ => {
            return Err(ConnectError::new(Code::Unimplemented, "only SIGNAL_SIGKILL and SIGNAL_SIGTERM are supported"));
        }
    };
    sandbox.processes.signal(&selector(request.process)?, signal).await?;
    Ok(connect::unary(&Empty {}))
}

async fn close_stdin(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let request: ProcessRequest = connect::read_unary(&headers, body).await?;
    sandbox.processes.find(&selector(request.process)?)?.close_stdin().await?;
    Ok(connect::unary(&Empty {}).into_response())
}
