//! A node and an API server that go away and come back, in a cluster of the test's own.

use super::*;

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
    let silent = async || match provider.connect(&call(), &sandbox, Duration::from_secs(60)).await {
        Ok(_) => None,
        Err(error) => Some(error),
    };
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
