//! A port that is flooded: strangers hold places for seconds, and nobody who has a key waits for them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::TestServer;

/// More than the server keeps of connections that have said nothing, and of all that it keeps together.
const STRANGERS: usize = 4_200;

/// What a client with a key may wait at most while the port is flooded.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a stranger may stay; twice what the server says, for a machine under load.
const STAY: Duration = Duration::from_secs(20);

/// As many connections as there may be, each of which says `words` and no more.
fn flood(address: SocketAddr, number: usize, words: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        // The server may have closed it already.
        let _ = stream.write_all(words);
        stream
    };
    (0..number).map(connect).collect()
}

/// Promise: connections that show no key, whatever half of a request they send, keep no client out and are ended.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_keep_nobody_out() {
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = files.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, files).unwrap();
    let server = TestServer::start().await;
    let address = server.server.addr().unwrap();
    let sandbox = server.create(json!({})).await;
    let mut shell = sandbox.shell().await;
    let heads: [&[u8]; 4] = [b"", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET /v2/sandboxes HTTP/1.1\r\nx-api-key: ", b"G"];
    let flooding = tokio::task::spawn_blocking(move || {
        heads.map(|words| flood(address, STRANGERS / heads.len(), words)).into_iter().flatten().collect::<Vec<_>>()
    });
    let strangers = flooding.await.unwrap();
    let begun = Instant::now();
    // A client that knows the server already, and one that comes now.
    shell.input("echo still:$((1+1))\n").await;
    shell.shows("still:2").await;
    let fresh = reqwest::Client::new().get(format!("{}/v2/sandboxes", server.url)).header("x-api-key", &server.key);
    assert_eq!(fresh.send().await.unwrap().status(), 200);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let ended = tokio::task::spawn_blocking(move || {
        strangers.into_iter().all(|mut stream| {
            stream.set_read_timeout(Some(STAY.saturating_sub(begun.elapsed()).max(Duration::from_millis(1)))).unwrap();
            // The end, or a reset.
            !matches!(stream.read(&mut [0]), Ok(1..)) && begun.elapsed() < STAY
        })
    });
    assert!(ended.await.unwrap(), "a stranger is still there after {STAY:?}");
    shell.input("echo again:$((1+1))\n").await;
    shell.shows("again:2").await;
    server.end().await;
}
