//! Sessions that outlive connections and brokers: every byte at its offset,
//! whatever breaks.
//!
//! The shell prints a stream of which every byte tells its own offset, so
//! that any that is lost, doubled, moved or foreign is named.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sandbox_broker_terminal::frames::level1::ClientFrame;

use crate::support::level1::{Visit, Window};
use crate::support::stream::{Follower, LINE, check, streams};
use crate::support::{Broker, Sandboxd, eventually};

fn config(server: &Sandboxd, sandbox: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{sandbox}\n{}", server.section("box"))
}

/// The embedded default.
fn embedded(sandbox: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\n{sandbox}\n\
         [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n"
    )
}

/// The end is kept for clients that were cut off no longer than this. Enough
/// for those that come back.
pub(crate) fn briefly(sandbox: &str) -> String {
    format!("keep_after_disconnect = \"10s\"\n{sandbox}")
}

/// Reads all windows to `until` at once: the broker closes one that nobody reads for 25 s.
async fn follow(followers: &mut [Follower], windows: &mut [Window], until: u64) {
    let all = followers.iter_mut().zip(windows).map(|(follower, window)| follower.follow(window, until));
    assert!(join_all(all).await.into_iter().all(|lives| lives), "the broker lives");
}

/// Kills a broker again and again while its shell prints, with clients that
/// come back to the next one.
pub(crate) async fn kills(config: String, kills: u64, lines: u64) -> Broker {
    let mut broker = Broker::start_quiet(&config).await;
    let mut windows = vec![Window::open(&broker.url, Visit::default().client("driver")).await];
    let ready = windows[0].ready().await;
    assert_eq!(ready.durability, "durable");
    let mut followers = vec![Follower::new("driver", &ready), Follower::new("viewer", &ready)];
    windows.push(Window::open(&broker.url, followers[1].visit()).await);
    windows[1].ready().await;
    followers[0].starts(&mut windows[0]).await;
    let (mut unattended, mut slowest) = (0, (Duration::ZERO, Duration::ZERO));
    for kill in 1..=kills {
        let until = lines * LINE * kill / (kills + 1);
        follow(&mut followers, &mut windows, until).await;
        broker.signal("KILL");
        for (window, follower) in windows.iter_mut().zip(&mut followers) {
            follower.follow(window, u64::MAX).await;
        }
        let directory = broker.into_directory().await;
        let began = Instant::now();
        broker = Broker::start_in(directory, &config).await;
        let listening = began.elapsed();
        windows.clear();
        for follower in &followers {
            let mut window = Window::open(&broker.url, follower.visit()).await;
            let ready = window.ready().await;
            assert_eq!((ready.epoch, ready.offset), (follower.epoch, follower.end));
            unattended = unattended.max(ready.live.saturating_sub(follower.end));
            windows.push(window);
        }
        slowest = (slowest.0.max(listening), slowest.1.max(began.elapsed()));
    }
    follow(&mut followers, &mut windows, lines * LINE).await;
    // That it arrived is told by the exit, which may overtake its acknowledgement.
    windows[0].input("end\n").await;
    for window in &mut windows {
        let exit = window.told("exit").await;
        assert_eq!((exit["code"].as_i64(), exit["offset"].as_u64()), (Some(7), Some(lines * LINE)));
        assert_eq!(window.closed().await.code, 1000);
    }
    assert!(unattended > 0, "the shell went on while no broker lived");
    println!(
        "{kills} kills: listening after at most {:?}, attached after {:?}; {unattended} bytes unattended; resumed {:?}",
        slowest.0,
        slowest.1,
        followers[0].resumed.iter().max()
    );
    broker
}

/// R4. The size is that of a large file that somebody prints.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_costs_no_byte() {
    let server = Sandboxd::start().await;
    let _broker = kills(config(&server, &briefly(&streams(4_250_000))), 20, 4_250_000).await;
    server.has(0).await;
}

/// R4, on the embedded default.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_costs_no_byte_on_the_embedded_server() {
    let broker = kills(embedded(&briefly(&streams(4_250_000))), 2, 4_250_000).await;
    eventually("no sandbox", async || broker.embedded_sandboxes().await.is_empty().then_some(())).await;
}

/// R3. Older output than the broker holds comes from the recorder.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_resumes_at_any_byte() {
    const LINES: u64 = 500_000;
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server, &briefly(&streams(LINES)))).await;
    let mut driver = Window::open(&broker.url, Visit::default().client("driver")).await;
    let ready = driver.ready().await;
    let mut follower = Follower::new("driver", &ready);
    follower.starts(&mut driver).await;
    assert!(follower.follow(&mut driver, LINES * LINE).await);
    // Nobody reads it meanwhile.
    driver.cut();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..1000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let since = (state >> 33) % (LINES * LINE + 1);
        let mut window = Window::open(&broker.url, Visit::to(&ready.session).viewer().since(since, ready.epoch)).await;
        assert_eq!(window.ready().await.offset, since);
        let until = (LINES * LINE).min(since + 10_000);
        while window.end < Some(until) {
            if let Err(closed) = window.next().await {
                panic!("{closed:?} at {:?} since {since}", window.end);
            }
        }
        check(since, &window.output);
        window.cut();
    }
    let back = Visit::to(&ready.session).client("driver").since(LINES * LINE, ready.epoch);
    let mut driver = Window::open(&broker.url, back).await;
    driver.seq = driver.ready().await.input;
    driver.input("end\n").await;
    driver.told("exit").await;
    server.has(0).await;
}

/// R17.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_leaves_its_sessions_to_the_next() {
    let server = Sandboxd::start().await;
    let config = config(&server, "");
    let mut broker = Broker::start(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    window.input("echo $((6*7)); X=kept\n").await;
    window.expect("42").await;
    let mut passing = broker.connect().await;
    passing.ready().await;
    server.has(2).await;
    let began = Instant::now();
    broker.signal("TERM");
    let (code, words) = window.error().await;
    assert_eq!(code, "draining", "{words}");
    assert_eq!(window.closed().await.code, 1001);
    let end = window.end.unwrap();
    assert!(broker.ended().await.success());
    assert!(began.elapsed() < Duration::from_secs(20));
    server.has(1).await;

    let broker = Broker::start_in(broker.into_directory().await, &config).await;
    let visit = Visit::to(&ready.session).client("w").since(end, ready.epoch);
    let mut window = Window::open(&broker.url, visit).await;
    let again = window.ready().await;
    assert_eq!((again.offset, again.input), (end, 0), "what was typed at the other broker is unknown to this one");
    window.input("echo still $X\n").await;
    window.expect("still kept\r\n").await;
    window.send_frame(ClientFrame::Kill).await;
    let exit = window.told("exit").await;
    assert!(exit["reason"].as_str().unwrap().contains("ended"), "{exit}");
    server.has(0).await;
}

/// The next broker finds the terminal with the size that it has, which is not
/// that of its beginning, and a client gets the size that it asks for.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_keeps_its_size_until_a_client_asks_for_another() {
    const HAS: &str = r#"has() { until [ "$(stty size)" = "$1" ]; do sleep 0.05; done; echo "it $2"; }"#;
    let server = Sandboxd::start().await;
    let config = config(&server, "");
    let broker = Broker::start(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w").size(100, 30)).await;
    let ready = window.ready().await;
    window.resize(120, 40).await;
    window.input(&format!("{HAS}; has '40 120' grew\n")).await;
    window.expect("it grew").await;
    broker.signal("KILL");

    let broker = Broker::start_in(broker.into_directory().await, &config).await;
    let mut viewer = Window::open(&broker.url, Visit::to(&ready.session).viewer()).await;
    let joined = viewer.ready().await;
    viewer.until_size(&joined, 120, 40).await;
    let mut window = Window::open(&broker.url, Visit::to(&ready.session).client("w").size(100, 30)).await;
    window.ready().await;
    window.input("has '30 100' shrank\n").await;
    window.expect("it shrank").await;
    window.send_frame(ClientFrame::Kill).await;
    window.told("exit").await;
    server.has(0).await;
}

/// A session that nobody may come back to is ended by the next broker, long
/// before its lease does it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_broker_leaves_behind_is_ended_by_the_next() {
    let server = Sandboxd::start().await;
    let config = config(&server, "");
    let broker = Broker::start(&config).await;
    let mut passing = broker.connect().await;
    passing.ready().await;
    server.has(1).await;
    broker.signal("KILL");
    let broker = Broker::start_in(broker.into_directory().await, &config).await;
    server.has(0).await;
    drop(broker);
}

/// R10, as far as bytes go: the shell does not wait, and who reads nothing
/// gets everything later.
#[tokio::test(flavor = "multi_thread")]
async fn viewers_that_read_nothing_cost_nobody_anything() {
    const LINES: u64 = 2_000_000;
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server, &streams(LINES))).await;
    let mut driver = Window::open(&broker.url, Visit::default().client("driver")).await;
    let ready = driver.ready().await;
    let mut follower = Follower::new("driver", &ready);
    let mut frozen = Vec::new();
    for _ in 0..10 {
        let mut window = Window::open(&broker.url, Visit::to(&ready.session).viewer().by_hand()).await;
        window.ready().await;
        frozen.push(window);
    }
    let before = resident(broker.pid());
    follower.starts(&mut driver).await;
    for part in 1..=16 {
        assert!(follower.follow(&mut driver, LINES * LINE * part / 16).await);
        live(&mut frozen).await;
    }
    let grown = resident(broker.pid()).saturating_sub(before);
    println!("{grown} KiB more after 16 MB past ten frozen viewers");
    // The shell ends; what they have missed is not gone with it.
    driver.input("end\n").await;
    driver.told("exit").await;
    while let Some(mut window) = frozen.pop() {
        let mut slow = Follower::new("viewer", &ready);
        while slow.end < LINES * LINE {
            live(&mut frozen).await;
            // Acknowledges what it has, and reads what the window then allows.
            window.ack(slow.end).await;
            let until = (slow.end + 200_000).min(LINES * LINE);
            assert!(slow.follow(&mut window, until).await);
        }
        window.ack(slow.end).await;
        window.told("exit").await;
    }
    server.has(0).await;
}

/// Signs of life of windows that read nothing, not even pings: without one for
/// 25 s, which a busy machine may take, they would count as dead.
async fn live(frozen: &mut [Window]) {
    for window in frozen {
        window.ack(0).await;
    }
}

/// Resident memory of a process in KiB.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// R1, in both directions.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_sessions_lose_no_byte() {
    const LINES: u64 = 335_000;
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server, &briefly(&streams(LINES)))).await;
    let mut sessions = tokio::task::JoinSet::new();
    // Opened a few at a time, so that a busy machine gives each its shell in time.
    let opening = std::sync::Arc::new(tokio::sync::Semaphore::new(10));
    for _ in 0..100 {
        let (url, opening) = (broker.url.clone(), opening.clone());
        sessions.spawn(async move {
            let place = opening.acquire().await.unwrap();
            let mut window = Window::open(&url, Visit::default()).await;
            let ready = window.ready().await;
            drop(place);
            let mut follower = Follower::new("driver", &ready);
            follower.starts(&mut window).await;
            assert!(follower.follow(&mut window, LINES * LINE).await);
            window.input("end\n").await;
            let exit = window.told("exit").await;
            assert_eq!((exit["code"].as_i64(), exit["offset"].as_u64()), (Some(7), Some(LINES * LINE)));
        });
    }
    while let Some(session) = sessions.join_next().await {
        session.unwrap();
    }
    server.has(0).await;
}

/// A late window sees what the others see, alternate screen and all.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_window_gets_the_screen() {
    let server = Sandboxd::start().await;
    let broker = Broker::start(&config(&server, "")).await;
    let mut window = Window::open(&broker.url, Visit::default()).await;
    let ready = window.ready().await;
    window
        .input("PS1='> '; seq 1 300000; printf '\\033]2;%s\\007\\033[?1049h\\033[2J\\033[5;7Hhere' title; sleep 1000\n")
        .await;
    window.expect("\u{1b}[5;7Hhere").await;
    // Let the session's own memory begin after the start of the output.
    let mut late = Window::open(&broker.url, Visit::to(&ready.session).viewer()).await;
    late.ready().await;
    let screen = late.told("screen").await;
    assert!(screen["offset"].as_u64().unwrap() > 0);
    let drawn = screen["data"].as_str().unwrap();
    for part in ["here", "\u{1b}]2;title\u{1b}\\"] {
        assert!(drawn.contains(part), "{part:?} is not in {drawn:?}");
    }
    window.send_frame(ClientFrame::Kill).await;
    window.told("exit").await;
    server.has(0).await;
}

/// The shell's own end of a session is seen by `GET /api/status`, and nothing
/// is left of it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_sessions_that_were_cut_and_ended() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server, "keep_after_disconnect = \"1s\"")).await;
    let status = async || -> serde_json::Value { broker.get("/api/status").await.json().await.unwrap() };
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap().count();
    // The first one opens what stays open, such as the pool's connections.
    let visit = async || {
        let mut window = Window::open(&broker.url, Visit::default()).await;
        window.ready().await;
        window.input("echo $((6*7))\n").await;
        window.expect("42").await;
        window.cut();
        server.has(0).await;
        eventually("no session", async || status().await["sessions"].as_array().unwrap().is_empty().then_some(()))
            .await;
    };
    visit().await;
    let (tasks, open) = (status().await["tasks"].as_u64().unwrap(), descriptors());
    for _ in 0..5 {
        visit().await;
    }
    eventually("tasks at the base line", async || (status().await["tasks"].as_u64().unwrap() <= tasks).then_some(()))
        .await;
    eventually("descriptors at the base line", async || (descriptors() <= open + 2).then_some(())).await;
}
