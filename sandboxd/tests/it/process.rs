//! Processes and terminals: what goes in comes in order, what comes out is complete, and nothing waits for ever.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::client::{DEADLINE, PROGRAM, Sandbox, TestProgram, TestServer, envelope, until};

/// What `seq 1 n` prints.
fn sequence(n: usize, line_end: &str) -> Vec<u8> {
    use std::fmt::Write;
    (1..=n)
        .fold(String::new(), |mut text, number| {
            write!(text, "{number}{line_end}").unwrap();
            text
        })
        .into_bytes()
}

fn same(one: &[u8], other: &[u8]) {
    assert_eq!(one.len(), other.len());
    assert_eq!(Sha256::digest(one), Sha256::digest(other));
}

fn pty(cmd: &str, args: &[&str]) -> Value {
    json!({ "process": { "cmd": cmd, "args": args }, "pty": { "size": { "cols": 80, "rows": 24 } } })
}

/// Promise: a terminal echoes, obeys Ctrl-C and its size, and its end carries the exit code in the known form.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_works() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let mut shell = sandbox.shell().await;
    shell.input("echo $((6*7))\n").await;
    shell.shows("42\r\n").await;
    shell.input("stty size\n").await;
    // The line editor writes back the size that it has just read: it must not be at that when the size changes.
    shell.shows("24 80\r\n$ ").await;
    let size = json!({ "process": { "pid": shell.pid }, "pty": { "size": { "cols": 132, "rows": 50 } } });
    assert_eq!(sandbox.ok("process.Process/Update", size).await, json!({}));
    shell.input("stty size; tput -T xterm cols\n").await;
    shell.shows("50 132\r\n132\r\n").await;
    shell.input("tty\n").await;
    shell.shows("/dev/pts/").await;
    shell.input("sh -c 'echo in:$((1+1)); exec sleep 1000'\n").await;
    shell.shows("in:2").await;
    shell.input("\x03").await;
    shell.shows("^C").await;
    shell.input("echo after:$?\n").await;
    shell.shows("after:130").await;
    shell.input("exit 3\n").await;
    let output = shell.events.rest().await;
    let end = json!({ "exitCode": 3, "exited": true, "status": "exit status 3", "error": "exit status 3" });
    assert_eq!((output.end, output.error), (Some(end), None));

    let (_, refused) = sandbox
        .call("process.Process/SendInput", json!({ "process": { "pid": shell.pid }, "input": { "pty": "eA==" } }))
        .await;
    assert_eq!(refused["code"], "not_found");
    server.end().await;
}

/// Promise: a process has its signals as the system has it by default, however the server was started.
#[tokio::test(flavor = "multi_thread")]
async fn ignored_signals_are_not_handed_down() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT QUIT TSTP; exec \"$0\" \"$@\"", PROGRAM]);
    let (program, _) = TestProgram::start_by(command, &[]).await;
    let sandbox = program.api.create(json!({})).await;
    let (_, ignored, _) = sandbox.run("grep -o '^SigIgn:.*' /proc/self/status | cut -f 2").await;
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    // Without the real-time ones, which mean nothing to a terminal.
    assert_eq!(ignored & 0x7fff_ffff, 0, "{ignored:x}");
}

/// Promise: everything that a process prints arrives before its end, byte for byte, on a terminal and on pipes.
#[tokio::test(flavor = "multi_thread")]
async fn output_is_complete() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let lines = 1_150_000;
    let mut process = sandbox.start(pty("seq", &["1", &lines.to_string()])).await;
    let output = process.events.rest().await;
    let wanted = sequence(lines, "\r\n");
    assert!(wanted.len() > 8 << 20);
    same(&output.pty, &wanted);
    assert_eq!(output.end, Some(json!({ "exited": true, "status": "exit status 0" })));

    let script = format!("seq 1 {lines} & seq 1 {lines} >&2; wait");
    let (code, stdout, stderr) = sandbox.run(&script).await;
    assert_eq!(code, 0);
    same(stdout.as_bytes(), &sequence(lines, "\n"));
    same(stderr.as_bytes(), &sequence(lines, "\n"));

    // The shortest of lives, often: its only output is its last.
    for round in 0..50 {
        let word = format!("last words {round}");
        let mut process = sandbox.start(pty("/bin/echo", &["-n", &word])).await;
        assert_eq!(String::from_utf8(process.events.rest().await.pty).unwrap(), word);
    }
    server.end().await;
}

/// How many bytes a process has written, from inside the sandbox.
async fn written(sandbox: &Sandbox, pid: u64) -> u64 {
    let (_, io, _) = sandbox.run(&format!("cat /proc/{pid}/io")).await;
    io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap()
}

/// Waits until a process writes no more, because nobody takes what it writes: five looks in a row see the same.
async fn until_held_back(sandbox: &Sandbox, pid: u64) -> u64 {
    let end = tokio::time::Instant::now() + DEADLINE;
    let (mut last, mut looks) = (0, 0);
    while looks < 5 {
        assert!(tokio::time::Instant::now() < end, "the process is not held back");
        let now = written(sandbox, pid).await;
        looks = if now == last && now > 0 { looks + 1 } else { 0 };
        last = now;
    }
    last
}

/// Promise: the only listener sets the pace. While it does not read, the process waits; then everything arrives.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_listener_sets_the_pace() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let lines = 5_000_000;
    let wanted = sequence(lines, "\r\n");
    let mut process = sandbox.start(pty("seq", &["1", &lines.to_string()])).await;
    let written = until_held_back(&sandbox, process.pid).await;
    // Socket buffers of both ends, the queue, and the kernel's terminal.
    assert!(written < 16 << 20, "{written} bytes were taken from a process that nobody reads");
    let output = process.events.rest().await;
    same(&output.pty, &wanted);
    server.end().await;
}

/// Promise: of several listeners one that stalls is dropped with a reason, and the others get everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_listener_among_several_is_dropped() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let lines = 5_000_000;
    let mut process = sandbox.start(pty("/bin/bash", &["-c", &format!("read; seq 1 {lines}")])).await;
    let select = json!({ "process": { "pid": process.pid } });
    let mut stalled = sandbox.stream("process.Process/Connect", &select, |request| request).await;
    let first = stalled.next().await.unwrap();
    assert_eq!(first["event"]["start"]["pid"], process.pid);
    process.input("\n").await;
    let output = process.events.rest().await;
    let mut wanted = b"\r\n".to_vec();
    wanted.extend(sequence(lines, "\r\n"));
    same(&output.pty, &wanted);
    let dropped = stalled.rest().await;
    assert_eq!(dropped.error.unwrap()["code"], "resource_exhausted");
    assert!(wanted.starts_with(&dropped.pty), "what it got is the beginning");
    server.end().await;
}

/// Promise: a stalled listener does not hold back one that joins later.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_listener_frees_a_held_back_process() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let process = sandbox.start(pty("seq", &["1", "5000000"])).await;
    until_held_back(&sandbox, process.pid).await;
    let select = json!({ "process": { "pid": process.pid } });
    let mut late = sandbox.stream("process.Process/Connect", &select, |request| request).await;
    let output = late.rest().await;
    assert!(output.pty.ends_with(b"4999999\r\n5000000\r\n"));
    assert!(output.end.is_some());
    server.end().await;
}

/// Promise: with no listener the output is thrown away, the process runs on, and its end can be asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_runs_on_without_listeners() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let process = sandbox.start(pty("/bin/bash", &["-c", "read; seq 1 3000000; touch done; read; exit 9"])).await;
    let pid = process.pid;
    let input = json!({ "process": { "pid": pid }, "input": { "pty": STANDARD.encode("\n") } });
    drop(process);
    sandbox.ok("process.Process/SendInput", input.clone()).await;
    until("the output is gone", || async { sandbox.exists("done").await.then_some(()) }).await;
    let listed = sandbox.ok("process.Process/List", json!({})).await;
    assert_eq!(listed["processes"][0]["pid"], pid);
    sandbox.ok("process.Process/SendInput", input).await;
    until("it left the list", || async {
        (sandbox.ok("process.Process/List", json!({})).await == json!({})).then_some(())
    })
    .await;

    // Twice: asking does not use it up.
    for _ in 0..2 {
        let mut ended =
            sandbox.stream("process.Process/Connect", &json!({ "process": { "pid": pid } }), |request| request).await;
        assert_eq!(ended.next().await.unwrap(), json!({ "event": { "start": { "pid": pid } } }));
        let output = ended.rest().await;
        assert_eq!((output.pty.len(), output.end.unwrap()["exitCode"].as_i64()), (0, Some(9)));
    }
    let mut unknown =
        sandbox.stream("process.Process/Connect", &json!({ "process": { "pid": 4_000_000 } }), |request| request).await;
    let error = unknown.rest().await.error.unwrap();
    assert_eq!(error, json!({ "code": "not_found", "message": "process with pid 4000000 not found" }));
    server.end().await;
}

/// Promise: a background child that keeps the terminal or the pipes does not hold back the end of its parent.
#[tokio::test(flavor = "multi_thread")]
async fn a_background_child_does_not_hold_back_the_end() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let script = "trap '' HUP; sleep 1000 & disown; echo bye";
    let mut on_terminal = sandbox.start(pty("/bin/bash", &["-c", script])).await;
    let output = on_terminal.events.rest().await;
    assert_eq!(String::from_utf8(output.pty).unwrap(), "bye\r\n");
    assert!(output.end.is_some());
    let (code, stdout, _) = sandbox.run(script).await;
    assert_eq!((code, &*stdout), (0, "bye\n"));
    // One that never stops writing neither.
    let (code, _, _) = sandbox.run("yes & disown; exit 4").await;
    assert_eq!(code, 4);
    server.end().await;
}

/// Promise: `Connect-Timeout-Ms` on Start kills the process; on Connect it only ends the stream.
#[tokio::test(flavor = "multi_thread")]
async fn time_limits_kill_on_start_only() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let limited = |request: reqwest::RequestBuilder| request.header("connect-timeout-ms", "300");
    let mut unlimited = sandbox.start(json!({ "process": { "cmd": "sleep", "args": ["1000"] } })).await;
    let select = json!({ "process": { "pid": unlimited.pid } });
    let output = sandbox.stream("process.Process/Connect", &select, limited).await.rest().await;
    assert_eq!(output.error.unwrap()["code"], "deadline_exceeded");

    let message = json!({ "process": { "cmd": "sleep", "args": ["1000"] }, "tag": "limited" });
    let mut stream = sandbox.stream("process.Process/Start", &message, limited).await;
    let mut witness =
        sandbox.stream("process.Process/Connect", &json!({ "process": { "tag": "limited" } }), |request| request).await;
    assert_eq!(stream.rest().await.error.unwrap()["code"], "deadline_exceeded");
    let end = json!({ "exitCode": -1, "status": "signal: killed", "error": "signal: killed" });
    assert_eq!(witness.rest().await.end, Some(end));

    let listed = sandbox.ok("process.Process/List", json!({})).await;
    assert_eq!(listed["processes"].as_array().unwrap().len(), 1);
    sandbox
        .ok("process.Process/SendSignal", json!({ "process": { "pid": unlimited.pid }, "signal": "SIGNAL_SIGTERM" }))
        .await;
    let end = json!({ "exitCode": -1, "status": "signal: terminated", "error": "signal: terminated" });
    assert_eq!(unlimited.events.rest().await.end, Some(end));
    server.end().await;
}

/// Promise: a silent stream is kept alive at the interval that the client asked for.
#[tokio::test(flavor = "multi_thread")]
async fn silent_streams_get_keepalives() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let message = json!({ "process": { "cmd": "sleep", "args": ["1000"] } });
    let mut stream = sandbox
        .stream("process.Process/Start", &message, |request| request.header("keepalive-ping-interval", "1"))
        .await;
    assert!(stream.next().await.unwrap()["event"]["start"].is_object());
    for _ in 0..2 {
        assert_eq!(stream.next().await.unwrap(), json!({ "event": { "keepalive": {} } }));
    }
    server.end().await;
}

/// Promise: a stream of input arrives completely and in order, and closing stdin ends a reader.
#[tokio::test(flavor = "multi_thread")]
async fn streamed_input_keeps_its_order() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let script = "cat; echo closed; exec sleep 1000";
    let mut process = sandbox.start(json!({ "process": { "cmd": "/bin/bash", "args": ["-c", script] } })).await;
    let wanted = sequence(100_000, "\n");
    let mut body = envelope(&json!({ "start": { "process": { "pid": process.pid } } }));
    for (number, chunk) in wanted.chunks(1000).enumerate() {
        body.extend(envelope(&json!({ "data": { "input": { "stdin": STANDARD.encode(chunk) } } })));
        if number % 10 == 0 {
            body.extend(envelope(&json!({ "keepalive": {} })));
        }
    }
    let request = sandbox.request(reqwest::Method::POST, "/process.Process/StreamInput");
    let sending = tokio::spawn(request.header("content-type", "application/connect+json").body(body).send());
    let mut seen = Vec::new();
    while seen.len() < wanted.len() {
        let event = process.events.next().await.unwrap();
        seen.extend(STANDARD.decode(event["event"]["data"]["stdout"].as_str().unwrap()).unwrap());
    }
    same(&seen, &wanted);
    let answer = sending.await.unwrap().unwrap().bytes().await.unwrap();
    assert_eq!(&answer[..], b"\0\0\0\0\x02{}\x02\0\0\0\x02{}");

    for _ in 0..2 {
        assert_eq!(
            sandbox.ok("process.Process/CloseStdin", json!({ "process": { "pid": process.pid } })).await,
            json!({})
        );
    }
    let closed = json!({ "event": { "data": { "stdout": STANDARD.encode("closed\n") } } });
    assert_eq!(process.events.next().await.unwrap(), closed);
    server.end().await;
}

/// Promise: wrong requests are refused with the code that clients of the protocol expect, and hurt nobody.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    for (message, code) in [
        (json!({ "process": { "cmd": "true", "cwd": "/none" } }), "invalid_argument"),
        (json!({ "process": { "cmd": "/no/such/program" } }), "invalid_argument"),
        (json!({ "process": { "cmd": "true", "envs": { "A=B": "" } } }), "invalid_argument"),
        (json!({}), "invalid_argument"),
        (json!({ "process": 5 }), "invalid_argument"),
    ] {
        let error =
            sandbox.stream("process.Process/Start", &message, |request| request).await.rest().await.error.unwrap();
        assert_eq!(error["code"], code, "{message}: {error}");
    }
    let nobody = |request: reqwest::RequestBuilder| request.basic_auth("ghost", Some(""));
    let error = sandbox
        .stream("process.Process/Start", &json!({ "process": { "cmd": "true" } }), nobody)
        .await
        .rest()
        .await
        .error
        .unwrap();
    assert_eq!(error["code"], "unauthenticated");

    let piped = sandbox.start(json!({ "process": { "cmd": "sleep", "args": ["1000"] }, "stdin": false })).await;
    let shell = sandbox.shell().await;
    let (piped, shell) = (json!({ "pid": piped.pid }), json!({ "pid": shell.pid }));
    for (method, message, code) in [
        ("SendInput", json!({ "process": piped, "input": { "pty": "eA==" } }), "internal"),
        ("SendInput", json!({ "process": piped, "input": { "stdin": "eA==" } }), "internal"),
        ("SendInput", json!({ "process": shell, "input": { "stdin": "eA==" } }), "internal"),
        ("SendInput", json!({ "process": shell }), "unimplemented"),
        ("SendInput", json!({ "process": shell, "input": { "pty": "***" } }), "invalid_argument"),
        ("SendInput", json!({ "input": { "pty": "eA==" } }), "invalid_argument"),
        ("Update", json!({ "process": piped, "pty": { "size": { "cols": 1, "rows": 1 } } }), "internal"),
        ("CloseStdin", json!({ "process": shell }), "internal"),
        ("SendSignal", json!({ "process": shell, "signal": "SIGNAL_SIGHUP" }), "unimplemented"),
        ("SendSignal", json!({ "process": { "tag": "none" }, "signal": 9 }), "not_found"),
    ] {
        let (status, error) = sandbox.call(&format!("process.Process/{method}"), message.clone()).await;
        assert!(status >= 400 && error["code"] == code, "{method} {message}: {status} {error}");
    }

    let post = |path: &str, kind: &str, body: Vec<u8>| {
        sandbox.request(reqwest::Method::POST, path).header("content-type", kind).body(body).send()
    };
    let list = "/process.Process/List";
    assert_eq!(post(list, "application/proto", vec![]).await.unwrap().status(), 501);
    assert_eq!(post(list, "application/json", b"{".to_vec()).await.unwrap().status(), 400);
    // The server does not read it to its end, so the connection is of no use for the next request.
    let large = sandbox.request(reqwest::Method::POST, "/process.Process/SendInput").header("connection", "close");
    let large = large.header("content-type", "application/json").body(vec![b' '; 5 << 20]);
    assert_eq!(large.send().await.unwrap().status(), 429);
    for body in [&b""[..], b"\0", b"\0\xff\xff\xff\xff{}", b"\x01\0\0\0\x02{}", b"\x09\0\0\0\x02{}", b"\0\0\0\0\x09{}"]
    {
        for method in ["Start", "StreamInput", "Connect"] {
            let path = format!("/process.Process/{method}");
            let response = post(&path, "application/connect+json", body.to_vec()).await.unwrap();
            assert_eq!(response.status(), 200);
            let answer = response.bytes().await.unwrap();
            assert_eq!(
                answer[0] & 2,
                if method == "StreamInput" && body.is_empty() { 0 } else { 2 },
                "{method} {body:?}"
            );
        }
    }
    let (code, stdout, _) = sandbox.run("echo still here").await;
    assert_eq!((code, &*stdout), (0, "still here\n"));
    server.end().await;
}

/// Promise: every request to a sandbox needs its own token, and the refusal is the JSON that clients read.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_a_sandbox_needs_its_token() {
    let server = TestServer::start().await;
    let (sandbox, other) = (server.create(json!({})).await, server.create(json!({})).await);
    let mut paths = vec!["/files/compose".to_owned(), "/none".to_owned()];
    for method in ["List", "Start", "Connect", "Update", "SendInput", "StreamInput", "SendSignal", "CloseStdin"] {
        paths.push(format!("/process.Process/{method}"));
    }
    for method in [
        "Stat",
        "MakeDir",
        "Move",
        "ListDir",
        "Remove",
        "WatchDir",
        "CreateWatcher",
        "GetWatcherEvents",
        "RemoveWatcher",
    ] {
        paths.push(format!("/filesystem.Filesystem/{method}"));
    }
    for path in paths {
        for token in [None, Some(&other.token), Some(&server.key)] {
            let mut request = server.http.post(format!("{}{path}", server.url));
            request =
                request.header("e2b-sandbox-id", &sandbox.id).header("e2b-sandbox-port", "49983").json(&json!({}));
            if let Some(token) = token {
                request = request.header("x-access-token", token);
            }
            let (status, answer) = crate::client::json_of(request).await;
            assert_eq!((status, &answer["code"]), (401, &json!(401)), "{path}");
        }
    }
    server.end().await;
}
