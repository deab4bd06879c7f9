//! Level 1 as a client meets it: windows, roles, refusals, the way out.

use sandbox_broker_terminal::frames::level1::ClientFrame;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::level1::{Told, Visit, Window};
use crate::support::{Broker, Sandboxd};

async fn broker(server: &Sandboxd) -> Broker {
    let sections = server.section("box");
    Broker::start(&format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{sections}")).await
}

#[tokio::test]
async fn no_more_is_sent_than_the_window_allows() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut window = Window::open(&broker.url, Visit::default().by_hand()).await;
    window.ready().await;
    window.input("stty -echo; printf 'sta''rt'; head -c 3000000 /dev/zero | tr '\\0' x; printf 'en''d'\n").await;
    window.expect("start").await;
    let mut allowed = 512 * 1024;
    while !window.text().ends_with("end") && !window.text().contains("xend") {
        // A ping after the last frame that the window allows is answered, and
        // no output with it.
        window.send_frame(ClientFrame::Ping).await;
        while !matches!(window.next().await, Ok(Told::Said(said)) if said["type"] == "pong") {}
        let end = window.end.unwrap();
        assert!(end <= allowed, "{end} bytes were sent and {allowed} allowed");
        window.ack(end).await;
        allowed = end + 512 * 1024;
    }
    assert!(window.output.len() > 3_000_000);
}

#[tokio::test]
async fn a_second_connection_of_a_window_takes_the_firsts_place() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut first = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = first.ready().await;
    let seq = first.input("echo $((6*7))\n").await;
    first.handed(seq).await;
    let mut second = Window::open(&broker.url, Visit::to(&ready.session).client("w")).await;
    let again = second.ready().await;
    assert_eq!((again.role.as_str(), again.input), ("driver", seq));
    assert_eq!(first.error().await.0, "taken-over");
    assert_eq!(first.closed().await.code, 4001);
    second.expect("42").await;
    // What was delivered is not delivered again.
    second.input_as(seq, b"echo twice\n").await;
    second.input_as(seq + 1, b"echo on''ce\n").await;
    second.expect("once\r\n").await;
    assert!(!second.text().contains("twice"));
}

#[tokio::test]
async fn a_viewer_watches_and_does_nothing_else() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut driver = Window::open(&broker.url, Visit::default().client("d").size(100, 30)).await;
    let ready = driver.ready().await;
    let mut viewer = Window::open(&broker.url, Visit::to(&ready.session).client("v").viewer().size(40, 20)).await;
    assert_eq!(viewer.ready().await.role, "viewer");
    for (message, code) in [
        (Message::Binary(b"\x02\0\0\0\0\0\0\0\x01x".as_slice().into()), "not-driver"),
        (Message::text(r#"{"type":"kill"}"#), "not-driver"),
        (Message::text(r#"{"type":"take-control"}"#), "not-allowed"),
    ] {
        viewer.send_raw(message).await;
        assert_eq!(viewer.error().await.0, code);
    }
    let clients = driver.told_that("clients", |said| said["clients"].as_array().unwrap().len() == 2).await;
    let roles: Vec<_> =
        clients["clients"].as_array().unwrap().iter().map(|one| (&one["client"], &one["role"])).collect();
    assert_eq!(roles, [(&json!("d"), &json!("driver")), (&json!("v"), &json!("viewer"))]);
    driver.input("stty size\n").await;
    driver.expect("30 100\r\n").await;
    viewer.expect("30 100\r\n").await;
}

#[tokio::test]
async fn control_goes_to_who_takes_it_and_the_size_with_it() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut one = Window::open(&broker.url, Visit::default().client("one").size(100, 30)).await;
    let ready = one.ready().await;
    let mut two = Window::open(&broker.url, Visit::to(&ready.session).client("two").size(90, 20)).await;
    assert_eq!(two.ready().await.role, "viewer");
    two.send_frame(ClientFrame::TakeControl).await;
    one.told_that("size", |size| size["cols"] == 90).await;
    one.send_frame(ClientFrame::TakeControl).await;
    two.told_that("size", |size| size["cols"] == 100).await;
    one.input("echo $((6*7))\n").await;
    two.expect("42").await;
}

#[tokio::test]
async fn who_detaches_comes_back() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    window.input("X=here; echo set\n").await;
    window.expect("set\r\n").await;
    window.send_frame(ClientFrame::Detach).await;
    assert_eq!(window.closed().await.code, 1000);
    let mut window = Window::open(&broker.url, Visit::to(&ready.session).client("w")).await;
    window.seq = window.ready().await.input;
    window.input("echo still $X\n").await;
    window.expect("still here\r\n").await;
    window.send_frame(ClientFrame::Kill).await;
    window.told("exit").await;
    assert_eq!(window.closed().await.code, 1000);
    let mut late = Window::open(&broker.url, Visit::to(&ready.session)).await;
    assert_eq!(late.error().await.0, "no-session");
    assert_eq!(late.closed().await.code, 4404);
    server.has(0).await;
}

#[tokio::test]
async fn what_is_wrong_is_told_and_the_terminal_lives_on() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let beyond = Visit { since: Some(u64::MAX), ..Visit::default() };
    let mut wrong = Window::open(&broker.url, beyond).await;
    assert_eq!(wrong.error().await.0, "malformed");
    assert_eq!(wrong.closed().await.code, 1008);
    let mut window = Window::open(&broker.url, Visit::default()).await;
    window.ready().await;
    for message in [
        Message::text("ls"),
        Message::text(r#"{"type":"input","data":"ls"}"#),
        Message::text(r#"{"type":"ack","offset":-1}"#),
        Message::Binary(b"\x01\0\0\0\0\0\0\0\x01x".as_slice().into()),
        Message::Binary(b"\x02\0\0\0\0\0\0\0\0x".as_slice().into()),
    ] {
        window.send_raw(message).await;
        assert_eq!(window.error().await.0, "malformed");
    }
    window.input("echo $((6*7))\n").await;
    window.expect("42").await;
}

#[tokio::test]
async fn the_recorder_is_roots_runs_as_the_user_and_outlives_a_cleaning_of_temporary_files() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut window = Window::open(&broker.url, Visit::default()).await;
    let ready = window.ready().await;
    window.input("ls -ld /var/lib/sandbox-recorder/program | cut -c 1-10; echo words of be''fore\n").await;
    window.expect("words of before").await;
    if rustix::process::geteuid().is_root() {
        window.input("stat -c %U:%a /var/lib/sandbox-recorder /var/lib/sandbox-recorder/program\n").await;
        window.expect("root:755\r\nroot:755\r\n").await;
        let replace = "cd /var/lib/sandbox-recorder; for by in 'rm -f program' 'mv program x' 'cp /bin/true program'; do \
                       $by 2>/dev/null && echo rep''laced; done; cd; echo tri''ed\n";
        window.input(replace).await;
        window.expect("tried").await;
        assert!(!window.text().contains("replaced"));
    }
    window.input("find /tmp -mindepth 1 -delete; ls -A /tmp | wc -l | sed 's/^/left:/'; ps -eo user:20,args | grep -c '[r]oot .*sandbox-recorder' | sed 's/^/of root:/'\n").await;
    window.expect("left:0\r\n").await;
    window.expect("of root:0\r\n").await;
    // A late client is drawn a screen, and there is a recording.
    let mut late = Window::open(&broker.url, Visit::to(&ready.session).client("late").viewer()).await;
    late.ready().await;
    late.expect("left:0").await;
    let cast = broker.get(&format!("/api/sessions/{}/recording", ready.session)).await;
    assert_eq!(cast.status(), 200);
    assert!(cast.text().await.unwrap().contains("words of before"));
}
