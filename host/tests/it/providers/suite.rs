//! What is promised on every provider of sandboxes. Each function is one promise; knows no provider.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::support::level1::{Visit, Window};
use crate::support::stream::{Follower, LINE, check, streams};
use crate::support::{Broker, Frame, eventually};

/// A provider to test, with a server of the test's own.
pub trait Bed {
    /// A section `[providers.box]` that uses it.
    fn section(&self) -> String;

    /// Sandboxes that are there, seen behind the broker's back: ids and labels.
    async fn sandboxes(&self, broker: &Broker) -> BTreeMap<String, BTreeMap<String, String>>;

    /// Makes a sandbox of somebody else behind the broker's back, if a test can.
    async fn foreign(&self) -> Option<String>;
}

/// A configuration that uses it, with more lines in `[sandbox]`.
pub fn config(bed: &impl Bed, sandbox: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{sandbox}\n{}", bed.section())
}

async fn has(bed: &impl Bed, broker: &Broker, n: usize) {
    eventually(&format!("{n} sandboxes"), async || (bed.sandboxes(broker).await.len() == n).then_some(())).await;
}

/// A shell that every image has.
const SHELL: &str = "shell = [\"/bin/sh\"]\n";

/// The stream. Its end is kept for clients that were cut off no longer than this.
fn briefly(lines: u64) -> String {
    format!("keep_after_disconnect = \"10s\"\n{}", streams(lines))
}

/// Level 0: output, the status of the end, and nothing left.
pub async fn a_shell_computes_and_its_exit_ends_the_sandbox(bed: &impl Bed) {
    let broker = Broker::start(&config(bed, SHELL)).await;
    let mut client = broker.connect().await;
    assert_eq!(client.ready().await["provider"], "box");
    assert_eq!(bed.sandboxes(&broker).await.len(), 1);
    client.input("echo $((6*7))\n").await;
    client.expect("42\r\n").await;
    client.input("exit 3\n").await;
    assert_eq!(client.closed().await.code, 1000);
    let Some(Frame::Status(last)) = client.said.back() else { panic!("{:?}", client.said) };
    assert!(last.contains('3'), "the exit status is told: {last}");
    has(bed, &broker, 0).await;
}

/// Sizes from before the shell and after it.
pub async fn the_size_is_seen_by_the_program(bed: &impl Bed) {
    let broker = Broker::start(&config(bed, SHELL)).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w").size(99, 33)).await;
    window.ready().await;
    window.input("stty size\n").await;
    window.expect("33 99\r\n").await;
    window.resize(133, 43).await;
    window.input("until [ \"$(stty size)\" = '43 133' ]; do sleep 0.05; done; echo it gr\"\"ew\n").await;
    window.expect("it grew\r\n").await;
}

pub async fn a_signal_that_ends_the_shell_is_told(bed: &impl Bed) {
    let broker = Broker::start(&config(bed, SHELL)).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    window.ready().await;
    window.input("kill -KILL $$\n").await;
    let exit = window.told("exit").await;
    assert_eq!(exit["signal"], "SIGKILL", "{exit}");
    has(bed, &broker, 0).await;
}

/// R3, on fewer bytes than where only the broker is looked at.
pub async fn a_client_resumes_at_its_offset(bed: &impl Bed) {
    const LINES: u64 = 50_000;
    let broker = Broker::start_quiet(&config(bed, &briefly(LINES))).await;
    let mut driver = Window::open(&broker.url, Visit::default().client("driver")).await;
    let ready = driver.ready().await;
    assert_eq!(ready.durability, "durable");
    let mut follower = Follower::new("driver", &ready);
    follower.starts(&mut driver).await;
    assert!(follower.follow(&mut driver, LINES * LINE / 2).await);
    driver.cut();
    for since in [0, 1, 12_345, LINES * LINE / 3, LINES * LINE / 2] {
        let mut window = Window::open(&broker.url, Visit::to(&ready.session).viewer().since(since, ready.epoch)).await;
        assert_eq!(window.ready().await.offset, since);
        let until = (since + 10_000).min(LINES * LINE / 2);
        while window.end < Some(until) {
            window.next().await.unwrap();
        }
        check(since, &window.output);
        window.cut();
    }
    let mut driver = Window::open(&broker.url, follower.visit()).await;
    driver.seq = driver.ready().await.input;
    assert!(follower.follow(&mut driver, LINES * LINE).await);
    driver.input("end\n").await;
    assert_eq!(driver.told("exit").await["code"], 7);
    has(bed, &broker, 0).await;
}

/// R4, with fewer kills than where only the broker is looked at.
pub async fn a_broker_that_is_killed_costs_no_byte(bed: &impl Bed) {
    const LINES: u64 = 400_000;
    const KILLS: u64 = 3;
    let config = config(bed, &briefly(LINES));
    let mut broker = Broker::start_quiet(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("driver")).await;
    let ready = window.ready().await;
    let mut follower = Follower::new("driver", &ready);
    follower.starts(&mut window).await;
    for kill in 1..=KILLS {
        assert!(follower.follow(&mut window, LINES * LINE * kill / (KILLS + 1)).await, "the broker lives");
        broker.signal("KILL");
        follower.follow(&mut window, u64::MAX).await;
        broker = Broker::start_in(broker.into_directory().await, &config).await;
        window = Window::open(&broker.url, follower.visit()).await;
        let ready = window.ready().await;
        assert_eq!((ready.epoch, ready.offset), (follower.epoch, follower.end));
        window.seq = ready.input;
    }
    assert!(follower.follow(&mut window, LINES * LINE).await, "the broker lives");
    window.input("end\n").await;
    let exit = window.told("exit").await;
    assert_eq!((exit["code"].as_i64(), exit["offset"].as_u64()), (Some(7), Some(LINES * LINE)));
    println!("{KILLS} kills; resumed within {:?}", follower.resumed.iter().max());
    has(bed, &broker, 0).await;
}

/// The provider finds a sandbox by what the broker wrote on it.
pub async fn a_sandbox_carries_its_labels_and_foreign_ones_are_left_alone(bed: &impl Bed) {
    let broker = Broker::start(&config(bed, SHELL)).await;
    let foreign = bed.foreign().await;
    let mut client = broker.connect().await;
    let session = client.ready().await["session"].as_str().unwrap().to_owned();
    let own: Vec<_> = bed.sandboxes(&broker).await.into_iter().filter(|(id, _)| Some(id) != foreign.as_ref()).collect();
    let [(_, labels)] = own.as_slice() else { panic!("{own:?}") };
    assert!(labels.values().any(|value| *value == session), "{labels:?} has no {session}");
    client.input("exit\n").await;
    client.closed().await;
    has(bed, &broker, usize::from(foreign.is_some())).await;
    let left: Vec<_> = bed.sandboxes(&broker).await.into_keys().collect();
    assert_eq!(left, Vec::from_iter(foreign), "what is somebody else's stays");
}

/// A session that nobody may come back to is ended long before its lease does it.
pub async fn what_a_killed_broker_leaves_is_ended_by_the_next(bed: &impl Bed) {
    let config = config(bed, SHELL);
    let broker = Broker::start(&config).await;
    let mut passing = broker.connect().await;
    passing.ready().await;
    broker.signal("KILL");
    let broker = Broker::start_in(broker.into_directory().await, &config).await;
    has(bed, &broker, 0).await;
}

/// A broker that lost its journal still has its name, and finds what carries it.
pub async fn an_orphan_without_a_journal_is_found_by_its_labels(bed: &impl Bed) {
    let config = config(bed, SHELL);
    let broker = Broker::start(&config).await;
    let mut passing = broker.connect().await;
    passing.ready().await;
    broker.signal("KILL");
    let directory = broker.into_directory().await;
    for entry in std::fs::read_dir(directory.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("journal") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let broker = Broker::start_in(directory, &config).await;
    broker.logs("ended a sandbox that no session knows").await;
    has(bed, &broker, 0).await;
}

/// 34 MB over the session's files, up and down, and as the shell sees them.
pub async fn a_large_file_arrives_and_comes_back_whole(bed: &impl Bed) {
    const PATH: &str = "/workspace/a folder/large file";
    let mut content = Vec::with_capacity(34 << 20);
    let mut state = 1_u64;
    while content.len() < 34 << 20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        content.extend_from_slice(&state.to_le_bytes());
    }
    let hash = |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect() };
    let expected = hash(&content);

    let broker = Broker::start_quiet(&config(bed, &format!("workdir = \"/workspace\"\n{SHELL}"))).await;
    let mut client = broker.connect().await;
    let session = client.ready().await["session"].as_str().unwrap().to_owned();
    let path = utf8_percent_encode(PATH, NON_ALPHANUMERIC);
    let url = format!("{}/api/sessions/{session}/files/content?path={path}", broker.url);
    let http = reqwest::Client::new();
    http.put(&url).body(content).send().await.unwrap().error_for_status().unwrap();
    client.input(&format!("sha256sum < '{PATH}'\n")).await;
    client.expect(&expected).await;
    let back = http.get(&url).send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
    assert_eq!(hash(&back), expected);
    client.vanish();
}
