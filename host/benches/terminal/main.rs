//! Echo, flood, slow reader, memory and start of the whole path, beside the
//! bare PTY and other web terminals in one run. Prints a table.
//!
//! `cargo xtask bench` builds, installs the peers that can be had and runs
//! this; a peer whose variable is not set is left out. Ratios within one run
//! are what counts: the machine's clock differs between runs.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs, reason = "a benchmark stops at the first surprise")]

#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a benchmark uses a part of it")]
mod support;

mod bare;
mod peers;
mod socket;

use std::time::{Duration, Instant};

use socket::{Dialect, Terminal};
use support::Broker;

/// Keys per echo measurement, after a tenth to warm up.
const KEYS: usize = 2000;
/// Bytes of one flood: what a long build prints.
const FLOOD: usize = 34_000_000;
/// How long the slow reader stops.
const STOP: Duration = Duration::from_secs(4);
/// Sessions held for the memory of one.
const SESSIONS: usize = 100;

/// A percentile of durations, in milliseconds.
fn percentile(sorted: &[Duration], p: usize) -> f64 {
    sorted[(sorted.len() * p / 100).min(sorted.len() - 1)].as_secs_f64() * 1e3
}

/// `RssAnon` of a process and its descendants is the memory that it costs.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
}

struct Row {
    name: String,
    echo: (f64, f64),
    flood: f64,
    slow: String,
    memory: String,
}

/// One key there and back, again and again.
async fn echo(terminal: &mut Terminal) -> (f64, f64) {
    terminal.send("stty raw -echo; printf 'go''od'; exec cat\n").await;
    terminal.until("good").await;
    let mut times = Vec::with_capacity(KEYS);
    for n in 0..KEYS + KEYS / 10 {
        let began = Instant::now();
        terminal.send("x").await;
        terminal.bytes(1).await;
        if n >= KEYS / 10 {
            times.push(began.elapsed());
        }
    }
    times.sort();
    (percentile(&times, 50), percentile(&times, 99))
}

fn flooding() -> String {
    format!("stty raw -echo; printf 'go''od'; head -c {FLOOD} /dev/zero | tr '\\0' 'x'; printf 'en''d'; sleep 1000\n")
}

/// Megabytes per second of plain output.
async fn flood(terminal: &mut Terminal) -> f64 {
    terminal.send(&flooding()).await;
    terminal.until("good").await;
    let began = Instant::now();
    terminal.until("end").await;
    FLOOD as f64 / 1e6 / began.elapsed().as_secs_f64()
}

/// What a client gets that stops reading, and what the server's memory does.
async fn slow(terminal: &mut Terminal, pid: u32) -> String {
    let before = memory(pid);
    terminal.send(&flooding()).await;
    terminal.until("good").await;
    let mut peak = before;
    let until = Instant::now() + STOP;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    while Instant::now() < until {
        pace.tick().await;
        peak = peak.max(memory(pid));
    }
    let got = terminal.count_until("end").await;
    peak = peak.max(memory(pid));
    format!("{:.1} % (+{:.1} MiB)", got as f64 * 100.0 / FLOOD as f64, (peak - before) as f64 / 1024.0)
}

/// Memory of one idle session, KiB.
async fn idle(url: &str, dialect: Dialect, pid: u32, n: usize) -> String {
    let mut first = Terminal::connect(url, dialect).await;
    first.prompt().await;
    let before = memory(pid);
    let mut held = Vec::new();
    for _ in 0..n {
        let mut terminal = Terminal::connect(url, dialect).await;
        terminal.prompt().await;
        held.push(terminal);
    }
    format!("{:.0} KiB", (memory(pid).saturating_sub(before)) as f64 / n as f64)
}

async fn measure(name: &str, url: &str, dialect: Dialect, pid: u32, sessions: usize) -> Row {
    eprintln!("measuring {name}");
    let fresh = || Terminal::connect(url, dialect);
    let echo = echo(&mut fresh().await).await;
    let flood = flood(&mut fresh().await).await;
    let slow = slow(&mut fresh().await, pid).await;
    let memory = idle(url, dialect, pid, sessions).await;
    Row { name: name.to_owned(), echo, flood, slow, memory }
}

const CONFIG: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\nmax_sessions = 2000\n\
                      [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";

/// From `exec` to listening, with compiled plugins in the cache.
async fn start() -> f64 {
    let mut directory = tempfile::tempdir().unwrap();
    let mut best = f64::MAX;
    for round in 0..6 {
        let began = Instant::now();
        let broker = Broker::start_in(directory, CONFIG).await;
        let took = began.elapsed().as_secs_f64() * 1e3;
        if round > 0 {
            best = best.min(took);
        }
        broker.signal("TERM");
        directory = broker.into_directory().await;
    }
    best
}

/// A fresh instance and one pure call.
async fn instantiate() -> f64 {
    let engine = sandbox_broker::plugin::Engine::new(None).unwrap();
    let plugin = engine.load(&support::plugin("e2b")).await.unwrap();
    let began = Instant::now();
    for _ in 0..1000 {
        plugin.validate("{}").await.unwrap();
    }
    began.elapsed().as_secs_f64() * 1e6 / 1000.0
}

#[tokio::main]
async fn main() {
    // `cargo bench` hands `--bench` to a harness; there is nothing to choose.
    let mut rows = Vec::new();
    let bare = bare::echo(KEYS);
    {
        let broker = Broker::start_quiet(CONFIG).await;
        rows.push(measure("sandbox broker", &broker.url, Dialect::Level0, broker.pid(), SESSIONS).await);
    }
    for peer in peers::all().await {
        rows.push(measure(peer.name, &peer.url, peer.dialect, peer.pid(), 20).await);
    }
    println!("| server | echo p50 | p99 | flood MB/s | slow reader gets | idle session |");
    println!("|---|---|---|---|---|---|");
    println!("| bare PTY | {:.3} ms | {:.3} ms | {:.0} | | |", bare.0, bare.1, bare::flood(FLOOD));
    for Row { name, echo, flood, slow, memory } in &rows {
        println!("| {name} | {:.3} ms | {:.3} ms | {flood:.0} | {slow} | {memory} |", echo.0, echo.1);
    }
    println!("\nstart to listening, compiled plugins cached: {:.0} ms", start().await);
    println!("plugin instance and one call: {:.0} µs", instantiate().await);
}
