//! Clients that come late, and what they may see: the screen as it is, whatever
//! is on it, and for a guest nothing older.

use std::time::{Duration, Instant};

use sandbox_broker_terminal::frames::level1::ClientFrame;
use serde_json::json;

use crate::support::level1::{Visit, Window};
use crate::support::{Broker, Sandboxd};

/// How often a client is told of sizes and of the other clients, at most.
const TOLD_EVERY: Duration = Duration::from_millis(40);

async fn broker(server: &Sandboxd) -> Broker {
    let sections = server.section("box");
    Broker::start_quiet(&format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{sections}")).await
}

/// What is seen on a terminal of this size that was fed this text.
fn seen((cols, rows): (usize, usize), text: &str) -> (Vec<String>, String) {
    let mut terminal = avt::Terminal::new(cols, rows).unwrap();
    terminal.feed(text);
    let lines = terminal.screen().visible_lines().map(|line| format!("{line:?}")).collect();
    (lines, format!("{:?}", terminal.cursor()))
}

/// A program that draws every cell in two colours of its own, and then prints
/// more than the broker holds without changing any. Its last word is in pieces,
/// so that it comes from the program and not from its echo.
const COLOURS: &str = "stty -echo; awk 'BEGIN { for (y = 0; y < 100; y++) { printf \"\\033[%d;1H\", y + 1; \
    for (x = 0; x < 300; x++) printf \"\\033[38;2;%d;%d;%d;48;2;%d;%d;%dm%c\", \
    x % 256, y, 200, y, x % 256, (x * y) % 256, 65 + (x + y) % 26 } }'; \
    head -c 1500000 /dev/zero; printf '\\033[m\\033[Hfu''ll'; read x\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_colourful_screen_is_shown_to_all_who_come_late() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut driver = Window::open(&broker.url, Visit::default().client("driver").size(300, 100)).await;
    let ready = driver.ready().await;
    assert_eq!(ready.durability, "durable");
    driver.input(COLOURS).await;
    driver.expect("full").await;
    let mut late = Vec::new();
    for name in ["one", "two", "three"] {
        late.push(Window::open(&broker.url, Visit::to(&ready.session).client(name).viewer()).await);
    }
    let expected = seen((300, 100), &driver.text());
    for window in &mut late {
        window.ready().await;
        let screen = window.told("screen").await;
        let data = screen["data"].as_str().unwrap();
        assert!(data.len() > 3 * 256 * 1024, "{} bytes", data.len());
        while window.end < driver.end {
            window.next().await.unwrap();
        }
        assert_eq!(window.end, driver.end);
        assert!(seen((300, 100), &format!("{data}{}", window.text())) == expected, "the screen is another one");
    }
    driver.input("\n").await;
    driver.input("echo; echo $((6*7))\n").await;
    for window in late.iter_mut().chain([&mut driver]) {
        window.expect("42\r\n").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_nothing_older_than_the_screen() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut driver = Window::open(&broker.url, Visit::default().client("driver")).await;
    let ready = driver.ready().await;
    driver.input("stty -echo; echo pass''word; head -c 3000000 /dev/zero | tr '\\0' x; printf '\\033[3J\\033[2J\\033[H'; echo cle''an\n").await;
    driver.expect("clean").await;
    let invitation = ready.invitation.clone().unwrap();
    // Nor who is the session's own, with less to hide.
    for since in [None, Some(0), Some(10)] {
        let before = driver.end.unwrap();
        let visit =
            Visit { since, epoch: since.map(|_| ready.epoch), ..Visit::to(&ready.session).invited(&invitation) };
        let mut guest = Window::open(&broker.url, Visit { since, ..visit }).await;
        let told = guest.ready().await;
        assert!(told.offset >= before && told.offset == told.live, "{told:?}");
        let screen = guest.told("screen").await;
        assert!(screen["offset"].as_u64() >= Some(before), "{screen}");
        driver.input("echo af''ter\n").await;
        guest.expect("after").await;
        driver.expect("after").await;
        let all = format!("{}{}", screen["data"], guest.text());
        assert!(!all.contains("password") && !all.contains("xxxx"), "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_sizes_and_claims_costs_nobody_an_echo() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut one = Window::open(&broker.url, Visit::default().client("one").size(80, 24)).await;
    let ready = one.ready().await;
    let mut two = Window::open(&broker.url, Visit::to(&ready.session).client("two").size(90, 24)).await;
    two.ready().await;
    let began = Instant::now();
    for turn in 0..1000_u16 {
        for (at, window) in [&mut one, &mut two].into_iter().enumerate() {
            for step in 0..3 {
                window.resize(80 + (turn + step + at as u16 * 7) % 100, 24).await;
            }
            window.send_frame(ClientFrame::TakeControl).await;
        }
    }
    // The two connections are read on their own. The pong says that no claim of `two` is still to come.
    two.send_frame(ClientFrame::Ping).await;
    two.told("pong").await;
    one.send_frame(ClientFrame::TakeControl).await;
    one.input("echo $((6*7))\n").await;
    one.expect("42\r\n").await;
    let told = |kind: &str| one.said.iter().filter(|said| said["type"] == kind).count();
    let most = began.elapsed().div_duration_f64(TOLD_EVERY) as usize + 10;
    let (sizes, lists) = (told("size"), told("clients"));
    assert!(sizes < most && lists < most, "{sizes} sizes, {lists} lists; at most {most} of each");
    assert_eq!(told("error"), 0);
}

#[tokio::test]
async fn a_window_without_a_size_is_no_attacker() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut window = Window::open(&broker.url, Visit::default().size(0, 0)).await;
    window.ready().await;
    for _ in 0..50 {
        window.send(json!({"type": "resize", "cols": null, "rows": 0})).await;
        window.send(json!({"type": "resize"})).await;
    }
    window.send(json!({"type": "resize", "cols": 1200, "rows": 30})).await;
    window.told_that("size", |size| size["cols"] == 1000 && size["rows"] == 30).await;
    assert!(window.said.iter().all(|said| said["type"] != "error"), "{:?}", window.said);
}
