//! A terminal for a client that knows only level 0, on the embedded default.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Broker, Closed, Frame, eventually};

const LOCAL: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\n\
                     [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";

async fn local() -> Broker {
    Broker::start(LOCAL).await
}

#[tokio::test]
async fn a_shell_computes_and_its_exit_ends_the_sandbox() {
    let broker = local().await;
    let mut client = broker.connect().await;
    let ready = client.ready().await;
    assert_eq!(ready["provider"], "local");
    assert!(client.said.iter().any(|f| matches!(f, Frame::Status(_))), "{:?}", client.said);
    assert_eq!(broker.embedded_sandboxes().await.len(), 1);
    client.input("echo $((6*7))\n").await;
    client.expect("42\r\n").await;
    client.input("exit 3\n").await;
    assert_eq!(client.closed().await.code, 1000);
    let Some(Frame::Status(last)) = client.said.back() else { panic!("{:?}", client.said) };
    assert!(last.contains('3'), "the exit status is told: {last}");
    eventually("no sandbox", async || broker.embedded_sandboxes().await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn input_and_size_from_before_ready_arrive_in_order() {
    let broker = local().await;
    let mut client = broker.connect().await;
    client.resize(101, 37).await;
    client.input("echo one; ").await;
    client.resize(99, 33).await;
    client.input("stty size; echo tw\"\"o\n").await;
    client.ready().await;
    client.expect("one\r\n").await;
    client.expect("33 99\r\n").await;
    client.expect("two\r\n").await;
}

#[tokio::test]
async fn the_last_of_many_sizes_counts() {
    let broker = local().await;
    let mut client = broker.connect().await;
    client.ready().await;
    for cols in 60..=120 {
        client.resize(cols, 30).await;
    }
    client.resize(133, 43).await;
    // The size arrives beside the input, not in line with it.
    client.input("until [ \"$(stty size)\" = '43 133' ]; do sleep 0.02; done; tput cols; echo do\"\"ne\n").await;
    client.expect("133\r\n").await;
    client.expect("done").await;
}

#[tokio::test]
async fn ctrl_c_interrupts_and_a_full_screen_program_draws() {
    let broker = local().await;
    let mut client = broker.connect().await;
    client.ready().await;
    // The program itself says that it runs: an interrupt that comes while the
    // shell still starts it is the shell's to lose.
    client.input("sh -c 'echo g\"\"o; sleep 1000'\n").await;
    client.expect("go\r\n").await;
    client.input("\u{3}").await;
    // Until it is seen, the system throws away what is typed and what is printed.
    client.expect("^C").await;
    client.input("seq 1 500 > /tmp/n; less /tmp/n\n").await;
    // less takes the alternate screen and draws the first page.
    client.expect("\u{1b}[?1049h").await;
    client.expect("22").await;
    client.input("q").await;
    client.expect("\u{1b}[?1049l").await;
}

#[tokio::test]
async fn output_is_whole_and_comes_before_the_end() {
    let broker = local().await;
    let mut client = broker.connect().await;
    client.ready().await;
    client.input("stty -onlcr; printf start; seq 1 200000; exit\n").await;
    client.expect("start1\n").await;
    assert_eq!(client.closed().await.code, 1000);
    let expected: String = (2..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(client.screen.starts_with(&expected), "{} bytes", client.screen.len());
}

#[tokio::test]
async fn bytes_that_are_no_text_do_not_break_it() {
    let broker = local().await;
    let mut client = broker.connect().await;
    client.ready().await;
    client.input("printf '\\xff\\xfe\\xc3|'; printf 'a\\xe2\\x82'; printf '\\xac|en''d\\n'\n").await;
    client.expect("\u{fffd}\u{fffd}\u{fffd}|a€|end").await;
}

#[tokio::test]
async fn a_bad_frame_is_answered_and_the_terminal_lives_on() {
    let broker = local().await;
    let mut client = broker.connect().await;
    for (message, words) in [
        (Message::text("no json"), "JSON"),
        (Message::text("[1]"), "object"),
        (Message::text(json!({"type": "dance"}).to_string()), "dance"),
        (Message::text(json!({"type": "input"}).to_string()), "data"),
        (Message::text(json!({"type": "input", "data": 5}).to_string()), "data"),
        (Message::text(json!({"type": "resize", "cols": "wide", "rows": 1}).to_string()), "cols"),
        (Message::binary(vec![0, 1, 2]), "text"),
    ] {
        client.send_raw(message.clone()).await;
        let said = client.error().await;
        assert!(said.contains(words), "{message:?}: {said}");
    }
    client.ready().await;
    client.input("echo al\"\"ive\n").await;
    client.expect("alive").await;
}

#[tokio::test]
async fn a_frame_beyond_the_bound_closes_with_1009() {
    let broker = local().await;
    let mut client = broker.connect().await;
    client.ready().await;
    client.input(&"x".repeat(2 << 20)).await;
    let Closed { code, .. } = client.closed().await;
    assert_eq!(code, 1009);
}

#[tokio::test]
async fn a_large_paste_arrives_whole() {
    let broker = local().await;
    let mut client = broker.connect().await;
    client.ready().await;
    client.input("stty -echo; cat > /tmp/paste; sha256sum < /tmp/paste\n").await;
    let text: String = (0..20_000).map(|n| format!("{n:015}\n")).collect();
    for part in text.as_bytes().chunks(16 << 10) {
        client.input(std::str::from_utf8(part).unwrap()).await;
    }
    client.input("\u{4}").await;
    use sha2::{Digest, Sha256};
    let hash: String = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    client.expect(&hash).await;
}

#[tokio::test]
async fn health_tells_the_time_and_the_uptime() {
    let broker = local().await;
    let health: serde_json::Value = broker.get("/health").await.json().await.unwrap();
    assert_eq!(health["status"], "healthy");
    assert!(health["uptime"].as_f64().unwrap() > 0.0);
    let stamp: jiff::Timestamp = health["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(stamp.as_second() > 1_700_000_000);
}

/// The plugin passes on what the agent says, in the words of Go's runtime.
#[tokio::test]
async fn a_signal_that_ended_the_shell_is_named() {
    let broker = local().await;
    for (number, name) in [(10, "SIGUSR1"), (16, "SIGSTKFLT"), (29, "SIGIO"), (31, "SIGSYS"), (36, "SIGRTMIN+2")] {
        let mut client = broker.connect().await;
        client.ready().await;
        client.input(&format!("exec sh -c 'kill -{number} $$'\n")).await;
        assert_eq!(client.closed().await.code, 1000);
        let last = client.said.back().cloned();
        assert_eq!(last, Some(Frame::Status(format!("the shell was ended by {name}"))), "{:?}", client.said);
    }
}

/// Promise: a sandbox reaches neither the broker nor its sandbox server, which has no port at all.
#[tokio::test]
async fn a_sandbox_does_not_reach_the_broker() {
    use std::os::unix::fs::PermissionsExt as _;
    let broker = local().await;
    let mut client = broker.connect().await;
    client.ready().await;
    let place = broker.url.strip_prefix("http://").unwrap().replace(':', "/");
    client.input(&format!("(exec 3<>/dev/tcp/{place}) 2>&1 && echo rea\"\"ched || echo clo\"\"sed\n")).await;
    client.expect("closed\r\n").await;
    let (_, url, _) = broker.embedded().await;
    assert_eq!(url, "http://localhost");
    let mode = |path: &str| std::fs::metadata(broker.file(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state/sandboxd/socket"), mode("state/sandboxd")), (0o600, 0o700));
}

/// Promise: when the embedded server is killed, the log says whose it was, and the next terminal has another at once.
#[tokio::test]
async fn a_killed_sandbox_server_is_started_again_at_once() {
    let broker = local().await;
    let mut client = broker.connect().await;
    client.ready().await;
    let first = broker.embedded_pid();
    assert!(std::process::Command::new("kill").args(["-KILL", &first.to_string()]).status().unwrap().success());
    // Its heartbeat comes every 20 s, and nobody has to wait for that.
    let began = tokio::time::Instant::now();
    // A request that reached the dying server ends with it.
    broker.logs("the broker's own sandbox server died").await;
    let mut next = broker.connect().await;
    next.ready().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
    next.input("echo $((6*7))\n").await;
    next.expect("42\r\n").await;
    assert_ne!(broker.embedded_pid(), first);
    assert_eq!(client.closed().await.code, 4500, "{:?}", client.said);
}
