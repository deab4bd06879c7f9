//! Sandboxes that share the machine's network, and the server's port: it serves no process of theirs, however that hides,
//! and everybody else of the machine. And the server's Unix socket, which serves its user alone.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::Method;
use sandboxd::Network;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::client::{Api, PROGRAM, Sandbox, TestProgram, TestServer, is_root, json_of, own_addresses, until};

/// That of the system, which sandboxes see.
const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = include_str!("ask.py");

/// The ways that print an answer; the last three leave no sign that a process of a sandbox holds the connection.
const ASKING: &[&str] = &["plain", "forked", "orphan", "hidden", "alone", "handed"];
/// Those that do not wait for an answer.
const LEAVING: &[&str] = &["left", "reset"];

/// What a client with a key may wait at most while sandboxes flood the port.
const PATIENCE: Duration = Duration::from_secs(5);

/// The bytes of a request, with everything that the server could want of it.
fn request(api: &Api, sandbox: &Sandbox, method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\nx-access-token: {}\r\nconnection: close\r\n\
         content-type: application/octet-stream\r\ncontent-length: {}\r\n{}\r\n{body}",
        api.key,
        sandbox.token,
        body.len(),
        if path.starts_with("/files") {
            format!("e2b-sandbox-id: {}\r\ne2b-sandbox-port: 49983\r\n", sandbox.id)
        } else {
            String::new()
        }
    )
}

/// What could be done to a sandbox by somebody with its token and the server's key; the worst comes last.
fn requests(api: &Api, victim: &Sandbox) -> Vec<(&'static str, String)> {
    let id = &victim.id;
    [
        ("list", "GET", "/v2/sandboxes".to_owned(), ""),
        ("show", "GET", format!("/sandboxes/{id}"), ""),
        ("read", "GET", "/files?path=/workspace/secret".to_owned(), ""),
        ("write", "POST", "/files?path=/workspace/secret".to_owned(), "changed"),
        ("kill", "DELETE", format!("/sandboxes/{id}"), ""),
    ]
    .map(|(name, method, path, body)| (name, request(api, victim, method, &path, body)))
    .to_vec()
}

fn port(api: &Api) -> u16 {
    api.url.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn words(api: &Api, ways: &[&str], addresses: &[String], requests: &[(&str, String)]) -> String {
    json!({ "ways": ways, "addresses": addresses, "port": port(api), "requests": requests }).to_string()
}

/// From inside, as the mightiest there or the user.
async fn from_inside(sandbox: &Sandbox, user: &str, words: &str) -> Vec<String> {
    let process = json!({ "process": { "cmd": PYTHON, "args": ["-c", SCRIPT, words] }, "stdin": false });
    let output = sandbox.start_as(user, process).await.events.rest().await;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// From outside, by a command to which the program is added.
async fn from_outside(command: &[&str], words: &str) -> Vec<String> {
    let all = [command, &[PYTHON, "-c", SCRIPT, words]].concat();
    let output = Command::new(all[0]).args(&all[1..]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Everything that a process of a sandbox could try at the port, while others are served. `outside` are commands that run
/// what follows them outside the sandboxes.
async fn no_sandbox_is_served(api: &Api, has_root: bool, addresses: &[String], outside: &[&[&str]]) {
    let mightiest = if has_root { "root" } else { "user" };
    // Without root a process outside may not be looked at either. What cannot be told from it may try the key.
    let ways = if has_root { ASKING } else { &ASKING[..3] };
    let (victim, intruder) = (api.create(json!({})).await, api.create(json!({})).await);
    let secret = || victim.request(Method::GET, "/files").query(&[("path", "/workspace/secret")]);
    let put = victim.request(Method::POST, "/files").query(&[("path", "/workspace/secret")]);
    let put = put.header("content-type", "application/octet-stream").body("untouched");
    assert_eq!(json_of(put).await.0, 200);
    let requests = requests(api, &victim);

    // The requests are right: from outside, each of them but the last two is answered.
    for command in outside {
        let asked = words(api, &["plain"], addresses, &requests[..3]);
        for line in from_outside(command, &asked).await {
            assert!(line.ends_with(" 200"), "{command:?}: {line}");
        }
    }

    let all = addresses.len() * requests.len();
    for user in ["user", mightiest] {
        let lines = from_inside(&intruder, user, &words(api, &["plain"], addresses, &requests)).await;
        assert_eq!(lines.len(), all);
        for line in lines {
            assert!(line.ends_with(" refused"), "{user}: {line}");
        }
    }
    let lines = from_inside(&intruder, mightiest, &words(api, ways, &addresses[..1], &requests)).await;
    assert_eq!(lines.len(), ways.len() * requests.len());
    for line in lines {
        assert!(line.ends_with(" refused"), "{line}");
    }
    let lines = from_inside(&intruder, "user", &words(api, LEAVING, &addresses[..1], &requests[3..])).await;
    assert!(lines.len() == 4 && lines.iter().all(|line| line.ends_with(" sent")), "{lines:?}");

    // While it takes all the connections that it can have.
    let flood = words(api, &["flood"], &addresses[..1], &requests[..1]);
    let process = json!({ "process": { "cmd": PYTHON, "args": ["-c", SCRIPT, flood] }, "stdin": false });
    let mut flooding = intruder.start_as("user", process).await;
    flooding.prints("floods").await;
    for _ in 0..4 {
        let begun = Instant::now();
        // Not a connection that was there before.
        let fresh = reqwest::Client::new().get(format!("{}/v2/sandboxes", api.url)).header("x-api-key", &api.key);
        let (status, list) = json_of(fresh).await;
        assert_eq!((status, list.as_array().map(Vec::len)), (200, Some(2)), "{list}");
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }
    assert_eq!(json_of(secret()).await, (200, Value::String("untouched".to_owned())));
    assert_eq!(api.kill(&intruder.id).await, 204);
    assert_eq!(api.kill(&victim.id).await, 204, "it lived all the time");
}

/// Promise: where sandboxes share the machine's network, the server serves none of their processes by any address of the
/// machine, not even with its key, and programs of the machine as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_serves_no_sandbox() {
    let server = TestServer::start_with(|options| {
        options.network = Some(Network::Shared);
        options.listen = "[::]:0".parse().unwrap();
    })
    .await;
    let api = Api { url: format!("http://127.0.0.1:{}", port(&server)), ..server.api.clone() };
    let mapped = "::ffff:127.0.0.1".to_owned();
    let addresses: Vec<String> =
        own_addresses().iter().map(ToString::to_string).chain([mapped, "127.1.2.3".to_owned()]).collect();
    assert!(addresses.len() > 3, "{addresses:?}");
    no_sandbox_is_served(&api, is_root(), &addresses, &[&["env"]]).await;
    server.end().await;
}

/// Promise: the same where the server is an ordinary user's, who may look at few processes. Its own programs are served, and
/// those of others and of containers; also one that it may not look at, since that has to show the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_root_serves_no_sandbox() {
    if !is_root() {
        println!("skipped: needs root to become another user; without it every other test shows this");
        return;
    }
    let program = TestProgram::start_without_root(&["--network", "shared"]).await;
    let itself: &[&str] = &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let another: &[&str] = &["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups"];
    let addresses = ["127.0.0.1".to_owned()];
    let api = &program.api;
    let sandbox = api.create(json!({})).await;
    let list = [("list", request(api, &sandbox, "GET", "/v2/sandboxes", ""))];
    let lines = from_outside(itself, &words(api, &["hidden"], &addresses, &list)).await;
    assert_eq!(lines, ["list hidden 127.0.0.1 200"]);
    assert_eq!(api.kill(&sandbox.id).await, 204);
    let contained: &[&str] = &[itself, &["unshare", "--user", "--map-root-user"]].concat();
    no_sandbox_is_served(api, program.has_root(), &addresses, &[&["env"], itself, another, contained]).await;
}

/// Promise: a server with a Unix socket serves root and its own user and nobody else, by the kernel's word and not by the
/// permissions of the socket alone.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused_at_the_socket() {
    if !is_root() {
        println!("skipped: needs root to become another user");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let mut child = Command::new(PROGRAM)
        .arg("--socket")
        .arg(&socket)
        .arg("--state-dir")
        .arg(directory.path().join("state"))
        .args(["--network", "shared"])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("the server", || async { socket.exists().then_some(()) }).await;
    let ask = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ntry:\n    s.connect(sys.argv[1])\n    \
         s.sendall(b'GET /health HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n')\n    \
         print(s.recv(12).decode() or 'closed')\nexcept OSError as error:\n    print(error.strerror)";
    let as_user = async |uid: &str| {
        let command = Command::new("setpriv")
            .args(["--reuid", uid, "--regid", uid, "--clear-groups", PYTHON, "-c", ask])
            .arg(&socket)
            .output();
        String::from_utf8(command.await.unwrap().stdout).unwrap().trim().to_owned()
    };
    assert_eq!(as_user("0").await, "HTTP/1.1 204");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(as_user("65534").await, "Permission denied");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let refused = as_user("65534").await;
    assert!(["closed", "Connection reset by peer", "Broken pipe"].contains(&refused.as_str()), "{refused}");
    assert_eq!(as_user("0").await, "HTTP/1.1 204");
    child.kill().await.unwrap();
}
