//! The control plane: life, leases, listing, errors, bounds, and the program around it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{DEADLINE, PROGRAM, TestProgram, TestServer, json_of, options, processes_with, until};

fn end_at(info: &Value) -> i64 {
    info["endAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// Promise: every route needs the key, and an error always has the status as an integer in its JSON.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_needs_the_key() {
    let server = TestServer::start().await;
    let routes = [
        ("POST", "/v2/sandboxes"),
        ("POST", "/sandboxes"),
        ("GET", "/v2/sandboxes"),
        ("GET", "/sandboxes"),
        ("POST", "/v2/sandboxes/ix/connect"),
        ("POST", "/sandboxes/ix/connect"),
        ("POST", "/sandboxes/ix/resume"),
        ("GET", "/sandboxes/ix"),
        ("DELETE", "/sandboxes/ix"),
        ("POST", "/sandboxes/ix/timeout"),
        ("POST", "/sandboxes/ix/refreshes"),
        ("GET", "/sandboxes/ix/metrics"),
        ("GET", "/nothing"),
    ];
    for (method, path) in routes {
        for key in [None, Some("e2b_wrong"), Some(&server.key[..20])] {
            let mut request = server.http.request(method.parse().unwrap(), format!("{}{path}", server.url));
            if let Some(key) = key {
                request = request.header("x-api-key", key);
            }
            let (status, answer) = json_of(request).await;
            assert_eq!((status, &answer["code"]), (401, &json!(401)), "{method} {path} with {key:?}");
            assert!(!answer.to_string().contains(&server.key));
        }
    }
    let (status, answer) = json_of(server.http.get(format!("{}/health", server.url))).await;
    assert_eq!((status, answer), (204, Value::Null));
    for (method, path, body, wanted) in [
        ("GET", "/sandboxes/inone", "", 404),
        ("DELETE", "/sandboxes/inone", "", 404),
        ("POST", "/v2/sandboxes/inone/connect", "", 404),
        ("POST", "/sandboxes/inone/timeout", r#"{"timeout":5}"#, 404),
        ("POST", "/sandboxes/inone/refreshes", "{}", 404),
        ("POST", "/v2/sandboxes", "{", 400),
        ("POST", "/v2/sandboxes", "{}", 400),
        ("GET", "/v2/sandboxes?limit=0", "", 400),
        ("GET", "/v2/sandboxes?limit=101", "", 400),
        ("GET", "/v2/sandboxes?state=sleeping", "", 400),
        ("GET", "/v2/sandboxes?nextToken=rubbish", "", 400),
        ("PUT", "/v2/sandboxes", "", 405),
        ("GET", "/nothing", "", 404),
    ] {
        let request = server.http.request(method.parse().unwrap(), format!("{}{path}", server.url));
        let (status, answer) = json_of(request.header("x-api-key", &server.key).body(body)).await;
        assert_eq!((status, &answer["code"]), (wanted, &json!(wanted)), "{method} {path}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    server.end().await;
}

/// Promise: a sandbox is made by either route, described, kept longer by connect and refresh, and gone when killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_lives_and_is_killed() {
    let server = TestServer::start().await;
    for route in ["/v2/sandboxes", "/sandboxes"] {
        let (status, made) =
            json_of(server.post(route, &json!({ "templateID": "base", "timeout": 100, "metadata": { "a": "1" } })))
                .await;
        assert_eq!(status, 201, "{made}");
        let id = made["sandboxID"].as_str().unwrap();
        assert!(
            id.len() == 21
                && id.starts_with('i')
                && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        );
        assert!(made["domain"].is_null() && made["envdVersion"].is_string() && made["clientID"].is_string());

        let (_, info) = json_of(server.get(&format!("/sandboxes/{id}"))).await;
        assert_eq!(
            (&info["state"], &info["metadata"], &info["templateID"]),
            (&json!("running"), &json!({ "a": "1" }), &json!("base"))
        );
        for number in ["cpuCount", "memoryMB", "diskSizeMB"] {
            assert!(info[number].as_u64().unwrap() > 0, "{number}");
        }
        let end = end_at(&info);

        // A shorter life is no shorter life.
        for body in [json!({}), json!({ "timeout": 5 })] {
            let wanted = if body == json!({}) { end + 150_000 } else { 0 };
            let (status, again) = json_of(server.post(&format!("/v2/sandboxes/{id}/connect"), &body)).await;
            assert_eq!((status, &again["envdAccessToken"]), (200, &made["envdAccessToken"]));
            let (_, info) = json_of(server.get(&format!("/sandboxes/{id}-client"))).await;
            assert!(end_at(&info) >= wanted.max(end));
        }
        let (_, before) = json_of(server.get(&format!("/sandboxes/{id}"))).await;
        let no_body =
            server.http.post(format!("{}/v2/sandboxes/{id}/connect", server.url)).header("x-api-key", &server.key);
        assert_eq!(json_of(no_body).await.0, 200);
        assert_eq!(json_of(server.post(&format!("/sandboxes/{id}/connect"), &json!({ "timeout": 1 }))).await.0, 200);
        assert_eq!(json_of(server.post(&format!("/sandboxes/{id}/refreshes"), &json!({}))).await.0, 204);
        let (_, after) = json_of(server.get(&format!("/sandboxes/{id}"))).await;
        assert!(end_at(&after) >= end_at(&before));

        // Setting it may shorten it.
        assert_eq!(json_of(server.post(&format!("/sandboxes/{id}/timeout"), &json!({ "timeout": 50 }))).await.0, 204);
        let (_, shorter) = json_of(server.get(&format!("/sandboxes/{id}"))).await;
        assert!(end_at(&shorter) < end);

        assert_eq!(server.kill(id).await, 204);
        assert_eq!(server.kill(id).await, 404);
        let (status, gone) = json_of(server.get(&format!("/sandboxes/{id}"))).await;
        assert_eq!(
            (status, gone["message"].as_str().unwrap()),
            (404, &*format!("Sandbox \"{id}\" doesn't exist or you don't have access to it"))
        );
        assert!(!server.directory.path().join("sandboxes").join(id).exists());
    }
    assert_eq!(server.server.sandboxes(), 0);
    server.end().await;
}

/// Promise: what this server does not do is refused with words, not ignored.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_done_is_refused() {
    let server = TestServer::start().await;
    for more in [
        json!({ "autoPause": true }),
        json!({ "autoPauseMemory": false }),
        json!({ "autoResume": { "enabled": true } }),
        json!({ "iam": { "tokens": { "a": { "audience": "b" } } } }),
        json!({ "mcp": { "browserbase": { "key": "x" } } }),
        json!({ "volumeMounts": [{ "name": "v", "path": "/v" }] }),
        json!({ "network": { "allowOut": ["1.1.1.1"] } }),
        json!({ "network": { "denyOut": ["10.0.0.0/8"] } }),
        json!({ "network": { "allowPublicTraffic": false } }),
        json!({ "network": { "rules": { "a": [{ "transform": { "headers": { "b": "c" } } }] } } }),
        json!({ "network": { "maskRequestHost": "x" } }),
        json!({ "timeout": 0 }),
        json!({ "timeout": -1 }),
        json!({ "timeout": 86_401 }),
        json!({ "envVars": { "A=B": "c" } }),
    ] {
        let mut body = json!({ "templateID": "base" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = json_of(server.post("/v2/sandboxes", &body)).await;
        assert_eq!((status, &answer["code"]), (400, &json!(400)), "{more}: {answer}");
    }
    let (status, answer) = json_of(server.post("/v2/sandboxes", &json!({ "templateID": "other" }))).await;
    assert_eq!(status, 404, "{answer}");
    // The same members at rest are fine.
    let sandbox = server
        .create(json!({ "autoPause": false, "autoPauseMemory": true, "autoResume": { "enabled": false }, "network": { "allowOut": [] },
            "volumeMounts": [], "secure": true, "allow_internet_access": true }))
        .await;
    assert_eq!(server.kill(&sandbox.id).await, 204);
    server.end().await;
}

/// Promise: the listing has pages in a stable order, each sandbox exactly once, and filters as the SDKs encode them.
#[tokio::test(flavor = "multi_thread")]
async fn listing_has_pages_and_filters() {
    let server = TestServer::start().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(server.create(json!({ "metadata": { "k k": "v&1", "number": number.to_string() } })).await.id);
    }
    for (order, wanted) in [("desc", made.iter().rev().cloned().collect::<Vec<_>>()), ("asc", made.clone())] {
        let mut seen = Vec::new();
        let mut token = String::new();
        let mut pages = 0;
        loop {
            let response = server.get(&format!("/v2/sandboxes?limit=2&order={order}{token}")).send().await.unwrap();
            assert_eq!(response.headers()["x-total-running"], "5");
            let next = response.headers().get("x-next-token").map(|next| next.to_str().unwrap().to_owned());
            let rows: Value = response.json().await.unwrap();
            seen.extend(rows.as_array().unwrap().iter().map(|row| row["sandboxID"].as_str().unwrap().to_owned()));
            pages += 1;
            match next {
                Some(next) => token = format!("&nextToken={next}"),
                None => break,
            }
        }
        assert_eq!((pages, seen), (3, wanted));
        // A token belongs to the order that it came from.
        let other = if order == "asc" { "desc" } else { "asc" };
        assert_eq!(json_of(server.get(&format!("/v2/sandboxes?limit=2&order={other}{token}"))).await.0, 400);
    }
    let count =
        async |query: &str| json_of(server.get(&format!("/v2/sandboxes?{query}"))).await.1.as_array().unwrap().len();
    // As recorded from the SDKs: every pair, and all pairs.
    assert_eq!(count("metadata=k%252520k%3Dv%2525261").await, 5);
    assert_eq!(count("metadata=k%252520k%3Dv%2525261%26number%3D3").await, 1);
    assert_eq!(count("metadata=number%3D9").await, 0);
    assert_eq!(count("state=paused").await, 0);
    assert_eq!(count("state=running,paused").await, 5);
    assert_eq!(count("template=base&limit=3").await, 3);
    assert_eq!(json_of(server.get("/sandboxes")).await.1.as_array().unwrap().len(), 5);
    server.end().await;
}

/// Promise: a lease that runs out ends the sandbox with all its processes and files, at its end and not before.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends() {
    let server = TestServer::start().await;
    let begun = tokio::time::Instant::now();
    let sandbox = server.create(json!({ "timeout": 2 })).await;
    let marker = format!("marker-{}", sandbox.id);
    let mut process =
        sandbox.start(json!({ "process": { "cmd": "/bin/bash", "args": ["-c", "sleep 1000; :", marker] } })).await;
    assert!(!processes_with(&marker).is_empty());
    let output = process.events.rest().await;
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(output.error.unwrap()["code"], "unavailable");
    until("the end", || async { (server.server.sandboxes() == 0).then_some(()) }).await;
    assert_eq!(processes_with(&marker), [0_u32; 0]);
    assert!(!server.directory.path().join("sandboxes").join(&sandbox.id).exists());
    assert_eq!(json_of(server.get(&format!("/sandboxes/{}", sandbox.id))).await.0, 404);
    server.end().await;
}

/// Promise: there are never more sandboxes than allowed, the refusal says so, and a killed one makes room.
#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_sandboxes_is_bounded() {
    let server = TestServer::start_with(|options| options.max_sandboxes = 2).await;
    let first = server.create(json!({})).await;
    server.create(json!({})).await;
    let (status, answer) = json_of(server.post("/v2/sandboxes", &json!({ "templateID": "base" }))).await;
    assert_eq!((status, &answer["code"]), (429, &json!(429)));
    assert!(answer["message"].as_str().unwrap().starts_with("2 sandboxes are live"), "{answer}");
    assert_eq!(server.kill(&first.id).await, 204);
    server.create(json!({})).await;
    server.end().await;
}

/// Promise: what does not reach a sandbox is answered in the words that clients look for.
#[tokio::test(flavor = "multi_thread")]
async fn unreachable_sandboxes_are_told_in_the_known_words() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let health = |id: &str, port: &str| {
        server.http.get(format!("{}/health", server.url)).header("e2b-sandbox-id", id).header("e2b-sandbox-port", port)
    };
    assert_eq!(json_of(health(&sandbox.id, "49983")).await.0, 204);
    let (status, answer) = json_of(health("inone", "49983")).await;
    assert_eq!(
        (status, answer),
        (502, json!({ "sandboxId": "inone", "message": "The sandbox was not found", "code": 502 }))
    );
    let (status, answer) = json_of(health(&sandbox.id, "8080")).await;
    let closed = json!({ "sandboxId": sandbox.id, "message": "The sandbox is running but port is not open", "port": 8080, "code": 502 });
    assert_eq!((status, answer), (502, closed));
    let half = server.http.get(format!("{}/health", server.url)).header("e2b-sandbox-id", &sandbox.id);
    let (status, answer) = json_of(half).await;
    assert!(status == 400 && answer["message"].as_str().unwrap().starts_with("missing header"), "{answer}");
    // By host name, also with an old client id behind.
    for host in [format!("49983-{}.example.org", sandbox.id), format!("49983-{}-client.example.org", sandbox.id)] {
        let request = server
            .http
            .get(format!("{}/metrics", server.url))
            .header("host", &host)
            .header("x-access-token", &sandbox.token);
        let (status, answer) = json_of(request).await;
        assert!(status == 200 && answer["mem_total"].as_u64().unwrap() > 0, "{host}: {answer}");
    }
    let inside = sandbox.request(reqwest::Method::POST, "/init").json(&json!({}));
    assert_eq!(json_of(inside).await.0, 404);
    server.end().await;
}

/// Promise: HTTP/2 without TLS is spoken on the same port.
#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken() {
    let server = TestServer::start().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let response =
        client.get(format!("{}/v2/sandboxes", server.url)).header("x-api-key", &server.key).send().await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_2, 200));
    server.end().await;
}

/// Promise: with `--exit-when-idle` the program waits for the last sandbox and then ends by itself, announcement and all.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_when_idle() {
    let mut program = TestProgram::start(&["--exit-when-idle", "1"]).await;
    let announcement = program.directory.path().join("announcement");
    let begun = tokio::time::Instant::now();
    program.api.create(json!({ "timeout": 3 })).await;
    let status = tokio::time::timeout(DEADLINE, program.child.wait()).await.expect("it ends").unwrap();
    assert!(status.success());
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert!(!announcement.exists());
}

/// Promise: SIGTERM ends every sandbox and the program; a second server finds the state directory free.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_everything() {
    let mut program = TestProgram::start(&[]).await;
    let sandbox = program.api.create(json!({})).await;
    let marker = format!("marker-{}", sandbox.id);
    let process = sandbox
        .start(json!({ "process": { "cmd": "/bin/bash", "args": ["-c", "trap '' TERM HUP; sleep 1000; :", marker] } }))
        .await;
    assert!(!processes_with(&marker).is_empty());

    let busy = sandboxd::Server::bind(options(program.directory.path())).await.unwrap_err();
    assert!(matches!(busy, sandboxd::Error::Locked(_)), "{busy}");

    let pid = rustix::process::Pid::from_raw(i32::try_from(program.child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::time::timeout(DEADLINE, program.child.wait()).await.expect("it ends").unwrap();
    assert!(status.success());
    assert_eq!(processes_with(&marker), [0_u32; 0]);
    drop(process);
    let server = sandboxd::Server::bind(options(program.directory.path())).await.unwrap();
    server.shutdown().await;
}

/// Promise: a server that dies without a word takes every process of its sandboxes along, and the next removes their files.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_leaves_no_process() {
    let mut program = TestProgram::start(&[]).await;
    let sandbox = program.api.create(json!({})).await;
    let marker = format!("marker-{}", sandbox.id);
    let daemon = format!("(setsid bash -c 'sleep 1000; :' {marker} >/dev/null 2>&1 </dev/null &)");
    assert_eq!(sandbox.run(&daemon).await.0, 0);
    until("the daemon", || async { (!processes_with(&marker).is_empty()).then_some(()) }).await;
    program.child.start_kill().unwrap();
    program.child.wait().await.unwrap();
    until("the end of its processes", || async { processes_with(&marker).is_empty().then_some(()) }).await;
    let sandboxes = program.directory.path().join("sandboxes");
    assert!(sandboxes.join(&sandbox.id).exists());
    let server = sandboxd::Server::bind(options(program.directory.path())).await.unwrap();
    assert!(!sandboxes.join(&sandbox.id).exists());
    server.shutdown().await;
}

/// Promise: key and announcement are for their owner only, and a key that others may read is refused.
#[tokio::test(flavor = "multi_thread")]
async fn files_with_secrets_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let program = TestProgram::start(&[]).await;
    for name in ["api-key", "announcement"] {
        let mode = std::fs::metadata(program.directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("api-key"), "known to all").unwrap();
    std::fs::set_permissions(directory.path().join("api-key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = sandboxd::Server::bind(options(directory.path())).await.unwrap_err();
    assert!(matches!(refused, sandboxd::Error::ApiKey { .. }), "{refused}");
    assert!(std::path::Path::new(PROGRAM).exists());
}

/// A path is what many may choose.
#[test]
fn no_text_forges_a_line_of_the_log() {
    let state = "/proc/none\r\n2026-01-01T00:00:00Z  INFO forged\u{9b}2J";
    let mut command = std::process::Command::new(PROGRAM);
    let output =
        command.args(["--listen", "127.0.0.1:0", "--state-dir", state]).env_remove("RUST_LOG").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && log.contains("/proc/none") && log.contains("forged"), "{log:?}");
    let bare = log.lines().any(|line| line.starts_with("2026-01-01"));
    assert!(!bare && !log.contains('\r') && !log.contains('\u{9b}'), "{log:?}");
}
