//! How long a person waits for the prompt, and how much of that is the broker's.
//!
//! Owns the bare ways: what a client of the provider's own API does to get the same shell in the same kind of sandbox.
//! A sandbox through the broker and one without it take turns, so that both meet the same machine. Does not know how the
//! broker makes its own.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http::Method;
use hyper_util::rt::TokioIo;
use reqwest::header::{CONNECTION, UPGRADE};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::envd::Sandbox;
use super::many::{beside, release};
use super::socket::{Dialect, connect};
use super::support::cluster::{Cluster, Namespace, pod};
use super::support::docker::{DEBIAN, Docker};
use super::support::{Broker, Sandboxd};
use super::terminal::Terminal;
use super::{CONFIG, end, percentile};

/// Sandboxes each way, after one to warm up. A Pod takes longer than the others.
const ROUNDS: usize = 20;
const PODS: usize = 5;
/// Sandboxes that are asked for at once.
const STORM: usize = 100;

/// The shell that every image has.
const SHELL: &str = "/bin/sh";

/// Time to the prompt for each provider that this machine can have.
pub async fn prompt() {
    println!(
        "\n| time to the prompt, p50 / slowest, ms | the provider's own API | through the broker | the broker's share, p50 |"
    );
    println!("|---|---|---|---|");
    let broker = Broker::start_quiet(CONFIG).await;
    let (client, url, key) = broker.embedded().await;
    compare("local", ROUNDS, &broker, async || envd(client.clone(), &url, &key).await).await;
    end(broker).await;

    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server.section("box"), "")).await;
    let client = reqwest::Client::builder().tcp_nodelay(true).build().unwrap();
    compare("e2b", ROUNDS, &broker, async || envd(client.clone(), &server.url, &server.key).await).await;
    stop(broker).await;

    let shell = format!("shell = [{SHELL:?}]");
    if let Some(engine) = Docker::start().await {
        let broker = Broker::start_quiet(&config(&engine.section("box", DEBIAN, ""), &shell)).await;
        compare("docker", ROUNDS, &broker, async || docker(&engine).await).await;
        stop(broker).await;
    }
    if let Some(cluster) = Cluster::start().await {
        let namespace = Namespace::within(Arc::new(cluster)).await;
        let broker = Broker::start_quiet(&config(&namespace.section("box", ""), &shell)).await;
        compare("kubernetes", PODS, &broker, async || kubernetes(&namespace).await).await;
        stop(broker).await;
    }
}

fn config(section: &str, sandbox: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{sandbox}\n{section}")
}

/// Ends a broker that has no embedded server.
async fn stop(broker: Broker) {
    broker.signal("TERM");
    broker.into_directory().await;
}

/// Measures both ways in turns. `bare` removes its sandbox after it has looked at the clock.
async fn compare(name: &str, rounds: usize, broker: &Broker, bare: impl AsyncFn() -> Duration) {
    let (mut alone, mut through) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let bare = bare().await;
        let clients = beside();
        let url = broker.url.clone();
        let opening = clients.spawn(async move {
            let began = Instant::now();
            let terminal = connect(&url, Dialect::Level0).await;
            (began.elapsed(), terminal)
        });
        let (taken, terminal) = opening.await.unwrap();
        drop(terminal);
        release(broker, clients).await;
        if round > 0 {
            alone.push(bare);
            through.push(taken);
        }
    }
    let [alone, through] = [alone, through].map(|times| [percentile(&times, 50), percentile(&times, 100)]);
    println!(
        "| {name} | {:.0} / {:.0} | {:.0} / {:.0} | {:.0} |",
        alone[0],
        alone[1],
        through[0],
        through[1],
        through[0] - alone[0]
    );
}

/// By E2B's API.
async fn envd(client: reqwest::Client, url: &str, key: &str) -> Duration {
    let began = Instant::now();
    let sandbox = Sandbox::create(client, url, key).await;
    let terminal = sandbox.terminal().await;
    let taken = began.elapsed();
    drop(terminal);
    sandbox.kill().await;
    taken
}

/// By the engine's API: a container with the bounds that the plugin sets, and a terminal in it.
async fn docker(engine: &Docker) -> Duration {
    let post = async |path: &str, body: Value| -> reqwest::Response {
        engine.request(Method::POST, path).json(&body).send().await.unwrap().error_for_status().unwrap()
    };
    let id = async |made: reqwest::Response| -> String {
        made.json::<Value>().await.unwrap()["Id"].as_str().unwrap().to_owned()
    };
    let began = Instant::now();
    let bounds = json!({
        "Init": true, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "Memory": 1_u64 << 30, "PidsLimit": 512,
    });
    let wish = json!({ "Image": DEBIAN, "Entrypoint": ["sleep", "600"], "HostConfig": bounds });
    let container = id(post("/containers/create", wish).await).await;
    post(&format!("/containers/{container}/start"), json!({})).await;
    let size = [24, 80];
    let wish = json!({
        "AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Tty": true, "Cmd": [SHELL], "ConsoleSize": size,
    });
    let exec = id(post(&format!("/containers/{container}/exec"), wish).await).await;
    let begin = engine
        .request(Method::POST, &format!("/exec/{exec}/start"))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .json(&json!({ "Tty": true, "ConsoleSize": size }));
    let mut terminal = begin.send().await.unwrap().upgrade().await.unwrap();
    terminal.read_u8().await.unwrap();
    let taken = began.elapsed();
    drop(terminal);
    engine.kill(&container).await;
    taken
}

/// By the API server's: a Pod, which is watched until it runs, and a terminal in it.
async fn kubernetes(namespace: &Namespace) -> Duration {
    let Namespace { cluster, .. } = namespace;
    let mut wish: Value = serde_json::from_str(&pod("bare", &json!({}))).unwrap();
    wish["spec"]["containers"][0]["command"] = json!(["sleep", "600"]);
    wish["spec"]["terminationGracePeriodSeconds"] = json!(0);
    let began = Instant::now();
    cluster.must(Method::POST, &namespace.path(""), &wish.to_string()).await;
    let watch = format!("{}?watch=1&fieldSelector=metadata.name%3Dbare", namespace.path(""));
    let events = cluster.send(cluster.admin(), http::Request::get(watch), "").await.unwrap();
    runs(events.into_body()).await;
    let exec = format!("{}/exec?container=c&command={SHELL}&stdin=1&stdout=1&tty=1", namespace.path("bare"));
    let upgrade = http::Request::get(exec)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
        .header("sec-websocket-protocol", "v5.channel.k8s.io");
    let answer = cluster.send(cluster.admin(), upgrade, "").await.unwrap();
    assert_eq!(answer.status(), 101);
    let io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let mut terminal = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
    // The first byte of a message names its channel, and 1 is standard output.
    while !matches!(terminal.next().await.unwrap().unwrap(), Message::Binary(said) if said.len() > 1 && said[0] == 1) {}
    let taken = began.elapsed();
    drop(terminal);
    cluster.must(Method::DELETE, &namespace.path("bare"), "").await;
    namespace.has(0).await;
    taken
}

/// Waits until the Pod that is watched runs.
async fn runs(events: hyper::body::Incoming) {
    let mut events = http_body_util::BodyStream::new(events);
    let mut text = Vec::new();
    loop {
        while let Some(end) = memchr::memchr(b'\n', &text) {
            let event: Value = serde_json::from_slice(&text[..end]).unwrap();
            if event["object"]["status"]["phase"] == "Running" {
                return;
            }
            text.drain(..=end);
        }
        let frame = events.next().await.expect("the watch goes on").unwrap();
        text.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
}

/// [`STORM`] local sandboxes that are asked for at once.
pub async fn storm() {
    println!("\n| {STORM} prompts at once | p50, ms | p99 | slowest | failed |");
    println!("|---|---|---|---|---|");
    let broker = Broker::start_quiet(CONFIG).await;
    let (client, url, key) = broker.embedded().await;
    let bare = || {
        let (client, url, key) = (client.clone(), url.clone(), key.clone());
        async move { Sandbox::create(client, &url, &key).await.terminal().await }
    };
    // What is made once for all sandboxes is no cost of one.
    drop(bare().await);
    at_once("sandboxd alone", bare).await;
    end(broker).await;

    let broker = Broker::start_quiet(CONFIG).await;
    let through = || {
        let url = broker.url.clone();
        async move { connect(&url, Dialect::Level0).await }
    };
    drop(through().await);
    at_once("through the broker", through).await;
    end(broker).await;
}

async fn at_once<F>(name: &str, open: impl Fn() -> F)
where
    F: Future<Output = Terminal> + Send + 'static,
{
    let clients = beside();
    let began = Instant::now();
    let asked = (0..STORM).map(|_| {
        let opening = open();
        clients.spawn(async move { (opening.await, began.elapsed()) })
    });
    let (mut held, mut times) = (Vec::new(), Vec::new());
    // One that failed has said why on standard error.
    for (terminal, taken) in futures_util::future::join_all(asked).await.into_iter().flatten() {
        held.push(terminal);
        times.push(taken);
    }
    let [p50, p99, slowest] = [50, 99, 100].map(|p| percentile(&times, p));
    println!("| {name} | {p50:.0} | {p99:.0} | {slowest:.0} | {} |", STORM - times.len());
    clients.shutdown_background();
}
