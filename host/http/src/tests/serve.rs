//! The accept loop's bounds: slow, silent, too large, too many.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::harness::{Answer, Broker, Options, soon};
use crate::Limits;

/// What a peer may send that is never a whole request.
const UNFINISHED: [&str; 3] = ["", "GET /health HT", "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n"];

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_come_is_cut_within_ten_seconds() {
    let broker = Broker::start(Options::default()).await;
    for beginning in UNFINISHED {
        let (ours, mut theirs) = duplex(1024);
        broker.serve_on(ours);
        let since = Instant::now();
        theirs.write_all(beginning.as_bytes()).await.unwrap();
        let end = theirs.read(&mut [0; 1]).await;
        assert!(matches!(end, Ok(0)), "{beginning:?}: {end:?}");
        assert!(since.elapsed() <= Duration::from_secs(10), "{beginning:?} took {:?}", since.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_that_drips_in_is_cut_within_ten_seconds() {
    let broker = Broker::start(Options::default()).await;
    let (ours, mut theirs) = duplex(1024);
    broker.serve_on(ours);
    let since = Instant::now();
    theirs.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    while theirs.write_all(b"a: b\r\n").await.is_ok() && since.elapsed() < Duration::from_secs(60) {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(since.elapsed() <= Duration::from_secs(10), "took {:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_answered_408() {
    let broker = Broker::start(Options::default()).await;
    let (ours, mut theirs) = duplex(4096);
    broker.serve_on(ours);
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nHost: {}\r\nContent-Length: 9\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\ntok",
        broker.address
    );
    theirs.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    theirs.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_is_given_up() {
    let broker = Broker::start(Options::default()).await;
    let (ours, mut theirs) = duplex(16);
    let served = broker.serve_on(ours);
    let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", broker.address);
    theirs.write_all(request.as_bytes()).await.unwrap();
    let since = Instant::now();
    served.await.unwrap();
    assert!(since.elapsed() <= Duration::from_secs(70), "took {:?}", since.elapsed());
}

#[tokio::test]
async fn three_hundred_slow_handshakes_are_cut_while_good_ones_go_on() {
    let limits = Limits { head: Duration::from_millis(500), ..Limits::default() };
    let broker = Broker::start(Options { limits, ..Options::default() }).await;
    let mut slow = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        stream.write_all(UNFINISHED[n % 3].as_bytes()).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(broker.get("/health", "").await.status, 200);
    }
    for mut stream in slow {
        // The end or a reset: the server is rid of it either way.
        let end = soon(stream.read(&mut [0; 1])).await;
        assert!(!matches!(end, Ok(1..)), "a slow handshake was answered");
    }
}

#[tokio::test]
async fn a_head_beyond_its_bounds_is_refused_in_words() {
    let broker = Broker::start(Options::default()).await;
    let large = format!("X-Large: {}\r\n", "a".repeat(33 * 1024));
    let many: String = (0..129).map(|n| format!("X-{n}: a\r\n")).collect();
    for fields in [large, many] {
        let answer = broker.get("/health", &fields).await;
        assert_eq!((answer.status, &answer.json()["code"]), (431, &"head_too_large".into()), "{answer:?}");
        assert!(answer.error().contains("32 KiB or 128 fields; cookies"), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_words() {
    let broker = Broker::start(Options::default()).await;
    let answer = broker.send("HELLO\r\n\r\n").await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &"malformed_request".into()), "{answer:?}");
}

const ASKS: &str = "GET /health HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n";

/// Reads one answer on a connection that is kept.
async fn answered(stream: &mut (impl AsyncReadExt + Unpin)) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !Answer::parse(&bytes).is_whole() {
        let read = soon(stream.read(&mut buffer)).await.unwrap();
        assert_ne!(read, 0, "cut");
        bytes.extend_from_slice(&buffer[..read]);
    }
    Answer::parse(&bytes)
}

/// A proxy sends its next request on a connection that it has kept. Had the
/// broker closed it at that moment, the proxy would answer 502.
#[tokio::test(start_paused = true)]
async fn a_connection_waits_longer_for_its_next_request_than_proxies_keep_it() {
    let broker = Broker::start(Options::default()).await;
    let (ours, mut theirs) = duplex(64 * 1024);
    broker.serve_on(ours);
    // As long as a balancer of Google keeps one.
    for pause in [0, 9, 61, 600, 600] {
        tokio::time::advance(Duration::from_secs(pause)).await;
        theirs.write_all(ASKS.as_bytes()).await.unwrap();
        let answer = answered(&mut theirs).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("connection"), None, "it goes on");
    }
    let since = Instant::now();
    assert!(matches!(theirs.read(&mut [0; 1]).await, Ok(0)));
    assert!((600..=630).contains(&since.elapsed().as_secs()), "took {:?}", since.elapsed());
}

/// hyper closes such a connection. A proxy that was not told would send on it,
/// and answer 502.
#[tokio::test]
async fn an_answer_before_the_end_of_its_request_says_that_the_connection_ends() {
    let broker = Broker::start(Options::default().token("right")).await;
    for (body, ends) in [("a".repeat(1 << 20), true), (String::new(), false)] {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        let head = format!("PUT /api/sessions/x/files/content?path=/x HTTP/1.1\r\nHost: {}\r\n", broker.address);
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let (mut read, mut write) = stream.split();
        let (answer, _) = tokio::join!(answered(&mut read), write.write_all(request.as_bytes()));
        assert_eq!((answer.status, answer.header("connection")), (401, ends.then_some("close")), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_header_that_drips_in_is_cut_within_ten_seconds() {
    let broker = Broker::start(Options::default()).await;
    let (ours, mut theirs) = duplex(64 * 1024);
    broker.serve_on(ours);
    theirs.write_all(ASKS.as_bytes()).await.unwrap();
    assert_eq!(answered(&mut theirs).await.status, 200);
    tokio::time::advance(Duration::from_secs(100)).await;
    let since = Instant::now();
    theirs.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    while theirs.write_all(b"a: b\r\n").await.is_ok() && since.elapsed() < Duration::from_secs(60) {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(since.elapsed() <= Duration::from_secs(10), "took {:?}", since.elapsed());
}

#[tokio::test]
async fn where_every_place_is_taken_a_connection_without_a_request_gives_way() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let broker = Broker::start(Options { limits, ..Options::default() }).await;
    let mut terminal = broker.terminal().await;
    terminal.ready().await;
    let mut known = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        ask_on(&mut stream, &broker, "/api/sessions").await;
        known.push(stream);
    }
    assert_eq!(broker.get("/health", "").await.status, 200);
    assert_eq!(soon(known[0].read(&mut [0; 1])).await.unwrap_or(0), 0, "the oldest is cut");
    terminal.input("still here").await;
}

/// All services of a company's domain set cookies for it, and proxies add
/// fields.
#[tokio::test]
async fn twenty_kilobytes_of_cookies_and_seventy_fields_are_served() {
    let broker = Broker::start(Options::default()).await;
    let cookies = format!("Cookie: a={}\r\n", "a".repeat(20 << 10));
    let many: String = (0..70).map(|n| format!("X-{n}: a\r\n")).collect();
    for fields in [&cookies, &many, &format!("{cookies}{many}")] {
        assert_eq!(broker.get("/api/status", fields).await.status, 200);
        let terminal = format!("{fields}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
        let terminal = format!("{terminal}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        assert_eq!(broker.get("/terminal", &terminal).await.status, 101);
    }
}

#[tokio::test]
async fn a_body_beyond_its_bound_is_refused_in_words_that_arrive() {
    let broker = Broker::start(Options::default().token("right")).await;
    let answer = broker.post("/sign-in", &format!("token={}", "a".repeat(1 << 20))).await;
    assert_eq!(answer.status, 413, "{answer:?}");
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_a_place() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let broker = Broker::start(Options { limits, ..Options::default() }).await;
    let mut held = vec![broker.terminal().await, broker.terminal().await];
    for client in &mut held {
        client.ready().await;
    }
    let third = broker.get("/health", "");
    tokio::pin!(third);
    let waits = futures_util::poll!(&mut third);
    assert!(waits.is_pending());
    drop(held.pop());
    assert_eq!(third.await.status, 200);
}

/// A request's head that is never whole: bytes come as long as anybody reads.
async fn drip(address: std::net::SocketAddr) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    _ = stream.write_all(UNFINISHED[2].as_bytes()).await;
    let mut drops = tokio::time::interval(Duration::from_millis(200));
    while stream.write_all(b"X-A: b\r\n").await.is_ok() {
        drops.tick().await;
    }
}

#[tokio::test]
async fn a_flood_of_dripping_heads_takes_no_place_from_those_who_ask_or_are_there() {
    let limits = Limits { connections: 256, of_one: 64, ..Limits::default() };
    let mut broker = Broker::start(Options { limits, ..Options::default().token("right") }).await;
    let bearer = [("authorization", "Bearer right")];
    let mut client = broker.terminal_with(&bearer).await;
    client.ready().await;
    let mut shell = broker.shell().await;
    let flood: Vec<_> = (0..1500).map(|_| AbortOnDropHandle::new(tokio::spawn(drip(broker.address)))).collect();
    // Until they have taken what they may, nothing is shown.
    soon(async {
        while broker.door.connections() < 64 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..25 {
        assert_eq!(broker.get("/health", "").await.status, 200);
        assert_eq!(broker.get("/api/status", "Authorization: Bearer right\r\n").await.status, 200);
        assert!(broker.door.connections() <= 64 + 8, "{}", broker.door.connections());
    }
    client.input("still here").await;
    shell.typed("still here").await;
    broker.terminal_with(&bearer).await.ready().await;
    drop(flood);
}

#[tokio::test]
async fn who_was_let_in_gives_way_to_nobody() {
    let limits = Limits { connections: 8, of_one: 2, ..Limits::default() };
    let broker = Broker::start(Options { limits, ..Options::default() }).await;
    let mut known = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        ask_on(&mut stream, &broker, "/api/sessions").await;
        known.push(stream);
    }
    // Strangers, each of which takes the place of the last but one.
    for _ in 0..20 {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        ask_on(&mut stream, &broker, "/health").await;
    }
    for stream in &mut known {
        ask_on(stream, &broker, "/api/sessions").await;
    }
}

/// Asks on a connection that is kept, and reads the answer.
async fn ask_on(stream: &mut TcpStream, broker: &Broker, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", broker.address).as_bytes()).await.unwrap();
    assert_eq!(answered(stream).await.status, 200);
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_tells_how_many_stayed() {
    let broker = Broker::start(Options::default()).await;
    let mut idle = TcpStream::connect(broker.address).await.unwrap();
    let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", broker.address);
    idle.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(soon(idle.read(&mut [0; 1])).await.unwrap(), 1);
    let address = broker.address;
    assert_eq!(soon(broker.stop()).await, 0);
    assert!(TcpStream::connect(address).await.is_err(), "still listening");
}
