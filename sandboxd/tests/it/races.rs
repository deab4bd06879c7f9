//! Races against the file operations: a directory becomes a link to where its user may not go, and a directory again, as
//! fast as a process can do it, while requests go through it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::json;
use tokio::process::Command;

use crate::client::{PROGRAM, Process, Sandbox, TestProgram, TestServer, is_root, json_of, until};

/// Requests against each operation.
const RACES: usize = 2000;

/// Requests at a time: what a sandbox does at a time.
const AT_ONCE: usize = 32;

/// How long one round after the other may meet only one of the two places.
const EXCHANGED_WITHIN: Duration = Duration::from_secs(60);

/// Exchanges each of two directories with a link, for ever.
const EXCHANGE: &str = r#"
import ctypes
exchange = ctypes.CDLL(None).renameat2
while True:
    for name in (b"d", b"e"):
        if exchange(-100, name, -100, name + b".link", 2): raise SystemExit("no exchange")
"#;

/// What only the vault holds, so no answer may know of it.
const SECRET: &str = "a secret of the vault";

/// What one operation does with the race's turn, and the answers that show it went wrong.
struct Race {
    name: &'static str,
    ask: fn(&Sandbox, usize) -> reqwest::RequestBuilder,
    /// Statuses that cannot be where only the user's own directory is reached.
    never: &'static [u16],
}

fn read(sandbox: &Sandbox, path: &str) -> reqwest::RequestBuilder {
    sandbox.request(Method::GET, "/files").query(&[("path", path)])
}

fn write(sandbox: &Sandbox, path: &str) -> reqwest::RequestBuilder {
    let request = sandbox.request(Method::POST, "/files").query(&[("path", path)]);
    request.header("content-type", "application/octet-stream").body("written by the race")
}

fn call(sandbox: &Sandbox, method: &str, message: &serde_json::Value) -> reqwest::RequestBuilder {
    sandbox.request(Method::POST, &format!("/filesystem.Filesystem/{method}")).json(message)
}

/// `d` is exchanged with a link to the vault and `e` with one to `/etc`. `only` is in the vault alone.
const RACES_OF_ALL: [Race; 14] = [
    Race { name: "read", ask: |sandbox, _| read(sandbox, "d/file"), never: &[] },
    Race { name: "read of /etc", ask: |sandbox, _| read(sandbox, "e/shadow"), never: &[200] },
    Race { name: "write", ask: |sandbox, _| write(sandbox, "d/file"), never: &[] },
    Race { name: "write of /etc", ask: |sandbox, _| write(sandbox, "e/hosts"), never: &[] },
    Race { name: "stat", ask: |sandbox, _| call(sandbox, "Stat", &json!({ "path": "d/only" })), never: &[200] },
    Race { name: "list", ask: |sandbox, _| call(sandbox, "ListDir", &json!({ "path": "d/only" })), never: &[200] },
    Race {
        name: "list of the directory",
        ask: |sandbox, _| call(sandbox, "ListDir", &json!({ "path": "d", "depth": 3 })),
        never: &[],
    },
    Race {
        name: "make a directory",
        ask: |sandbox, n| call(sandbox, "MakeDir", &json!({ "path": format!("d/made/{n}") })),
        never: &[],
    },
    Race {
        name: "rename from",
        ask: |sandbox, n| call(sandbox, "Move", &json!({ "source": "d/only", "destination": format!("out/{n}") })),
        never: &[200],
    },
    Race {
        name: "rename to",
        ask: |sandbox, n| {
            call(sandbox, "Move", &json!({ "source": format!("in/{n}"), "destination": format!("d/moved/{n}") }))
        },
        never: &[],
    },
    Race { name: "remove", ask: |sandbox, _| call(sandbox, "Remove", &json!({ "path": "d/only" })), never: &[] },
    Race {
        name: "remove from /etc",
        ask: |sandbox, _| call(sandbox, "Remove", &json!({ "path": "e/shadow" })),
        never: &[],
    },
    Race {
        name: "watch",
        ask: |sandbox, _| call(sandbox, "CreateWatcher", &json!({ "path": "d/only", "recursive": true })),
        never: &[200],
    },
    Race {
        name: "compose",
        ask: |sandbox, _| {
            let whole = json!({ "source_paths": ["d/only/file"], "destination": "whole" });
            sandbox.request(Method::POST, "/files/compose").json(&whole)
        },
        never: &[200],
    },
];

/// Runs the exchange in the working directory of the user.
async fn exchange(sandbox: &Sandbox) -> Process {
    let process = json!({ "cmd": "/usr/bin/python3", "args": ["-c", EXCHANGE] });
    let exchange = sandbox.start(json!({ "process": process })).await;
    until("the exchange runs", || async { (sandbox.run("test -L d && test -d d.link").await.0 == 0).then_some(()) })
        .await;
    exchange
}

/// All of what may not change, to the byte.
const LOOK: &str = "chmod 700 /srv/vault; cd /srv && find vault -printf '%p %U %m %s\\n' | sort; cat vault/file vault/only/file; \
                    sha256sum /etc/passwd /etc/shadow /etc/hosts /etc/group; ls /etc; chmod $0 /srv/vault";

/// Runs all races in a sandbox; `mighty` may look into the vault, which has `mode`.
async fn race(sandbox: &Sandbox, mighty: &str, mode: &str) {
    let vault = format!(
        "mkdir -p /srv/vault/only && cd /srv/vault && printf '{SECRET}' | tee file > only/file && chmod {mode} /srv/vault"
    );
    assert_eq!(sandbox.run_as(mighty, &vault).await.0, 0);
    let ground = "mkdir -p d e in && echo mine > d/file && cp d/file e/hosts && ln -s /srv/vault d.link && ln -s /etc e.link \
                  && cd in && seq 0 1999 | xargs touch";
    assert_eq!(sandbox.run(ground).await.0, 0);
    let look = LOOK.replace("$0", mode);
    let (_, before, _) = sandbox.run_as(mighty, &look).await;
    assert!(before.contains(SECRET), "{before}");

    let exchange = exchange(sandbox).await;
    // Where the user owns `/etc` of his sandbox, nothing in it is beyond his rights.
    let owns_etc = sandbox.run("test -w /etc").await.0 == 0;
    for Race { name, ask, never } in RACES_OF_ALL.iter().filter(|race| !(owns_etc && race.name.contains("/etc"))) {
        let mut statuses = BTreeMap::<u16, usize>::new();
        // On a busy machine the exchange may stand still for as long as one round takes.
        let until = Instant::now() + EXCHANGED_WITHIN;
        while statuses.len() < 2 {
            assert!(Instant::now() < until, "{name}: nothing was raced: {statuses:?}");
            let answers = stream::iter(0..RACES).map(|n| {
                let request = ask(sandbox, n);
                async move {
                    let answer = request.send().await.unwrap();
                    (answer.status().as_u16(), answer.text().await.unwrap())
                }
            });
            let answers: Vec<(u16, String)> = answers.buffer_unordered(AT_ONCE).collect().await;
            assert_eq!(answers.len(), RACES);
            for (status, body) in answers {
                *statuses.entry(status).or_default() += 1;
                assert!(!never.contains(&status), "{name}: {status} {body}");
                assert!(!body.contains(SECRET) && (status != 200 || !body.contains("/only")), "{name}: {body}");
            }
        }
    }
    let signal = json!({ "process": { "pid": exchange.pid }, "signal": "SIGNAL_SIGKILL" });
    sandbox.ok("process.Process/SendSignal", signal).await;
    let (_, after, _) = sandbox.run_as(mighty, &look).await;
    assert_eq!(after, before);
    let foreign = "find . ! -user \"$(id -u)\" -printf '%p '; cat out/* whole 2>/dev/null";
    assert_eq!(sandbox.run(foreign).await.1, "", "nothing of another user has come here");
}

/// Promise: whatever links do meanwhile, the file operations of a server that is root reach and change nothing that the
/// acting user could not.
#[tokio::test(flavor = "multi_thread")]
async fn no_race_lends_the_rights_of_root() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let (mighty, mode) = if is_root() { ("root", "700") } else { ("user", "0") };
    race(&sandbox, mighty, mode).await;
    server.end().await;
}

/// Promise: the same where the server is an ordinary user.
#[tokio::test(flavor = "multi_thread")]
async fn no_race_lends_the_rights_of_an_ordinary_server() {
    if !is_root() {
        return; // the other test has shown it
    }
    let (program, pid) = TestProgram::start_by(ordinary(), &[]).await;
    assert_eq!(std::fs::metadata(format!("/proc/{}", pid.unwrap())).unwrap().uid(), 65534);
    let sandbox = program.api.create(json!({})).await;
    race(&sandbox, "user", "0").await;
}

/// The server as a user without rights, on a copy of the program that he can reach.
fn ordinary() -> Command {
    let script = "set -e; chown 65534 \"$4\"; cp \"$0\" \"$4/program\"; chmod 755 \"$4/program\"; cd /; \
                  exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$4/program\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, PROGRAM]);
    command
}

/// Promise: each operation has the rights of who acts, also where no link is in play.
#[tokio::test(flavor = "multi_thread")]
async fn each_operation_has_the_rights_of_its_user() {
    if !is_root() {
        return; // there is one user
    }
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let closed = "mkdir -p /srv/closed/in /home/user/w/closed && echo x | tee /srv/closed/file > /srv/readable \
                  && chmod 700 /srv/closed /home/user/w/closed && chown user /home/user/w && touch /srv/closed/in/x";
    assert_eq!(sandbox.run_as("root", closed).await.0, 0);
    let path = |path: &str| json!({ "path": path });
    for (what, request, wanted) in [
        ("read", read(&sandbox, "/srv/closed/file"), 403),
        ("write", write(&sandbox, "/srv/closed/file"), 403),
        ("write over", write(&sandbox, "/srv/readable"), 403),
        ("write new", write(&sandbox, "/srv/new"), 403),
        ("stat", call(&sandbox, "Stat", &path("/srv/closed/file")), 403),
        ("list", call(&sandbox, "ListDir", &path("/srv/closed")), 403),
        ("make", call(&sandbox, "MakeDir", &path("/srv/a/b")), 403),
        ("from", call(&sandbox, "Move", &json!({ "source": "/srv/readable", "destination": "x" })), 403),
        ("to", call(&sandbox, "Move", &json!({ "source": "w", "destination": "/srv/w" })), 403),
        ("remove", call(&sandbox, "Remove", &path("/srv/readable")), 403),
        ("watch", call(&sandbox, "CreateWatcher", &path("/srv/closed")), 403),
        // What the init has open is nobody's.
        ("read of the init", read(&sandbox, "/proc/1/environ"), 403),
        ("list of the init", call(&sandbox, "ListDir", &path("/proc/1/root/")), 400),
        ("readable", read(&sandbox, "/srv/readable"), 200),
    ] {
        let (status, answer) = json_of(request).await;
        assert_eq!(status, wanted, "{what}: {answer}");
    }
    // As root all of it is allowed, and what root writes over becomes root's.
    sandbox.run("echo mine > mine").await;
    let as_root = write(&sandbox, "/home/user/mine").query(&[("username", "root")]);
    assert_eq!(json_of(as_root).await.0, 200);
    assert_eq!(json_of(read(&sandbox, "/srv/closed/file").query(&[("username", "root")])).await.0, 200);
    let (_, owners, _) = sandbox.run("stat -c %U mine; cat mine").await;
    assert_eq!(owners, "root\nwritten by the race");

    // A program begins only where its user may be.
    let start = json!({ "process": { "cmd": "pwd", "cwd": "/srv/closed/in" } });
    let refused = sandbox.stream("process.Process/Start", &start, |request| request).await.rest().await;
    let words = refused.error.unwrap()["message"].as_str().unwrap().to_owned();
    assert!(words.contains("cannot be entered"), "{words}");

    // A recursive watch tells of no directory that its user could not list.
    let watch = json!({ "path": "w", "recursive": true });
    let mut events = sandbox.stream("filesystem.Filesystem/WatchDir", &watch, |request| request).await;
    assert_eq!(events.next().await, Some(json!({ "start": {} })));
    let beats = "touch /home/user/w/closed/hidden; mkdir -m 755 /home/user/w/open; touch /home/user/w/open/seen";
    assert_eq!(sandbox.run_as("root", beats).await.0, 0);
    let mut told = Vec::new();
    while told.last().is_none_or(|name| name != "open/seen") {
        let event = events.next().await.unwrap();
        told.push(event["filesystem"]["name"].as_str().unwrap_or_default().to_owned());
    }
    assert!(!told.iter().any(|name| name.contains("hidden")), "{told:?}");
    server.end().await;
}

/// Promise: a tree deeper than any path, and a directory with more entries than are looked at together, can be removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_any_shape_is_removed() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let deep = "import os\nfor _ in range(3000):\n os.mkdir('deep'); os.chdir('deep')";
    let make = format!("python3 -c \"{deep}\" && mkdir -p wide && cd wide && seq 3000 | xargs mkdir && touch 7/x");
    assert_eq!(sandbox.run(&make).await, (0, String::new(), String::new()));
    for path in ["deep", "wide"] {
        let removed = json_of(call(&sandbox, "Remove", &json!({ "path": path }))).await;
        assert_eq!(removed, (200, json!({})), "{path}");
    }
    assert_eq!(sandbox.run("ls").await.1, "");
    server.end().await;
}
