//! Plugins in three languages: each makes real sandboxes, and a terminal runs through each. None exports terminals or files,
//! so the recorder gets into the sandbox by a process that the plugin runs.

use std::path::PathBuf;

use crate::support::{Broker, Sandboxd, api_key, plugin, program};

/// A plugin that the tools of another language made; none where this machine cannot have them.
fn built(name: &str) -> Option<PathBuf> {
    let directory = plugin("e2b").parent().map(|built| built.join("guests")).unwrap();
    let path = directory.join(name).with_extension("wasm");
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing: run `cargo xtask plugins`", path.display());
    println!("skipped: {} is missing: run `cargo xtask plugins`", path.display());
    None
}

fn config(path: &std::path::Path, server: &Sandboxd, settings: &str) -> String {
    let (url, key) = (&server.url, api_key(&server.key, &server.url));
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"p\"\n\
         [providers.p]\nplugin = {path:?}\nallow = [{url:?}]\n{key}[providers.p.config]\n{settings}\n"
    )
}

/// A broker on this configuration. Compiling a plugin in Python takes tens of seconds on a busy machine, longer than the start of a
/// broker may take in a test, so it is compiled before.
async fn started(config: &str) -> Broker {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("broker.toml"), config).unwrap();
    let mut check = tokio::process::Command::new(program());
    check.arg("--config").arg(at("broker.toml")).arg("--state-dir").arg(at("state")).arg("check");
    let checked = check.output().await.unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    Broker::start_in(directory, config).await
}

/// A terminal: its size, input, a flood of output, its end, and the end of its sandbox.
async fn terminal(broker: Broker, server: Sandboxd) {
    let mut terminal = broker.connect().await;
    terminal.ready().await;
    server.has(1).await;
    terminal.resize(101, 29).await;
    terminal.input("until [ \"$(stty size)\" = '29 101' ]; do :; done; echo si\"\"ze; tty\n").await;
    terminal.expect("size\r\n").await;
    terminal.expect("/dev/pts/").await;
    terminal.input("seq 1 100000; echo la\"\"st\n").await;
    terminal.expect("99999\r\n100000\r\nlast\r\n").await;
    terminal.input("exit 3\n").await;
    assert_eq!(terminal.closed().await.code, 1000);
    server.has(0).await;
}

#[tokio::test]
async fn a_terminal_through_a_plugin_in_rust() {
    let server = Sandboxd::start().await;
    let settings = format!("api_url = {url:?}\nsandbox_url = {url:?}", url = server.url);
    terminal(started(&config(&plugin("guests/e2b-bare"), &server, &settings)).await, server).await;
}

#[tokio::test]
async fn a_terminal_through_a_plugin_in_python() {
    let Some(path) = built("golden-python") else { return };
    let server = Sandboxd::start().await;
    let broker = started(&config(&path, &server, &format!("url = {:?}", server.url))).await;
    terminal(broker, server).await;
}

#[tokio::test]
async fn a_terminal_through_a_plugin_in_javascript() {
    let Some(path) = built("golden-javascript") else { return };
    let server = Sandboxd::start().await;
    let broker = started(&config(&path, &server, &format!("url = {:?}", server.url))).await;
    terminal(broker, server).await;
}
