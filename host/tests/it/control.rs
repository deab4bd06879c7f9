//! Who has control, and what a lost connection costs, with a real broker and
//! real sandboxes.

use futures_util::StreamExt;
use sandbox_broker_terminal::frames::level1::ClientFrame;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::level1::{Visit, Window};
use crate::support::{Broker, Client, Frame, Sandboxd};

fn config(server: &Sandboxd) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{}", server.section("box"))
}

/// Control that was taken on a phone stays there, whatever becomes of the other
/// window's connection and of the broker.
#[tokio::test(flavor = "multi_thread")]
async fn control_stays_through_reconnects_and_a_killed_broker() {
    let server = Sandboxd::start().await;
    let config = config(&server);
    let mut broker = Broker::start_quiet(&config).await;
    let mut desk = Window::open(&broker.url, Visit::default().client("desk").size(120, 40)).await;
    let session = desk.ready().await.session;
    let [at_desk, on_phone] = [("desk", 120, 40), ("phone", 48, 20)]
        .map(|(name, cols, rows)| Visit::to(&session).client(name).size(cols, rows));
    let mut phone = Window::open(&broker.url, on_phone.clone()).await;
    assert_eq!(phone.ready().await.role, "viewer", "who looks takes nothing");
    desk.input("stty size\n").await;
    desk.expect("40 120\r\n").await;

    phone.send_frame(ClientFrame::TakeControl).await;
    let whose = desk.told_that("clients", |said| said["clients"][1]["sets_size"] == true).await;
    assert_eq!((&whose["clients"][0]["role"], &whose["clients"][1]["role"]), (&json!("viewer"), &json!("driver")));
    phone.input("stty size; X=kept\n").await;
    phone.expect("20 48\r\n").await;

    drop(desk);
    let mut desk = Window::open(&broker.url, at_desk.clone()).await;
    assert_eq!(desk.ready().await.role, "viewer", "nor does who comes back");
    let end = phone.end;

    broker.signal("KILL");
    broker = Broker::start_in(broker.into_directory().await, &config).await;
    let mut desk = Window::open(&broker.url, at_desk).await;
    let ready = desk.ready().await;
    assert_eq!(ready.role, "viewer", "nor the first one after a restart");
    desk.until_size(&ready, 48, 20).await;
    let mut phone = Window::open(&broker.url, Visit { since: end, ..on_phone }).await;
    let ready = phone.ready().await;
    assert_eq!(ready.role, "driver", "the journal knows who drives");
    phone.seq = ready.input;
    phone.input("echo is $X; stty size\n").await;
    phone.expect("is kept\r\n20 48\r\n").await;
    // Who says that it leaves is not waited for.
    phone.send_frame(ClientFrame::Detach).await;
    desk.told_that("clients", |said| said["clients"][0]["role"] == "driver").await;
    desk.input("stty size\n").await;
    desk.expect("40 120\r\n").await;
}

/// The connection breaks while the sandbox is made: the same session is there
/// for the client that comes back, and there is no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_being_made_is_found_again() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server)).await;
    let id = "00112233445566778899aabbccddeeff";
    let visit = Visit { create: true, ..Visit::to(id).client("w") };
    for _ in 0..3 {
        let mut window = Window::open(&broker.url, visit.clone()).await;
        window.told("stage").await;
    }
    let mut window = Window::open(&broker.url, visit.clone()).await;
    assert_eq!(window.ready().await.session, id);
    window.input("echo $((6*7))\n").await;
    window.expect("42\r\n").await;
    server.has(1).await;
    window.send_frame(ClientFrame::Kill).await;
    window.told("exit").await;
    server.has(0).await;
}

/// A proxy drops the field of the subprotocol: level 1 is there all the same.
#[tokio::test]
async fn level_1_can_be_asked_for_in_the_address() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server)).await;
    let url = format!("{}/terminal?protocol=sandbox-broker.v1&client=w", broker.url.replacen("http", "ws", 1));
    let (mut socket, answer) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert!(!answer.headers().contains_key("sec-websocket-protocol"), "none was offered");
    let first = loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => break serde_json::from_str::<Value>(&text).unwrap(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(first["type"], "stage", "{first}");
}

/// What frontends send before they are laid out, and halves of a pair, end no
/// sandbox.
#[tokio::test]
async fn a_level_0_client_may_be_sloppy() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server)).await;
    let mut client = Client::connect(&broker.url).await;
    for _ in 0..20 {
        for sides in ["null", "0", "-1", "0.4", "1e-9"] {
            client.send_raw(Message::text(format!(r#"{{"type":"resize","cols":{sides},"rows":{sides}}}"#))).await;
        }
        client.send_raw(Message::text(r#"{"type":"resize"}"#)).await;
        client.send_raw(Message::text(r#"{"type":"ping","at":[1]}"#)).await;
    }
    client.send_raw(Message::text(r#"{"type":"resize","cols":100.7,"rows":1e9,"pixels":{"x":1}}"#)).await;
    client.ready().await;
    for message in [r"echo [\ud83d", r"\ude00] [\ude00] [\ud83d", r"x] d''one\n"] {
        client.send_raw(Message::text(format!(r#"{{"type":"input","data":"{message}","more":true}}"#))).await;
    }
    client.expect("[\u{1F600}] [\u{FFFD}] [\u{FFFD}x] done\r\n").await;
    client.input("stty size\n").await;
    client.expect("1000 100\r\n").await;
    let errors: Vec<_> = client.said.iter().filter(|said| matches!(said, Frame::Error(_))).collect();
    assert_eq!(errors.len(), 1, "an unknown type is told once: {errors:?}");
}
