//! Measures a neighbour's echo while another sandbox takes all that it may, beside the same echo alone in the same run;
//! prints a table, checks nothing.
//!
//! `cargo bench -p sandboxd --bench bombs`. Read the ratios: absolute numbers belong to the machine and its load.

#![allow(clippy::unwrap_used, reason = "a failure here is the result, with its place")]

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/client.rs"]
mod client;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Process, Sandbox, TestProgram};

/// Low, so that a bomb is at its bound soon.
const LIMITS: [&str; 6] = ["--max-processes", "200", "--max-memory", "256", "--max-disk", "512"];

/// Echoes measured, after a tenth as many to warm up.
const ECHOES: usize = 500;

/// Each prints `on` when it is at work and never ends by itself.
const BOMBS: [(&str, &str); 5] = [
    ("forks", FORKS),
    ("busy processes", "import os\nfor _ in range(7): os.fork()\nprint('on', flush=True)\nwhile True: pass"),
    ("memory", MEMORY),
    ("files", FILES),
    ("terminals", TERMINALS),
];

/// Every process that can be had, each tried for again and again.
const FORKS: &str = "import os, signal
print('on', flush=True)
while True:
    try:
        if os.fork() == 0: signal.alarm(2); signal.pause()
    except OSError: pass
    try: os.waitpid(-1, os.WNOHANG)
    except OSError: pass";

/// Over the bound again and again.
const MEMORY: &str = "import os
print('on', flush=True)
while True:
    if os.fork() == 0:
        kept = bytearray(1 << 30)
        for page in range(0, len(kept), 4096): kept[page] = 1
    os.wait()";

const FILES: &str = "import os
print('on', flush=True)
while True:
    for number in range(200):
        with open(f'/tmp/{number}', 'wb') as file: file.write(b'x' * (1 << 20))";

const TERMINALS: &str = "import os, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
print('on', flush=True)
while True:
    try: os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)
    except OSError: pass";

/// A terminal on which the kernel echoes.
async fn terminal(sandbox: &Sandbox) -> Process {
    let size = json!({ "size": { "cols": 80, "rows": 24 } });
    sandbox.start(json!({ "process": { "cmd": "sleep", "args": ["100000"] }, "pty": size })).await
}

async fn echoes(terminal: &mut Process) -> Vec<Duration> {
    let mut times = Vec::new();
    for round in 0..ECHOES + ECHOES / 10 {
        let begun = Instant::now();
        terminal.input("x").await;
        terminal.shows("x").await;
        if round >= ECHOES / 10 {
            times.push(begun.elapsed());
        }
    }
    times.sort_unstable();
    times
}

fn at(times: &[Duration], percent: usize) -> f64 {
    times[times.len() * percent / 100].as_secs_f64() * 1e3
}

#[tokio::main]
async fn main() {
    let server = TestProgram::start(&LIMITS).await;
    let neighbour = server.api.create(json!({})).await;
    let mut terminal = terminal(&neighbour).await;
    println!("echo beside      p50 ms (alone)   p99 ms (alone)   p99 ratio");
    for (name, program) in BOMBS {
        // Alone each time anew, because the machine changes meanwhile.
        let alone = echoes(&mut terminal).await;
        let sandbox = server.api.create(json!({})).await;
        let mut bomb = sandbox.python_as("user", program).await;
        bomb.prints("on").await;
        let beside = echoes(&mut terminal).await;
        server.api.kill(&sandbox.id).await;
        let [p50, p50_alone] = [&beside, &alone].map(|times| at(times, 50));
        let [p99, p99_alone] = [&beside, &alone].map(|times| at(times, 99));
        println!("{name:16} {p50:6.2} ({p50_alone:6.2})  {p99:6.2} ({p99_alone:6.2})  {:.2}", p99 / p99_alone);
    }
}
