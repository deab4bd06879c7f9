//! A small typed client and the server that a test talks to.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use reqwest::{Client, RequestBuilder, Response};
use sandboxd::{Options, Server};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio::time::error::Elapsed;

/// For every wait. Generous: machines under test are often busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test, also the init of the sandboxes.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_sandboxd");

/// Whether the server under test runs as root, and so has sandboxes with a root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Waits until a condition gives something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A client of the control plane.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) http: Client,
    pub(crate) url: String,
    pub(crate) key: String,
}

impl Api {
    pub(crate) fn new(url: String, state_dir: &Path) -> Self {
        let key = std::fs::read_to_string(state_dir.join("api-key")).unwrap();
        Self { http: Client::new(), url, key }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url)).header("x-api-key", &self.key)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).header("x-api-key", &self.key).json(body)
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.http.delete(format!("{}{path}", self.url)).header("x-api-key", &self.key)
    }

    /// Makes a sandbox with further members beside the template.
    pub(crate) async fn create(&self, more: Value) -> Sandbox {
        let mut body = json!({ "templateID": "base" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = json_of(self.post("/v2/sandboxes", &body)).await;
        assert_eq!(status, 201, "{answer}");
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Sandbox { api: self.clone(), id: text("sandboxID"), token: text("envdAccessToken") }
    }

    pub(crate) async fn kill(&self, id: &str) -> u16 {
        self.delete(&format!("/sandboxes/{id}")).send().await.unwrap().status().as_u16()
    }
}

/// Status and JSON body of an answer.
pub(crate) async fn json_of(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) })
}

/// A server in this process.
pub(crate) struct TestServer {
    pub(crate) api: Api,
    pub(crate) server: Server,
    pub(crate) directory: TempDir,
}

impl std::ops::Deref for TestServer {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

pub(crate) fn options(directory: &Path) -> Options {
    Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        state_dir: Some(directory.to_owned()),
        init_program: Some(PathBuf::from(PROGRAM)),
        ..Options::default()
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path());
        change(&mut options);
        let server = Server::bind(options).await.unwrap();
        let api = Api::new(format!("http://{}", server.addr().unwrap()), directory.path());
        Self { api, server, directory }
    }

    pub(crate) async fn end(self) {
        self.server.shutdown().await;
    }
}

/// A server in a process of its own.
pub(crate) struct TestProgram {
    pub(crate) api: Api,
    pub(crate) child: Child,
    pub(crate) directory: TempDir,
    root: bool,
}

impl TestProgram {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let (program, pid) = Self::start_by(Command::new(PROGRAM), arguments).await;
        assert_eq!(pid, program.child.id());
        program
    }

    /// As a user without rights; needs root.
    pub(crate) async fn start_without_root(arguments: &[&str]) -> Self {
        let mut program = Self::start_by(without_root(), arguments).await.0;
        program.root = false;
        program
    }

    /// By a command that becomes the program or starts it; also its pid.
    pub(crate) async fn start_by(command: Command, arguments: &[&str]) -> (Self, Option<u32>) {
        Self::start_in(tempfile::tempdir().unwrap(), command, arguments).await
    }

    /// The same on a state directory that may have been used before.
    pub(crate) async fn start_in(directory: TempDir, mut command: Command, arguments: &[&str]) -> (Self, Option<u32>) {
        let announcement = directory.path().join("announcement");
        let child = command
            .args(["--listen", "127.0.0.1:0", "--state-dir"])
            .arg(directory.path())
            .arg("--announce")
            .arg(&announcement)
            .args(arguments)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let announced: Value = until("the announcement", || async {
            Some(serde_json::from_slice(&std::fs::read(&announcement).ok()?).unwrap())
        })
        .await;
        let api = Api::new(announced["url"].as_str().unwrap().to_owned(), directory.path());
        let pid = announced["pid"].as_u64().and_then(|pid| pid.try_into().ok());
        (Self { api, child, directory, root: is_root() }, pid)
    }

    /// Whether its sandboxes have a root beside the user.
    pub(crate) fn has_root(&self) -> bool {
        self.root
    }
}

/// A command that becomes the program as a user without rights; needs root. Arguments must follow.
pub(crate) fn without_root() -> Command {
    // The fourth argument of the program is its state directory.
    let script = "install -m 755 \"$0\" \"$4/program\" && chown 65534:65534 \"$4\" \
        && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$4/program\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, PROGRAM]);
    command
}

/// A client of one sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    pub(crate) api: Api,
    pub(crate) id: String,
    pub(crate) token: String,
}

impl Sandbox {
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.api
            .http
            .request(method, format!("{}{path}", self.api.url))
            .header("e2b-sandbox-id", &self.id)
            .header("e2b-sandbox-port", "49983")
            .header("x-access-token", &self.token)
    }

    /// A unary call.
    pub(crate) async fn call(&self, method: &str, message: Value) -> (u16, Value) {
        json_of(self.request(reqwest::Method::POST, &format!("/{method}")).json(&message)).await
    }

    /// A unary call that succeeds.
    pub(crate) async fn ok(&self, method: &str, message: Value) -> Value {
        let (status, answer) = self.call(method, message).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// A call that streams its answer; `change` may add headers.
    pub(crate) async fn stream(
        &self,
        method: &str,
        message: &Value,
        change: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Events {
        let request = self
            .request(reqwest::Method::POST, &format!("/{method}"))
            .header("content-type", "application/connect+json")
            .body(envelope(message));
        let response = change(request).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/connect+json");
        Events { response, buffer: BytesMut::new(), ended: false }
    }

    pub(crate) async fn start(&self, message: Value) -> Process {
        self.start_as("user", message).await
    }

    pub(crate) async fn start_as(&self, user: &str, message: Value) -> Process {
        let mut events = self.stream("process.Process/Start", &message, |request| acting(request, user)).await;
        let first = events.next().await.unwrap();
        let pid = first["event"]["start"]["pid"].as_u64().unwrap_or_else(|| panic!("no start: {first}"));
        Process { pid, events, sandbox: self.clone() }
    }

    /// An interactive shell on a terminal.
    pub(crate) async fn shell(&self) -> Process {
        let envs = json!({ "TERM": "dumb", "PS1": "$ " });
        let process = json!({ "cmd": "/bin/bash", "args": ["--norc", "--noprofile", "-i"], "envs": envs });
        self.start(json!({ "process": process, "pty": { "size": { "cols": 80, "rows": 24 } } })).await
    }

    /// Starts a program of Python, which comes with the system.
    pub(crate) async fn python_as(&self, user: &str, program: &str) -> Process {
        let process = json!({ "cmd": "/usr/bin/python3", "args": ["-c", program] });
        self.start_as(user, json!({ "process": process, "stdin": false })).await
    }

    /// Runs a shell command on pipes to its end: exit code, stdout, stderr.
    pub(crate) async fn run(&self, command: &str) -> (i64, String, String) {
        self.run_as("user", command).await
    }

    /// The same as [`most_mighty`].
    pub(crate) async fn run_as_root(&self, command: &str) -> (i64, String, String) {
        self.run_as(most_mighty(), command).await
    }

    pub(crate) async fn run_as(&self, user: &str, command: &str) -> (i64, String, String) {
        let message = json!({ "process": { "cmd": "/bin/bash", "args": ["-c", command] }, "stdin": false });
        let mut events = self.stream("process.Process/Start", &message, |request| acting(request, user)).await;
        let output = events.rest().await;
        assert_eq!(output.error, None);
        let end = output.end.expect("an end event");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (end["exitCode"].as_i64().unwrap_or(0), text(output.stdout), text(output.stderr))
    }

    /// Whether a path exists.
    pub(crate) async fn exists(&self, path: &str) -> bool {
        self.call("filesystem.Filesystem/Stat", json!({ "path": path })).await.0 == 200
    }
}

/// The most that a process of a sandbox can be: its root, if it has one.
pub(crate) fn most_mighty() -> &'static str {
    if is_root() { "root" } else { "user" }
}

fn acting(request: RequestBuilder, user: &str) -> RequestBuilder {
    request.header("authorization", format!("Basic {}", STANDARD.encode(format!("{user}:"))))
}

pub(crate) fn envelope(message: &Value) -> Vec<u8> {
    let payload = message.to_string();
    let mut frame = vec![0];
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload.as_bytes());
    frame
}

/// A started process and its stream.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u64,
    pub(crate) events: Events,
    pub(crate) sandbox: Sandbox,
}

impl Process {
    pub(crate) async fn input(&self, bytes: impl AsRef<[u8]>) {
        let input = json!({ "process": { "pid": self.pid }, "input": { "pty": STANDARD.encode(bytes) } });
        assert_eq!(self.sandbox.ok("process.Process/SendInput", input).await, json!({}));
    }

    /// Reads until the terminal showed a text; returns what was shown until then.
    pub(crate) async fn shows(&mut self, text: &str) -> String {
        self.wrote("pty", text).await
    }

    /// Reads until a text came on standard output; returns what came until then.
    pub(crate) async fn prints(&mut self, text: &str) -> String {
        self.wrote("stdout", text).await
    }

    async fn wrote(&mut self, stream: &str, text: &str) -> String {
        let mut shown = String::new();
        while !shown.contains(text) {
            let event = self.events.next_in_time().await;
            let event = event.unwrap_or_else(|_| panic!("no {text:?}, shown: {shown:?}"));
            let event = event.unwrap_or_else(|| panic!("the stream ended, shown: {shown:?}"));
            let data = event["event"]["data"][stream].as_str().unwrap_or_default();
            shown.push_str(&String::from_utf8_lossy(&STANDARD.decode(data).unwrap()));
        }
        shown
    }
}

/// The messages of a streamed answer.
#[derive(Debug)]
pub(crate) struct Events {
    response: Response,
    buffer: BytesMut,
    ended: bool,
}

/// Everything until the end of a stream.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) pty: Vec<u8>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) end: Option<Value>,
    /// Of the end-of-stream message.
    pub(crate) error: Option<Value>,
    /// Messages after `end`, which there must never be.
    pub(crate) late: VecDeque<Value>,
}

impl Events {
    /// The next message; the end-of-stream message comes as `{"endOfStream": …}`, then `None`.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        self.next_in_time().await.expect("a chunk in time")
    }

    /// The same, for who has more to say when nothing comes for [`DEADLINE`].
    async fn next_in_time(&mut self) -> Result<Option<Value>, Elapsed> {
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() >= 5 + length {
                    let frame = self.buffer.split_to(5 + length);
                    let message: Value = serde_json::from_slice(&frame[5..]).unwrap();
                    assert!(!self.ended, "a message after the end of the stream");
                    return Ok(Some(match frame[0] {
                        0 => message,
                        2 => {
                            self.ended = true;
                            json!({ "endOfStream": message })
                        }
                        flags => panic!("flags {flags}"),
                    }));
                }
            }
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk()).await?.unwrap();
            match chunk {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => {
                    assert!(self.ended, "the stream ended without an end-of-stream message");
                    assert!(self.buffer.is_empty());
                    return Ok(None);
                }
            }
        }
    }

    pub(crate) async fn rest(&mut self) -> Output {
        let mut output = Output::default();
        while let Some(message) = self.next().await {
            if let Some(end) = message.get("endOfStream") {
                output.error = end.get("error").cloned();
                continue;
            }
            if output.end.is_some() {
                output.late.push_back(message);
                continue;
            }
            let event = &message["event"];
            for (name, bytes) in
                [("pty", &mut output.pty), ("stdout", &mut output.stdout), ("stderr", &mut output.stderr)]
            {
                if let Some(data) = event["data"][name].as_str() {
                    bytes.extend(STANDARD.decode(data).unwrap());
                }
            }
            if let Some(end) = event.get("end") {
                output.end = Some(end.clone());
            }
        }
        assert!(output.late.is_empty(), "messages after the end: {:?}", output.late);
        output
    }
}

/// Host pids of the processes whose command line holds a text.
pub(crate) fn processes_with(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    })
    .collect()
}

/// The addresses of this machine that are not of a link.
pub(crate) fn own_addresses() -> Vec<IpAddr> {
    let all = nix::ifaddrs::getifaddrs().unwrap().filter_map(|interface| interface.address);
    all.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|found| IpAddr::V4(found.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|found| IpAddr::V6(found.ip())))
    })
    .filter(|address| !matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()))
    .collect()
}
