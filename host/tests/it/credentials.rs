//! Keys change at the provider while sessions run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::task::AbortOnDropHandle;

use crate::support::faults::Faults;
use crate::support::{Broker, Client, Closed, DEADLINE, Sandboxd, api_key, eventually};

const SESSIONS: usize = 20;

/// A lease that is renewed every second.
const LEASE: &str = "lease = \"3s\"";

/// Output for as long as the test lasts.
const STREAM: &str = "stty -echo; i=0; while :; do i=$((i+1)); echo \"line $i of it\"; sleep 0.2; done\n";

fn config(provider: &str, sections: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = {provider:?}\n{LEASE}\n{sections}")
}

/// A section whose key is in a file.
fn section(url: &str, name: &str) -> String {
    format!(
        "[providers.{name}]\nplugin = \"e2b\"\nallow = [\"{url}\"]\n{}\
         [providers.{name}.config]\napi_url = \"{url}\"\nsandbox_url = \"{url}\"\n",
        api_key(&format!("${{file:{name}.key}}"), url)
    )
}

/// Waits until each sandbox was renewed twice more at this server by this key.
async fn renewed_twice(server: &Faults, key: &str, sandboxes: usize) {
    let count = || {
        let mut renewals = BTreeMap::<_, usize>::new();
        for (used, path) in server.keys(true) {
            if used == key && path.ends_with("/timeout") {
                *renewals.entry(path).or_default() += 1;
            }
        }
        renewals
    };
    let before = count();
    eventually("two more renewals of each sandbox", async || {
        let more = |(path, now): (&String, &usize)| now - before.get(path).unwrap_or(&0) >= 2;
        (count().iter().filter(|renewals| more(*renewals)).count() == sandboxes).then_some(())
    })
    .await;
}

/// A terminal that is read all the time, as a client has to: who answers no
/// ping is taken for dead.
struct Reader {
    frames: Arc<AtomicUsize>,
    task: AbortOnDropHandle<Closed>,
}

impl Reader {
    fn new(mut client: Client) -> Self {
        let frames = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&frames);
        let task = tokio::spawn(async move {
            loop {
                if let Err(closed) = client.next().await {
                    return closed;
                }
                client.screen.clear();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Reader { frames, task: AbortOnDropHandle::new(task) }
    }
}

async fn all_stream(readers: &[Reader]) {
    for Reader { frames, task } in readers {
        let before = frames.load(Ordering::Relaxed);
        eventually("more output", async || {
            assert!(!task.is_finished(), "a session has ended");
            (frames.load(Ordering::Relaxed) > before + 1).then_some(())
        })
        .await;
    }
}

/// A session on this provider, as soon as new ones get it.
async fn on(broker: &Broker, provider: &str) -> Reader {
    let began = std::time::Instant::now();
    loop {
        let mut client = broker.connect().await;
        if client.ready().await["provider"] == provider {
            client.input(STREAM).await;
            return Reader::new(client);
        }
        assert!(began.elapsed() < DEADLINE, "no session on {provider}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_reaches_open_sessions_and_no_origin_that_was_taken_away() {
    let server = Sandboxd::start().await;
    let (old, new) = (Faults::start(&server.url).await, Faults::start(&server.url).await);
    old.admit(&["k1"], &server.key);
    new.admit(&["other", "k3"], &server.key);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("box.key"), "k1\n").unwrap();
    let broker = Broker::start_in(directory, &config("box", &section(&old.url, "box"))).await;
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = broker.connect().await;
        client.ready().await;
        client.input(STREAM).await;
        clients.push(Reader::new(client));
    }

    // Both keys are good for a while, as they are at a provider. Two line ends,
    // as some tools write them, are no part of a key.
    old.admit(&["k1", "k2"], &server.key);
    std::fs::write(broker.file("box.key"), "k2\n\n").unwrap();
    renewed_twice(&old, "k2", SESSIONS).await;
    old.admit(&["k2"], &server.key);
    renewed_twice(&old, "k2", SESSIONS).await;
    all_stream(&clients).await;

    // Without the section they go on with the last key.
    std::fs::write(broker.file("other.key"), "other").unwrap();
    broker.edit(&config("other", &section(&new.url, "other")));
    let other = on(&broker, "other").await;
    renewed_twice(&old, "k2", SESSIONS).await;

    // The section is back, at another place and with a key for that.
    std::fs::write(broker.file("box.key"), "k3").unwrap();
    broker.edit(&config("box", &section(&new.url, "box")));
    let next = on(&broker, "box").await;
    renewed_twice(&old, "k2", SESSIONS).await;
    all_stream(&clients).await;

    // What began after the move takes part in the next rotation.
    new.admit(&["other", "k3", "k4"], &server.key);
    std::fs::write(broker.file("box.key"), "k4").unwrap();
    renewed_twice(&new, "k4", 1).await;
    new.admit(&["other", "k4"], &server.key);
    renewed_twice(&new, "k4", 1).await;
    renewed_twice(&old, "k2", SESSIONS).await;
    server.has(SESSIONS + 2).await;
    all_stream(&clients).await;

    let seen = |server: &Faults| {
        let keys = [true, false].into_iter().flat_map(|good| server.keys(good));
        keys.map(|(key, _)| key).collect::<BTreeSet<_>>()
    };
    assert_eq!(seen(&old), ["k1", "k2"].map(str::to_owned).into());
    assert_eq!(seen(&new), ["k3", "k4", "other"].map(str::to_owned).into());
    drop((clients, other, next));
    server.has(0).await;
}

/// A token may live for an hour, and somebody may correct the file for longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_rotates_while_the_file_is_wrong() {
    let server = Sandboxd::start().await;
    let faults = Faults::start(&server.url).await;
    faults.admit(&["k1", "k2", "k3"], &server.key);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("box.key"), "k1").unwrap();
    let good = config("box", &section(&faults.url, "box"));
    let broker = Broker::start_in(directory, &good).await;
    let mut client = broker.connect().await;
    client.ready().await;
    client.input(STREAM).await;
    let readers = [Reader::new(client)];
    for (key, wrong) in [("k2", good.replace("[sandbox]", "[sandbox")), ("k3", good.replace("[sandbox]", "[sandbx]"))] {
        broker.edit(&wrong);
        broker.logs(if key == "k2" { "broker.toml:3:" } else { "sandbx" }).await;
        std::fs::write(broker.file("box.key"), key).unwrap();
        renewed_twice(&faults, key, 1).await;
        // What begins now has the key as well.
        let next = [on(&broker, "box").await];
        renewed_twice(&faults, key, 2).await;
        all_stream(&next).await;
        drop(next);
        server.has(1).await;
    }
    all_stream(&readers).await;
}
