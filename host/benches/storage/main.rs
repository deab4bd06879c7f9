//! Mounted storage: time to mount, and rates through the mount beside a local
//! directory of the same sandbox, beside plain requests to the service, and
//! through the file API. Prints a table and checks nothing.
//!
//! `cargo xtask bench storage` builds and runs this. The service is Azurite on
//! the same machine: the table shows what a mount costs, not what a network
//! does. Ratios within one run are what counts.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs, reason = "a benchmark stops at the first surprise")]

#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a benchmark uses a part of it")]
mod support;

use std::time::{Duration, Instant};

use support::store::{FILES, Shell, Store};
use support::{Broker, Frame};

/// Sessions whose start is measured.
const STARTS: usize = 7;
/// MiB of one large file.
const LARGE: usize = 256;
/// Small files, and bytes of each.
const SMALL: (usize, usize) = (200, 4096);

#[tokio::main]
async fn main() {
    let Some(store) = Store::azure().await else { return };
    let broker = Broker::start_quiet(&store.config("", "")).await;
    let plain = Broker::start_quiet(&store.config("", "").replace("enabled = true", "enabled = false")).await;

    let (mut without, mut with, mut mounts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        without.push(start(&plain).await.0);
        let (ready, mount) = start(&broker).await;
        with.push(ready);
        mounts.push(mount.unwrap());
    }
    println!("\n| median of {STARTS} | ms |\n|---|---|");
    for (what, times) in [
        ("mount: planned, mounted and proved", mounts),
        ("connect to `ready` with storage", with),
        ("connect to `ready` without", without),
    ] {
        println!("| {what} | {:.0} |", median(times).as_secs_f64() * 1e3);
    }

    let (count, size) = SMALL;
    let mut shell = Shell::open(&broker).await;
    shell
        .ok(&format!(
            "head -c {LARGE}M /dev/urandom > /tmp/large; mkdir /tmp/small; \
             for i in $(seq {count}); do head -c {size} /dev/urandom > /tmp/small/$i; done"
        ))
        .await;
    let mut rows = Vec::new();
    for directory in ["/tmp/copy", FILES] {
        let mut times = Vec::new();
        shell.ok(&format!("mkdir -p {directory}")).await;
        times.push(
            timed(&mut shell, &format!("dd if=/tmp/large of={directory}/large bs=1M conv=fsync status=none")).await,
        );
        times.push(timed(&mut shell, &format!("cp -r /tmp/small {directory}/small")).await);
        let many = format!("mkdir {directory}/many; ls /tmp/small | xargs -P 8 -I@ cp /tmp/small/@ {directory}/many/@");
        times.push(timed(&mut shell, &many).await);
        times.push(timed(&mut shell, &format!("ls -l {directory}/small > /dev/null")).await);
        rows.push(times);
    }
    shell.exit().await;
    // Nothing of it is in the next sandbox's cache.
    let mut shell = Shell::open(&broker).await;
    shell
        .ok(&format!(
            "mkdir /tmp/copy; head -c {LARGE}M /dev/urandom > /tmp/copy/large; cp -r {FILES}/many /tmp/copy/small"
        ))
        .await;
    for (directory, times) in ["/tmp/copy", FILES].into_iter().zip(&mut rows) {
        times.push(timed(&mut shell, &format!("cat {directory}/large > /dev/null")).await);
        times.push(timed(&mut shell, &format!("cat {directory}/small/* > /dev/null")).await);
        times.push(timed(&mut shell, &format!("rm -r {directory}/small")).await);
    }
    shell.exit().await;

    let api = plain_requests(&store).await;
    let files = through_the_file_api(&broker).await;
    println!("\n| | local directory | mount | requests to the service | file API |\n|---|---|---|---|---|");
    let rate =
        |time: Option<Duration>| time.map_or("".to_owned(), |t| format!("{:.0} MiB/s", LARGE as f64 / t.as_secs_f64()));
    let each =
        |time: Option<Duration>| time.map_or("".to_owned(), |t| format!("{:.0}/s", count as f64 / t.as_secs_f64()));
    let line = |what: &str, n: usize, show: &dyn Fn(Option<Duration>) -> String| {
        let cells = [Some(rows[0][n]), Some(rows[1][n]), api[n], files[n]].map(show);
        println!("| {what} | {} |", cells.join(" | "));
    };
    line(&format!("write {LARGE} MiB"), 0, &rate);
    line(&format!("read {LARGE} MiB, not in the cache"), 4, &rate);
    line(&format!("write {count} files of {} KiB", size / 1024), 1, &each);
    line("the same, 8 at a time", 2, &each);
    line("read them, not in the cache", 5, &each);
    line("look at each (`ls -l`)", 3, &each);
    line("remove them", 6, &each);
}

/// Time from connecting to `ready`, and that of the mount as it is told.
async fn start(broker: &Broker) -> (Duration, Option<Duration>) {
    let began = Instant::now();
    let mut client = broker.connect().await;
    client.ready().await;
    let ready = began.elapsed();
    let told = client.said.iter().find_map(|frame| match frame {
        Frame::Status(told) if told.contains(" mounted at ") => {
            told.rsplit_once(" in ")?.1.strip_suffix(" s")?.parse().ok()
        }
        _ => None,
    });
    client.input("exit\n").await;
    client.closed().await;
    (ready, told.map(Duration::from_secs_f64))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How long a script takes, by the sandbox's own clock.
async fn timed(shell: &mut Shell, script: &str) -> Duration {
    let printed = shell.ok(&format!("began=$(date +%s%N); {{ {script}; }} && echo $(($(date +%s%N) - began))")).await;
    Duration::from_nanos(printed.trim().parse().unwrap())
}

/// The same by requests, in the order of the rows; none for what has no like.
async fn plain_requests(store: &Store) -> [Option<Duration>; 7] {
    let (azurite, container, (count, size)) = (store.service.azurite(), &store.container, SMALL);
    let large = vec![7_u8; LARGE << 20];
    let began = Instant::now();
    azurite.upload(container, "api/large", large).await;
    let write = began.elapsed();
    let began = Instant::now();
    for i in 0..count {
        azurite.upload(container, &format!("api/{i}"), vec![7; size]).await;
    }
    let small = began.elapsed();
    let began = Instant::now();
    assert_eq!(azurite.read(container, "api/large").await.unwrap().len(), LARGE << 20);
    let read = began.elapsed();
    let began = Instant::now();
    for i in 0..count {
        azurite.read(container, &format!("api/{i}")).await.unwrap();
    }
    let read_small = began.elapsed();
    let began = Instant::now();
    for i in 0..count {
        azurite.delete(container, &format!("api/{i}")).await;
    }
    let remove = began.elapsed();
    [Some(write), Some(small), None, None, Some(read), Some(read_small), Some(remove)]
}

/// The same by the broker's file API.
async fn through_the_file_api(broker: &Broker) -> [Option<Duration>; 7] {
    let mut client = broker.connect().await;
    let ready = client.ready().await;
    let files = format!("{}/api/sessions/{}/files", broker.url, ready["session"].as_str().unwrap());
    let content = |name: &str| format!("{files}/content?path={FILES}/{name}");
    let http = reqwest::Client::new();
    let put = async |name: String, size: usize| {
        let answer = http.put(content(&name)).body(vec![7_u8; size]).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    let get = async |name: String| {
        http.get(content(&name)).send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap().len()
    };
    let (count, size) = SMALL;
    let began = Instant::now();
    put("files/large".to_owned(), LARGE << 20).await;
    let write = began.elapsed();
    let began = Instant::now();
    for i in 0..count {
        put(format!("files/{i}"), size).await;
    }
    let small = began.elapsed();
    let began = Instant::now();
    // The mount's own copy of what was written is there; that of the earlier session is not.
    assert_eq!(get("large".to_owned()).await, LARGE << 20);
    let read = began.elapsed();
    let began = Instant::now();
    for i in 1..=count {
        get(format!("many/{i}")).await;
    }
    let read_small = began.elapsed();
    client.input("exit\n").await;
    client.closed().await;
    [Some(write), Some(small), None, None, Some(read), Some(read_small), None]
}
