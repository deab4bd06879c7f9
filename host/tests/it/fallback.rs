//! A provider whose plugin exports only what the contract requires: it makes
//! sandboxes and runs processes in them. Terminals and files come from the recorder,
//! which gets into the sandbox by such a process.

use reqwest::{Method, StatusCode};

use crate::durable::{briefly, kills};
use crate::files::{Desk, noise, sha256};
use crate::support::level1::{Visit, Window};
use crate::support::stream::streams;
use crate::support::{Broker, eventually, plugin};

/// The embedded server, by such a plugin.
fn config(sandbox: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\n{sandbox}\n\
         [providers.local]\nplugin = {:?}\nembedded = \"sandboxd\"\n",
        plugin("guests/e2b-bare")
    )
}

#[tokio::test]
async fn a_terminal_of_level_0_works_where_a_plugin_only_runs_processes() {
    let broker = Broker::start(&config("")).await;
    let mut terminal = broker.connect().await;
    terminal.ready().await;
    terminal.resize(101, 29).await;
    terminal.input("until [ \"$(stty size)\" = '29 101' ]; do :; done; echo si\"\"ze; tty; id -un\n").await;
    terminal.expect("size\r\n").await;
    terminal.expect("/dev/pts/").await;
    terminal.expect("user\r\n").await;
    // The shell waits for its client and loses nothing.
    terminal.input("seq 1 400000 | sha256sum; seq 1 400000; echo la\"\"st\n").await;
    terminal.expect("last\r\n").await;
    terminal.input("exit 3\n").await;
    assert_eq!(terminal.closed().await.code, 1000);
    eventually("no sandbox", async || broker.embedded_sandboxes().await.is_empty().then_some(())).await;
}

/// R4, and R3 of a client that comes back after each.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_costs_no_byte_where_a_plugin_only_runs_processes() {
    let broker = kills(config(&briefly(&streams(1_000_000))), 3, 1_000_000).await;
    eventually("no sandbox", async || broker.embedded_sandboxes().await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_goes_on_where_a_plugin_only_runs_processes() {
    let broker = Broker::start_quiet(&config("")).await;
    let mut window = Window::open(&broker.url, Visit::default().client("driver")).await;
    let ready = window.ready().await;
    assert_eq!(ready.durability, "durable");
    window.input("for n in 1 2 3; do echo line-$n; done\n").await;
    window.expect("line-3\r\n").await;
    let (output, end) = (window.output.clone(), window.end.unwrap());
    window.cut();
    let visit = Visit::to(&ready.session).client("driver").since(end - 8, ready.epoch);
    let mut window = Window::open(&broker.url, visit).await;
    window.seq = window.ready().await.input;
    window.input("exit 5\n").await;
    assert_eq!(window.told("exit").await["code"], 5);
    assert_eq!(window.output[..8], output[output.len() - 8..]);
}

/// What the files of a session promise, whatever the sandbox's tools are.
async fn files(mut desk: Desk) {
    let (path, content) = ("/workspace/large", noise(34 << 20));
    let hash = sha256(&content);
    assert_eq!(desk.put(path, content).await.status(), 201);
    desk.terminal.input(&format!("sha256sum < {path}\n")).await;
    desk.terminal.expect(&hash).await;
    assert_eq!(sha256(&desk.get(path).await.bytes().await.unwrap()), hash);

    desk.types("chmod 640 /workspace/large; ln -s / /workspace/root; ln -s none /workspace/nowhere; umask 077").await;
    assert_eq!(desk.put(path, "short").await.status(), 200);
    desk.terminal.input("ls -l /workspace/large | cut -c 1-10\n").await;
    desk.terminal.expect("-rw-r-----").await;
    assert_eq!(desk.get(path).await.text().await.unwrap(), "short");
    for name in ["two words", "new\nline", "end\n", "-rf", "ü語😀"] {
        let (path, moved) = (format!("/workspace/{name}"), format!("/workspace/deep/er/{name}"));
        assert_eq!(desk.put(&path, name.to_owned()).await.status(), 201, "{name:?}");
        assert_eq!(desk.rename(&path, &moved).await.status(), 200, "{name:?}");
        assert_eq!(desk.get(&moved).await.text().await.unwrap(), name);
    }
    assert_eq!(desk.names("/workspace/deep/er").await.len(), 5);
    for (method, route, path, status) in [
        (Method::GET, "/content", "/workspace/root/etc/passwd", 403),
        (Method::PUT, "/content", "/workspace/nowhere/../root/etc/x", 400),
        (Method::GET, "/content", "/etc/passwd", 403),
        (Method::GET, "/content", "/workspace/none", 404),
        (Method::GET, "", "/workspace/large", 409),
        (Method::POST, "/directory", "/workspace/made/here", 201),
        (Method::POST, "/directory", "/workspace/made/here", 409),
        (Method::DELETE, "", "/workspace/root", 204),
        (Method::DELETE, "", "/workspace/deep", 204),
    ] {
        let answer = desk.ask(method.clone(), route, path).await;
        assert_eq!(answer.status().as_u16(), status, "{method} {route} {path}: {}", answer.text().await.unwrap());
    }
    assert_eq!(desk.names("/workspace").await, ["large", "made", "nowhere"]);
}

#[tokio::test]
async fn the_files_of_a_session_work_where_a_plugin_only_runs_processes() {
    files(Desk::on(&config("workdir = \"/workspace\"")).await).await;
}

/// The shell has put the tools of busybox first when files are asked for.
#[tokio::test]
async fn the_files_of_a_session_work_without_the_tools_of_gnu() {
    const TOOLS: &str = "/tmp/busybox";
    let sandbox = format!("workdir = \"/workspace\"\nenv = {{ PATH = \"{TOOLS}:/usr/bin:/bin\" }}");
    let mut desk = Desk::on(&config(&sandbox)).await;
    desk.types(&format!("mkdir {TOOLS} && busybox --install -s {TOOLS}")).await;
    desk.terminal.input(&format!("ls {TOOLS} | grep -cx -e readlink -e mv -e cp -e mkdir\n")).await;
    desk.terminal.expect("4\r\n").await;
    files(desk).await;
}

#[tokio::test]
async fn the_recording_of_a_session_is_read_where_a_plugin_only_runs_processes() {
    let broker = Broker::start(&config("")).await;
    let mut terminal = broker.connect().await;
    let session = terminal.ready().await["session"].as_str().unwrap().to_owned();
    terminal.input("echo re\"\"corded\n").await;
    terminal.expect("recorded\r\n").await;
    let cast = broker.get(&format!("/api/sessions/{session}/recording")).await;
    assert_eq!(cast.status(), StatusCode::OK);
    assert!(cast.text().await.unwrap().contains("recorded"));
}
