//! R21, between providers of every kind: an edit of `broker.toml` moves new sessions and leaves open ones where they are.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::cluster::Namespace;
use crate::support::docker::{DEBIAN, Docker};
use crate::support::level1::{Visit, Window};
use crate::support::stream::{UNTIL_TOLD, ends, reads};
use crate::support::{Broker, Sandboxd, eventually};

/// Reads until sessions have moved, and then some more; returns how many bytes came.
async fn reads_on(mut window: Window, mut moved: watch::Receiver<bool>) -> u64 {
    while !*moved.borrow() {
        tokio::select! {
            told = window.next() => drop(told.unwrap()),
            changed = moved.changed() => changed.unwrap(),
        }
    }
    reads(&mut window, 200).await;
    ends(window).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_edit_moves_new_sessions_from_local_to_docker_to_kubernetes_to_e2b_while_20_terminals_stream() {
    let (Some(docker), Some(namespace)) = (Docker::start().await, Namespace::new().await) else { return };
    let e2b = Sandboxd::start().await;
    let sections = format!(
        "[providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n{}{}{}",
        docker.section("docker", DEBIAN, ""),
        namespace.section("kubernetes", ""),
        e2b.section("e2b"),
    );
    let config = |provider: &str| {
        format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"{provider}\"\n{UNTIL_TOLD}\n{sections}")
    };
    let broker = Broker::start_quiet(&config("local")).await;
    let (tell, moved) = watch::channel(false);
    let (mut live, mut opened) = (JoinSet::new(), BTreeMap::new());
    let mut open = async || {
        let mut window = Window::open(&broker.url, Visit::default()).await;
        let provider = window.ready().await.provider;
        window.expect("0000049\n").await;
        live.spawn(reads_on(window, moved.clone()));
        *opened.entry(provider.clone()).or_default() += 1;
        provider
    };
    for _ in 0..20 {
        assert_eq!(open().await, "local");
    }
    for provider in ["docker", "kubernetes", "e2b"] {
        broker.edit(&config(provider));
        while open().await != provider {}
    }
    // Each still has what was opened on it. Between an edit and its effect that may have been one more.
    assert_eq!(broker.embedded_sandboxes().await.len(), opened["local"]);
    docker.has(opened["docker"]).await;
    namespace.has(opened["kubernetes"]).await;
    e2b.has(opened["e2b"]).await;
    tell.send(true).unwrap();
    let bytes = live.join_all().await;
    println!("{opened:?}: {} bytes", bytes.iter().sum::<u64>());
    eventually("no local sandbox", async || broker.embedded_sandboxes().await.is_empty().then_some(())).await;
    docker.has(0).await;
    namespace.has(0).await;
    e2b.has(0).await;
}
