//! A plugin that means harm ends its own session and nothing else.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use sandbox_broker_config::PluginLimits;
use sandbox_broker_core::sandbox::{Call, Code, Location, Provider as _, SandboxRef, Upload};
use sandbox_broker_plugin::{ComponentProvider, Engine, Section};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::support::{Broker, DEADLINE, Sandboxd, plugin};

fn section(name: &str, lines: &str, config: &str) -> String {
    format!(
        "[providers.{name}]\nplugin = {:?}\n{lines}\n[providers.{name}.config]\n{config}\n",
        plugin("guests/hostile")
    )
}

fn config(provider: &str, sections: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = {provider:?}\n{sections}")
}

/// The error that a client is told when the plugin does this harm.
async fn told(lines: &str, harm: &str) -> (String, Broker) {
    let broker = Broker::start(&config("h", &section("h", lines, harm))).await;
    let mut client = broker.connect().await;
    let said = client.error().await;
    assert_eq!(client.closed().await.code, 4500);
    (said, broker)
}

#[tokio::test]
async fn an_endless_loop_is_stopped() {
    let (said, _) = told("", "when = \"create\"\nharm = \"loop\"").await;
    assert!(said.contains("CPU"), "{said}");
}

#[tokio::test]
async fn a_trap_is_told() {
    let (said, _) = told("", "when = \"create\"\nharm = \"trap\"").await;
    assert!(said.contains("plugin `hostile`"), "{said}");
}

#[tokio::test]
async fn endless_recursion_is_a_trap_of_the_guest_and_not_of_the_host() {
    let (said, _) = told("", "when = \"create\"\nharm = \"recurse\"").await;
    assert!(said.contains("stopped"), "{said}");
}

#[tokio::test]
async fn memory_is_bounded() {
    let (said, _) = told("", "when = \"create\"\nharm = \"memory\"").await;
    assert!(said.contains("memory"), "{said}");
}

/// Each is memory of the host, which no bound of the plugin's own memory counts.
#[tokio::test]
async fn streams_are_bounded() {
    let (said, _) = told("", "when = \"create\"\nharm = \"handles\"").await;
    assert!(said.contains("stopped") && said.contains("handle") && !said.contains("memory"), "{said}");
}

#[tokio::test]
async fn a_flood_of_requests_for_a_foreign_secret_does_not_flood_the_log() {
    let (said, broker) = told("", "when = \"create\"\nharm = \"flood-hmac\"").await;
    assert!(said.contains("asked often enough"), "{said}");
    let told = broker.log().matches("asked for a secret that is not its own").count();
    assert!((1..2000).contains(&told), "{told} lines of 10,000");
}

/// The plugin takes none of the bytes and never answers.
#[tokio::test]
async fn an_upload_that_the_plugin_does_not_take_ends_at_the_deadline_of_a_call() {
    let engine = Engine::new(None).unwrap();
    let section = Section {
        name: "h".into(),
        config: json!({ "when": "write", "harm": "hang" }),
        allow: Vec::new(),
        allow_private: false,
        secrets: Default::default(),
        reveal: Vec::new(),
        limits: PluginLimits { memory: 64 << 20, cpu: Duration::from_secs(1), call_timeout: Duration::from_secs(1) },
        isolation: None,
        per_user: false,
        socket: None,
    };
    let provider = ComponentProvider::new(engine.load(&plugin("guests/hostile")).await.unwrap(), section).unwrap();
    let (tx, data) = mpsc::channel(4);
    let (complete, rx) = oneshot::channel();
    let feed = tokio::spawn(async move {
        let mut taken = 0;
        while tx.send(Bytes::from(vec![7; 64 << 10])).await.is_ok() {
            taken += 1;
        }
        taken
    });
    let upload = Upload { size: None, data, complete: rx };
    let sandbox = SandboxRef { id: "h".into(), state: Bytes::new() };
    let (call, at, began) = (Call::default(), Location { path: "/w/a".into(), user: None }, Instant::now());
    let error =
        tokio::time::timeout(DEADLINE, provider.write(&call, &sandbox, &at, upload)).await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    assert_eq!(error.message, "the provider `h` did not answer `write` within 1 s");
    assert!(began.elapsed() >= Duration::from_secs(1));
    // The source learns of it, and little of what it had was kept for the plugin.
    let taken = tokio::time::timeout(DEADLINE, feed).await.unwrap().unwrap();
    assert!(taken < 16, "{taken} chunks");
    drop(complete);
}

#[tokio::test]
async fn a_host_that_is_not_granted_is_denied() {
    let server = Sandboxd::start().await;
    let url = &server.url;
    let (said, broker) = told("", &format!("when = \"create\"\nharm = \"fetch\"\nurl = \"{url}/health\"")).await;
    assert!(said.contains("allow"), "{said}");
    assert!(broker.log().contains("not in `allow`"));
}

#[tokio::test]
async fn a_private_address_behind_a_granted_name_is_refused() {
    // `localtest.invalid` does not resolve; a literal in another spelling does.
    for url in ["http://[::ffff:169.254.169.254]/", "http://169.254.169.254/latest/meta-data/"] {
        let lines = format!("allow = [\"{}\"]", url.trim_end_matches("/latest/meta-data/").trim_end_matches('/'));
        let (said, _) = told(&lines, &format!("when = \"create\"\nharm = \"fetch\"\nurl = \"{url}\"")).await;
        assert!(!said.contains("answered"), "{said}");
    }
}

#[tokio::test]
async fn a_secret_of_another_is_not_filled_in_nor_used_nor_revealed() {
    let server = Sandboxd::start().await;
    let url = &server.url;
    let lines = format!("allow = [\"{url}\"]\nsecrets = {{ own = \"canary-own\" }}");
    for (harm, words) in [("foreign-header", "of_another"), ("foreign-hmac", "of_another"), ("reveal", "own")] {
        let harm = format!("when = \"create\"\nharm = \"{harm}\"\nurl = \"{url}/health\"");
        let (said, broker) = told(&lines, &harm).await;
        assert!(said.contains(words) && !said.contains("canary"), "{said}");
        assert!(!broker.log().contains("canary-own"));
    }
}

#[tokio::test]
async fn the_secret_is_never_in_guest_memory_log_or_command_line() {
    let server = Sandboxd::start().await;
    let url = &server.url;
    let canary = "canary-3f9a1c77";
    let reversed: String = canary.chars().rev().collect();
    let lines = format!("allow = [\"{url}\"]\nsecrets = {{ own = \"{canary}\" }}");
    let harm = format!("when = \"create\"\nharm = \"scan\"\nurl = \"{url}/health\"\nreversed = \"{reversed}\"");
    let (said, broker) = told(&lines, &harm).await;
    // The request went out with the secret; the guest has seen none of it.
    assert!(said.contains("found 0"), "{said}");
    assert!(!broker.log().contains(canary));
    let command_line = std::fs::read(format!("/proc/{}/cmdline", broker.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&command_line).contains(canary));
}

#[tokio::test]
async fn a_forged_log_line_stays_one_line_and_a_flood_is_cut() {
    let (said, broker) = told("", "when = \"create\"\nharm = \"forge\"").await;
    assert!(!said.contains('\u{1b}') && !said.contains('\n'), "{said:?}");
    let log = broker.log();
    assert!(!log.contains('\u{1b}'), "escape sequences reached the log");
    assert!(!log.lines().any(|l| l.trim_start().starts_with("2026-01-01")), "a line was forged");
    assert!(log.matches("forged line").count() < 2000);
}

#[tokio::test]
async fn others_do_not_notice() {
    let server = Sandboxd::start().await;
    let sections = format!("{}{}", server.section("box"), section("h", "", "when = \"input\"\nharm = \"loop\""));
    let broker = Broker::start(&config("box", &sections)).await;
    let mut good = broker.connect().await;
    good.ready().await;
    broker.edit(&config("h", &sections));
    broker.logs("configuration is live").await;
    let mut bad = Vec::new();
    for _ in 0..3 {
        let mut client = broker.connect().await;
        assert_eq!(client.ready().await["provider"], "h");
        client.input("x").await;
        bad.push(client);
    }
    // While three guests spin, a good session answers every time.
    let began = Instant::now();
    for n in 0..50 {
        good.input(&format!("echo n=$((1000+{n}))\n")).await;
        good.expect(&format!("n={}\r\n", 1000 + n)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    for client in &mut bad {
        let said = client.error().await;
        assert!(said.contains("CPU"), "{said}");
    }
    good.input("echo still he\"\"re\n").await;
    good.expect("still here").await;
}
