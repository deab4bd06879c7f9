//! The terminal as a client that knows only level 0 sees it, in any order that
//! a person can cause, and with everything that no client should send.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::harness::{Broker, Client, Frame, Options, Told, soon};
use sandbox_broker_core::sandbox::{Code, Error, Exit, Fault, Size};
use sandbox_broker_terminal as terminal;

fn told_error(message: &str) -> Told {
    Told::Frame(Frame::Error { message: message.to_owned() })
}

#[tokio::test]
async fn a_terminal_from_the_first_stage_to_the_exit_status() {
    let mut broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    let stages = client.ready().await;
    let names = |frame: &Frame| match frame {
        Frame::Status { stage: Some(stage), state: Some(state), .. } => format!("{stage} {state}"),
        other => panic!("{other:?}"),
    };
    let names: Vec<_> = stages.iter().map(names).collect();
    assert_eq!(names, ["create begin", "create done", "shell begin", "shell done"]);

    let mut shell = broker.shell().await;
    client.input("echo $((6*7))\n").await;
    shell.typed("echo $((6*7))\n").await;
    shell.print("42\r\n").await;
    assert_eq!(client.frame().await, Frame::Output { data: "42\r\n".to_owned(), offset: 0 });
    client.resize(120, 40).await;
    assert_eq!(shell.resized().await, Size { cols: 120, rows: 40 });

    shell.print("bye").await;
    shell.exit(Exit::Code(3));
    assert_eq!(client.frame().await, Frame::Output { data: "bye".to_owned(), offset: 4 });
    let how = "the shell ended with exit status 3".to_owned();
    assert_eq!(client.frame().await, Frame::Status { message: how.clone(), stage: None, state: None });
    assert_eq!(client.told().await, Told::Close(1000, how));
    assert_eq!(client.told().await, Told::Broken);
    broker.alive(0).await;
}

#[tokio::test]
async fn ready_names_the_session_its_provider_and_its_isolation() {
    let broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    let ready = loop {
        if let ready @ Frame::Ready { .. } = client.frame().await {
            break ready;
        }
    };
    let listed = broker.get("/api/status", "").await.json();
    assert_eq!(listed["sessions"][0]["state"], "running");
    let session = listed["sessions"][0]["id"].as_str().unwrap().to_owned();
    let (provider, isolation) = ("fake".to_owned(), Some("none at all".to_owned()));
    assert_eq!(ready, Frame::Ready { session, offset: 0, provider, isolation });
}

#[tokio::test]
async fn input_and_sizes_before_ready_are_kept() {
    let mut broker = Broker::start(Options::default()).await;
    broker.provider.creates.send_replace(false);
    let mut client = broker.terminal().await;
    client.resize(100, 30).await;
    client.input("ls").await;
    client.resize(200, 50).await;
    client.resize(132, 43).await;
    client.input(" -la\n").await;
    // An answered mistake shows that everything before it was taken.
    client.send_text("?").await;
    client.error().await;
    broker.provider.creates.send_replace(true);
    let mut shell = broker.shell().await;
    assert_eq!(shell.size, Size { cols: 132, rows: 43 });
    shell.typed("ls -la\n").await;
    client.ready().await;
}

#[tokio::test]
async fn a_close_during_creation_leaves_no_sandbox() {
    let broker = Broker::start(Options::default()).await;
    broker.provider.creates.send_replace(false);
    let mut client = broker.terminal().await;
    assert!(matches!(client.frame().await, Frame::Status { .. }));
    client.0.close(None).await.unwrap();
    assert!(matches!(soon(client.0.next()).await, Some(Ok(Message::Close(_)))), "our close is answered");
    broker.provider.creates.send_replace(true);
    soon(async {
        while broker.sessions.count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    broker.alive(0).await;
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_sandbox_with_it() {
    let mut broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    client.ready().await;
    let _shell = broker.shell().await;
    broker.alive(1).await;
    drop(client);
    broker.alive(0).await;
}

#[tokio::test]
async fn a_close_is_noticed_although_the_shell_takes_no_input() {
    let mut broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    client.ready().await;
    let _shell = broker.shell().await; // reads nothing
    for _ in 0..2000 {
        client.input("are you there? ").await;
    }
    client.0.close(None).await.unwrap();
    broker.alive(0).await;
}

#[tokio::test]
async fn a_large_paste_arrives_whole() {
    let mut broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    client.ready().await;
    let mut shell = broker.shell().await;
    let pasted = "0123456789\u{1b}é\n".repeat(12_000); // 240 KB as JSON
    let all = pasted.repeat(4);
    let typing = async {
        for _ in 0..4 {
            client.input(&pasted).await;
        }
    };
    tokio::join!(typing, shell.typed(&all));
}

#[tokio::test]
async fn a_client_that_does_not_read_can_still_type() {
    let mut broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    client.ready().await;
    let mut shell = broker.shell().await;
    let flood = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut printed = 0;
    // Until the network, the log and the pipe are full.
    while shell.output.clone().reserve().now_or_never().is_some() || broker.sessions.count() == 0 {
        shell.print(flood.clone()).await;
        printed += flood.len();
        tokio::task::yield_now().await;
        assert!(printed < 64 << 20, "nothing bounds what a client that does not read costs");
    }
    client.input("\u{3}").await;
    shell.typed("\u{3}").await;
    // It reads on and gets every byte.
    shell.exit(Exit::Signal("SIGINT".to_owned()));
    let all = client.output(printed).await;
    assert_eq!(all.len(), printed);
    assert!(all.bytes().all(|byte| byte == b'x'));
    assert!(matches!(client.frame().await, Frame::Status { .. }));
    assert!(matches!(client.told().await, Told::Close(1000, _)));
}

#[tokio::test]
async fn a_code_point_is_not_torn_and_offsets_count_bytes() {
    let mut broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    client.ready().await;
    let shell = broker.shell().await;
    let mut stream = Vec::new();
    for n in 0..5000u32 {
        let piece = [format!("{n} é😀\u{1b}[0m").as_bytes(), &[0xF0, 0x9F, (n % 256) as u8]].concat();
        // Torn at a place that differs each time.
        let (front, back) = piece.split_at(n as usize % piece.len());
        for part in [front, back].into_iter().filter(|part| !part.is_empty()) {
            shell.print(part.to_vec()).await;
        }
        stream.extend(piece);
    }
    stream.extend(b"\xE2\x82"); // never finished
    shell.print(&b"\xE2\x82"[..]).await;
    shell.exit(Exit::Code(0));
    let mut all = String::new();
    while let Frame::Output { data, offset } = client.frame().await {
        assert_eq!(String::from_utf8_lossy(&stream[..offset as usize]), all, "offset {offset}");
        all.push_str(&data);
    }
    assert_eq!(all, String::from_utf8_lossy(&stream));
}

#[tokio::test]
async fn under_a_flood_output_is_joined_into_few_frames() {
    let mut broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    client.ready().await;
    let shell = broker.shell().await;
    let chunks = 50_000;
    let printing = async {
        for _ in 0..chunks {
            shell.print("0123456789abcdef").await;
        }
        shell.exit(Exit::Code(0));
    };
    let reading = async {
        let (mut frames, mut bytes) = (0, 0);
        while let Frame::Output { data, .. } = client.frame().await {
            assert!(data.len() <= 32 * 1024);
            frames += 1;
            bytes += data.len();
        }
        (frames, bytes)
    };
    let ((), (frames, bytes)) = tokio::join!(printing, reading);
    assert_eq!(bytes, chunks * 16);
    assert!(frames < chunks / 4, "{frames} frames for {chunks} chunks");
}

#[tokio::test]
async fn each_malformed_message_is_answered_and_the_terminal_lives_on() {
    let mut broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    client.ready().await;
    let mut shell = broker.shell().await;
    for (message, words) in [
        (json!({ "type": "resize", "cols": "80", "rows": 24 }), "`cols` must be a number, found \"80\""),
        (json!({ "type": "input", "data": 7 }), "`data` must be a string, found 7"),
        (json!({ "type": "kill" }), "`type` must be \"input\" or \"resize\", found \"kill\""),
        (json!([]), "a message must be a JSON object, found an array"),
    ] {
        client.send(message).await;
        assert_eq!(client.error().await, words);
    }
    soon(client.0.send(Message::binary(b"\x01ls\n".to_vec()))).await.unwrap();
    assert_eq!(client.error().await, "a message must be text, found a binary message");
    client.input("still here").await;
    shell.typed("still here").await;
}

#[tokio::test]
async fn a_client_that_goes_on_malformed_is_closed_with_1008() {
    let broker = Broker::start(Options::default()).await;
    let mut client = broker.terminal().await;
    for _ in 0..32 {
        client.send_text("?").await;
        assert!(client.error().await.starts_with("a message must be JSON"));
    }
    client.send_text("?").await;
    let why = "too many malformed messages; this is no client of this protocol";
    assert_eq!(client.error().await, why);
    assert_eq!(client.told().await, Told::Close(1008, why.to_owned()));
    broker.alive(0).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_closed_with_1009_that_arrives() {
    for frames in [1, 3] {
        let broker = Broker::start(Options::default()).await;
        let mut client = broker.terminal().await;
        client.ready().await;
        // Far more than is read of it, so that a hasty close would reset the
        // connection and lose the last words.
        let part = "a".repeat((2 << 20) / frames);
        let socket = &mut client.0;
        let sending = async {
            let frame = |n: usize| {
                use tokio_tungstenite::tungstenite::protocol::frame::{
                    Frame,
                    coding::{Data, OpCode},
                };
                let kind = if n == 0 { Data::Text } else { Data::Continue };
                Message::Frame(Frame::message(part.clone(), OpCode::Data(kind), n + 1 == frames))
            };
            for n in 0..frames {
                if socket.send(frame(n)).await.is_err() {
                    break; // the server reads no further
                }
            }
        };
        soon(sending).await;
        let message = client.error().await;
        assert!(message.ends_with("is too large; send at most 524288 at a time"), "{message}");
        assert!(matches!(client.told().await, Told::Close(1009, _)));
        broker.alive(0).await;
    }
}

#[tokio::test]
async fn last_words_are_followed_by_an_end_and_not_by_a_reset() {
    let broker = Broker::start(Options::default()).await;
    let mut stream = TcpStream::connect(broker.address).await.unwrap();
    stream.write_all(upgrade(&broker).as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut told = Vec::new();
    let large = [&[0x81, 0xFF][..], &(4u64 << 20).to_be_bytes(), &[0; 4], &vec![b'a'; 4 << 20]].concat();
    let (read, written) = soon(async { tokio::join!(read.read_to_end(&mut told), write.write_all(&large)) }).await;
    read.expect("a reset may overtake the last words");
    written.expect("what is sent is thrown away, not refused");
    let close = |bytes: &[u8]| bytes[0] == 0x88 && bytes[2..] == 1009u16.to_be_bytes();
    assert!(told.windows(4).any(close), "{:?}", String::from_utf8_lossy(&told));
}

/// A handshake, as bytes.
fn upgrade(broker: &Broker) -> String {
    format!(
        "GET /terminal HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        broker.address
    )
}

#[tokio::test]
async fn a_hundred_thousand_random_messages_do_no_harm() {
    if !alone("tests::terminal::a_hundred_thousand_random_messages_do_no_harm").await {
        return;
    }
    let limits = terminal::Limits { bad_frames: u32::MAX, ..terminal::Limits::default() };
    let mut broker = Broker::start(Options { terminal: limits, ..Options::default() }).await;
    let mut client = broker.terminal().await;
    client.ready().await;
    let mut shell = broker.shell().await;
    let before = resident();
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    for n in 0..100_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let text = format!(
            "{}{random:x}",
            ["", "{", "[", "{\"type\":\"input\",\"data\":", "{\"type\":\"resize\",\"cols\":"][n % 5]
        );
        let message = if random.is_multiple_of(16) { Message::binary(text) } else { Message::text(text) };
        soon(client.0.send(message)).await.unwrap();
        if n % 16 == 15 {
            // Reads what it was told, so that all of them were answered.
            for _ in 0..16 {
                client.error().await;
            }
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 << 20, "grew by {grown} bytes");
    client.input("still here").await;
    shell.typed("still here").await;
}

/// Runs the test of this name again in a process of its own, where no other
/// test changes what is measured; whether this is that process.
async fn alone(test: &str) -> bool {
    const ALONE: &str = "SANDBOX_BROKER_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut again = tokio::process::Command::new(std::env::current_exe().unwrap());
    let ran =
        soon(again.args(["--exact", test, "--nocapture"]).env(ALONE, "1").kill_on_drop(true).output()).await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    false
}

/// Bytes of memory that this process holds.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn a_failure_says_what_failed_and_closes_with_its_code() {
    for (fault, code, close) in [
        (Fault::Provider, Code::Unavailable, 4500),
        (Fault::Operator, Code::Unauthenticated, 4500),
        (Fault::Provider, Code::ResourceExhausted, 1013),
        (Fault::Broker, Code::Internal, 1011),
    ] {
        let broker = Broker::start(Options::default()).await;
        *broker.provider.refusal.lock().unwrap() = Some(Error::new(fault, code, "no sandbox today"));
        let mut client = broker.terminal().await;
        let why = "Failed to create sandbox: no sandbox today";
        assert_eq!(client.error().await, why);
        assert_eq!(client.told().await, Told::Close(close, why.to_owned()));
    }
}

#[tokio::test]
async fn a_full_broker_asks_to_try_again_later() {
    let broker = Broker::start(Options { max_sessions: 1, ..Options::default() }).await;
    let mut first = broker.terminal().await;
    first.ready().await;
    let mut second = broker.terminal().await;
    assert!(second.error().await.contains("limit of 1 sessions"));
    assert!(matches!(second.told().await, Told::Close(1013, _)));
}

#[tokio::test]
async fn a_shutdown_tells_every_terminal_and_ends_every_connection() {
    let broker = Broker::start(Options::default()).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = broker.terminal().await;
        client.ready().await;
        clients.push(client);
    }
    broker.sessions.shutdown().await;
    assert_eq!(*broker.provider.alive.borrow(), 0);
    for client in &mut clients {
        assert!(client.error().await.contains("shutting down"));
        assert!(matches!(client.told().await, Told::Close(1001, _)));
    }
    let mut late = broker.terminal().await;
    late.error().await;
    assert!(matches!(late.told().await, Told::Close(1001, _)));
    drop((clients, late));
    assert_eq!(broker.stop().await, 0);
}

#[tokio::test]
async fn a_terminal_ends_when_its_sign_in_does() {
    let broker = Broker::start(Options::default().token("one").token("two")).await;
    let (cookie, _) = broker.sign_in("one").await;
    let origin = broker.origin();
    let mut by_cookie = broker.terminal_with(&[("cookie", &cookie), ("origin", &origin)]).await;
    let mut by_token = broker.terminal_with(&[("authorization", "Bearer one")]).await;
    let mut other = broker.terminal_with(&[("authorization", "Bearer two")]).await;
    for client in [&mut by_cookie, &mut by_token, &mut other] {
        client.ready().await;
    }
    broker.ask("POST", "/sign-out", &broker.own_page(&cookie)).await;
    assert_eq!(by_cookie.told().await, told_error("signed out; sign in again"));
    assert!(matches!(by_cookie.told().await, Told::Close(4401, _)));
    broker.alive(2).await;
    broker.set_tokens(&["two"]);
    assert_eq!(by_token.told().await, told_error("signed out; sign in again"));
    assert!(matches!(by_token.told().await, Told::Close(4401, _)));
    broker.alive(1).await;
}

/// A client over a pipe, whose broker's clock is the test's.
async fn on_a_pipe(broker: &Broker) -> Client<tokio::io::DuplexStream> {
    let (ours, theirs) = duplex(1 << 20);
    broker.serve_on(ours);
    let mut client = Client::open(theirs, broker.address, &[]).await;
    client.ready().await;
    client
}

#[tokio::test(start_paused = true)]
async fn a_dead_client_is_noticed_within_thirty_seconds() {
    let broker = Broker::start(Options::default()).await;
    let _client = on_a_pipe(&broker).await; // is never polled again, so it answers no ping
    let since = Instant::now();
    broker.alive(1).await;
    broker.alive(0).await;
    let noticed = since.elapsed();
    assert!((Duration::from_secs(20)..=Duration::from_secs(30)).contains(&noticed), "{noticed:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_that_answers_pings_is_left_alone() {
    let broker = Broker::start(Options::default()).await;
    let mut client = on_a_pipe(&broker).await;
    let quiet = tokio::time::timeout(Duration::from_secs(1800), client.told()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    broker.alive(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_but_types_is_alive() {
    let mut broker = Broker::start(Options::default()).await;
    let (ours, theirs) = duplex(8 * 1024);
    broker.serve_on(ours);
    let mut client = Client::open(theirs, broker.address, &[]).await;
    client.ready().await;
    let mut shell = broker.shell().await;
    shell.print(vec![b'x'; 64 * 1024]).await; // more than the pipe holds
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(15)).await;
        client.input("k").await;
        shell.typed("k").await;
    }
    broker.alive(1).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_closed_with_4408() {
    let mut broker = Broker::start(Options::default()).await;
    let mut client = on_a_pipe(&broker).await;
    let _shell = broker.shell().await;
    let idle = tokio::time::timeout(Duration::from_secs(2 * 3600), client.error()).await.unwrap();
    assert_eq!(idle, "the session ended after 1 h without input or output");
    assert!(matches!(client.told().await, Told::Close(4408, _)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_close_is_cut_off() {
    let mut broker = Broker::start(Options::default().token("right")).await;
    let (ours, theirs) = duplex(8 * 1024);
    broker.serve_on(ours);
    let mut client = Client::open(theirs, broker.address, &[("authorization", "Bearer right")]).await;
    client.ready().await;
    let shell = broker.shell().await;
    shell.print(vec![b'x'; 64 * 1024]).await; // more than the pipe holds
    broker.set_tokens(&["another"]);
    broker.alive(0).await; // at once, whatever the client does
    let since = Instant::now();
    // It goes on typing and reads nothing, until nobody takes it any more.
    while client.0.send(Message::text("?")).await.is_ok() {
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(since.elapsed() < Duration::from_secs(10), "still open");
    }
}

#[tokio::test]
async fn what_is_no_upgrade_is_told_so() {
    let broker = Broker::start(Options::default()).await;
    let answer = broker.get("/terminal", "").await;
    assert_eq!(answer.status, 426);
    assert!(answer.error().starts_with("this address speaks WebSocket only"), "{answer:?}");
    assert_eq!(answer.json()["code"], "not_a_websocket");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let answer = broker.get("/terminal", &format!("{upgrade}Sec-WebSocket-Version: 8\r\n")).await;
    assert_eq!(answer.status, 426);
    assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    assert_eq!(broker.sessions.count(), 0);
}

/// As proxies do that were not told of WebSockets.
#[tokio::test]
async fn an_upgrade_that_was_taken_away_is_told_as_that() {
    const ASKS: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let broker = Broker::start(Options::default()).await;
    for (version, fields) in [
        ("1.1", ""),
        ("1.1", "Connection: close\r\n"),
        ("1.1", "Connection: close\r\nUpgrade: websocket\r\n"),
        ("1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    ] {
        let head = format!("GET /terminal HTTP/{version}\r\nHost: {}\r\n{ASKS}{fields}\r\n", broker.address);
        let answer = broker.send(&head).await;
        assert_eq!((answer.status, &answer.json()["code"]), (426, &"upgrade_taken_away".into()), "{answer:?}");
        assert!(answer.error().contains("hand on `Upgrade` and `Connection`"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_offer_of_compression_is_not_taken() {
    let broker = Broker::start(Options::default()).await;
    // `Client::open` checks that no extension and no subprotocol was chosen.
    let offers = [("sec-websocket-extensions", "permessage-deflate"), ("x-unknown", "a")];
    broker.terminal_with(&offers).await.ready().await;
}

#[tokio::test]
async fn a_thousand_torn_handshakes_leave_nothing() {
    let broker = Broker::start(Options::default()).await;
    let upgrade = upgrade(&broker);
    for n in 0..1000 {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        let sent = upgrade.len() * (n % 10 + 1) / 10;
        stream.write_all(&upgrade.as_bytes()[..sent]).await.unwrap();
        if n % 10 == 9 {
            soon(stream.read(&mut [0; 12])).await.unwrap();
        }
    }
    soon(async {
        while broker.sessions.count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    broker.alive(0).await;
}
