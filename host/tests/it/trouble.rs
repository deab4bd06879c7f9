//! A provider in trouble for a moment: no session that is kept loses its shell,
//! its recorder or a byte by that.

use sandbox_broker_terminal::frames::level1::ClientFrame;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;

use crate::support::faults::{Fault, Faults};
use crate::support::level1::{Visit, Window};
use crate::support::proxy::{Place, Proxy};
use crate::support::stream::{Follower, LINE, streams};
use crate::support::{Broker, DEADLINE, Sandboxd, eventually};

/// What the first requests meet: the worst first, for none is tried for long
/// that nothing can mend.
const TROUBLE: [Fault; 4] = [Fault::Refused(500), Fault::Lost, Fault::Refused(429), Fault::Refused(503)];

const START: &str = "/process.Process/Start";

/// A broker whose provider is `server`, reached at `url`.
fn config(server: &Sandboxd, url: &str, sandbox: &str) -> String {
    let section = server.section_by(url, "box");
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{sandbox}\n{section}")
}

/// The first requests whose path ends so meet these faults, one after the other.
fn first(end: &'static str, faults: &'static [Fault]) -> impl Fn(&Method, &str) -> Option<Fault> {
    let next = AtomicUsize::new(0);
    move |_, path| faults.get(path.ends_with(end).then(|| next.fetch_add(1, Ordering::Relaxed))?).copied()
}

/// How many requests met trouble.
fn met(faults: &Faults) -> u64 {
    faults.met().values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_gets_its_recorder_from_a_provider_in_trouble() {
    let server = Sandboxd::start().await;
    let faults = Faults::start(&server.url).await;
    let broker = Broker::start(&config(&server, &faults.url, "")).await;
    for path in ["/files", START] {
        let before = met(&faults);
        faults.begin(DEADLINE, first(path, &TROUBLE));
        let mut window = Window::open(&broker.url, Visit::default()).await;
        assert_eq!(window.ready().await.durability, "durable", "{path}");
        assert_eq!(met(&faults) - before, TROUBLE.len() as u64, "{path}");
        window.input("echo $((6*7))\n").await;
        window.expect("42").await;
        window.send_frame(ClientFrame::Kill).await;
        window.told("exit").await;
    }
    server.has(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_broker_finds_its_sessions_at_a_provider_in_trouble() {
    let server = Sandboxd::start().await;
    let faults = Faults::start(&server.url).await;
    let config = config(&server, &faults.url, "");
    let mut broker = Broker::start(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    window.input("X=kept\n").await;
    window.handed(1).await;
    for (i, path) in ["/connect", START].into_iter().enumerate() {
        broker.signal("KILL");
        let directory = broker.into_directory().await;
        let before = met(&faults);
        faults.begin(DEADLINE, first(path, &TROUBLE));
        broker = Broker::start_in(directory, &config).await;
        window = Window::open(&broker.url, Visit::to(&ready.session).client("w")).await;
        window.ready().await;
        assert_eq!(met(&faults) - before, TROUBLE.len() as u64, "{path}");
        window.input(&format!("echo {i} is $X\n")).await;
        window.expect(&format!("{i} is kept\r\n")).await;
    }
    window.send_frame(ClientFrame::Kill).await;
    window.told("exit").await;
    server.has(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_output_comes_whole_from_a_provider_in_trouble() {
    const LINES: u64 = 300_000;
    let server = Sandboxd::start().await;
    let faults = Faults::start(&server.url).await;
    // The viewers that are left behind may come for the end no longer.
    let sandbox = format!("keep_after_disconnect = \"2s\"\n{}", streams(LINES));
    let broker = Broker::start(&config(&server, &faults.url, &sandbox)).await;
    let mut driver = Window::open(&broker.url, Visit::default().client("driver")).await;
    let ready = driver.ready().await;
    let mut follower = Follower::new("driver", &ready);
    follower.starts(&mut driver).await;
    assert!(follower.follow(&mut driver, LINES * LINE).await);

    // What broke off has ended well meanwhile, with nobody to read its rest.
    const TORN: [Fault; 3] = [Fault::Torn(20), Fault::Torn(500_000), Fault::Torn(1_000_000)];
    faults.begin(DEADLINE, first(START, &TORN));
    let mut late = Follower::new("viewer", &ready);
    let mut viewer = Window::open(&broker.url, late.visit()).await;
    assert!(late.follow(&mut viewer, LINES * LINE).await);
    assert_eq!(met(&faults), TORN.len() as u64);

    faults.begin(DEADLINE, first(START, &TROUBLE));
    let mut again = Follower::new("viewer", &ready);
    let mut viewer = Window::open(&broker.url, again.visit()).await;
    assert!(again.follow(&mut viewer, LINES * LINE).await);

    for trouble in [&TROUBLE[..], &[Fault::Torn(100)]] {
        faults.begin(DEADLINE, first(START, trouble));
        let mut fresh = Window::open(&broker.url, Visit::to(&ready.session).viewer()).await;
        fresh.told("screen").await;
    }
    assert_eq!(met(&faults), (TORN.len() + TROUBLE.len() * 2 + 1) as u64);
    driver.input("end\n").await;
    driver.told("exit").await;
    server.has(0).await;
}

/// A path that dies without a word ends what waits on it: the system probes
/// every connection on which nothing moves, within the half minute.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_to_a_provider_is_probed() {
    let server = Sandboxd::start().await;
    let broker = Broker::start(&config(&server, &server.url, "")).await;
    let mut window = Window::open(&broker.url, Visit::default()).await;
    window.ready().await;
    let port: u16 = server.url.rsplit(':').next().unwrap().parse().unwrap();
    let timers = eventually("only timers that probe", async || {
        let timers = timers(broker.pid(), port);
        (!timers.is_empty() && timers.iter().all(|(kind, _)| *kind == KEEPALIVE)).then_some(timers)
    })
    .await;
    assert!(timers.iter().all(|(_, left)| *left <= Duration::from_secs(30)), "{timers:?}");
}

/// `timer_active` of a connection that is probed when it is due; Linux,
/// `Documentation/networking/proc_net_tcp.rst`.
const KEEPALIVE: u8 = 2;

/// The timers of a process's connections to this port, and when they are due.
fn timers(pid: u32, port: u16) -> Vec<(u8, Duration)> {
    let sockets: HashSet<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| Some(std::fs::read_link(fd.ok()?.path()).ok()?.to_str()?.to_owned()))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let timer = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let ours =
            sockets.contains(&format!("socket:[{}]", columns[9])) && columns[2].ends_with(&format!(":{port:04X}"));
        let (kind, left) = columns[5].split_once(':')?;
        // In hundredths of a second.
        let left = Duration::from_millis(10 * u64::from_str_radix(left, 16).ok()?);
        ours.then_some((u8::from_str_radix(kind, 16).ok()?, left))
    };
    table.lines().skip(1).filter_map(timer).collect()
}

/// E2B's proxy says so of an agent that has died. The control plane goes on,
/// and so does the lease.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stops_answering_is_told_after_seconds_and_found_again() {
    let server = Sandboxd::start().await;
    let faults = Faults::start(&server.url).await;
    let place = Place::find().await;
    // The way that can be cut, and before it what answers in the agent's place.
    let way = Proxy::start(place, &faults.url, None);
    let broker = Broker::start(&config(&server, &way.url(), "")).await;
    let mut window = Window::open(&broker.url, Visit::default()).await;
    assert_eq!(window.ready().await.durability, "durable");
    faults.begin(DEADLINE, |_, path| (!path.starts_with("/sandboxes")).then_some(Fault::Dead));
    way.cut();
    let cut = Instant::now();
    let words = |text: &'static str| move |stage: &Value| stage["message"].as_str().unwrap().contains(text);
    let told = window.told_that("stage", words("The sandbox does not answer")).await;
    assert!(cut.elapsed() < Duration::from_secs(15), "told after {:?}", cut.elapsed());
    let told = told["message"].as_str().unwrap();
    assert!(told.contains("its agent does not answer") && told.contains("trying again for 2 min"), "{told}");
    let seq = window.input("echo sti\"\"ll\n").await;
    faults.lift();
    window.told_that("stage", words("answers again")).await;
    window.handed(seq).await;
    window.expect("still").await;
}
