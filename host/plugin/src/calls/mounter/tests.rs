//! A plugin learns which mounts are live, whichever section and generation of
//! the configuration they belong to.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::Engine;
use sandbox_broker_config::PluginLimits;
use sandbox_broker_secrets::Secrets;

fn mounter(plugin: &Arc<Plugin>, name: &str, settings: serde_json::Value, live: &LiveMounts) -> ComponentMounter {
    let section = Section {
        name: name.into(),
        config: settings,
        allow: Vec::new(),
        allow_private: false,
        tls: Default::default(),
        secrets: Secrets::default(),
        reveal: Vec::new(),
        limits: PluginLimits {
            memory: 64 << 20,
            total_memory: 4 << 30,
            cpu: Duration::from_secs(1),
            call_timeout: Duration::from_secs(30),
        },
        isolation: None,
        per_user: true,
        socket: None,
    };
    ComponentMounter::new(plugin.clone(), section, live.clone()).unwrap()
}

fn target(id: &str) -> Target {
    Target {
        id: id.into(),
        path: "/w".into(),
        workspace: "/x".into(),
        read_only: false,
        user: None,
        broker: "ours".into(),
    }
}

fn plugins() -> PathBuf {
    std::env::var_os("BROKER_PLUGINS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/plugins")), PathBuf::from)
}

#[tokio::test]
async fn each_person_has_settings_of_their_own() {
    let engine = Engine::new(None).unwrap();
    let plugin =
        engine.load(&plugins().join("guests/hostile-storage.wasm")).await.expect("`cargo xtask plugins` makes it");
    let settings = serde_json::json!({ "container": "files-{user}", "nested": ["{user}", 1] });
    let mounter = mounter(&plugin, "one", settings, &LiveMounts::default());
    for user in ["ada", "bob"] {
        let call = Call { user: Some(user.to_owned()), ..Call::default() };
        let given: serde_json::Value = serde_json::from_str(&mounter.caller.head(&call, Duration::ZERO).2).unwrap();
        assert_eq!(given, serde_json::json!({ "container": format!("files-{user}"), "nested": [user, 1] }));
    }
}

#[tokio::test]
async fn a_mount_is_live_from_prepare_to_the_end_of_release_whatever_that_says() {
    let engine = Engine::new(None).unwrap();
    let path = plugins().join("guests/hostile-storage.wasm");
    let plugin = engine.load(&path).await.expect("`cargo xtask plugins` makes it");
    let live = LiveMounts::default();
    let call = Call::default();
    let harm = |when: &str, harm: &str| serde_json::json!({ "when": when, "harm": harm });
    let good = mounter(&plugin, "one", serde_json::json!({}), &live);
    let failing = mounter(&plugin, "one", harm("release", "trap"), &live);
    let telling = mounter(&plugin, "other", harm("prepare", "target"), &live);
    let seen = async |id: &str| {
        let told = telling.prepare(&call, &target(id)).await.unwrap_err().message;
        let released = telling.release(&call, &target(id), &Grant::default()).await;
        released.unwrap();
        told
    };

    good.prepare(&call, &target("a")).await.unwrap();
    failing.prepare(&call, &target("b")).await.unwrap();
    assert_eq!(seen("c").await, r#"[("broker", "ours"), ("live", "a b")]"#);
    good.release(&call, &target("a"), &Grant::default()).await.unwrap();
    assert_eq!(seen("d").await, r#"[("broker", "ours"), ("live", "b")]"#);
    failing.release(&call, &target("b"), &Grant::default()).await.unwrap_err();
    assert_eq!(seen("e").await, r#"[("broker", "ours"), ("live", "")]"#);
}

#[tokio::test]
async fn both_parts_of_a_grant_reach_the_plugin_and_a_renewal_brings_a_new_one() {
    let engine = Engine::new(None).unwrap();
    let path = plugins().join("guests/hostile-storage.wasm");
    let plugin = engine.load(&path).await.expect("`cargo xtask plugins` makes it");
    let (call, live, to) = (Call::default(), LiveMounts::default(), target("a"));
    let storage = |settings| mounter(&plugin, "one", settings, &live);
    let good = storage(serde_json::json!({}));
    let grant = good.prepare(&call, &to).await.unwrap();
    assert_eq!(grant.sealed, "sealed-canary");
    let telling = storage(serde_json::json!({ "when": "plan", "harm": "grant-back" }));
    let told = telling.plan(&call, &to, &grant).await.unwrap_err().message;
    assert_eq!(told, r#"planned with "" and "sealed-canary""#);

    let renewal = good.renew(&call, &to, &grant).await.unwrap();
    assert_eq!(renewal.grant.kept, "+");

    // The request is denied, which is an answer as well.
    let asking = storage(serde_json::json!({ "when": "plan", "harm": "send", "url": "http://127.0.0.1:9/" }));
    asking.plan(&call, &to, &grant).await.unwrap();
    asking.renew(&call, &to, &grant).await.unwrap();
    let nothing = asking.plan(&call, &to, &Grant::default()).await.unwrap_err().message;
    assert!(nothing.contains("`plan` asked for a request although nothing was prepared"), "{nothing}");
}
