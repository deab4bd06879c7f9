//! Configuration and plugins change under live terminals.

use std::time::{Duration, Instant};

use crate::support::{Broker, Client, Sandboxd, plugin};

fn config(provider: &str, rest: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = {provider:?}\n{rest}")
}

/// Numbered lines for half a minute: a lost, doubled or foreign one shows.
const STREAM: &str = "stty -echo; i=0; while [ $i -lt 600 ]; do i=$((i+1)); echo \"line $i of it\"; sleep 0.05; done; \
                      echo \"last $i\"; exit\n";

async fn streaming(broker: &Broker) -> Client {
    let mut client = broker.connect().await;
    client.ready().await;
    client.input(STREAM).await;
    client.expect("line 1 of it\r\n").await;
    client
}

#[tokio::test]
async fn a_provider_swap_disturbs_no_live_terminal() {
    let (one, two) = (Sandboxd::start().await, Sandboxd::start().await);
    let sections = format!("{}{}", one.section("one"), two.section("two"));
    let broker = Broker::start(&config("one", &sections)).await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(tokio::spawn(whole(streaming(&broker).await)));
    }
    one.has(20).await;
    let edited = Instant::now();
    broker.edit(&config("two", &sections));
    let mut next = loop {
        let mut client = broker.connect().await;
        let ready = client.ready().await;
        if ready["provider"] == "two" {
            break client;
        }
    };
    let took = edited.elapsed();
    next.input("echo on two\n").await;
    next.expect("on two").await;
    two.has(1).await;
    println!("the new provider served after {took:?}");
    let mut lines = 0;
    for reader in readers {
        lines += reader.await.unwrap();
    }
    println!("20 terminals printed {lines} lines");
    one.has(0).await;
    assert!(took < Duration::from_secs(10), "the swap took {took:?}");
}

/// Reads the rest of a stream, whose first line has passed, and checks that no
/// line is missing. Returns their number.
async fn whole(mut client: Client) -> usize {
    assert_eq!(client.closed().await.code, 1000);
    let mut n = 1;
    for line in client.screen.split("\r\n") {
        if let Some(last) = line.strip_prefix("last ") {
            assert_eq!(last, n.to_string());
            return n;
        }
        n += 1;
        assert_eq!(line, format!("line {n} of it"));
    }
    panic!("the stream has no last line");
}

#[tokio::test]
async fn an_invalid_edit_changes_nothing_and_says_where() {
    let server = Sandboxd::start().await;
    let good = config("box", &server.section("box"));
    let broker = Broker::start(&good).await;
    let mut live = broker.connect().await;
    live.ready().await;
    for (bad, place) in [
        (good.replace("provider = \"box\"", "provider = \"bx\""), "broker.toml:4:12"),
        (good.replace("[sandbox]", "[sandbox]\ntimeout = true"), "broker.toml:4:11"),
        (good.replace("[sandbox]", "[sandbox\n"), "broker.toml:3:"),
        (good.replace("api_url", "api_urll"), "broker.toml:10:"),
    ] {
        broker.edit(&bad);
        broker.logs(place).await;
    }
    let status: serde_json::Value = broker.get("/api/status").await.json().await.unwrap();
    assert_eq!(status["config"]["generation"], 1);
    assert!(status["config"]["error"].as_str().unwrap().contains("broker.toml:10:"), "{status}");
    assert_eq!(broker.get("/health").await.status(), 200);
    live.input("echo al\"\"ive\n").await;
    live.expect("alive").await;
    broker.connect().await.ready().await;
}

#[tokio::test]
async fn a_plugin_replaced_on_disk_serves_the_next_terminal() {
    let server = Sandboxd::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.wasm");
    std::fs::copy(plugin("e2b"), &path).unwrap();
    let section = server.section("box").replace("plugin = \"e2b\"", &format!("plugin = {path:?}"));
    let broker = Broker::start(&config("box", &section)).await;
    let mut live = broker.connect().await;
    live.ready().await;
    // A file that is no plugin is refused and the old one goes on.
    std::fs::write(directory.path().join("new"), "not wasm").unwrap();
    std::fs::rename(directory.path().join("new"), &path).unwrap();
    broker.logs("not a WebAssembly component").await;
    broker.connect().await.ready().await;
    // Another plugin with the same configuration takes over.
    let mut bytes = std::fs::read(plugin("e2b")).unwrap();
    // An empty custom section named "x": other bytes, same meaning.
    bytes.extend_from_slice(&[0, 2, 1, b'x']);
    std::fs::write(directory.path().join("new"), bytes).unwrap();
    std::fs::rename(directory.path().join("new"), &path).unwrap();
    broker.logs(r#""configuration is live","generation":2"#).await;
    let mut next = broker.connect().await;
    next.ready().await;
    next.input("echo ne\"\"xt\n").await;
    next.expect("next").await;
    live.input("echo li\"\"ve\n").await;
    live.expect("live").await;
}

#[tokio::test]
async fn what_cannot_change_live_is_refused_by_name() {
    let server = Sandboxd::start().await;
    let good = config("box", &server.section("box"));
    let broker = Broker::start(&good).await;
    broker.edit(&good.replace("127.0.0.1:0", "127.0.0.1:1"));
    broker.logs("server.listen").await;
}
