//! What clients that read nothing cost others: the echo of another session and
//! of the flooding one's own driver, and the broker's memory.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::many::beside;
use super::process::Peak;
use super::socket::{Dialect, connect};
use super::support::level1::{Visit, Window};
use super::support::{Broker, eventually};
use super::terminal::Terminal;
use super::{CONFIG, KEYS, echo, end, median, percentile, ready_to_echo};

/// Viewers that read nothing.
const VIEWERS: usize = 10;
/// Turns of each case, one after the other, so that all meet the same machine.
const TURNS: usize = 3;
/// How long the echo is measured in a turn, and keys of the other session
/// between two looks at the time.
const TURN: Duration = Duration::from_secs(2);
const BATCH: usize = 50;
/// From the beginning of a flood until all that holds it back is full.
const SETTLE: Duration = Duration::from_secs(1);

/// A key that a flood does not print.
const KEY: u8 = 1;

/// Prints from a key on, 10 MB a second, and sends back each key. As much as is
/// read would be a queue before each key, and the queue would be measured.
const FLOODS: &str = "stty raw -echo; yes '   Compiling sandbox-broker v0.1.0' | head -c 100000 >flood; \
     printf 'go''od'; head -c 1 >/dev/null; while :; do cat flood; sleep 0.01; done & exec cat\n";

/// Who else is at the flooding session.
#[derive(Clone, Copy)]
enum Company {
    Nobody,
    /// They have read all before the flood.
    Stopped,
    /// They come into the flood and have got the screen, so what comes next for
    /// them is what the session no longer holds.
    Late,
}

/// What was measured in the turns of one case.
#[derive(Default)]
struct Times {
    other: Vec<Duration>,
    own: Vec<Duration>,
    memory: Vec<f64>,
}

/// Begins a flood, types into it and reads all of it.
async fn drive(mut flood: Terminal, own: Arc<Mutex<Vec<Duration>>>) {
    flood.send("\n").await;
    loop {
        let began = Instant::now();
        flood.send(std::str::from_utf8(&[KEY]).unwrap()).await;
        flood.past(KEY).await;
        own.lock().unwrap().push(began.elapsed());
    }
}

/// A session of its own floods, while `other` echoes.
async fn turn(broker: &Broker, other: &mut Terminal, company: Company, times: &mut Times) {
    let before = sessions(broker).await;
    let mut flood = connect(&broker.url, Dialect::Level1).await;
    let session = sessions(broker).await.into_iter().find(|id| !before.contains(id)).unwrap();
    flood.send(FLOODS).await;
    flood.until("good").await;
    let peak = Peak::watch(broker.pid());
    let mut viewers = Vec::new();
    if let Company::Stopped = company {
        viewers = view(broker, &session).await;
    }
    let (others, own) = (beside(), Arc::new(Mutex::new(Vec::new())));
    others.spawn(drive(flood, Arc::clone(&own)));
    sleep(SETTLE).await;
    if let Company::Late = company {
        viewers = view(broker, &session).await;
        for viewer in &mut viewers {
            viewer.told("screen").await;
        }
        sleep(SETTLE).await;
    }
    own.lock().unwrap().clear();
    let began = Instant::now();
    while began.elapsed() < TURN {
        times.other.extend(echo(other, BATCH).await);
    }
    // Behind a flood, on a slow build, one key may take longer than the turn.
    eventually("an echo from the flood", async || (!own.lock().unwrap().is_empty()).then_some(())).await;
    times.own.append(&mut own.lock().unwrap());
    times.memory.push(peak.growth());
    others.shutdown_background();
    drop(viewers);
    let request = reqwest::Client::new().delete(format!("{}/api/sessions/{session}", broker.url));
    request.send().await.unwrap().error_for_status().unwrap();
    let gone = async || (!sessions(broker).await.contains(&session)).then_some(());
    eventually("the end of the flood", gone).await;
}

async fn view(broker: &Broker, session: &str) -> Vec<Window> {
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        let mut window = Window::open(&broker.url, Visit::to(session).viewer().by_hand()).await;
        window.ready().await;
        viewers.push(window);
    }
    viewers
}

async fn sessions(broker: &Broker) -> Vec<String> {
    let status: serde_json::Value = broker.get("/api/status").await.json().await.unwrap();
    let sessions = status["sessions"].as_array().unwrap().iter();
    sessions.map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

pub async fn frozen() {
    println!("\n| echo p50 / p99, ms | another session | the flooding session's driver | the broker's memory |");
    println!("|---|---|---|---|");
    let broker = Broker::start_quiet(CONFIG).await;
    let mut other = connect(&broker.url, Dialect::Level1).await;
    ready_to_echo(&mut other).await;
    let quiet = echo(&mut other, KEYS).await;
    println!("| no flood | {:.3} / {:.3} | | |", percentile(&quiet, 50), percentile(&quiet, 99));

    let cases = [
        ("a flood of 10 MB/s", Company::Nobody),
        ("with 10 viewers that stopped reading", Company::Stopped),
        ("with 10 that stopped within old output", Company::Late),
    ];
    // What is made once for all sessions is no cost of one.
    turn(&broker, &mut other, Company::Nobody, &mut Times::default()).await;
    let mut times: [Times; 3] = Default::default();
    for _ in 0..TURNS {
        for ((_, company), times) in cases.iter().zip(&mut times) {
            turn(&broker, &mut other, *company, times).await;
        }
    }
    let figures = times.map(|Times { other, own, memory }| {
        let [other, own] = [other, own].map(|times| [percentile(&times, 50), percentile(&times, 99)]);
        (other, own, median(memory))
    });
    let (base_other, base_own, base_memory) = figures[0];
    for ((what, company), (other, own, memory)) in cases.into_iter().zip(figures) {
        println!("| {what} | {:.3} / {:.3} | {:.3} / {:.3} | +{memory:.1} MiB |", other[0], other[1], own[0], own[1]);
        if !matches!(company, Company::Nobody) {
            println!(
                "| as a ratio | {:.2} / {:.2} | {:.2} / {:.2} | {:.0} KiB each |",
                other[0] / base_other[0],
                other[1] / base_other[1],
                own[0] / base_own[0],
                own[1] / base_own[1],
                (memory - base_memory) * 1024.0 / VIEWERS as f64
            );
        }
    }
    drop(other);
    end(broker).await;
}
