//! A directory for the shell that the sandbox does not have.

use serde_json::Value;

use crate::support::level1::{Visit, Window};
use crate::support::{Broker, Client, Frame, Sandboxd};

/// Nobody can make it.
const IMPOSSIBLE: &str = "/proc/none";

async fn broker(server: &Sandboxd, workdir: &str) -> Broker {
    let sections = server.section("box");
    let config =
        format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\nworkdir = {workdir:?}\n{sections}");
    Broker::start(&config).await
}

/// The directories in which clients may work with files.
async fn roots(broker: &Broker, session: &str) -> Vec<String> {
    let files: Value = broker.get(&format!("/api/sessions/{session}/files")).await.json().await.unwrap();
    files["roots"].as_array().unwrap().iter().map(|root| root["path"].as_str().unwrap().to_owned()).collect()
}

async fn is_at_home(client: &mut Client) {
    client.input("test \"$(pwd -P)\" = \"$(cd; pwd -P)\" && echo at\"\"home\n").await;
    client.expect("athome\r\n").await;
}

#[tokio::test]
async fn a_missing_directory_is_made_and_the_shell_starts_there() {
    let server = Sandboxd::start().await;
    for workdir in ["/tmp/made/by/user", "/made/by/root/"] {
        let broker = broker(&server, workdir).await;
        let workdir = workdir.trim_end_matches('/');
        let mut client = broker.connect().await;
        let session = client.ready().await["session"].as_str().unwrap().to_owned();
        client.input("echo \"in $PWD\"; touch x && echo wr\"\"itten\n").await;
        client.expect(&format!("in {workdir}\r\n")).await;
        client.expect("written\r\n").await;
        assert_eq!(roots(&broker, &session).await.len(), 1);
        let listed = broker.get(&format!("/api/sessions/{session}/files?path={workdir}")).await;
        assert_eq!(listed.status(), 200, "{:?}", listed.text().await);

        let mut window = Window::open(&broker.url, Visit::default()).await;
        assert_eq!(window.ready().await.durability, "durable");
        window.input("echo \"in $PWD\"; touch x && echo wr\"\"itten\n").await;
        window.expect(&format!("in {workdir}\r\n")).await;
        window.expect("written\r\n").await;
    }
}

#[tokio::test]
async fn where_none_can_be_made_the_shell_starts_at_home_and_says_so() {
    let server = Sandboxd::start().await;
    let broker = broker(&server, IMPOSSIBLE).await;
    let mut client = broker.connect().await;
    let session = client.ready().await["session"].as_str().unwrap().to_owned();
    let told = |frame: &Frame| matches!(frame, Frame::Status(text) if text.starts_with("There is no /proc/none in"));
    assert!(client.said.iter().any(told), "{:?}", client.said);
    is_at_home(&mut client).await;
    let roots = roots(&broker, &session).await;
    assert_eq!(roots.len(), 1, "{roots:?}");
    let listed = broker.get(&format!("/api/sessions/{session}/files?path={}", roots[0])).await;
    assert_eq!(listed.status(), 200);

    let mut window = Window::open(&broker.url, Visit::default()).await;
    let stage = window.told_that("stage", |stage| stage["message"].as_str().unwrap().contains(IMPOSSIBLE)).await;
    assert_ne!(stage["state"], "failed");
    let ready = window.ready().await;
    assert_eq!(ready.durability, "durable", "the recorder runs all the same");
    assert_eq!(self::roots(&broker, &ready.session).await, roots);
}

/// The next broker finds the files where the shell is.
#[tokio::test]
async fn the_next_broker_knows_that_the_shell_is_at_home() {
    let server = Sandboxd::start().await;
    let mut broker = broker(&server, IMPOSSIBLE).await;
    let mut window = Window::open(&broker.url, Visit::default()).await;
    let ready = window.ready().await;
    let before = roots(&broker, &ready.session).await;
    let config = std::fs::read_to_string(broker.file("broker.toml")).unwrap();
    broker.signal("KILL");
    window.closed().await;
    broker = Broker::start_in(broker.into_directory().await, &config).await;
    let mut again = Window::open(&broker.url, Visit::to(&ready.session)).await;
    again.ready().await;
    assert_eq!(roots(&broker, &ready.session).await, before);
}
