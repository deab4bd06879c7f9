//! Files of a sandbox: contents over REST, the file system over RPC, and signed URLs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Sandbox, TestServer, json_of};

async fn write(sandbox: &Sandbox, path: &str, content: impl Into<reqwest::Body>) -> (u16, Value) {
    let request = sandbox.request(Method::POST, "/files").query(&[("path", path)]);
    json_of(request.header("content-type", "application/octet-stream").body(content)).await
}

async fn read(sandbox: &Sandbox, path: &str) -> (u16, Vec<u8>) {
    let response = sandbox.request(Method::GET, "/files").query(&[("path", path)]).send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

/// Promise: what is uploaded is what is downloaded, whole or in part, and the files belong to the acting user.
#[tokio::test(flavor = "multi_thread")]
async fn contents_come_back() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let content: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (status, written) = write(&sandbox, "deep/er/file.bin", content.clone()).await;
    assert_eq!(status, 200, "{written}");
    assert_eq!(written, json!([{ "path": "/home/user/deep/er/file.bin", "name": "file.bin", "type": "file" }]));
    let (status, back) = read(&sandbox, "~/deep/er/file.bin").await;
    assert_eq!((status, Sha256::digest(back)), (200, Sha256::digest(&content)));
    assert_eq!(
        sandbox.run("stat -c '%U:%G:%a:%s' deep deep/er/file.bin").await.1,
        "user:user:755:4096\nuser:user:644:20000000\n"
    );

    let part =
        sandbox.request(Method::GET, "/files").query(&[("path", "deep/er/file.bin")]).header("range", "bytes=100-199");
    let response = part.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-range"]),
        (206, &"bytes 100-199/20000000".parse().unwrap())
    );
    assert_eq!(response.bytes().await.unwrap(), content[100..200]);
    let beyond = sandbox
        .request(Method::GET, "/files")
        .query(&[("path", "deep/er/file.bin")])
        .header("range", "bytes=20000000-");
    assert_eq!(beyond.send().await.unwrap().status(), 416);

    // Shorter than before, and the mode stays.
    sandbox.run("chmod 600 deep/er/file.bin").await;
    assert_eq!(write(&sandbox, "deep/er/file.bin", "short").await.0, 200);
    assert_eq!(read(&sandbox, "deep/er/file.bin").await.1, b"short");
    assert_eq!(sandbox.run("stat -c %a deep/er/file.bin").await.1, "600\n");
    server.end().await;
}

/// Promise: a form writes many files at once, by their names, and names one only once.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_writes_many() {
    use reqwest::multipart::{Form, Part};
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let part = |name: &str, content: &str| Part::text(content.to_owned()).file_name(name.to_owned());
    let form = Form::new().part("file", part("/workspace/a.txt", "A")).part("file", part("d/b c.txt", "B"));
    let (status, written) = json_of(sandbox.request(Method::POST, "/files").multipart(form)).await;
    assert_eq!(status, 200, "{written}");
    assert_eq!(sandbox.run("cat /workspace/a.txt 'd/b c.txt'").await.1, "AB");
    let twice = Form::new().part("file", part("x", "1")).part("file", part("x", "2"));
    let (status, refused) = json_of(sandbox.request(Method::POST, "/files").multipart(twice)).await;
    assert_eq!((status, &refused["code"]), (400, &json!(400)));

    let compose = json!({ "source_paths": ["/workspace/a.txt", "d/b c.txt"], "destination": "whole.txt" });
    let (status, composed) = json_of(sandbox.request(Method::POST, "/files/compose").json(&compose)).await;
    assert_eq!((status, &composed["path"]), (200, &json!("/home/user/whole.txt")));
    assert_eq!(sandbox.run("cat whole.txt; ls /workspace d").await.1, "AB/workspace:\n\nd:\n");
    server.end().await;
}

/// Promise: what cannot be read or written is refused in JSON, and nothing blocks on a pipe or a device.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_files_are_refused() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    sandbox.run("mkfifo pipe; ln -s none broken").await;
    for (path, wanted) in [("none", 404), ("/home/user", 400), ("pipe", 400), ("/dev/zero", 400), ("broken", 404)] {
        let (status, body) = read(&sandbox, path).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["code"]), (wanted, &json!(wanted)), "{path}: {body}");
    }
    for (path, wanted) in [("/home/user", 400), ("/dev/null", 400), ("/usr/x", 403), ("/etc/passwd/x", 400), ("", 400)]
    {
        let (status, body) = write(&sandbox, path, "x").await;
        assert_eq!((status, &body["code"]), (wanted, &json!(wanted)), "{path}: {body}");
    }
    let ghost = sandbox.request(Method::GET, "/files").query(&[("path", "x"), ("username", "ghost")]);
    assert_eq!(json_of(ghost).await.0, 401);
    server.end().await;
}

/// Promise: the file system's calls answer in proto3 JSON with the known codes.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_system_answers() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    let call =
        async |method: &str, message: Value| sandbox.call(&format!("filesystem.Filesystem/{method}"), message).await;
    assert_eq!(
        sandbox
            .run("mkdir -p a/b; echo hi > a/b/f; chmod 750 a/b; ln -s b/f a/link; ln -s none a/lost; : > a/empty")
            .await
            .0,
        0
    );

    let (_, found) = call("Stat", json!({ "path": "a/b/f" })).await;
    let entry = &found["entry"];
    assert_eq!(
        [
            &entry["name"],
            &entry["type"],
            &entry["path"],
            &entry["size"],
            &entry["mode"],
            &entry["permissions"],
            &entry["owner"]
        ],
        [
            &json!("f"),
            &json!("FILE_TYPE_FILE"),
            &json!("/home/user/a/b/f"),
            &json!("3"),
            &json!(420),
            &json!("-rw-r--r--"),
            &json!("user")
        ]
    );
    assert!(entry["modifiedTime"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert!(entry.get("symlinkTarget").is_none());
    let (_, empty) = call("Stat", json!({ "path": "a/empty" })).await;
    assert!(empty["entry"].get("size").is_none(), "zeros are left out");
    let (_, link) = call("Stat", json!({ "path": "a/link" })).await;
    assert_eq!(
        (&link["entry"]["type"], &link["entry"]["symlinkTarget"]),
        (&json!("FILE_TYPE_FILE"), &json!("/home/user/a/b/f"))
    );

    let (_, one) = call("ListDir", json!({ "path": "a" })).await;
    let names = |listed: &Value| {
        let entries = listed["entries"].as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| entry["path"].as_str().unwrap().trim_start_matches("/home/user/a/").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&one), ["b", "empty", "link", "lost"]);
    assert_eq!(one["entries"][0]["permissions"], "drwxr-x---");
    let (_, two) = call("ListDir", json!({ "path": "a", "depth": 2 })).await;
    assert_eq!(names(&two), ["b", "b/f", "empty", "link", "lost"]);

    for (method, message, status, code) in [
        ("Stat", json!({ "path": "none" }), 404, "not_found"),
        ("ListDir", json!({ "path": "none" }), 404, "not_found"),
        ("ListDir", json!({ "path": "a/empty" }), 400, "invalid_argument"),
        ("MakeDir", json!({ "path": "a/b" }), 409, "already_exists"),
        ("MakeDir", json!({ "path": "a/empty" }), 400, "invalid_argument"),
        ("Move", json!({ "source": "none", "destination": "x" }), 404, "not_found"),
        ("CreateWatcher", json!({ "path": "none" }), 404, "not_found"),
        ("GetWatcherEvents", json!({ "watcherId": "none" }), 404, "not_found"),
    ] {
        let (found, error) = call(method, message.clone()).await;
        assert_eq!((found, &error["code"]), (status, &json!(code)), "{method} {message}");
    }
    let (_, made) = call("MakeDir", json!({ "path": "/workspace/x/y" })).await;
    assert_eq!(made["entry"]["type"], "FILE_TYPE_DIRECTORY");
    // Across directories that a sandbox sees as different places.
    let (_, moved) = call("Move", json!({ "source": "a/b/f", "destination": "/workspace/p/q/f" })).await;
    assert_eq!(moved["entry"]["path"], "/workspace/p/q/f");
    assert_eq!(call("Remove", json!({ "path": "/workspace/p" })).await, (200, json!({})));
    assert_eq!(call("Remove", json!({ "path": "/workspace/p" })).await, (200, json!({})));
    assert!(!sandbox.exists("/workspace/p/q/f").await);
    server.end().await;
}

/// Promise: a signed URL works without any header, for what it was signed for and as long as it says.
#[tokio::test(flavor = "multi_thread")]
async fn signed_urls_stand_alone() {
    let server = TestServer::start().await;
    let sandbox = server.create(json!({})).await;
    server.create(json!({})).await;
    let url = |path: &str, operation: &str, expiration: Option<i64>| {
        let end = expiration.map(|end| format!(":{end}")).unwrap_or_default();
        let digest = Sha256::digest(format!("{path}:{operation}:user:{}{end}", sandbox.token));
        let signature = format!("v1_{}", STANDARD_NO_PAD.encode(digest));
        let mut query = vec![("path", path.to_owned()), ("username", "user".to_owned()), ("signature", signature)];
        query.extend(expiration.map(|end| ("signature_expiration", end.to_string())));
        server.http.get("http://x").query(&query).build().unwrap().url().query().unwrap().to_owned()
    };
    let ask = |method: Method, query: &str| server.http.request(method, format!("{}/files?{query}", server.url));
    let now = jiff::Timestamp::now().as_second();
    let form =
        || reqwest::multipart::Form::new().part("file", reqwest::multipart::Part::text("signed").file_name("any"));
    let (status, answer) = json_of(ask(Method::POST, &url("s.txt", "write", Some(now + 60))).multipart(form())).await;
    assert_eq!(status, 200, "{answer}");
    let response = ask(Method::GET, &url("s.txt", "read", None)).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "signed");

    for (query, message) in [
        (url("s.txt", "read", Some(now - 1)), "signature is already expired"),
        (url("s.txt", "write", None), "invalid signature"),
        (url("s.txt", "read", None).replace("s.txt", "other.txt"), "invalid signature"),
    ] {
        let (status, answer) = json_of(ask(Method::GET, &query)).await;
        assert_eq!((status, &answer["code"], answer["message"].as_str().unwrap()), (401, &json!(401), message));
    }
    let headers = |request: reqwest::RequestBuilder| {
        request.header("e2b-sandbox-id", &sandbox.id).header("e2b-sandbox-port", "49983")
    };
    assert_eq!(json_of(headers(ask(Method::GET, "path=s.txt"))).await.0, 401);
    assert_eq!(json_of(headers(ask(Method::GET, &url("s.txt", "read", Some(now - 1))))).await.0, 401);
    server.end().await;
}
