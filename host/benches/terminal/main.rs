//! Echo, flood, slow reader, memory and start of the whole path, beside the
//! bare PTY, the sandbox path without the broker and other web terminals, in
//! one run. Prints tables and checks nothing.
//!
//! `cargo xtask bench` builds, installs the peers that can be had and runs
//! this; a peer whose variable is not set is left out. With a word, only
//! servers and parts whose name contains it. Ratios within one run are what
//! counts: the machine's clock differs between runs.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs, reason = "a benchmark stops at the first surprise")]

#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a benchmark uses a part of it")]
mod support;

mod bare;
mod envd;
mod frozen;
mod many;
mod peers;
mod process;
mod prompt;
mod resume;
mod socket;
mod start;
mod terminal;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use envd::Sandbox;
use futures_util::FutureExt;
use peers::{PEERS, Running};
use process::{Peak, memory};
use socket::{Dialect, connect};
use support::Broker;
use terminal::Terminal;

/// Keys of one echo measurement, after a tenth of them to warm up.
const KEYS: usize = 2000;
/// Bytes of one flood: what a long build prints.
const FLOOD: usize = 34_000_000;
/// Floods of which the fastest counts: all that disturbs one makes it slower.
const FLOODS: usize = 5;
/// How long the slow reader stops.
const STOP: Duration = Duration::from_secs(4);
/// Sessions held for the memory of one, where a table compares servers.
const SESSIONS: usize = 50;
/// Bound on every wait for a server.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bound on the whole run.
const WHOLE: Duration = Duration::from_secs(1500);

const CONFIG: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\nmax_sessions = 1200\n\
                      [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";

/// A percentile in milliseconds.
fn percentile(times: &[Duration], p: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * p / 100).min(sorted.len() - 1)].as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn fastest(rates: Vec<f64>) -> f64 {
    rates.into_iter().fold(0.0, f64::max)
}

/// Makes a shell send back each key.
async fn ready_to_echo(terminal: &mut Terminal) {
    terminal.send("stty raw -echo; printf 'go''od'; exec cat\n").await;
    terminal.until("good").await;
}

/// Times of `keys` keys there and back, one after the other.
async fn echo(terminal: &mut Terminal, keys: usize) -> Vec<Duration> {
    let mut times = Vec::with_capacity(keys);
    for _ in 0..keys {
        let began = Instant::now();
        terminal.send("x").await;
        terminal.bytes(1).await;
        times.push(began.elapsed());
    }
    times
}

/// What comes last in a flood.
const END: &str = "end";

/// How much of a flood came.
fn share(bytes: usize) -> f64 {
    bytes as f64 / (FLOOD + END.len()) as f64
}

/// Lines as a compiler prints them, from a key on; then nothing more.
fn flooding() -> String {
    let line = r"\e[1m\e[32m   Compiling\e[0m sandbox-broker v0.1.0 (/workspace/sandbox-broker/host)";
    format!("stty raw -echo; printf 'go''od'; read; yes $'{line}' | head -c {FLOOD}; printf 'en''d'; exec sleep 1000\n")
}

/// Megabytes of output per second, and the share of it that came.
async fn flood(terminal: &mut Terminal) -> (f64, f64) {
    terminal.send(&flooding()).await;
    terminal.until("good").await;
    let began = Instant::now();
    terminal.send("\n").await;
    let (got, last) = terminal.count_until_last(END).await;
    (got as f64 / 1e6 / (last - began).as_secs_f64(), share(got))
}

/// What a client gets that stops reading, as a share, and by how much the
/// server's memory grew.
async fn slow(terminal: &mut Terminal, pid: u32) -> (f64, f64) {
    terminal.send(&flooding()).await;
    terminal.until("good").await;
    let peak = Peak::watch(pid);
    terminal.send("\n").await;
    tokio::time::sleep(STOP).await;
    let (got, _) = terminal.count_until_last(END).await;
    (share(got), peak.growth())
}

/// One line of the table.
struct Row {
    echo: Vec<Duration>,
    flood: f64,
    /// What came of the floods, at least.
    whole: f64,
    growth: f64,
    slow: (f64, f64),
}

/// Measures a server whose terminals `open` makes.
async fn measure(pid: u32, open: impl AsyncFn() -> Terminal) -> Row {
    let mut terminal = open().await;
    ready_to_echo(&mut terminal).await;
    echo(&mut terminal, KEYS / 10).await;
    let echo = echo(&mut terminal, KEYS).await;
    drop(terminal);

    let (mut rates, mut whole) = (Vec::new(), f64::MAX);
    let peak = Peak::watch(pid);
    for _ in 0..FLOODS {
        let (rate, share) = flood(&mut open().await).await;
        rates.push(rate);
        whole = whole.min(share);
    }
    let growth = peak.growth();
    let slow = slow(&mut open().await, pid).await;

    Row { echo, flood: fastest(rates), whole, growth, slow }
}

/// KiB of one idle session of many, on a server that has done nothing before:
/// memory that a flood has left would be taken for theirs.
async fn idle(pid: u32, open: impl AsyncFn() -> Terminal) -> f64 {
    let mut held = vec![open().await];
    let before = memory(pid);
    for _ in 0..SESSIONS {
        held.push(open().await);
    }
    memory(pid).saturating_sub(before) as f64 / SESSIONS as f64
}

fn print(name: &str, row: &Row, idle: f64) {
    let Row { echo, flood, whole, growth, slow: (got, grew) } = row;
    let lost = if *whole < 1.0 { format!(", {:.0} % lost", (1.0 - whole) * 100.0) } else { String::new() };
    println!(
        "| {name} | {:.3} | {:.3} | {flood:.0}{lost} | +{growth:.1} MiB | {:.0} % | +{grew:.1} MiB | {idle:.0} KiB |",
        percentile(echo, 50),
        percentile(echo, 99),
        got * 100.0,
    );
}

/// The servers, one after the other.
async fn servers(wanted: impl Fn(&str) -> bool) {
    println!(
        "| server | echo p50, ms | p99, ms | flood, MB/s | its memory | slow reader gets | its memory | idle session |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    if wanted("bare PTY") {
        let (echo, flood) = (bare::echo(), fastest((0..FLOODS).map(|_| bare::flood()).collect()));
        println!("| bare PTY | {:.3} | {:.3} | {flood:.0} | | | | |", percentile(&echo, 50), percentile(&echo, 99));
    }
    if wanted("sandboxd") {
        let open = async |server: &support::Sandboxd| {
            let client = reqwest::Client::builder().tcp_nodelay(true).build().unwrap();
            Sandbox::create(client, &server.url, &server.key).await.terminal().await
        };
        let server = support::Sandboxd::start().await;
        let row = measure(server.pid(), async || open(&server).await).await;
        let server = support::Sandboxd::start().await;
        print("sandboxd alone", &row, idle(server.pid(), async || open(&server).await).await);
    }
    // Level 1 beside it shows what the recorder costs.
    let levels = [("sandbox broker", Dialect::Level0), ("sandbox broker, recorded", Dialect::Level1)];
    for (name, level) in levels.into_iter().filter(|_| wanted("broker")) {
        let open = async |broker: &Broker| connect(&broker.url, level).await;
        let broker = Broker::start_quiet(CONFIG).await;
        let row = measure(broker.pid(), async || open(&broker).await).await;
        end(broker).await;
        let broker = Broker::start_quiet(CONFIG).await;
        print(name, &row, idle(broker.pid(), async || open(&broker).await).await);
        end(broker).await;
    }
    for peer in PEERS.iter().filter(|peer| wanted(peer.name)) {
        let open = async |running: &Running| connect(&running.url, peer.dialect).await;
        let measured = async {
            let running = peer.start().await?;
            let row = measure(running.pid(), async || open(&running).await).await;
            let running = peer.start().await?;
            print(peer.name, &row, idle(running.pid(), async || open(&running).await).await);
            Some(())
        };
        if AssertUnwindSafe(measured).catch_unwind().await.is_err() {
            eprintln!("{}: failed, left out", peer.name);
        }
    }
}

/// Ends a broker in order and its embedded server with it, so that nothing is
/// left; its directory is.
async fn end(broker: Broker) -> tempfile::TempDir {
    let server = broker.embedded_pid();
    broker.signal("TERM");
    let directory = broker.into_directory().await;
    process::end(server).await;
    directory
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo bench` hands `--bench` to a harness; a word chooses.
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| word.as_deref().is_none_or(|word| name.contains(word));
    let all = async {
        let names = ["bare PTY", "sandboxd", "broker"].into_iter().chain(PEERS.iter().map(|peer| peer.name));
        if names.into_iter().any(&wanted) {
            servers(&wanted).await;
        }
        if wanted("busy") {
            many::busy().await;
        }
        if wanted("frozen") {
            frozen::frozen().await;
        }
        if wanted("idle") {
            many::idle().await;
        }
        if wanted("prompt") {
            prompt::prompt().await;
        }
        if wanted("storm") {
            prompt::storm().await;
        }
        if wanted("resume") {
            resume::resume().await;
        }
        if wanted("start") {
            start::start().await;
        }
    };
    tokio::time::timeout(WHOLE, Box::pin(all)).await.expect("the benchmark ends within its bound");
}
