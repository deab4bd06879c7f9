//! The e2b plugin, run by the host, against servers that misbehave: what
//! clients of the protocol must get right and cannot show against a good
//! server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox_broker_config::EgressGrant;
use sandbox_broker_core::sandbox::{
    Call, Code, Command, Error, Exit, Location, Provider, SandboxRef, Size, Spec, Terminal, Upload,
};
use sandbox_broker_plugin::{ComponentProvider, Engine, Plugin, Section};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, mpsc, oneshot};

use crate::support::awkward::{Awkward, Messages, event, frame, json as answer, streamed, streaming};
use crate::support::{DEADLINE, bare_section, bound_api_key, eventually, plugin};

const KEY: &str = "sk-very-secret";

/// Where a good server's end of a stream is.
const END: &str = "{}";

async fn provider(server: &Awkward) -> ComponentProvider {
    provider_at(&server.url, KEY).await
}

/// The plugin for the server at this URL, which takes this key.
pub(crate) async fn provider_at(url: &str, key: &str) -> ComponentProvider {
    static PLUGIN: OnceCell<(Engine, Arc<Plugin>)> = OnceCell::const_new();
    let (_, loaded) = PLUGIN
        .get_or_init(|| async {
            let engine = Engine::new(None).unwrap();
            let plugin = engine.load(&plugin("e2b")).await.unwrap();
            (engine, plugin)
        })
        .await;
    provider_of(loaded.clone(), url, key)
}

/// This plugin for the server at this URL, which takes this key.
pub(crate) fn provider_of(plugin: Arc<Plugin>, url: &str, key: &str) -> ComponentProvider {
    let section = Section {
        name: "test".into(),
        allow: vec![EgressGrant::parse(url).unwrap()],
        secrets: bound_api_key(key, url),
        ..bare_section(json!({ "api_url": url, "sandbox_url": url, "request_timeout": 5 }))
    };
    ComponentProvider::new(plugin, section).unwrap()
}

fn sandbox() -> SandboxRef {
    SandboxRef { id: "iabc".into(), state: br#"{"v":1,"t":"token","e":"0.6.13"}"#[..].into() }
}

/// On a server whose agent keeps to a user's rights in its calls for files.
fn careful() -> SandboxRef {
    SandboxRef { id: "iabc".into(), state: br#"{"v":1,"t":"token","e":"0.6.13","u":true}"#[..].into() }
}

fn call() -> Call {
    Call::default()
}

fn at(path: &str) -> Location {
    Location { path: path.into(), user: None }
}

fn shell() -> Command {
    Command { argv: vec!["bash".into(), "-l".into()], ..Command::default() }
}

async fn open(server: &Awkward) -> Result<(Terminal, mpsc::Sender<Bytes>), Error> {
    let (tx, rx) = mpsc::channel(64);
    let size = Size { cols: 80, rows: 24 };
    Ok((provider(server).await.open(&call(), &sandbox(), &shell(), size, rx).await?, tx))
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// All output and the end of a terminal.
async fn rest(mut terminal: Terminal) -> (String, Result<Exit, Error>) {
    let mut all = Vec::new();
    while let Some(chunk) = within("output", terminal.output.recv()).await {
        all.extend_from_slice(&chunk);
    }
    let done = within("the terminal's end", terminal.done).await.unwrap();
    (String::from_utf8(all).unwrap(), done)
}

fn pty(text: &str) -> Bytes {
    event(&format!(r#"{{"data":{{"pty":"{}"}}}}"#, STANDARD.encode(text)))
}

fn started() -> Bytes {
    event(r#"{"start":{"pid":42}}"#)
}

fn exited() -> Bytes {
    event(r#"{"end":{"exited":true,"status":"exit status 0"}}"#)
}

/// Where an answer that streams is written.
type Stream = mpsc::Sender<Result<Bytes, &'static str>>;

/// The stream of a process's events, once the plugin has asked for it.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Option<Stream>>>);

impl Events {
    /// The answer to `Start`.
    async fn begin(&self) -> Response {
        let (tx, answer) = streaming();
        tx.send(Ok(started())).await.unwrap();
        *self.0.lock().unwrap() = Some(tx);
        answer
    }

    async fn send(&self, event: Bytes) {
        let tx = self.0.lock().unwrap().clone().unwrap();
        tx.send(Ok(event)).await.unwrap();
    }

    /// Nothing comes after these.
    async fn end<const N: usize>(&self, last: [Bytes; N]) {
        for event in last {
            self.send(event).await;
        }
        *self.0.lock().unwrap() = None;
    }
}

/// The typed text of a `StreamInput` or `SendInput` message.
fn typed(input: &Value) -> String {
    String::from_utf8(STANDARD.decode(input["pty"].as_str().unwrap()).unwrap()).unwrap()
}

async fn whole(body: Body) -> Bytes {
    axum::body::to_bytes(body, 1 << 20).await.unwrap()
}

// ---- terminals

#[tokio::test]
async fn a_terminal_lives_without_a_timer_and_takes_input_in_order() {
    let got = Arc::new(Mutex::new(Vec::new()));
    let events = Events::default();
    let (log, slot) = (got.clone(), events.clone());
    let server = Awkward::start(move |line, body| {
        let (log, slot) = (log.clone(), slot.clone());
        async move {
            if line.ends_with("/Start") {
                return slot.begin().await;
            }
            let mut messages = Messages::new(body);
            while let Ok(Some(message)) = messages.next().await {
                log.lock().unwrap().push(message.clone());
                if message["data"].is_object() {
                    let text = typed(&message["data"]["input"]);
                    slot.send(pty(&text)).await;
                }
            }
            streamed(&[frame(0, END), frame(2, END)])
        }
    })
    .await;
    let (mut terminal, input) = open(&server).await.unwrap();
    assert_eq!(terminal.pty, "42");
    for key in ["l", "s", "\r"] {
        input.send(Bytes::from_static(key.as_bytes())).await.unwrap();
        // The echo of each key comes while both requests stay open.
        assert_eq!(within("the echo", terminal.output.recv()).await.unwrap(), key);
    }
    events.end([exited(), frame(2, END)]).await;
    assert_eq!(rest(terminal).await.1.unwrap(), Exit::Code(0));

    let got = got.lock().unwrap();
    assert_eq!(got[0], json!({ "start": { "process": { "pid": 42 } } }));
    let keys: String = got[1..].iter().map(|m| typed(&m["data"]["input"])).collect();
    assert_eq!(keys, "ls\r");
    let start = &server.seen("POST /process.Process/Start")[0];
    assert_eq!(start.header("connect-timeout-ms"), None);
    assert_eq!(start.header("keepalive-ping-interval"), Some("15"));
    assert_eq!(start.header("x-access-token"), Some("token"));
    assert_eq!(start.header("e2b-sandbox-id"), Some("iabc"));
    for request in server.seen("") {
        assert!(!format!("{request:?}").contains(KEY), "the key went to a sandbox: {request:?}");
    }
}

#[tokio::test]
async fn a_pause_in_typing_frees_its_connection_and_loses_nothing() {
    let got = Arc::new(Mutex::new(String::new()));
    let events = Events::default();
    let (log, slot) = (got.clone(), events.clone());
    let server = Awkward::start(move |line, body| {
        let (log, slot) = (log.clone(), slot.clone());
        async move {
            match line.rsplit('/').next().unwrap() {
                "Start" => slot.begin().await,
                "StreamInput" => {
                    let mut messages = Messages::new(body);
                    while let Some(message) = messages.next().await.unwrap() {
                        let text = if message["start"].is_object() {
                            "(".to_owned()
                        } else {
                            typed(&message["data"]["input"])
                        };
                        log.lock().unwrap().push_str(&text);
                    }
                    log.lock().unwrap().push(')');
                    streamed(&[frame(0, END), frame(2, END)])
                }
                other => panic!("unexpected {other}"),
            }
        }
    })
    .await;
    let (terminal, input) = open(&server).await.unwrap();
    for (keys, all) in [(["l", "s"], "(ls)"), (["c", "d"], "(ls)(cd)")] {
        for key in keys {
            input.send(Bytes::from_static(key.as_bytes())).await.unwrap();
        }
        eventually("the end of a request", async || (*got.lock().unwrap() == all).then_some(())).await;
        // The process is silent, its agent is not.
        events.send(event(r#"{"keepalive":{}}"#)).await;
    }
    events.end([exited(), frame(2, END)]).await;
    assert_eq!(rest(terminal).await.1.unwrap(), Exit::Code(0));
}

/// A server without `StreamInput` that says so by `refusal`.
async fn typed_singly(refusal: fn() -> Response) {
    let typed_in = Arc::new(Mutex::new(String::new()));
    let events = Events::default();
    let (log, slot) = (typed_in.clone(), events.clone());
    let server = Awkward::start(move |line, body| {
        let (log, slot) = (log.clone(), slot.clone());
        async move {
            match line.rsplit('/').next().unwrap() {
                "Start" => slot.begin().await,
                "StreamInput" => {
                    // The first key is on its way before the refusal is.
                    let mut messages = Messages::new(body);
                    messages.next().await.unwrap().unwrap();
                    messages.next().await.unwrap().unwrap();
                    refusal()
                }
                "SendInput" => {
                    let message: Value = serde_json::from_slice(&whole(body).await).unwrap();
                    assert_eq!(message["process"]["pid"], 42);
                    log.lock().unwrap().push_str(&typed(&message["input"]));
                    answer(200, "{}")
                }
                other => panic!("unexpected {other}"),
            }
        }
    })
    .await;
    let (terminal, input) = open(&server).await.unwrap();
    for key in ["a", "b", "c", "d"] {
        input.send(Bytes::from_static(key.as_bytes())).await.unwrap();
    }
    eventually("all that was typed", async || (*typed_in.lock().unwrap() == "abcd").then_some(())).await;
    events.end([exited()]).await;
    assert_eq!(rest(terminal).await.1.unwrap(), Exit::Code(0));
    assert_eq!(server.seen("POST /process.Process/StreamInput").len(), 1);
}

#[tokio::test]
async fn a_server_without_the_route_of_stream_input_is_typed_to_singly() {
    typed_singly(|| answer(404, "404 page not found")).await;
}

#[tokio::test]
async fn a_server_that_does_not_implement_stream_input_is_typed_to_singly() {
    typed_singly(|| streamed(&[frame(2, r#"{"error":{"code":"unimplemented","message":"no"}}"#)])).await;
}

/// The end of a terminal whose stream breaks off, where a second look at the
/// process says `later`.
async fn broken(last: Result<Bytes, &'static str>, later: fn() -> Response) -> (String, Result<Exit, Error>) {
    let typing = Arc::new(tokio::sync::Notify::new());
    let server = Awkward::start(move |line, body| {
        let (last, typing) = (last.clone(), typing.clone());
        async move {
            match line.rsplit('/').next().unwrap() {
                "Start" => {
                    let (tx, answer) = streaming();
                    tx.send(Ok(started())).await.unwrap();
                    tx.send(Ok(pty("all of it"))).await.unwrap();
                    tokio::spawn(async move {
                        typing.notified().await;
                        tx.send(last).await.unwrap();
                    });
                    answer
                }
                "StreamInput" => {
                    typing.notify_one();
                    let mut messages = Messages::new(body);
                    while let Ok(Some(_)) = messages.next().await {}
                    streamed(&[frame(2, END)])
                }
                "Connect" => later(),
                other => panic!("unexpected {other}"),
            }
        }
    })
    .await;
    let (terminal, input) = open(&server).await.unwrap();
    input.send(Bytes::from_static(b"x")).await.unwrap();
    rest(terminal).await
}

#[tokio::test]
async fn a_stream_that_ends_without_its_end_asks_how_the_process_ended() {
    let ended = || {
        streamed(&[started(), event(r#"{"end":{"exitCode":3,"exited":true,"status":"exit status 3"}}"#), frame(2, END)])
    };
    let (output, done) = broken(Ok(Bytes::new()), ended).await;
    assert_eq!((output.as_str(), done.unwrap()), ("all of it", Exit::Code(3)));
    let (output, done) = broken(Ok(frame(2, END)), ended).await;
    assert_eq!((output.as_str(), done.unwrap()), ("all of it", Exit::Code(3)));
    let (output, done) = broken(Err("reset"), ended).await;
    assert_eq!((output.as_str(), done.unwrap()), ("all of it", Exit::Code(3)));
    // Half a frame.
    let (output, done) = broken(Ok(Bytes::from_static(b"\0\0\0\0\x20{\"event")), ended).await;
    assert_eq!((output.as_str(), done.unwrap()), ("all of it", Exit::Code(3)));
}

#[tokio::test]
async fn a_process_that_outlives_its_stream_is_an_error_that_says_so() {
    let (_, done) = broken(Err("reset"), || {
        let (tx, answer) = streaming();
        tokio::spawn(async move {
            tx.send(Ok(started())).await.unwrap();
            tx.closed().await;
        });
        answer
    })
    .await;
    let e = done.unwrap_err();
    assert_eq!(e.code, Code::Unavailable);
    assert!(e.message.contains("still runs"), "{}", e.message);
}

#[tokio::test]
async fn a_process_that_is_forgotten_has_ended_somehow() {
    let forgotten =
        || streamed(&[frame(2, r#"{"error":{"code":"not_found","message":"process with pid 42 not found"}}"#)]);
    assert_eq!(broken(Err("reset"), forgotten).await.1.unwrap(), Exit::Unknown);
}

#[tokio::test]
async fn a_sandbox_that_is_gone_is_told_apart_from_one_that_does_not_answer() {
    let gone = || answer(502, r#"{"sandboxId":"iabc","message":"The sandbox was not found","code":502}"#);
    assert_eq!(broken(Err("reset"), gone).await.1.unwrap_err().code, Code::NotFound);

    let server = Awkward::start(async |_, _| {
        answer(
            502,
            r#"{"sandboxId":"iabc","message":"The sandbox is running but port is not open","port":49983,"code":502}"#,
        )
    })
    .await;
    assert_eq!(open(&server).await.unwrap_err().code, Code::Unavailable);
}

/// What E2B's agent, version 0.6.13, was recorded to say where the directory of
/// a process is missing.
#[tokio::test]
async fn a_missing_directory_is_no_passing_trouble() {
    let refusal = r#"{"error":{"code":"invalid_argument","message":"cwd '/workspace' does not exist"}}"#;
    let server = Awkward::start(async move |_, _| streamed(&[frame(2, refusal)])).await;
    let e = open(&server).await.unwrap_err();
    assert_eq!((e.code, e.message.as_str()), (Code::InvalidArgument, "cwd '/workspace' does not exist"));
}

/// Recorded from the same agent.
#[tokio::test]
async fn every_signal_that_ended_a_process_has_its_name() {
    for (end, name) in [
        (r#"{"exitCode":-1,"status":"signal: hangup","error":"signal: hangup"}"#, "SIGHUP"),
        (
            r#"{"exitCode":-1,"status":"signal: user defined signal 1","error":"signal: user defined signal 1"}"#,
            "SIGUSR1",
        ),
        (r#"{"exitCode":-1,"status":"signal: broken pipe","error":"signal: broken pipe"}"#, "SIGPIPE"),
        (r#"{"exitCode":-1,"status":"signal: stack fault","error":"signal: stack fault"}"#, "SIGSTKFLT"),
        (r#"{"exitCode":-1,"status":"signal: I/O possible","error":"signal: I/O possible"}"#, "SIGIO"),
        (r#"{"exitCode":-1,"status":"signal: bad system call","error":"signal: bad system call"}"#, "SIGSYS"),
        (r#"{"exitCode":-1,"status":"signal: signal 34","error":"signal: signal 34"}"#, "SIGRTMIN"),
        (r#"{"exitCode":-1,"status":"signal: signal 64","error":"signal: signal 64"}"#, "SIGRTMIN+30"),
    ] {
        let end = event(&format!(r#"{{"end":{end}}}"#));
        let server = Awkward::start(move |_, _| {
            let end = end.clone();
            async move { streamed(&[started(), end, frame(2, END)]) }
        })
        .await;
        let (terminal, _input) = open(&server).await.unwrap();
        assert_eq!(rest(terminal).await.1.unwrap(), Exit::Signal(name.into()));
    }
}

#[tokio::test]
async fn lost_input_is_told_when_the_process_lives() {
    let server = Awkward::start(async |line, body| match line.rsplit('/').next().unwrap() {
        "Start" => {
            let (tx, answer) = streaming();
            tokio::spawn(async move {
                tx.send(Ok(started())).await.unwrap();
                tx.closed().await;
            });
            answer
        }
        _ => {
            let mut messages = Messages::new(body);
            messages.next().await.unwrap().unwrap();
            messages.next().await.unwrap().unwrap();
            streamed(&[frame(2, r#"{"error":{"code":"unavailable","message":"the connection ended"}}"#)])
        }
    })
    .await;
    let (terminal, input) = open(&server).await.unwrap();
    input.send(Bytes::from_static(b"x")).await.unwrap();
    let e = rest(terminal).await.1.unwrap_err();
    assert_eq!((e.code, e.message.as_str()), (Code::Unavailable, "the connection ended"));
}

#[tokio::test]
async fn a_start_that_fails_in_its_end_frame_fails_the_call() {
    let server = Awkward::start(async |_, _| {
        streamed(&[frame(2, r#"{"error":{"code":"invalid_argument","message":"cwd '/x' does not exist"}}"#)])
    })
    .await;
    let e = open(&server).await.unwrap_err();
    assert_eq!((e.code, e.message.as_str()), (Code::InvalidArgument, "cwd '/x' does not exist"));
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_the_terminal_not_the_plugin() {
    let huge = Bytes::from_static(&[0, 0x7f, 0xff, 0xff, 0xff]);
    let (output, done) =
        broken(Ok(huge), || answer(502, r#"{"message":"The sandbox was not found","code":502}"#)).await;
    assert_eq!((output.as_str(), done.unwrap_err().code), ("all of it", Code::NotFound));
}

#[tokio::test]
async fn size_and_signals_go_to_the_process() {
    let got = Arc::new(Mutex::new(Vec::new()));
    let log = got.clone();
    let server = Awkward::start(move |line, body| {
        let log = log.clone();
        async move {
            match line.rsplit('/').next().unwrap() {
                "Start" => {
                    let (tx, answer) = streaming();
                    tokio::spawn(async move {
                        tx.send(Ok(started())).await.unwrap();
                        tx.closed().await;
                    });
                    answer
                }
                "StreamInput" => {
                    let mut messages = Messages::new(body);
                    while let Ok(Some(_)) = messages.next().await {}
                    streamed(&[frame(2, END)])
                }
                _ => {
                    let message: Value = serde_json::from_slice(&whole(body).await).unwrap();
                    log.lock().unwrap().push((line, message));
                    answer(200, "{}")
                }
            }
        }
    })
    .await;
    let (terminal, _input) = open(&server).await.unwrap();
    terminal.control.resize(Size { cols: 132, rows: 43 }).await.unwrap();
    terminal.control.signal("SIGKILL").await.unwrap();
    assert_eq!(terminal.control.signal("SIGWINCH").await.unwrap_err().code, Code::Unimplemented);
    let process = json!({ "pid": 42 });
    assert_eq!(
        *got.lock().unwrap(),
        [
            (
                "POST /process.Process/Update".to_owned(),
                json!({ "process": process, "pty": { "size": { "cols": 132, "rows": 43 } } })
            ),
            ("POST /process.Process/SendSignal".to_owned(), json!({ "process": process, "signal": "SIGNAL_SIGKILL" })),
        ]
    );
}

// ---- processes without a terminal

#[tokio::test]
async fn a_command_has_two_outputs_and_an_input_that_closes() {
    let got = Arc::new(Mutex::new(Vec::new()));
    let events = Events::default();
    let (log, slot) = (got.clone(), events.clone());
    let server = Awkward::start(move |line, body| {
        let (log, slot) = (log.clone(), slot.clone());
        async move {
            let call = line.rsplit('/').next().unwrap().to_owned();
            match call.as_str() {
                "Start" => {
                    let message = Messages::new(body).next().await.unwrap().unwrap();
                    assert_eq!(
                        message,
                        json!({ "process": { "cmd": "cat", "args": ["-"], "envs": { "A": "b" }, "cwd": "/w" }, "stdin": true })
                    );
                    slot.begin().await
                }
                "StreamInput" => {
                    let mut messages = Messages::new(body);
                    while let Some(message) = messages.next().await.unwrap() {
                        log.lock().unwrap().push(message);
                    }
                    log.lock().unwrap().push(json!("end of the stream"));
                    streamed(&[frame(0, END), frame(2, END)])
                }
                "CloseStdin" => {
                    log.lock().unwrap().push(json!("closed"));
                    let data = |name, text: &str| event(&format!(r#"{{"data":{{"{name}":"{}"}}}}"#, STANDARD.encode(text)));
                    let ended = event(r#"{"end":{"exitCode":-1,"status":"signal: terminated"}}"#);
                    slot.end([data("stdout", "out"), data("stderr", "err"), ended, frame(2, END)]).await;
                    answer(200, "{}")
                }
                other => panic!("unexpected {other}"),
            }
        }
    })
    .await;
    let (tx, rx) = mpsc::channel(4);
    let command = Command {
        argv: vec!["cat".into(), "-".into()],
        cwd: Some("/w".into()),
        env: BTreeMap::from([("A".into(), "b".into())]),
        user: Some("root".into()),
    };
    let mut process = provider(&server).await.run(&call(), &sandbox(), &command, rx).await.unwrap();
    tx.send(Bytes::from_static(b"data")).await.unwrap();
    drop(tx);
    assert_eq!(within("stdout", process.stdout.recv()).await.unwrap(), "out");
    assert_eq!(within("stderr", process.stderr.recv()).await.unwrap(), "err");
    assert_eq!(within("the end", process.done).await.unwrap().unwrap(), Exit::Signal("SIGTERM".into()));
    assert_eq!(
        *got.lock().unwrap(),
        [
            json!({ "start": { "process": { "pid": 42 } } }),
            json!({ "data": { "input": { "stdin": "ZGF0YQ==" } } }),
            json!("end of the stream"),
            json!("closed"),
        ]
    );
    let start = &server.seen("POST /process.Process/Start")[0];
    assert_eq!(start.header("authorization"), Some("Basic cm9vdDo="));
}

#[tokio::test]
async fn a_command_may_stop_reading_its_input() {
    let (refused_tx, refused_rx) = mpsc::channel(1);
    let refused_rx = Arc::new(Mutex::new(Some(refused_rx)));
    let server = Awkward::start(move |line, body| {
        let (refused_tx, refused_rx) = (refused_tx.clone(), refused_rx.clone());
        async move {
            match line.rsplit('/').next().unwrap() {
                "Start" => {
                    let (tx, answer) = streaming();
                    let mut refused = refused_rx.lock().unwrap().take().unwrap();
                    tokio::spawn(async move {
                        tx.send(Ok(started())).await.unwrap();
                        // The process goes on after its input was refused.
                        refused.recv().await.unwrap();
                        tx.send(Ok(exited())).await.unwrap();
                        tx.send(Ok(frame(2, END))).await.unwrap();
                    });
                    answer
                }
                _ => {
                    let mut messages = Messages::new(body);
                    messages.next().await.unwrap().unwrap();
                    refused_tx.send(()).await.unwrap();
                    streamed(&[frame(
                        2,
                        r#"{"error":{"code":"internal","message":"error writing to stdin: broken pipe"}}"#,
                    )])
                }
            }
        }
    })
    .await;
    let (tx, rx) = mpsc::channel(4);
    let command = Command { argv: vec!["head".into()], ..Command::default() };
    let process = provider(&server).await.run(&call(), &sandbox(), &command, rx).await.unwrap();
    tx.send(Bytes::from_static(b"data")).await.unwrap();
    assert_eq!(within("the end", process.done).await.unwrap().unwrap(), Exit::Code(0));
}

// ---- the control plane

const MADE: &str = r#"{"templateID":"base","sandboxID":"iabc","clientID":"c","envdVersion":"0.6.13","envdAccessToken":"token","domain":null}"#;

fn spec() -> Spec {
    Spec { labels: BTreeMap::from([("b".into(), "1".into())]), ttl: Duration::from_millis(60_001), ..Spec::default() }
}

type Answer = fn() -> Response;

/// A server that gives these answers one after the other, each to a request
/// whose line begins so.
async fn script(answers: Vec<(&'static str, Answer)>) -> Awkward {
    let next = Arc::new(AtomicU32::new(0));
    Awkward::start(move |line, _| {
        let n = next.fetch_add(1, Ordering::SeqCst) as usize;
        let answers = answers.clone();
        async move {
            let (expected, answer) = answers.get(n).unwrap_or_else(|| panic!("one request too many: {line}"));
            assert!(line.starts_with(expected), "{line} instead of {expected}");
            answer()
        }
    })
    .await
}

#[tokio::test]
async fn a_sandbox_is_made_with_the_key_that_only_the_host_has() {
    let server = script(vec![("POST /v2/sandboxes", || answer(201, MADE))]).await;
    let made = provider(&server).await.create(&call(), &spec()).await.unwrap();
    assert_eq!(made.id, "iabc");
    assert_eq!(&made.state[..], br#"{"v":1,"t":"token","e":"0.6.13"}"#);
    assert_eq!(server.seen("")[0].header("x-api-key"), Some(KEY));
}

#[tokio::test]
async fn a_creation_is_repeated_only_when_nothing_was_made() {
    let old = script(vec![("POST /v2/sandboxes", || answer(405, "")), ("POST /sandboxes", || answer(201, MADE))]).await;
    provider(&old).await.create(&call(), &spec()).await.unwrap();

    let limited = script(vec![
        ("POST /v2/sandboxes", || {
            ([("retry-after", "1")], answer(429, r#"{"code":429,"message":"slow"}"#)).into_response()
        }),
        ("POST /v2/sandboxes", || answer(201, MADE)),
    ])
    .await;
    provider(&limited).await.create(&call(), &spec()).await.unwrap();

    let down = script(vec![("POST /v2/sandboxes", || answer(503, r#"{"code":503,"message":"no room"}"#))]).await;
    let e = provider(&down).await.create(&call(), &spec()).await.unwrap_err();
    assert_eq!(e.code, Code::Unavailable);
    assert!(e.message.contains("no room"), "{}", e.message);

    let full =
        script(vec![("POST /v2/sandboxes", || answer(429, r#"{"code":429,"message":"20 sandboxes run"}"#))]).await;
    assert_eq!(provider(&full).await.create(&call(), &spec()).await.unwrap_err().code, Code::ResourceExhausted);
}

/// What a server says that has only version 1 of a route. The first two are
/// E2B's own words for it, in the object that also tells of a missing sandbox.
const NO_ROUTE: [Answer; 4] = [
    || answer(404, r#"{"code":404,"message":"validation error: method not allowed"}"#),
    || answer(404, r#"{"code":404,"message":"validation error: no matching operation was found"}"#),
    || answer(404, "404 page not found"),
    || answer(405, ""),
];

const GONE: Answer =
    || answer(404, r#"{"code":404,"message":"Sandbox \"iabc\" doesn't exist or you don't have access to it"}"#);

#[tokio::test]
async fn a_server_with_only_version_1_of_the_api_is_served() {
    for no_route in NO_ROUTE {
        let server = script(vec![
            ("POST /v2/sandboxes", no_route),
            ("POST /sandboxes", || answer(201, MADE)),
            ("POST /v2/sandboxes/iabc/connect", no_route),
            ("POST /sandboxes/iabc/connect", || answer(200, MADE)),
            ("GET /v2/sandboxes?", no_route),
            ("GET /sandboxes?metadata=b%3D1", || answer(200, r#"[{"sandboxID":"iabc","metadata":{"b":"1"}}]"#)),
        ])
        .await;
        let provider = provider(&server).await;
        let made = provider.create(&call(), &spec()).await.unwrap();
        assert_eq!(provider.connect(&call(), &made, Duration::from_secs(5)).await.unwrap(), made);
        assert_eq!(provider.list(&call(), &spec().labels, None).await.unwrap().sandboxes[0].id, "iabc");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_there_in_either_version() {
    // A server of both versions says it twice.
    let both = script(vec![("POST /v2/sandboxes/iabc/connect", GONE), ("POST /sandboxes/iabc/connect", GONE)]).await;
    let e = provider(&both).await.connect(&call(), &sandbox(), Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(e.code, Code::NotFound);
    for no_route in NO_ROUTE {
        // A server of only the second one says it once.
        let second =
            script(vec![("POST /v2/sandboxes/iabc/connect", GONE), ("POST /sandboxes/iabc/connect", no_route)]).await;
        let e = provider(&second).await.connect(&call(), &sandbox(), Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(e.code, Code::NotFound, "{e}");
        // A server of neither is no server of sandboxes, and a sandbox that it does not know may live.
        let neither = Awkward::start(move |_, _| async move { no_route() }).await;
        let provider = provider(&neither).await;
        let e = provider.connect(&call(), &sandbox(), Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(e.code, Code::Unimplemented, "{e}");
        assert!(provider.kill(&call(), &sandbox()).await.is_err(), "it was not ended");
    }
}

#[tokio::test]
async fn a_sandbox_whose_agent_is_too_old_is_not_left_behind() {
    let old = || answer(201, r#"{"sandboxID":"iabc","envdVersion":"0.0.9"}"#);
    let server = script(vec![("POST /v2/sandboxes", old), ("DELETE /sandboxes/iabc", || answer(204, ""))]).await;
    let e = provider(&server).await.create(&call(), &spec()).await.unwrap_err();
    assert_eq!(e.code, Code::FailedPrecondition);
}

#[tokio::test]
async fn ending_a_sandbox_is_safe_to_repeat_and_believes_only_the_protocol() {
    let again = script(vec![
        ("DELETE /sandboxes/iabc", || answer(502, "")),
        ("DELETE /sandboxes/iabc", || answer(404, r#"{"code":404,"message":"Sandbox \"iabc\" doesn't exist"}"#)),
    ])
    .await;
    provider(&again).await.kill(&call(), &sandbox()).await.unwrap();

    let other = script(vec![("DELETE /sandboxes/iabc", || answer(404, "<html>not here</html>"))]).await;
    let e = provider(&other).await.kill(&call(), &sandbox()).await.unwrap_err();
    assert!(e.message.contains("does not speak the E2B API"), "{}", e.message);
}

#[tokio::test]
async fn a_refused_key_says_which_secret_to_look_at() {
    let server = script(vec![("POST /sandboxes/iabc/timeout", || answer(401, r#"{"code":401,"message":"no"}"#))]).await;
    let e = provider(&server).await.extend(&call(), &sandbox(), Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(e.code, Code::Unauthenticated);
    // Where it comes from is the operator's: the plugin would guess.
    let told = e.message.contains("the secret api_key of this provider") && !e.message.contains("E2B_API_KEY");
    assert!(told && !e.message.contains(KEY), "{}", e.message);
}

#[tokio::test]
async fn a_listing_is_paged_filtered_and_may_be_null() {
    let entry = r#"[{"sandboxID":"mine","metadata":{"b":"1"}},{"sandboxID":"theirs","metadata":{"b":"2"}}]"#;
    let server = Awkward::start(move |line, _| async move {
        if line.contains("nextToken=t%2F2") {
            answer(200, "null")
        } else {
            ([("x-next-token", "t/2")], answer(200, entry)).into_response()
        }
    })
    .await;
    let provider = provider(&server).await;
    let labels = BTreeMap::from([("b".to_owned(), "1".to_owned())]);
    let page = provider.list(&call(), &labels, None).await.unwrap();
    assert_eq!(page.sandboxes.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["mine"]);
    let last = provider.list(&call(), &labels, page.next).await.unwrap();
    assert!(last.sandboxes.is_empty() && last.next.is_none());
    assert!(server.seen("")[0].line.contains("metadata=b%3D1"), "{:?}", server.seen("")[0].line);
}

#[tokio::test]
async fn a_sandbox_that_was_only_listed_is_connected_to_first() {
    let server = script(vec![("POST /v2/sandboxes/iabc/connect", || answer(200, MADE))]).await;
    let provider = provider(&server).await;
    let bare = SandboxRef { id: "iabc".into(), state: Bytes::new() };
    let e = provider.stat(&call(), &bare, &at("/x")).await.unwrap_err();
    assert_eq!(e.code, Code::FailedPrecondition);
    let now = provider.connect(&call(), &bare, Duration::from_secs(5)).await.unwrap();
    assert_eq!(now, sandbox());
}

// ---- files

const ENTRY: &str = r#"{"entry":{"name":"a","type":"FILE_TYPE_FILE","path":"/w/a","size":"5","mode":420}}"#;

/// What a server sees of an upload: the calls, and whether the body was whole.
async fn upload(finish: bool, size: Option<u64>) -> (Result<(), Error>, Vec<String>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let log = calls.clone();
    let server = Awkward::start(move |line, body| {
        let log = log.clone();
        async move {
            if line.starts_with("POST /files?") {
                assert!(line.contains(".upload-"), "{line}");
                let whole = axum::body::to_bytes(body, 1 << 20).await;
                log.lock().unwrap().push(whole.map_or("broken".into(), |b| format!("{} bytes", b.len())));
                return answer(200, "[]");
            }
            let name = line.rsplit('/').next().unwrap().to_owned();
            let message: Value = serde_json::from_slice(&whole(body).await).unwrap();
            if name == "Move" {
                assert_eq!(message["destination"], "/w/a");
            }
            log.lock().unwrap().push(name);
            answer(200, ENTRY)
        }
    })
    .await;
    let (tx, data) = mpsc::channel(4);
    let (complete, rx) = oneshot::channel();
    let provider = provider(&server).await;
    let write = async {
        provider.write(&call(), &careful(), &at("/w/a"), Upload { size, data, complete: rx }).await.map(|e| {
            assert_eq!((e.size, e.mode), (5, 0o644));
        })
    };
    let feed = async {
        tx.send(Bytes::from_static(b"hello")).await.unwrap();
        drop(tx);
        if finish {
            let _ = complete.send(Ok(()));
        } else {
            drop(complete);
        }
    };
    let (written, ()) = within("the upload", async { tokio::join!(write, feed) }).await;
    let calls = calls.lock().unwrap().clone();
    (written, calls)
}

#[tokio::test]
async fn a_whole_file_gets_its_name_at_the_end() {
    for size in [None, Some(5)] {
        let (written, calls) = upload(true, size).await;
        written.unwrap();
        assert_eq!(calls, ["5 bytes", "Move"]);
    }
}

#[tokio::test]
async fn a_broken_upload_never_looks_like_a_file() {
    for _ in 0..20 {
        let (written, calls) = upload(false, None).await;
        assert_eq!(written.unwrap_err().code, Code::Cancelled);
        assert!(!calls.iter().any(|c| c == "Move" || c.ends_with("bytes")), "{calls:?}");
        assert!(calls.iter().any(|c| c == "Remove"), "{calls:?}");
    }
}

/// The agent answers after 1 MB of 100 that come as long as anybody takes them.
#[tokio::test]
async fn an_upload_that_is_refused_half_way_is_answered_at_once() {
    let server = Awkward::start(async |line, body| {
        if !line.starts_with("POST /files?") {
            return answer(200, "{}");
        }
        let (mut body, mut read) = (body.into_data_stream(), 0);
        while read < 1_000_000 {
            read += futures_util::StreamExt::next(&mut body).await.unwrap().unwrap().len();
        }
        answer(507, r#"{"code":507,"message":"not enough disk space available"}"#)
    })
    .await;
    let (tx, data) = mpsc::channel(4);
    let (complete, rx) = oneshot::channel();
    let provider = provider(&server).await;
    let feed = tokio::spawn(async move {
        while tx.send(Bytes::from(vec![7; 64 << 10])).await.is_ok() {}
        tx
    });
    let upload = Upload { size: Some(100_000_000), data, complete: rx };
    let e = within("the refusal", provider.write(&call(), &careful(), &at("/w/a"), upload)).await.unwrap_err();
    assert_eq!(
        (e.code, e.message.as_str()),
        (Code::ResourceExhausted, "the disk of sandbox iabc is full: remove files")
    );
    // Nobody has said meanwhile that it is whole or broken.
    assert!(complete.is_closed());
    within("the source to learn of it", feed).await.unwrap();
}

async fn read(server: &Awkward, offset: u64, length: Option<u64>) -> Result<(String, Result<(), Error>), Error> {
    let mut download = provider(server).await.read(&call(), &careful(), &at("/w/a"), offset, length).await?;
    let mut all = Vec::new();
    while let Some(chunk) = within("a file", download.data.recv()).await {
        all.extend_from_slice(&chunk);
    }
    let done = within("the end of a file", download.done).await.unwrap();
    Ok((String::from_utf8(all).unwrap(), done))
}

#[tokio::test]
async fn a_part_of_a_file_comes_also_from_a_server_that_sends_all_of_it() {
    let server = Awkward::start(async |_, _| "0123456789".into_response()).await;
    let (text, done) = read(&server, 3, Some(4)).await.unwrap();
    done.unwrap();
    assert_eq!(text, "3456");
    assert_eq!(server.seen("GET /files?path=%2Fw%2Fa")[0].header("range"), Some("bytes=3-6"));

    let part = Awkward::start(async |_, _| {
        (StatusCode::PARTIAL_CONTENT, [("content-range", "bytes 3-6/10")], "3456").into_response()
    })
    .await;
    let (text, done) = read(&part, 3, Some(4)).await.unwrap();
    done.unwrap();
    assert_eq!(text, "3456");
}

#[tokio::test]
async fn the_end_of_a_file_is_not_beyond_it() {
    let server = Awkward::start(async |_, _| {
        (StatusCode::RANGE_NOT_SATISFIABLE, [("content-range", "bytes */10")], "").into_response()
    })
    .await;
    let (text, done) = read(&server, 10, None).await.unwrap();
    assert!(text.is_empty() && done.is_ok());
    assert_eq!(read(&server, 11, None).await.unwrap_err().code, Code::OutOfRange);
}

#[tokio::test]
async fn a_file_that_breaks_off_is_not_whole() {
    let server = Awkward::start(async |_, _| {
        let (tx, answer) = streaming();
        tx.send(Ok(Bytes::from_static(b"half"))).await.unwrap();
        tx.send(Err("reset")).await.unwrap();
        answer
    })
    .await;
    let (text, done) = read(&server, 0, None).await.unwrap();
    assert_eq!(text, "half");
    assert_eq!(done.unwrap_err().code, Code::Unavailable);
}

#[tokio::test]
async fn removing_what_is_gone_succeeds_unless_the_sandbox_is() {
    let file =
        script(vec![("POST /filesystem.Filesystem/Remove", || answer(404, r#"{"code":"not_found","message":"no"}"#))])
            .await;
    provider(&file).await.remove(&call(), &careful(), &at("/x")).await.unwrap();
    let gone = script(vec![("POST /filesystem.Filesystem/Remove", || {
        answer(502, r#"{"message":"The sandbox was not found","code":502}"#)
    })])
    .await;
    assert_eq!(provider(&gone).await.remove(&call(), &careful(), &at("/x")).await.unwrap_err().code, Code::NotFound);
}
