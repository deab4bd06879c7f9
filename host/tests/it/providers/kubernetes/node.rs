//! A node and an API server that go away and come back, in a cluster of the test's own.

use super::*;
use crate::support::level1::{Visit, Window};
use crate::support::stream::{UNTIL_TOLD, ends, reads};

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_outlives_its_kubelet_and_the_api_server() {
    let Some(cluster) = Cluster::start().await.map(Arc::new) else { return };
    let namespace = Namespace::within(cluster.clone()).await;
    let slow = "[providers.box.limits]\ncall_timeout = \"8s\"\n[providers.box.config]";
    let provider = provider_of(&namespace.section("box", "").replace("[providers.box.config]", slow)).await;
    let sandbox = create(&provider).await;
    let counts = "i=0; while :; do i=$((i+1)); echo $i >/workspace/n; sleep 0.1; done";
    let (process, _input) = run(&provider, &sandbox, &command(&["sh", "-c", counts])).await.unwrap();
    let count = async || -> Option<u64> { shell(&provider, &sandbox, "cat n").await.0.trim().parse().ok() };
    let before = eventually("the process to count", count).await;

    // The node: its agent dies, and with it the connection. The process does not.
    cluster.stop("kubelet");
    let error = rest(process).await.2.unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error}");
    let refused = provider.run(&call(), &sandbox, &command(&["true"]), mpsc::channel(1).1).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable, "{refused}");
    let silent = async || provider.connect(&call(), &sandbox, Duration::from_secs(60)).await.err();
    let error = eventually("the node to be missed", silent).await;
    assert!(error.code == Code::Unavailable && error.message.contains("node1 does not answer"), "{error}");
    cluster.resume("kubelet");
    let back = async || provider.connect(&call(), &sandbox, Duration::from_secs(60)).await.ok();
    eventually("the node to be back", back).await;
    let after = count().await.unwrap();
    assert!(after > before, "{after} after {before}");

    // The API server.
    cluster.stop("apiserver");
    let error = provider.create(&call(), &spec(&[])).await.unwrap_err();
    assert!(error.code == Code::Unavailable && error.message.contains("refuses connections"), "{error}");
    cluster.resume("apiserver");
    eventually("the API server to be back", back).await;
    assert!(count().await.unwrap() > after);
    provider.kill(&call(), &sandbox).await.unwrap();
    namespace.has(0).await;
}

/// The same for a terminal that streams. And what a node takes with it that starts again: people are told, and the next
/// session works.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_loses_no_byte_with_its_kubelet_and_ends_with_its_node() {
    let Some(cluster) = Cluster::start().await.map(Arc::new) else { return };
    let namespace = Namespace::within(cluster.clone()).await;
    let broker = Broker::start(&suite::config(&namespace, UNTIL_TOLD)).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    assert_eq!(window.ready().await.durability, "durable");
    reads(&mut window, 200).await;
    for (times, part) in ["kubelet", "apiserver"].into_iter().enumerate() {
        let logged = async |words: &str| {
            eventually(words, async || (broker.log().matches(words).count() > times).then_some(())).await;
        };
        cluster.stop(part);
        logged("the connection to the recorder broke").await;
        cluster.resume(part);
        logged("connected to the recorder again").await;
        reads(&mut window, 200).await;
    }
    println!("{} bytes", ends(window).await);
    namespace.has(0).await;

    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    window.ready().await;
    reads(&mut window, 50).await;
    cluster.restart_node();
    let (code, words) = window.error().await;
    assert!(code == "provider" && words.contains("has ended"), "{code}: {words}");
    let mut next = Window::open(&broker.url, Visit::default().client("x")).await;
    next.ready().await;
    reads(&mut next, 50).await;
    ends(next).await;
    namespace.has(0).await;
}
