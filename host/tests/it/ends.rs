//! How sessions end when nobody looks: the end waits for who comes later, over
//! a broker that does not live, and no broker ends what another one serves.

use sandbox_broker_terminal::frames::level1::ClientFrame;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use sandbox_broker_journal::{Journal as _, Sqlite};
use serde_json::{Value, json};

use crate::support::faults::{Fault, Faults};
use crate::support::level1::{Ready, Visit, Window};
use crate::support::stream::{Follower, LINE};
use crate::support::{Broker, DEADLINE, Sandboxd, eventually, program};

/// Lines that the shell prints with nobody there: more than a broker holds.
const LINES: u64 = 150_000;

const START: &str = "/process.Process/Start";

fn config(section: &str, listen: &str, sandbox: &str) -> String {
    format!("[server]\nlisten = \"{listen}\"\n[sandbox]\nprovider = \"box\"\n{sandbox}\n{section}")
}

/// A shell that prints one line, waits for a line, prints the others after a
/// second, in which its broker may die, and ends with status 7. The end is kept
/// for so many seconds.
fn unattended(server: &Sandboxd, keep: u64) -> String {
    let shell = format!("stty -opost -echo; echo 0000000; read go; sleep 1; seq -f %07.0f 1 {}; exit 7", LINES - 1);
    let sandbox = format!("keep_after_disconnect = \"{keep}s\"\nshell = [\"/bin/sh\", \"-c\", \"{shell}\"]");
    config(&server.section("box"), "127.0.0.1:0", &sandbox)
}

/// A session whose shell is about to end, and whose client has left.
async fn left(broker: &Broker) -> Ready {
    let mut window = Window::open(&broker.url, Visit::default().client("driver")).await;
    let ready = window.ready().await;
    assert_eq!(ready.durability, "durable");
    let mut follower = Follower::new("driver", &ready);
    follower.starts(&mut window).await;
    window.handed(1).await;
    window.send_frame(ClientFrame::Detach).await;
    assert_eq!(window.closed().await.code, 1000);
    ready
}

/// What the broker says of a session that has ended.
async fn ended(broker: &Broker, ready: &Ready) -> Value {
    eventually("the end of the shell", async || {
        let session: Value = broker.get(&format!("/api/sessions/{}", ready.session)).await.json().await.unwrap();
        (session["state"] == "ended").then_some(session)
    })
    .await
}

/// Comes with nothing and gets all: every byte, the exit status, the close.
async fn gets_all(broker: &Broker, ready: &Ready) {
    let mut follower = Follower::new("driver", ready);
    let mut window = Window::open(&broker.url, follower.visit()).await;
    assert!(follower.follow(&mut window, LINES * LINE).await, "the broker lives");
    let exit = window.told("exit").await;
    assert_eq!((exit["code"].as_i64(), exit["offset"].as_u64()), (Some(7), Some(LINES * LINE)));
    assert_eq!(window.closed().await.code, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_nobody_saw_is_told_to_who_comes_later() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&unattended(&server, 60)).await;
    let ready = left(&broker).await;
    let session = ended(&broker, &ready).await;
    let outcome = json!({"code": 7, "signal": null, "reason": "the shell ended with exit status 7"});
    assert_eq!(session["outcome"], outcome);
    server.has(1).await;
    gets_all(&broker, &ready).await;
    // Who was here has it, so the sandbox goes; the end stays for others.
    server.has(0).await;
    let mut attach = Command::new(program());
    attach.args(["attach", &ready.session]).env("BROKER_URL", &broker.url).env_remove("BROKER_TOKEN");
    let attached = tokio::task::spawn_blocking(move || attach.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&attached.stderr);
    assert_eq!(attached.status.code(), Some(7), "{said}");
    assert!(attached.stdout.ends_with(format!("{:07}\n", LINES - 1).as_bytes()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_kept_no_longer_than_its_clients_may_come() {
    let server = Sandboxd::start().await;
    let mut broker = Broker::start_quiet(&unattended(&server, 2)).await;
    let ready = left(&broker).await;
    eventually("nothing of the session", async || {
        let answer = broker.get(&format!("/api/sessions/{}", ready.session)).await;
        (answer.status() == 404).then_some(())
    })
    .await;
    let mut late = Window::open(&broker.url, Visit::to(&ready.session)).await;
    assert_eq!(late.error().await.0, "no-session");
    assert_eq!(late.closed().await.code, 4404);
    server.has(0).await;
    broker.signal("TERM");
    assert!(broker.ended().await.success());
    let journal = Sqlite::open(&broker.file("state")).unwrap();
    assert_eq!(journal.list().await.unwrap(), []);
}

/// A broker that is killed before the shell's end, one that is killed after it
/// has seen that end, and one that stops: the next one tells it.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_outlives_its_broker() {
    let server = Sandboxd::start().await;
    let ends = [("KILL", false), ("KILL", true), ("TERM", true)].map(async |(signal, seen)| {
        // Long enough for a busy machine to print it all, and less than the wait for its end.
        let config = unattended(&server, 25);
        let broker = Broker::start_quiet(&config).await;
        let ready = left(&broker).await;
        if seen {
            ended(&broker, &ready).await;
        }
        broker.signal(signal);
        let broker = Broker::start_in(broker.into_directory().await, &config).await;
        let session = ended(&broker, &ready).await;
        assert_eq!(session["outcome"]["code"], 7, "{signal} {seen}");
        gets_all(&broker, &ready).await;
        broker
    });
    let _brokers = futures_util::future::join_all(ends).await;
    server.has(0).await;
}

/// Two brokers on copies of one state directory: the one that was replaced
/// never attaches again, and ends nothing of what it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_replaced_leaves_the_session_alone() {
    let server = Sandboxd::start().await;
    let faults = Faults::start(&server.url).await;
    let by = |url: &str| config(&server.section_by(url, "box"), "127.0.0.1:0", "");
    let mut first = Broker::start(&by(&faults.url)).await;
    let mut window = Window::open(&first.url, Visit::default().client("one")).await;
    let ready = window.ready().await;
    window.input("X=kept; echo $((6*7))\n").await;
    window.expect("42\r\n").await;
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("state")).unwrap();
    for file in ["journal.sqlite", "journal.sqlite-wal", "broker-id", "invitations.key"] {
        let _ = std::fs::copy(first.file("state").join(file), copy.path().join("state").join(file));
    }
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&starts);
    faults.begin(DEADLINE, move |_: &Method, path: &str| {
        counted.fetch_add(usize::from(path.ends_with(START)), Ordering::Relaxed);
        None
    });

    let second = Broker::start_in(copy, &by(&server.url)).await;
    let mut new = Window::open(&second.url, Visit::to(&ready.session).client("two")).await;
    new.ready().await;
    let (code, words) = window.error().await;
    assert_eq!(code, "draining", "{words}");
    assert_eq!(window.closed().await.code, 1001);
    let mut again = Window::open(&first.url, Visit::to(&ready.session).client("one")).await;
    let (_, words) = again.error().await;
    assert!(words.contains("another broker serves this session"), "{words}");
    assert_eq!(again.closed().await.code, 1013);
    first.signal("TERM");
    assert!(first.ended().await.success());
    new.send_frame(ClientFrame::TakeControl).await;
    new.input("echo still $X\n").await;
    new.expect("still kept\r\n").await;
    assert_eq!(starts.load(Ordering::Relaxed), 0, "the first broker has attached again");
    server.has(1).await;
    new.send_frame(ClientFrame::Kill).await;
    new.told("exit").await;
    server.has(0).await;
}

/// A query that an old program printed must not be answered into the shell.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_broker_has_shown_is_old_also_before_it_is_found_again() {
    const TROUBLE: [Fault; 3] = [Fault::Refused(503); 3];
    let server = Sandboxd::start().await;
    let faults = Faults::start(&server.url).await;
    let config = config(&server.section_by(&faults.url, "box"), "127.0.0.1:0", "");
    let broker = Broker::start(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    window.input("printf '\\033[c'; echo $((6*7))\n").await;
    window.expect("42\r\n").await;
    let end = window.end.unwrap();
    broker.signal("KILL");
    let directory = broker.into_directory().await;
    // The attachment comes when the client has long joined.
    let next = AtomicUsize::new(0);
    faults.begin(DEADLINE, move |_: &Method, path: &str| {
        TROUBLE.get(path.ends_with(START).then(|| next.fetch_add(1, Ordering::Relaxed))?).copied()
    });
    let broker = Broker::start_in(directory, &config).await;
    let mut fresh = Window::open(&broker.url, Visit::to(&ready.session).client("fresh")).await;
    let again = fresh.ready().await;
    assert!(again.live >= end, "{} of {end} bytes are old", again.live);
    assert_eq!(faults.met().values().sum::<u64>(), TROUBLE.len() as u64);
    fresh.send_frame(ClientFrame::TakeControl).await;
    fresh.send_frame(ClientFrame::Kill).await;
    fresh.told("exit").await;
    server.has(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_in_use_costs_no_session_its_owner() {
    let server = Sandboxd::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = Broker::start(&config(&server.section("box"), "127.0.0.1:0", "")).await;
    let mut window = Window::open(&broker.url, Visit::default()).await;
    let ready = window.ready().await;
    broker.signal("KILL");
    let directory = broker.into_directory().await;
    let file = directory.path().join("broker.toml");
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(&file, config(&server.section("box"), &address, "")).unwrap();
    let state = directory.path().join("state");
    let mut refused = Command::new(program());
    refused.arg("--config").arg(&file).args(["serve", "--state-dir"]).arg(&state);
    let refused = tokio::task::spawn_blocking(move || refused.output().unwrap()).await.unwrap();
    assert!(!refused.status.success());
    let records = Sqlite::open(&state).unwrap().list().await.unwrap();
    assert_eq!(records.iter().map(|record| (&*record.id, record.epoch)).collect::<Vec<_>>(), [(&*ready.session, 1)]);
}

/// A full disk and a file that another program holds look the same: the journal
/// cannot be written. The session lives, and its client is told to try again.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_claimed_yet_is_not_lost() {
    let server = Sandboxd::start().await;
    let config = config(&server.section("box"), "127.0.0.1:0", "");
    let broker = Broker::start(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    window.input("X=kept\n").await;
    window.handed(1).await;
    broker.signal("KILL");
    let directory = broker.into_directory().await;
    // Shared by those that read, so that nobody gets to write.
    let locks = std::fs::File::open(directory.path().join("state/journal.sqlite-shm")).unwrap();
    rustix::fs::fcntl_lock(&locks, rustix::fs::FlockOperation::NonBlockingLockShared).unwrap();
    let broker = Broker::start_in(directory, &config).await;
    let visit = Visit::to(&ready.session).client("w");
    let mut refused = Window::open(&broker.url, visit.clone()).await;
    let (code, words) = refused.error().await;
    assert_eq!((&*code, words.contains("cannot write its journal")), ("full", true), "{words}");
    assert_eq!(refused.closed().await.code, 1013);
    drop(locks);
    let mut window = eventually("the session again", async || {
        let mut window = Window::open(&broker.url, visit.clone()).await;
        loop {
            match window.next().await {
                Ok(_) if window.said.iter().any(|said| said["type"] == "ready") => return Some(window),
                Ok(_) => {}
                Err(closed) => {
                    assert_eq!(closed.code, 1013);
                    return None;
                }
            }
        }
    })
    .await;
    window.input("echo still $X\n").await;
    window.expect("still kept\r\n").await;
    window.send_frame(ClientFrame::Kill).await;
    window.told("exit").await;
    server.has(0).await;
}

/// The shell ends its own recorder, in the second in which its broker dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_recorder_is_gone_says_so() {
    let server = Sandboxd::start().await;
    let shell = "shell = [\"/bin/sh\", \"-c\", \"echo up; read go; sleep 1; kill -9 $PPID\"]";
    let config = config(&server.section("box"), "127.0.0.1:0", shell);
    let broker = Broker::start(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    window.expect("up\r\n").await;
    window.input("go\n").await;
    window.handed(1).await;
    broker.signal("KILL");
    let broker = Broker::start_in(broker.into_directory().await, &config).await;
    eventually("the end of the session", async || {
        let session: Value = broker.get(&format!("/api/sessions/{}", ready.session)).await.json().await.unwrap();
        (session["state"] == "ended").then_some(())
    })
    .await;
    for _ in 0..2 {
        let mut late = Window::open(&broker.url, Visit::to(&ready.session).client("w")).await;
        let (code, words) = late.error().await;
        assert_eq!(code, "provider");
        assert!(words.contains("recorder"), "{words}");
        assert_eq!(late.closed().await.code, 4500);
    }
    server.has(0).await;
}
