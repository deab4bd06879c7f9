//! What a sandbox can do to another person's session by the broker's own port:
//! nothing, whether it has a network of its own or shares the machine's, and
//! however its processes hide. Clients on the machine go on as before.

use std::process::Command;

use reqwest::StatusCode;
use serde_json::json;

use crate::support::level1::{Visit, Window};
use crate::support::{Broker, Client, NOBODY, eventually, program};

const LOCAL: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\nworkdir = \"/workspace\"\n\
                     [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";

/// Asks in many ways; the tests of the sandbox server have it.
const SCRIPT: &str = include_str!("../../../sandboxd/tests/it/ask.py");
/// That of the system, which sandboxes see.
const PYTHON: &str = "/usr/bin/python3";
const WAYS: &[&str] = &["plain", "hidden", "forked", "orphan", "alone", "handed"];
/// Those that do not wait for an answer.
const LEAVING: &[&str] = &["left", "reset"];
/// The address of the broker, also in its other form.
const ADDRESSES: &[&str] = &["127.0.0.1", "::ffff:127.0.0.1"];

/// What one person could do to another's session; the last two change it.
fn requests(broker: &Broker, victim: &str) -> Vec<(&'static str, String)> {
    let host = broker.url.strip_prefix("http://").unwrap();
    let one = format!("/api/sessions/{victim}");
    let file = format!("{one}/files/content?path=%2Fworkspace%2Fsecret");
    let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   sec-websocket-protocol: sandbox-broker.v1\r\nconnection: upgrade\r\n";
    let close = "connection: close\r\n";
    [
        ("list", "GET", "/api/sessions".to_owned(), close, ""),
        ("show", "GET", one.clone(), close, ""),
        ("read", "GET", file.clone(), close, ""),
        ("attach", "GET", format!("/terminal?session={victim}&role=viewer"), upgrade, ""),
        ("write", "PUT", file, close, "changed"),
        ("kill", "DELETE", one, close, ""),
    ]
    .map(|(name, method, path, more, body)| {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{more}content-length: {length}\r\n\r\n");
        (name, head + body)
    })
    .to_vec()
}

fn words(broker: &Broker, ways: &[&str], addresses: &[&str], requests: &[(&str, String)]) -> String {
    let port: u16 = broker.url.rsplit_once(':').unwrap().1.parse().unwrap();
    json!({ "ways": ways, "addresses": addresses, "port": port, "requests": requests }).to_string()
}

fn content(broker: &Broker, session: &str, path: &str) -> String {
    format!("{}/api/sessions/{session}/files/content?path=/workspace/{path}", broker.url)
}

async fn put(broker: &Broker, session: &str, path: &str, content_of: String) {
    let put = reqwest::Client::new().put(content(broker, session, path)).body(content_of);
    assert!(put.send().await.unwrap().status().is_success());
}

async fn read(broker: &Broker, session: &str, path: &str) -> String {
    let answer = reqwest::get(content(broker, session, path)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.text().await.unwrap()
}

/// A person in a sandbox.
struct Intruder<'a> {
    broker: &'a Broker,
    terminal: Client,
    session: String,
}

impl<'a> Intruder<'a> {
    async fn of(broker: &'a Broker) -> Self {
        let mut terminal = broker.connect().await;
        let session = terminal.ready().await["session"].as_str().unwrap().to_owned();
        put(broker, &session, "ask.py", SCRIPT.to_owned()).await;
        Intruder { broker, terminal, session }
    }

    /// What comes of it.
    async fn asks(&mut self, words: String) -> Vec<String> {
        put(self.broker, &self.session, "words", words).await;
        let line = format!("{PYTHON} ask.py \"$(cat words)\" >said 2>&1; echo do\"\"ne\n");
        self.terminal.input(&line).await;
        self.terminal.expect("done\r\n").await;
        read(self.broker, &self.session, "said").await.lines().map(str::to_owned).collect()
    }
}

/// A session with something to lose.
async fn victim(broker: &Broker) -> (Window, String) {
    let mut window = Window::open(&broker.url, Visit::default().size(80, 24)).await;
    let session = window.ready().await.session;
    put(broker, &session, "secret", "untouched".to_owned()).await;
    (window, session)
}

async fn is_untouched(broker: &Broker, window: &mut Window, session: &str) {
    assert_eq!(read(broker, session, "secret").await, "untouched");
    window.input("echo a\"\"live\n").await;
    window.expect("alive").await;
}

/// By whoever asks outside the sandboxes, after these words of a command line.
fn asked_outside(before: &[&str], words: &str) -> Vec<String> {
    let all = [before, &[PYTHON, "-c", SCRIPT, words]].concat();
    let output = Command::new(all[0]).args(&all[1..]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// A command of the program's own, without a token.
fn lists(before: &[&str], broker: &Broker) -> String {
    let installed = broker.file("broker");
    let program = if before.is_empty() { program() } else { installed.to_str().unwrap() };
    let all = [before, &[program, "sessions", "list", "--url", &broker.url]].concat();
    let output = Command::new(all[0]).args(&all[1..]).env_remove("BROKER_TOKEN").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that is tried against a broker whose sandboxes share the
/// machine's network. `users` are words that make a command another user's.
async fn nobody_is_harmed(broker: &Broker, users: &[&[&str]]) {
    broker.logs("sandboxes share this machine's network: the broker refuses their connections").await;
    let (mut window, session) = victim(broker).await;
    let requests = requests(broker, &session);

    // The requests are right, and who is outside needs no token.
    for before in users {
        let lines = asked_outside(before, &words(broker, &["plain"], ADDRESSES, &requests[..4]));
        let expected: Vec<String> = ADDRESSES
            .iter()
            .flat_map(|at| requests[..4].iter().map(move |(name, _)| (name, at)))
            .map(|(name, at)| format!("{name} plain {at} {}", if *name == "attach" { 101 } else { 200 }))
            .collect();
        assert_eq!(lines, expected, "{before:?}");
    }

    let mut intruder = Intruder::of(broker).await;
    for (ways, addresses, requests, outcome) in [
        (WAYS, &ADDRESSES[..1], &requests[..], "refused"),
        (&WAYS[..1], &ADDRESSES[1..], &requests[..], "refused"),
        (LEAVING, &ADDRESSES[..1], &requests[4..], "sent"),
    ] {
        let lines = intruder.asks(words(broker, ways, addresses, requests)).await;
        assert_eq!(lines.len(), ways.len() * addresses.len() * requests.len(), "{lines:?}");
        for line in lines {
            assert!(line.ends_with(&format!(" {outcome}")), "{line}");
        }
    }
    let refusals = broker.log().matches("refused connections from inside sandboxes").count();
    assert_eq!(refusals, 1, "one line, however many are refused");

    // While it takes all the connections that it can have.
    put(broker, &intruder.session, "words", words(broker, &["flood"], &ADDRESSES[..1], &requests[..1])).await;
    intruder.terminal.input(&format!("{PYTHON} ask.py \"$(cat words)\"\n")).await;
    intruder.terminal.expect("floods").await;
    let mut viewer = Window::open(&broker.url, Visit::to(&session).viewer()).await;
    viewer.ready().await;
    for before in users {
        // `env` is this user.
        let listed = lists(if *before == ["env"] { &[] } else { before }, broker);
        assert!(listed.contains(&session), "{before:?}: {listed}");
    }
    is_untouched(broker, &mut window, &session).await;
}

/// Promise: a process of a sandbox that shares the machine's network can
/// neither list, show, read, write, attach to nor kill a session, nor keep
/// others out; programs of the machine can, without a token.
#[tokio::test]
async fn a_sandbox_that_shares_the_network_harms_no_session() {
    let broker = Broker::start_sharing(LOCAL, false).await;
    nobody_is_harmed(&broker, &[&["env"]]).await;
    // Nor do those of the server that comes after this one.
    let first = broker.embedded_pid();
    assert!(Command::new("kill").args(["-KILL", &first.to_string()]).status().unwrap().success());
    broker.logs("the broker's own sandbox server died").await;
    eventually("another server", async || (broker.embedded_pid() != first).then_some(())).await;
    let mut intruder = Intruder::of(&broker).await;
    let requests = requests(&broker, &intruder.session);
    let lines = intruder.asks(words(&broker, &["plain"], &ADDRESSES[..1], &requests[..1])).await;
    assert_eq!(lines, ["list plain 127.0.0.1 refused"]);
}

/// Promise: the same where the broker is an ordinary user's, who may look at
/// few processes. That user's clients need no token either.
#[tokio::test]
async fn a_broker_without_root_serves_no_sandbox_and_its_own_clients() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root to become another user; without it the other test shows this");
        return;
    }
    let ids = NOBODY.to_string();
    let itself: &[&str] = &["setpriv", "--reuid", &ids, "--regid", &ids, "--clear-groups"];
    let broker = Broker::start_sharing(LOCAL, true).await;
    nobody_is_harmed(&broker, &[&["env"], itself]).await;
}

/// Promise: a sandbox with a network of its own does not even get a connection.
#[tokio::test]
async fn a_sandbox_with_a_network_of_its_own_reaches_no_session() {
    let broker = Broker::start(LOCAL).await;
    if broker.log().contains("sandboxes share this machine's network") {
        println!("skipped: there is no slirp4netns, and the other tests show what holds then");
        return;
    }
    let (mut window, session) = victim(&broker).await;
    let mut intruder = Intruder::of(&broker).await;
    let requests = requests(&broker, &session);
    let lines = intruder.asks(words(&broker, &["plain", "left"], ADDRESSES, &requests)).await;
    assert_eq!(lines.len(), 2 * ADDRESSES.len() * requests.len());
    for line in lines {
        assert!(line.ends_with(" unreachable"), "{line}");
    }
    is_untouched(&broker, &mut window, &session).await;
}
