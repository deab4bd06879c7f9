//! No sandbox outlives its session, whatever ends it.

use crate::support::{Broker, Frame, Sandboxd, plugin};

fn config(server: &Sandboxd, sandbox: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{sandbox}\n{}", server.section("box"))
}

async fn broker(server: &Sandboxd) -> Broker {
    Broker::start(&config(server, "")).await
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_sandbox_along() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut client = broker.connect().await;
    client.ready().await;
    server.has(1).await;
    client.vanish();
    server.has(0).await;
}

#[tokio::test]
async fn a_client_that_leaves_during_creation_leaves_nothing_behind() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    for _ in 0..10 {
        let mut client = broker.connect().await;
        // The first word of the broker: the create is under way.
        client.next().await.unwrap();
        client.vanish();
    }
    // Each session logs when the server has ended its sandbox, or that none
    // was made; only then does the table of sessions let it go.
    crate::support::eventually("no session", async || {
        let status: serde_json::Value = broker.get("/api/status").await.json().await.unwrap();
        status["sessions"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    server.has(0).await;
}

#[tokio::test]
async fn an_idle_session_ends_with_4408() {
    let server = Sandboxd::start().await;
    let broker = Broker::start(&config(&server, "timeout = \"1s\"")).await;
    let mut client = broker.connect().await;
    client.ready().await;
    assert_eq!(client.closed().await.code, 4408);
    server.has(0).await;
}

#[tokio::test]
async fn a_sandbox_that_dies_behind_the_brokers_back_is_told() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut client = broker.connect().await;
    client.ready().await;
    let id = server.sandboxes().await.remove(0);
    server.kill(&id).await;
    let said = client.error().await;
    assert!(!said.is_empty());
    assert_eq!(client.closed().await.code, 4500);
    server.has(0).await;
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_told_in_words() {
    let server = Sandboxd::start().await;
    // A port of the loopback on which nothing listens any more.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = config(&server, "").replace(&server.url, &format!("http://127.0.0.1:{free}"));
    let broker = Broker::start(&text).await;
    let mut client = broker.connect().await;
    let said = client.error().await;
    assert!(said.contains(&free.to_string()), "it names the address: {said}");
    assert_eq!(client.closed().await.code, 4500);
}

#[tokio::test]
async fn a_wrong_key_is_told_in_words_without_the_key() {
    let server = Sandboxd::start().await;
    let text = config(&server, "").replace(&server.key, "canary-of-a-wrong-key");
    let broker = Broker::start(&text).await;
    let mut client = broker.connect().await;
    let said = client.error().await;
    assert!(said.contains("key"), "{said}");
    assert_eq!(client.closed().await.code, 4500);
    assert!(!said.contains("canary") && !broker.log().contains("canary-of-a-wrong-key"));
}

async fn signal_ends_all(signal: &str) {
    let server = Sandboxd::start().await;
    let mut broker = broker(&server).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(broker.connect().await);
    }
    for client in &mut clients {
        client.ready().await;
    }
    server.has(5).await;
    broker.signal(signal);
    for client in &mut clients {
        assert_eq!(client.closed().await.code, 1001);
    }
    assert!(broker.ended().await.success());
    assert_eq!(server.sandboxes().await, Vec::<String>::new());
}

#[tokio::test]
async fn sigterm_ends_every_sandbox_before_the_program() {
    signal_ends_all("TERM").await;
}

#[tokio::test]
async fn sigint_does_the_same() {
    signal_ends_all("INT").await;
}

#[tokio::test]
async fn a_second_signal_ends_the_program_at_once() {
    let server = Sandboxd::start().await;
    // A server that accepts and never answers: the kill would take long.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let text = config(&server, "").replace(&server.url, &url);
    let mut broker = Broker::start(&text).await;
    let mut client = broker.connect().await;
    client.next().await.unwrap();
    broker.signal("TERM");
    broker.logs("shutting down").await;
    broker.signal("TERM");
    assert!(!broker.ended().await.success());
}

#[tokio::test]
async fn after_kill_9_the_lease_ends_the_sandbox() {
    let server = Sandboxd::start().await;
    let mut broker = Broker::start(&config(&server, "lease = \"3s\"")).await;
    let mut client = broker.connect().await;
    client.ready().await;
    server.has(1).await;
    broker.signal("KILL");
    broker.ended().await;
    server.has(0).await;
}

#[tokio::test]
async fn a_lease_is_renewed_while_the_session_lives() {
    let server = Sandboxd::start().await;
    let broker = Broker::start(&config(&server, "lease = \"3s\"")).await;
    let mut client = broker.connect().await;
    client.ready().await;
    // Twice the lease, counted by the shell.
    client.input("for i in 1 2 3 4 5 6; do sleep 1; echo tick $i; done\n").await;
    client.expect("tick 6\r\n").await;
    server.has(1).await;
}

#[tokio::test]
async fn a_plugin_that_traps_in_mid_session_ends_with_a_clear_error() {
    let hostile = plugin("guests/hostile");
    let broker = Broker::start(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"h\"\n[providers.h]\nplugin = {hostile:?}\n\
         [providers.h.config]\nwhen = \"input\"\nharm = \"trap\"\n"
    ))
    .await;
    let mut client = broker.connect().await;
    client.ready().await;
    client.input("x").await;
    let said = client.error().await;
    assert!(said.contains("plugin"), "{said}");
    client.closed().await;
    // The sandbox is killed by a fresh instance.
    broker.logs("sandbox ended").await;
    assert!(client.said.iter().filter(|f| matches!(f, Frame::Error(_))).count() == 1);
}
