//! Connections that the host opens for a plugin and carries itself: their bytes, their ends, and that no instance of the
//! plugin lives while they flow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use sandbox_broker_config::{Binding, BoundSecret, Carry, EgressGrant, PluginLimits};
use sandbox_broker_core::sandbox::{
    Call, Code, Command, Error, Exit, Fault, Process, Provider as _, SandboxRef, await_exit,
};
use sandbox_broker_plugin::{ComponentProvider, Engine, Section};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::support::{bare_section, plugin};

const SECRET: &str = "sk-relayed-0123456789";

/// Room for a handful of instances.
const TOTAL_MEMORY: u64 = 16 << 20;

/// The plugin, whose settings are `config`.
async fn relay(grant: &str, config: Value, secret: Option<&str>) -> Arc<ComponentProvider> {
    let grant = EgressGrant::parse(grant).unwrap();
    let to = secret.map(|to| EgressGrant::parse(to).unwrap());
    let bound = |to| BoundSecret {
        value: SECRET.to_owned().into(),
        binding: Binding { to: vec![to], carry: Some(Carry::Bearer), sas: None },
    };
    let secrets: BTreeMap<String, BoundSecret> = to.map(|to| ("key".to_owned(), bound(to))).into_iter().collect();
    let limits = PluginLimits {
        memory: 4 << 20,
        total_memory: TOTAL_MEMORY,
        cpu: Duration::from_secs(1),
        call_timeout: Duration::from_secs(30),
    };
    let section =
        Section { name: "relay".into(), allow: vec![grant], secrets: secrets.into(), limits, ..bare_section(config) };
    let plugin = Engine::new(None).unwrap().load(&plugin("guests/relay")).await.unwrap();
    Arc::new(ComponentProvider::new(plugin, section).unwrap())
}

/// A connection as a process.
async fn start(relay: &ComponentProvider, stdin: mpsc::Receiver<Bytes>) -> Result<Process, Error> {
    let command = Command { argv: vec!["x".into()], ..Command::default() };
    let sandbox = SandboxRef { id: "s".into(), state: Bytes::new() };
    relay.run(&Call::default(), &sandbox, &command, stdin).await
}

/// A connection as a process, and its standard input.
async fn run(relay: &ComponentProvider) -> Result<(Process, mpsc::Sender<Bytes>), Error> {
    let (input, stdin) = mpsc::channel(8);
    Ok((start(relay, stdin).await?, input))
}

async fn all(mut from: mpsc::Receiver<Bytes>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = from.recv().await {
        all.extend_from_slice(&chunk);
    }
    all
}

/// Sends `input`, ends it, and returns both outputs and the end.
async fn through(relay: &ComponentProvider, input: &[u8]) -> Result<(Vec<u8>, Vec<u8>, Result<Exit, Error>), Error> {
    let (to, stdin) = mpsc::channel(8);
    let chunks: Vec<Bytes> = input.chunks(50_000).map(Bytes::copy_from_slice).collect();
    // A plugin may wait for the first bytes before it returns.
    tokio::spawn(async move {
        for chunk in chunks {
            if to.send(chunk).await.is_err() {
                return;
            }
        }
    });
    let Process { stdout, stderr, mut done, lifetime, .. } = start(relay, stdin).await?;
    let (first, second) = tokio::join!(all(stdout), all(stderr));
    let end = await_exit(&mut done).await;
    drop(lifetime);
    Ok((first, second, end))
}

/// Sends back what it gets until that ends.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut room = vec![0; 32 << 10];
    while let Ok(n) = stream.read(&mut room).await
        && n > 0
    {
        stream.write_all(&room[..n]).await.unwrap();
    }
    stream.shutdown().await.unwrap();
}

/// Reads the head of a request and so many bytes of body.
async fn request(stream: &mut (impl AsyncRead + Unpin), body: usize) -> String {
    let mut seen = Vec::new();
    let head = loop {
        seen.push(stream.read_u8().await.unwrap());
        if seen.ends_with(b"\r\n\r\n") {
            break String::from_utf8(seen).unwrap();
        }
    };
    stream.read_exact(&mut vec![0; body]).await.unwrap();
    head
}

/// Serves each connection with `serve`.
async fn server<F, S>(serve: F) -> String
where
    F: Fn(tokio::net::TcpStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address.to_string()
}

fn frame(stream: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(content);
    frame
}

/// Agrees to an upgrade and echoes in Docker's frames, the last one on standard error.
async fn docker(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let head = request(&mut stream, 2).await;
    assert!(head.starts_with("POST /exec HTTP/1.1\r\n") && head.to_lowercase().contains("upgrade: tcp"), "{head}");
    stream.write_all(b"HTTP/1.1 101 UPGRADED\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\n").await.unwrap();
    let mut room = vec![0; 32 << 10];
    while let Ok(n) = stream.read(&mut room).await
        && n > 0
    {
        stream.write_all(&frame(1, &room[..n])).await.unwrap();
    }
    stream.write_all(&frame(2, b"bye")).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// Echoes in the channels of Kubernetes until input ends.
async fn kubernetes(stream: tokio::net::TcpStream) {
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let choose = |request: &Request, mut response: Response| {
        assert!(request.headers().contains_key("traceparent"), "as every request of a plugin");
        assert!(request.headers()["sec-websocket-protocol"].to_str().unwrap().contains("v4.channel.k8s.io"));
        let chosen = "v5.channel.k8s.io".parse().unwrap();
        response.headers_mut().insert("sec-websocket-protocol", chosen);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.unwrap();
    while let Some(Ok(Message::Binary(message))) = socket.next().await {
        match message[0] {
            0 => socket.send(Message::Binary([&[1], &message[1..]].concat().into())).await.unwrap(),
            255 => break,
            other => panic!("channel {other}"),
        }
    }
    socket.send(Message::Binary(Bytes::from_static(b"\x02bye"))).await.unwrap();
    socket.send(Message::Binary(Bytes::from_static(b"\x03{\"status\":\"Success\"}"))).await.unwrap();
    let _ = socket.close(None).await;
    while let Some(Ok(_)) = socket.next().await {}
}

#[tokio::test]
async fn bytes_flow_both_ways_whole_whatever_the_plugin_does_with_them() {
    let (plain, engine, cluster) = (server(echo).await, server(docker).await, server(kubernetes).await);
    let sent: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
    for (grant, settings, second, exit) in [
        (format!("tcp://{plain}"), json!({"how": "connect"}), "", 7),
        (format!("http://{engine}"), json!({"how": "upgrade", "framing": "docker", "body": "{}"}), "bye", 7),
        (
            format!("http://{cluster}"),
            json!({"how": "websocket", "framing": "kubernetes", "protocols": ["v5.channel.k8s.io", "v4.channel.k8s.io"]}),
            "bye",
            0,
        ),
    ] {
        for touches in ["", "read", "own"] {
            let mut settings = settings.clone();
            let url = match settings["how"].as_str().unwrap() {
                "connect" => grant.clone(),
                "websocket" => grant.replace("http://", "ws://") + "/exec",
                _ => format!("{grant}/exec"),
            };
            settings["url"] = url.into();
            settings["touches"] = touches.into();
            let relay = relay(&grant, settings, None).await;
            let (first, stderr, end) = through(&relay, &sent).await.unwrap();
            let expected = if touches == "read" { &sent[4..] } else { &sent };
            assert!(first == expected, "{grant} {touches}: {} of {} bytes", first.len(), expected.len());
            assert_eq!(stderr, second.as_bytes(), "{grant} {touches}");
            assert!(matches!(end.unwrap(), Exit::Code(code) if code == exit), "{grant} {touches}");
        }
    }
}

#[tokio::test]
async fn the_body_of_a_request_is_whole_though_the_plugin_is_gone_when_it_ends() {
    let echoes = axum::Router::new().route("/", axum::routing::post(async |body: axum::body::Body| body));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, echoes).await.unwrap() });
    let sent: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
    for touches in ["", "own"] {
        let settings = json!({"how": "fetch", "url": url, "touches": touches});
        let relay = relay(url.trim_end_matches('/'), settings, None).await;
        let (first, _, end) = through(&relay, &sent).await.unwrap();
        assert!(first == sent, "{touches}: {} bytes", first.len());
        assert!(matches!(end.unwrap(), Exit::Code(7)), "{touches}");
    }
}

#[tokio::test]
async fn a_socket_is_reached_by_path_and_as_localhost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connections += 1;
            if connections == 1 {
                tokio::spawn(echo(stream))
            } else {
                tokio::spawn(docker(stream))
            };
        }
    });
    let grant = format!("unix://{}", path.display());
    let by_path = relay(&grant, json!({"how": "connect", "url": grant}), None).await;
    assert_eq!(through(&by_path, b"hello").await.unwrap().0, b"hello");
    let settings = json!({"how": "upgrade", "framing": "docker", "body": "{}", "url": "http://localhost/exec"});
    let as_localhost = relay(&grant, settings, None).await;
    assert_eq!(through(&as_localhost, b"hello").await.unwrap().0, b"hello");
    // A socket that nobody serves is named.
    std::fs::remove_file(&path).unwrap();
    let error = run(&as_localhost).await.unwrap_err();
    assert!(error.message.contains("engine.sock cannot be opened"), "{error}");
}

#[tokio::test]
async fn connections_outnumber_the_instances_for_which_there_is_room() {
    const CONNECTIONS: usize = 64;
    let plain = server(echo).await;
    let url = format!("tcp://{plain}");
    let untouched = relay(&url, json!({"how": "connect", "url": url}), None).await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let (process, stdin) = run(&untouched).await.unwrap();
        open.push((process, stdin));
    }
    for (i, (process, stdin)) in open.iter_mut().enumerate() {
        let word = Bytes::from(format!("connection {i}"));
        stdin.send(word.clone()).await.unwrap();
        assert_eq!(process.stdout.recv().await.unwrap(), word);
    }
    // A plugin that copies the bytes itself needs an instance for each.
    let copied = relay(&url, json!({"how": "connect", "url": url, "touches": "own"}), None).await;
    let mut kept = Vec::new();
    let refused = loop {
        match run(&copied).await {
            Ok(process) => kept.push(process),
            Err(refused) => break refused,
        }
        assert!(kept.len() < CONNECTIONS, "every one of them found room");
    };
    assert_eq!(refused.fault, Fault::Plugin, "{refused}");
    assert!(!kept.is_empty(), "{refused}");
}

#[tokio::test]
async fn what_is_not_granted_is_not_connected_to() {
    let plain = server(echo).await;
    for (how, url) in [
        ("connect", format!("tcp://{plain}")),
        ("connect", format!("tls://{plain}")),
        ("connect", "unix:///run/docker.sock".to_owned()),
        ("upgrade", format!("http://{plain}/")),
        ("upgrade", "http://localhost/".to_owned()),
        ("websocket", format!("ws://{plain}/")),
        ("fetch", format!("http://{plain}/")),
    ] {
        let relay = relay("https://api.example.com", json!({"how": how, "url": url}), None).await;
        let error = run(&relay).await.unwrap_err();
        assert_eq!(error.code, Code::PermissionDenied, "{how} {url}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_is_heard() {
    let refuses = server(|mut stream| async move {
        request(&mut stream, 0).await;
        let body = r#"{"message":"no such container"}"#;
        let head = format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    })
    .await;
    for (how, scheme) in [("upgrade", "http"), ("websocket", "ws")] {
        let settings = json!({"how": how, "url": format!("{scheme}://{refuses}/x")});
        let relay = relay(&format!("http://{refuses}"), settings, None).await;
        let error = run(&relay).await.unwrap_err();
        assert_eq!(error.code, Code::NotFound);
        assert!(error.message.contains("no such container"), "{error}");
    }
}

#[tokio::test]
async fn a_secret_is_carried_by_every_way_and_handed_back_by_none() {
    // Repeats the credential of the request, in the head or in what follows.
    let repeats = server(|mut stream| async move {
        let head = request(&mut stream, 0).await;
        let lower = head.to_lowercase();
        let credential = lower.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap().to_owned();
        assert_eq!(credential, format!("bearer {SECRET}"));
        let rpc = head.split_once("/rpc/").map(|(_, rest)| rest.split(' ').next().unwrap().to_owned());
        let (in_head, path) = (head.contains("/head"), head.contains("/fetched") || rpc.is_some());
        let echoed = if in_head { format!("x-echo: {credential}\r\n") } else { String::new() };
        let accept = head.lines().find_map(|line| line.split_once("ec-websocket-key: ")).map(|(_, key)| key);
        let accept = accept.map_or(String::new(), |key| {
            let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
            format!("sec-websocket-accept: {accept}\r\n")
        });
        let status = if path { "200 OK" } else { "101 Switching Protocols" };
        let answer = format!("HTTP/1.1 {status}\r\nconnection: upgrade\r\nupgrade: tcp\r\n{accept}{echoed}\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let words = format!("your credential was {credential}");
        // In two messages, so that no single one has it.
        let (one, two) = words.split_at(words.len() - 5);
        if let Some(place) = rpc {
            let out = |text: &str| json!({"out": STANDARD.encode(text)});
            let error = json!({"error": {"code": "internal", "message": words}});
            let frames = match place.as_str() {
                "opens" => vec![(0, json!({"begun": words}))],
                "refuses" => vec![(2, error)],
                "bytes" => vec![(0, json!({"begun": {}})), (0, out(one)), (0, out(two))],
                "closes" => vec![(0, json!({"begun": {}})), (0, json!({"closed": words}))],
                _ => vec![(0, json!({"begun": {}})), (2, error)],
            };
            for (flags, message) in frames {
                let message = message.to_string();
                stream.write_u8(flags).await.unwrap();
                stream.write_u32(u32::try_from(message.len()).unwrap()).await.unwrap();
                stream.write_all(message.as_bytes()).await.unwrap();
            }
        } else if accept.is_empty() {
            stream.write_all(words.as_bytes()).await.unwrap();
        } else {
            let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
            let mut socket = tokio_tungstenite::WebSocketStream::from_raw_socket(stream, role, None).await;
            let _ = socket.send(Message::text(one)).await;
            let _ = socket.send(Message::text(two)).await;
            let _ = socket.close(None).await;
        }
    })
    .await;
    let origin = format!("http://{repeats}");
    for (how, path) in [
        ("upgrade", "/stream"),
        ("upgrade", "/head"),
        ("websocket", "/stream"),
        ("websocket", "/head"),
        ("fetch", "/fetched"),
        ("fetch", "/fetched/head"),
        ("rpc", "/rpc/opens"),
        ("rpc", "/rpc/refuses"),
        ("rpc", "/rpc/bytes"),
        ("rpc", "/rpc/closes"),
        ("rpc", "/rpc/ends"),
        ("rpc", "/rpc/bytes/head"),
    ] {
        let scheme = if how == "websocket" { "ws" } else { "http" };
        let settings = json!({"how": how, "url": format!("{scheme}://{repeats}{path}")});
        let relay = relay(&origin, settings, Some(&origin)).await;
        let seen = match through(&relay, b"").await {
            Ok((first, _, end)) => {
                assert!(end.is_err(), "{how} {path}");
                first
            }
            Err(error) => error.message.into_bytes(),
        };
        assert!(
            !String::from_utf8_lossy(&seen).contains(&SECRET[..8]),
            "{how} {path}: {}",
            String::from_utf8_lossy(&seen)
        );
    }
}
