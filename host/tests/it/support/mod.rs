//! What the tests stand on: the real `broker` program, a real `sandboxd`, and
//! a typed client. Waits for conditions with a deadline, never for a time.

pub mod awkward;
pub mod azurite;
mod broker;
mod client;
pub mod cluster;
pub mod docker;
pub mod expiry;
pub mod faults;
pub mod level1;
pub mod line;
pub mod proxy;
pub mod s3;
mod sandboxd;
pub mod service;
pub mod store;
pub mod stream;
pub mod tty;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use sandbox_broker_config::PluginLimits;
use sandbox_broker_plugin::Section;

pub use broker::{Broker, NOBODY};
pub use client::{Client, Closed, Frame};
pub use sandboxd::{Sandboxd, api_key, bound_api_key};

/// Bound on everything that a test waits for. Far above any measured time,
/// so that only a real hang reaches it.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Looks again and again until `look` finds something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let waited = tokio::time::timeout(DEADLINE, async {
        loop {
            pace.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited {DEADLINE:?} in vain for: {what}"))
}

/// A plugin's section that grants nothing.
pub fn bare_section(config: serde_json::Value) -> Section {
    Section {
        name: "h".into(),
        config,
        allow: Vec::new(),
        allow_private: false,
        tls: Default::default(),
        secrets: Default::default(),
        reveal: Vec::new(),
        limits: PluginLimits {
            memory: 64 << 20,
            total_memory: 4 << 30,
            cpu: Duration::from_secs(1),
            call_timeout: DEADLINE,
        },
        isolation: None,
        per_user: false,
        socket: None,
    }
}

/// The program under test.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_broker")
}

/// The built recorder, made by `cargo xtask plugins`.
pub fn recorder() -> PathBuf {
    let path = std::env::var_os("BROKER_RECORDER").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/recorder/sandbox-recorder")),
        PathBuf::from,
    );
    assert!(path.exists(), "{} is missing: run `cargo xtask plugins`", path.display());
    path
}

/// A built plugin, made by `cargo xtask plugins`.
pub fn plugin(name: &str) -> PathBuf {
    let directory = std::env::var_os("BROKER_PLUGINS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins")), PathBuf::from);
    let path = directory.join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is missing: run `cargo xtask plugins`", path.display());
    path
}
