//! The contract with plugins from outside: a plugin with only what is required,
//! what it is told that it lacks, and what a provider says that it can do.

use std::time::Duration;

use axum::body::Bytes;
use sandbox_broker_core::abilities::{Abilities, Lease};
use sandbox_broker_core::sandbox::{Call, Choices, Code, Command, Location, Provider, SandboxRef, Size, Spec, Volume};
use sandbox_broker_plugin::{ComponentProvider, Engine, Section};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{Broker, Frame, bare_section, plugin, program};

fn section() -> String {
    format!("[providers.bare]\nplugin = {:?}\n", plugin("guests/bare"))
}

fn config() -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"bare\"\n{}", section())
}

async fn provider(name: &str, config: serde_json::Value) -> ComponentProvider {
    let mut section = Section { name: "p".into(), ..bare_section(config) };
    section.limits.total_memory = 512 << 20;
    ComponentProvider::new(Engine::new(None).unwrap().load(&plugin(name)).await.unwrap(), section).unwrap()
}

#[tokio::test]
async fn a_plugin_with_only_what_is_required_serves_and_says_what_its_terminal_lacks() {
    let broker = Broker::start(&config()).await;
    let mut client = broker.connect().await;
    let error = client.error().await;
    for part in ["the sandbox's image lacks `sh`", "`bare`", "does not export the interface `terminal`"] {
        assert!(error.contains(part), "{error}");
    }
    let reports = ["pulling the image (40 %)", "starting in time"];
    let told = client.said.iter().filter_map(|said| match said {
        Frame::Status(message) => reports.into_iter().find(|report| message == report),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), reports);
    assert!(broker.log().contains("have no lease"));
}

#[tokio::test]
async fn storage_is_refused_at_load_where_no_process_runs_as_root() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("[providers.store]\nplugin = {:?}\n", plugin("guests/hostile-storage"));
    let storage = "[storage]\nenabled = true\nprovider = \"store\"\npath = \"/w\"\n";
    std::fs::write(directory.path().join("broker.toml"), format!("{}{storage}{store}", config())).unwrap();
    let run = tokio::process::Command::new(program())
        .current_dir(directory.path())
        .args(["--config", "broker.toml", "--state-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/contract"), "check"])
        .output();
    let said = String::from_utf8(run.await.unwrap().stderr).unwrap();
    assert!(said.contains("providers.bare.plugin: ") && said.contains("it lacks the ability `root`"), "{said}");
}

#[tokio::test]
async fn what_a_plugin_does_not_export_is_named_by_whoever_asks_for_it() {
    let bare = provider("guests/bare", json!({})).await;
    let none = Abilities {
        lease: Lease::None,
        terminal: false,
        reattach: false,
        files: false,
        pause: false,
        ports: false,
        volumes: false,
        root: false,
        stdin: true,
    };
    assert_eq!(bare.abilities(), none);
    let (call, sandbox) = (Call::default(), SandboxRef { id: "b".into(), state: Bytes::new() });
    let at = Location { path: "/a".into(), user: None };
    let command = Command { argv: vec!["sh".into()], ..Command::default() };
    let volume = Volume { name: "v".into(), path: "/v".into(), read_only: false };
    let choices = Choices { volumes: vec![volume], ..Choices::default() };
    let spec = Spec { choices, ..Spec::default() };
    for (interface, error) in [
        ("lease", bare.extend(&call, &sandbox, Duration::ZERO).await.unwrap_err()),
        ("terminal", bare.open(&call, &sandbox, &command, Size::DEFAULT, mpsc::channel(1).1).await.unwrap_err()),
        ("terminal", bare.attach(&call, &sandbox, "1", mpsc::channel(1).1).await.unwrap_err()),
        ("files", bare.stat(&call, &sandbox, &at).await.unwrap_err()),
        ("files", bare.list_dir(&call, &sandbox, &at, None).await.unwrap_err()),
        ("pause", bare.pause(&call, &sandbox).await.unwrap_err()),
        ("ports", bare.route(&call, &sandbox, 80).await.unwrap_err()),
        ("volumes", bare.create(&call, &spec).await.unwrap_err()),
    ] {
        assert_eq!(error.code, Code::Unimplemented, "{interface}");
        assert!(error.message.contains(&format!("does not export the interface `{interface}`")), "{error}");
    }
}

#[tokio::test]
async fn e2b_routes_a_port_by_its_host_name() {
    let e2b = provider("e2b", json!({})).await;
    assert_eq!(e2b.abilities(), Abilities { volumes: false, ..Abilities::ALL });
    let sandbox = SandboxRef { id: "iabc".into(), state: Bytes::from_static(br#"{"v":1}"#) };
    let route = e2b.route(&Call::default(), &sandbox, 8080).await.unwrap();
    assert_eq!(route.url, "https://8080-iabc.e2b.app");
    let spec = Spec { choices: Choices { memory_mib: Some(512), ..Choices::default() }, ..Spec::default() };
    let error = e2b.create(&Call::default(), &spec).await.unwrap_err();
    assert!(error.code == Code::InvalidArgument && error.message.contains("memory-mib"), "{error}");
}
