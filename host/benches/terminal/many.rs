//! Many sessions at once: what the broker adds to an echo while others are busy,
//! and what idle ones cost.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use tokio::runtime::{Builder, Runtime};

use super::envd::Sandbox;
use super::process::{descriptors, memory, threads};
use super::socket::{Dialect, connect};
use super::support::{Broker, eventually};
use super::terminal::Terminal;
use super::{CONFIG, KEYS, echo, end, percentile, ready_to_echo};

/// Sessions that print while another one is measured.
const BUSY: usize = 100;
/// How often each of them prints a line of 80 characters, in a second.
const LINES: u32 = 10;
/// Keys in a row on one path before the other one's turn.
const TURN: usize = 100;
/// Idle sessions at once.
const IDLE: usize = 1000;
/// Sessions opened at a time: more do not make two cores faster.
const OPENING: usize = 4;
/// How long a broker with sessions is left alone before its memory counts.
const SETTLE: Duration = Duration::from_secs(3);
/// And one without: idle connections to the provider end after 30 s, and memory
/// is given back within 5 s.
const EMPTY: Duration = Duration::from_secs(36);

/// Clients beside the measured one run on a thread of their own.
pub fn beside() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The broker's share of an echo, quiet and with [`BUSY`] busy sessions.
pub async fn busy() {
    println!("\n| echo p50 / p99, ms | sandboxd alone | through the broker | the broker's share |");
    println!("|---|---|---|---|");
    let broker = Broker::start_quiet(CONFIG).await;
    let (client, url, key) = broker.embedded().await;
    let sandbox = Sandbox::create(client, &url, &key).await;
    let (mut alone, mut through) = (sandbox.terminal().await, connect(&broker.url, Dialect::Level0).await);
    ready_to_echo(&mut alone).await;
    ready_to_echo(&mut through).await;
    share("quiet", &mut alone, &mut through).await;

    let others = beside();
    // No process of its own for each line: the load is to be the terminals'.
    let line = "x".repeat(79);
    let printing = format!(
        "exec 3<> <(:); printf 'go''od'; while :; do echo {line}; read -t {} -u 3; done\n",
        1.0 / f64::from(LINES)
    );
    for _ in 0..BUSY {
        let (url, printing) = (broker.url.clone(), printing.clone());
        let started = others.spawn(async move {
            let mut terminal = connect(&url, Dialect::Level0).await;
            terminal.send(&printing).await;
            terminal.until("good").await;
            tokio::spawn(async move { terminal.watch().await });
        });
        started.await.unwrap();
    }
    share(&format!("{BUSY} busy sessions"), &mut alone, &mut through).await;
    others.shutdown_background();
    drop((alone, through));
    sandbox.kill().await;
    end(broker).await;
}

/// Measures both paths in turns, so that both meet the same load.
async fn share(what: &str, alone: &mut Terminal, through: &mut Terminal) {
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..=KEYS / TURN {
        for (terminal, times) in [&mut *alone, &mut *through].into_iter().zip(&mut times) {
            let taken = echo(terminal, TURN).await;
            if turn > 0 {
                times.extend(taken);
            }
        }
    }
    let [alone, through] = times.map(|times| [percentile(&times, 50), percentile(&times, 99)]);
    println!(
        "| {what} | {:.3} / {:.3} | {:.3} / {:.3} | {:.3} / {:.3} |",
        alone[0],
        alone[1],
        through[0],
        through[1],
        through[0] - alone[0],
        through[1] - alone[1],
    );
}

/// What a broker has at one time.
struct Holdings {
    memory: u64,
    descriptors: u64,
    threads: u64,
    tasks: u64,
}

impl Holdings {
    async fn after(settle: Duration, broker: &Broker) -> Self {
        tokio::time::sleep(settle).await;
        let status: serde_json::Value = broker.get("/api/status").await.json().await.unwrap();
        let pid = broker.pid();
        Holdings {
            memory: memory(pid),
            descriptors: descriptors(pid),
            threads: threads(pid),
            tasks: status["tasks"].as_u64().unwrap(),
        }
    }

    fn print(&self, when: &str) {
        let Holdings { memory, descriptors, threads, tasks } = self;
        println!("| {when} | {:.1} | {descriptors} | {tasks} | {threads} |", *memory as f64 / 1024.0);
    }
}

/// What [`IDLE`] attached sessions cost, and what is left of it when they are
/// gone.
pub async fn idle() {
    for (name, level) in [("level 0", Dialect::Level0), ("level 1", Dialect::Level1)] {
        idle_at(name, level).await;
    }
}

async fn idle_at(name: &str, level: Dialect) {
    println!("\n| broker with | memory, MiB | descriptors | tasks | threads |");
    println!("|---|---|---|---|---|");
    // At level 1 a session outlives its client.
    let briefly = CONFIG.replace("max_sessions", "keep_after_disconnect = \"1s\"\nmax_sessions");
    let broker = Broker::start_quiet(&briefly).await;
    // What is made once for all sessions is no cost of one.
    let held = hold(&broker, OPENING, level).await;
    release(&broker, held).await;
    let base = Holdings::after(EMPTY, &broker).await;
    base.print("no session");
    let server = broker.embedded_pid();
    let server_before = memory(server);
    let began = Instant::now();
    let held = hold(&broker, IDLE, level).await;
    assert_eq!(count(&broker).await, IDLE, "every session is still there");
    let opened = began.elapsed().as_secs_f64();
    let with = Holdings::after(SETTLE, &broker).await;
    with.print(&format!("{IDLE} idle sessions"));
    let each = |before: u64, with: u64| with.saturating_sub(before) as f64 / IDLE as f64;
    let (mine, servers) = (each(base.memory, with.memory), each(server_before, memory(server)));
    release(&broker, held).await;
    Holdings::after(EMPTY, &broker).await.print("all of them closed");
    println!(
        "\n{name}: an idle session has {mine:.0} KiB in the broker and {servers:.0} KiB in sandboxd; {IDLE} were opened in \
         {opened:.1} s"
    );
    end(broker).await;
}

/// Clients that answer pings and do nothing else, until the value is dropped.
pub type Held = Runtime;

/// Opens sessions and waits for each one's prompt.
async fn hold(broker: &Broker, n: usize, level: Dialect) -> Held {
    let clients = beside();
    let open = |_| {
        let url = broker.url.clone();
        clients.spawn(async move {
            let mut terminal = connect(&url, level).await;
            tokio::spawn(async move { terminal.watch().await });
        })
    };
    stream::iter(0..n).map(open).buffer_unordered(OPENING).for_each(async |opened| opened.unwrap()).await;
    clients
}

/// How many sessions the broker has.
async fn count(broker: &Broker) -> usize {
    let status: serde_json::Value = broker.get("/api/status").await.json().await.unwrap();
    status["sessions"].as_array().unwrap().len()
}

/// Lets the clients go and waits until the broker has no session.
pub async fn release(broker: &Broker, held: Held) {
    held.shutdown_background();
    let gone = async || (count(broker).await == 0).then_some(());
    eventually("the end of all sessions", gone).await;
}
