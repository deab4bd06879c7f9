//! A service account's token is exchanged while sessions run, and the one before it dies.

use super::*;
use crate::support::level1::{Visit, Window};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_rotates_reaches_open_sessions() {
    let Some(namespace) = Namespace::new().await else { return };
    let first = namespace.revocable_token("first").await;
    namespace.put_token(&first);
    let config =
        suite::config(&namespace, "shell = [\"/bin/sh\"]\nworkdir = \"/workspace\"\nkeep_after_disconnect = \"1m\"\n");
    let broker = Broker::start_quiet(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;

    // As a kubelet does it: links are exchanged, under a configuration that somebody is editing.
    broker.edit(&config.replace("[sandbox]", "[sandbx]"));
    broker.logs("sandbx").await;
    let second = namespace.revocable_token("second").await;
    namespace.put_token(&second);
    broker.logs("a secret has changed").await;
    namespace.revoke("first").await;
    let refused = async || {
        let asked = namespace.cluster.ask_by(&first, Method::GET, &namespace.path(""), "").await;
        (asked.0 == 401).then_some(())
    };
    eventually("the first token to die", refused).await;

    // What is open goes on, processes start in its sandbox, sessions begin, and all of it ends.
    window.input("echo still he\"\"re\n").await;
    window.expect("still here\r\n").await;
    let listing = broker.get(&format!("/api/sessions/{}/files?path=/workspace", ready.session)).await;
    assert_eq!(listing.status(), 200, "{}", listing.text().await.unwrap());
    let mut other = Window::open(&broker.url, Visit::default().client("x")).await;
    other.ready().await;
    for window in [&mut window, &mut other] {
        window.input("exit\n").await;
        assert_eq!(window.told("exit").await["code"], 0);
    }
    namespace.has(0).await;
}
