//! The files of a session, asked for by handmade requests.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::harness::{Answer, Broker, Options, soon};
use sandbox_broker_core::sandbox::{Code, Error, Fault};
use sandbox_broker_session::{Client, Join};

/// A broker with one session, and what is asked about its files.
struct Desk {
    broker: Broker,
    client: Client,
}

impl Desk {
    async fn new() -> Self {
        let broker = Broker::start(Options::default()).await;
        let client = broker.session().await;
        Desk { broker, client }
    }

    fn route(&self, route: &str) -> String {
        format!("/api/sessions/{}/files{route}", self.client.id())
    }

    /// The address of a route about a place in the session's directory.
    fn about(&self, route: &str, name: &str) -> String {
        let path = self.broker.provider.disk.at(name).replace('%', "%25").replace(' ', "%20");
        self.route(&format!("{route}?path={path}"))
    }

    fn put(&self, name: &str, content: &str) {
        fs::write(self.broker.provider.disk.at(name), content).unwrap();
    }

    fn content(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.broker.provider.disk.at(name)).ok()
    }

    async fn get(&self, route: &str, name: &str) -> Answer {
        self.ask("GET", route, name, "").await
    }

    async fn ask(&self, method: &str, route: &str, name: &str, headers: &str) -> Answer {
        self.broker.ask(method, &self.about(route, name), headers).await
    }

    /// A request with a body, as the bytes of a connection.
    fn with_body(&self, method: &str, target: &str, headers: &str, body: &str) -> String {
        let length =
            if headers.contains("chunked") { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let host = self.broker.address;
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}{headers}\r\n{body}")
    }

    async fn upload(&self, name: &str, headers: &str, body: &str) -> Answer {
        self.broker.send(&self.with_body("PUT", &self.about("/content", name), headers, body)).await
    }

    async fn rename(&self, from: &str, to: &str) -> Answer {
        let disk = &self.broker.provider.disk;
        let body = serde_json::json!({ "from": disk.at(from), "to": disk.at(to) }).to_string();
        let request = self.with_body("POST", &self.route("/rename"), "Content-Type: application/json\r\n", &body);
        self.broker.send(&request).await
    }

    /// A connection whose clock can be stopped, with this already said.
    async fn says(&self, room: usize, request: &str) -> DuplexStream {
        let (ours, mut theirs) = duplex(room);
        self.broker.serve_on(ours);
        theirs.write_all(request.as_bytes()).await.unwrap();
        theirs
    }
}

#[tokio::test]
async fn a_client_learns_where_files_are_and_what_is_there() {
    let desk = Desk::new().await;
    let disk = &desk.broker.provider.disk;
    let roots = desk.broker.get(&desk.route(""), "").await;
    let root = disk.root().to_str().unwrap().to_owned();
    assert_eq!(roots.json(), serde_json::json!({ "roots": [{ "path": root, "storage": false }] }));

    desk.put("b.txt", "12345");
    fs::create_dir(disk.at("a")).unwrap();
    symlink("nowhere", disk.at("c")).unwrap();
    let target = desk.route(&format!("?path={root}"));
    let list = desk.broker.get(&target, "").await;
    let json = list.json();
    assert_eq!((&json["path"], &json["total"]), (&root.clone().into(), &3.into()));
    let entries = json["entries"].as_array().unwrap();
    let brief: Vec<_> = entries.iter().map(|e| (e["name"].as_str(), e["kind"].as_str(), e["size"].as_u64())).collect();
    assert_eq!(
        brief,
        [
            (Some("a"), Some("directory"), Some(0)),
            (Some("b.txt"), Some("file"), Some(5)),
            (Some("c"), Some("link"), Some(0))
        ]
    );
    assert_eq!(entries[1]["mode"].as_str().unwrap().len(), 4);
    entries[1]["modified"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();

    let etag = format!("If-None-Match: {}\r\n", list.header("etag").unwrap());
    let same = desk.broker.get(&target, &etag).await;
    assert_eq!((same.status, same.body()), (304, ""));
    desk.put("d", "");
    assert_eq!(desk.broker.get(&target, &etag).await.status, 200, "the list has changed");
}

#[tokio::test]
async fn a_file_is_served_whole_or_in_part_and_never_as_a_page() {
    let desk = Desk::new().await;
    desk.put("a b.html", "<script>0123456789");
    let whole = desk.get("/content", "a b.html").await;
    assert_eq!((whole.status, whole.body()), (200, "<script>0123456789"));
    for (name, value) in [
        ("content-length", "18"),
        ("content-type", "application/octet-stream"),
        ("content-disposition", "attachment; filename=\"a b.html\"; filename*=UTF-8''a%20b.html"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(whole.header(name), Some(value), "{whole:?}");
    }
    let modified = whole.header("last-modified").unwrap();
    assert!(modified.ends_with(" GMT") && modified.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len(), "{modified}");

    let part = desk.ask("GET", "/content", "a b.html", "Range: bytes=8-11\r\n").await;
    assert_eq!((part.status, part.body(), part.header("content-range")), (206, "0123", Some("bytes 8-11/18")));
    let beyond = desk.ask("GET", "/content", "a b.html", "Range: bytes=18-\r\n").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */18")));
    assert!(beyond.error().contains("18 bytes"));

    let etag = whole.header("etag").unwrap();
    let known = desk.ask("GET", "/content", "a b.html", &format!("If-None-Match: {etag}\r\n")).await;
    assert_eq!((known.status, known.body()), (304, ""));
    let resumed = desk.ask("GET", "/content", "a b.html", &format!("Range: bytes=8-\r\nIf-Range: {etag}\r\n")).await;
    assert_eq!(resumed.status, 206);
    let other = desk.ask("GET", "/content", "a b.html", "Range: bytes=8-\r\nIf-Range: \"other\"\r\n").await;
    assert_eq!((other.status, other.body().len()), (200, 18));

    let head = desk.ask("HEAD", "/content", "a b.html", "Range: bytes=8-11\r\n").await;
    assert_eq!((head.status, head.body(), head.header("content-length")), (200, "", Some("18")));
    desk.put("empty", "");
    let empty = desk.get("/content", "empty").await;
    assert_eq!((empty.status, empty.body(), empty.header("content-length")), (200, "", Some("0")));
}

#[tokio::test]
async fn an_upload_makes_or_replaces_a_file() {
    let desk = Desk::new().await;
    let made = desk.upload("new/file", "", "one").await;
    assert_eq!((made.status, &made.json()["size"]), (201, &3.into()));
    assert_eq!(made.json()["name"], "file");
    assert_eq!(desk.content("new/file").as_deref(), Some("one"), "with the directory above it");
    let kept = desk.upload("new/file", "If-None-Match: *\r\n", "two").await;
    assert_eq!(kept.status, 412);
    assert!(kept.error().ends_with("is there already"));
    assert_eq!(desk.content("new/file").as_deref(), Some("one"));
    let replaced = desk.upload("new/file", "Transfer-Encoding: chunked\r\n", "3\r\ntwo\r\n2\r\n++\r\n0\r\n\r\n").await;
    assert_eq!(replaced.status, 200);
    assert_eq!(desk.content("new/file").as_deref(), Some("two++"));
    assert_eq!(desk.upload("empty", "If-None-Match: *\r\n", "").await.status, 201);
    assert_eq!(desk.content("empty").as_deref(), Some(""));
    let part = desk.upload("new/file", "Content-Range: bytes 0-1/5\r\n", "xx").await;
    assert_eq!(part.status, 400, "a part would be taken for the whole");
    assert_eq!(desk.upload("new", "", "x").await.status, 409, "a directory is no file");
}

#[tokio::test]
async fn an_upload_that_is_cut_leaves_nothing_and_gives_its_place_back() {
    let desk = Desk::new().await;
    desk.put("file", "old");
    let target = desk.about("/content", "file");
    for n in 1..=20 {
        let request = desk.with_body("PUT", &target, "Transfer-Encoding: chunked\r\n", "5\r\nabcde\r\n");
        let client = desk.says(4096, &request).await;
        drop(client);
        soon(desk.broker.provider.disk.broken.subscribe().wait_for(|broken| *broken == n)).await.unwrap();
    }
    // With a length it is as short as with chunks.
    let short = desk.with_body("PUT", &target, "", "abc").replace("Content-Length: 3", "Content-Length: 9");
    drop(desk.says(4096, &short).await);
    soon(desk.broker.provider.disk.broken.subscribe().wait_for(|broken| *broken == 21)).await.unwrap();
    assert_eq!(desk.content("file").as_deref(), Some("old"));
}

#[tokio::test]
async fn what_the_sandbox_says_of_an_upload_is_told_before_its_end() {
    let desk = Desk::new().await;
    let full = Error::new(Fault::Provider, Code::ResourceExhausted, "the disk of the sandbox is full");
    *desk.broker.provider.disk.refusal.lock().unwrap() = Some(full);
    let endless = desk.with_body("PUT", &desk.about("/content", "a"), "Transfer-Encoding: chunked\r\n", "1\r\na\r\n");
    let answer = desk.broker.send(&endless).await;
    assert_eq!((answer.status, answer.error().as_str()), (507, "the disk of the sandbox is full"));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_upload_is_given_up_and_one_that_moves_is_not() {
    let desk = Desk::new().await;
    const PIECE: usize = 20 << 10;
    let length = format!("Length: {}", 20 * PIECE);
    let head = |name| desk.with_body("PUT", &desk.about("/content", name), "", "").replace("Length: 0", &length);
    let since = Instant::now();
    let mut stalled = desk.says(4096, &head("stalled")).await;
    let mut answer = [0; 12];
    stalled.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(since.elapsed() <= Duration::from_secs(31), "took {:?}", since.elapsed());

    // A byte now and then holds a place, and a session, for nothing.
    let since = Instant::now();
    let mut dripping = desk.says(4096, &head("dripping")).await;
    for _ in 0..7 {
        tokio::time::advance(Duration::from_secs(5)).await;
        let _ = dripping.write_all(b"x").await;
    }
    dripping.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    // Some of that passes before the broker waits for the body.
    assert!(since.elapsed() < Duration::from_secs(40), "took {:?}", since.elapsed());

    let mut slow = desk.says(4096, &head("slow")).await;
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(20)).await;
        slow.write_all(&[b'x'; PIECE]).await.unwrap();
    }
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201", "it took 400 s at 1 KiB a second");
    assert_eq!(desk.content("slow").unwrap().len(), 20 * PIECE);
    assert_eq!((desk.content("stalled"), desk.content("dripping")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_download_is_cut_and_one_that_moves_is_not() {
    const SIZE: usize = 1 << 20;
    let desk = Desk::new().await;
    desk.put("large", &"x".repeat(SIZE));
    let request = desk.with_body("GET", &desk.about("/content", "large"), "", "");
    let since = Instant::now();
    let mut stalled = desk.says(4096, &request).await;
    let mut taken = Vec::new();
    // Nothing is read until the broker has hung up, which takes its 30 s.
    tokio::time::advance(Duration::from_secs(29)).await;
    let mut first = [0; 1];
    stalled.read_exact(&mut first).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
    tokio::time::timeout(Duration::from_secs(60), std::future::pending::<()>()).await.unwrap_err();
    stalled.read_to_end(&mut taken).await.unwrap();
    assert!(taken.len() < SIZE, "it was cut");
    assert!(since.elapsed() < Duration::from_secs(120));

    let mut slow = desk.says(4096, &request).await;
    let mut taken = 0;
    let mut buffer = vec![0; 16 << 10];
    let since = Instant::now();
    while taken < SIZE {
        tokio::time::timeout(Duration::from_secs(2), std::future::pending::<()>()).await.unwrap_err();
        let mut piece = 0;
        while piece < buffer.len() && taken + piece < SIZE {
            let read = slow.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "cut after {} bytes and {:?}", taken + piece, since.elapsed());
            piece += read;
        }
        taken += piece;
    }
    assert!(since.elapsed() > Duration::from_secs(120), "it took {:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_sends_nothing_breaks_the_download_off() {
    let desk = Desk::new().await;
    desk.put("file", "content");
    desk.broker.provider.disk.flows.send_replace(false);
    let request = desk.with_body("GET", &desk.about("/content", "file"), "", "");
    let mut client = desk.says(4096, &request).await;
    let mut taken = Vec::new();
    client.read_to_end(&mut taken).await.unwrap();
    let taken = String::from_utf8(taken).unwrap();
    assert!(taken.starts_with("HTTP/1.1 200") && taken.ends_with("\r\n\r\n"), "promised, and not a byte came: {taken}");
}

#[tokio::test(start_paused = true)]
async fn moving_files_is_use_of_the_session_and_looking_at_them_is_none() {
    const MOST_OF_AN_HOUR: Duration = Duration::from_secs(3000);
    let desk = Desk::new().await;
    let asks = async |method, target: &str, body| {
        let mut client = desk.says(4096, &desk.with_body(method, target, "", body)).await;
        let mut status = [0; 12];
        client.read_exact(&mut status).await.unwrap();
        String::from_utf8(status[9..].to_vec()).unwrap()
    };
    tokio::time::advance(MOST_OF_AN_HOUR).await;
    assert_eq!(asks("PUT", &desk.about("/content", "file"), "x").await, "201");
    tokio::time::advance(MOST_OF_AN_HOUR).await;
    assert_eq!(asks("GET", &desk.about("/content", "file"), "").await, "200", "the upload has kept it");
    tokio::time::advance(MOST_OF_AN_HOUR).await;
    assert_eq!(asks("GET", &desk.route(""), "").await, "200", "the download has kept it");
    tokio::time::advance(MOST_OF_AN_HOUR).await;
    desk.broker.alive(0).await;
}

#[tokio::test]
async fn no_link_leads_out() {
    let desk = Desk::new().await;
    let disk = &desk.broker.provider.disk;
    let outside = disk.root().parent().unwrap().join("secret");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    fs::create_dir(disk.at("inside")).unwrap();
    desk.put("inside/file", "mine");
    symlink(&outside, disk.at("out")).unwrap();
    symlink(outside.join("file"), disk.at("out-file")).unwrap();
    symlink("../secret", disk.at("relative")).unwrap();
    symlink(outside.join("new"), disk.at("dangling")).unwrap();
    symlink("inside", disk.at("in")).unwrap();
    symlink("loop", disk.at("loop")).unwrap();
    symlink("in", disk.at("in-twice")).unwrap();

    for (method, route, name) in [
        ("GET", "", "out"),
        ("GET", "", "relative"),
        ("GET", "/content", "out-file"),
        ("HEAD", "/content", "out/file"),
        ("GET", "/content", "relative/file"),
        ("PUT", "/content", "out-file"),
        ("PUT", "/content", "out/new"),
        ("PUT", "/content", "dangling"),
        ("POST", "/directory", "out/new"),
        ("POST", "/directory", "relative/a/b"),
        ("DELETE", "", "out/file"),
        ("DELETE", "", "relative/file"),
    ] {
        let answer = desk.ask(method, route, name, "Content-Length: 0\r\n").await;
        assert_eq!(answer.status, 403, "{method} {route} {name}: {answer:?}");
    }
    assert_eq!(desk.rename("out/file", "file").await.status, 403);
    assert_eq!(desk.rename("inside/file", "out/file2").await.status, 403);
    assert!(outside.join("file").exists() && fs::read_dir(&outside).unwrap().count() == 1);

    assert_eq!(desk.get("/content", "in/file").await.body(), "mine");
    assert_eq!(desk.get("/content", "in-twice/file").await.body(), "mine");
    assert_eq!(desk.upload("in-twice/two", "", "2").await.status, 201);
    assert_eq!(desk.content("inside/two").as_deref(), Some("2"));
    assert!([404, 403, 409].contains(&desk.get("/content", "loop").await.status));
    // A link itself is the session's, wherever it leads.
    assert_eq!(desk.rename("out", "away").await.status, 200);
    for name in ["away", "out-file", "dangling", "loop", "in"] {
        assert_eq!(desk.ask("DELETE", "", name, "").await.status, 204, "{name}");
    }
    assert_eq!(desk.content("inside/file").as_deref(), Some("mine"), "what the link led to stays");
    assert!(outside.join("file").exists());
}

#[tokio::test]
async fn a_root_that_is_a_link_is_followed_as_any_path_and_stays() {
    let desk = Desk::new().await;
    let root = desk.broker.provider.disk.root();
    let real = root.parent().unwrap().join("real");
    fs::rename(&root, &real).unwrap();
    symlink("real", &root).unwrap();
    assert_eq!(desk.upload("d/file", "", "content").await.status, 201);
    assert_eq!(fs::read_to_string(real.join("d/file")).unwrap(), "content");
    assert_eq!(desk.get("/content", "d/file").await.body(), "content");
    assert_eq!(desk.rename("d/file", "file").await.status, 200);
    assert_eq!(desk.get("", "d").await.status, 200);
    assert_eq!(desk.ask("DELETE", "", "d", "").await.status, 204);
    symlink("/etc", real.join("out")).unwrap();
    assert_eq!(desk.get("/content", "out/passwd").await.status, 403);
    let target = desk.route(&format!("?path={}", root.to_str().unwrap()));
    assert_eq!(desk.broker.ask("DELETE", &target, "").await.status, 403);
    assert!(root.is_symlink());
}

#[tokio::test]
async fn replacing_a_file_keeps_its_mode_its_names_and_its_attributes() {
    let desk = Desk::new().await;
    let path = |name: &str| std::path::PathBuf::from(desk.broker.provider.disk.at(name));
    let attribute = |name: &str, set: bool| {
        let script =
            if set { "os.setxattr(p, 'user.note', b'kept')" } else { "print(os.getxattr(p, 'user.note').decode())" };
        let script = format!("import os, sys; p = sys.argv[1]; {script}");
        let python = std::process::Command::new("/usr/bin/python3").args(["-c", &script]).arg(path(name)).output();
        String::from_utf8(python.unwrap().stdout).unwrap()
    };
    for name in ["alone", "linked"] {
        desk.put(name, "old and longer");
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o750)).unwrap();
        attribute(name, true);
    }
    fs::hard_link(path("linked"), path("other name")).unwrap();
    for name in ["alone", "linked"] {
        let answer = desk.upload(name, "", "new").await;
        assert_eq!((answer.status, &answer.json()["mode"], &answer.json()["size"]), (200, &"0750".into(), &3.into()));
        assert_eq!(attribute(name, false), "kept\n", "{name}");
        assert_eq!(desk.content(name).as_deref(), Some("new"));
    }
    assert_eq!(desk.content("other name").as_deref(), Some("new"));
    assert_eq!(fs::metadata(path("linked")).unwrap().nlink(), 2);
    let mut names: Vec<_> = fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["alone", "linked", "other name"], "and nothing is left beside");
}

#[tokio::test]
async fn paths_outside_are_refused_without_a_look() {
    let desk = Desk::new().await;
    for (query, status) in [
        ("path=/etc/passwd", 403),
        ("path=/", 403),
        ("path=relative", 400),
        ("path=", 400),
        ("path=/etc%00", 400),
        ("path=/%ff", 400),
        ("path=/a&path=/b", 400),
    ] {
        for (method, route) in [("GET", ""), ("GET", "/content"), ("PUT", "/content"), ("DELETE", "")] {
            let target = desk.route(&format!("{route}?{query}"));
            let answer = desk.broker.ask(method, &target, "Content-Length: 0\r\n").await;
            assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        }
    }
    let climbing = desk.get("/content", "a/../../secret").await;
    assert_eq!(climbing.status, 400);
    let missing = desk.broker.get(&desk.route("/content"), "").await;
    assert_eq!((missing.status, missing.error().contains("path=")), (400, true));
}

#[tokio::test]
async fn a_directory_that_the_session_stands_on_stays() {
    let desk = Desk::new().await;
    let target = desk.route(&format!("?path={}", desk.broker.provider.disk.root().to_str().unwrap()));
    let answer = desk.broker.ask("DELETE", &target, "").await;
    assert_eq!(answer.status, 403);
    assert!(answer.error().contains("stands on"), "{answer:?}");
    assert!(desk.broker.provider.disk.root().exists());
}

#[tokio::test]
async fn things_are_made_renamed_and_removed_and_nothing_is_lost_on_the_way() {
    let desk = Desk::new().await;
    let made = desk.ask("POST", "/directory", "a/b", "Content-Length: 0\r\n").await;
    assert_eq!((made.status, made.json()["kind"].as_str()), (201, Some("directory")));
    assert_eq!(desk.ask("POST", "/directory", "a/b", "Content-Length: 0\r\n").await.status, 409);
    desk.put("a/b/one", "1");
    desk.put("two", "2");
    assert_eq!(desk.rename("a/b/one", "two").await.status, 409, "nothing is replaced by a rename");
    assert_eq!(desk.rename("none", "three").await.status, 404);
    assert_eq!(desk.rename("a/b/one", "a/100% ü\n'\"").await.json()["name"], "a/100% ü\n'\"".trim_start_matches("a/"));
    assert_eq!(desk.content("a/100% ü\n'\"").as_deref(), Some("1"));
    assert_eq!(desk.ask("DELETE", "", "none", "").await.status, 404);
    assert_eq!(desk.ask("DELETE", "", "a", "").await.status, 204);
    assert_eq!(desk.content("two").as_deref(), Some("2"));
    assert!(!std::path::Path::new(&desk.broker.provider.disk.at("a")).exists());
    for (body, kind) in [("{}", "application/json"), ("[1]", "application/json"), ("{}", "text/plain")] {
        let headers = format!("Content-Type: {kind}\r\n");
        let answer = desk.broker.send(&desk.with_body("POST", &desk.route("/rename"), &headers, body)).await;
        assert_eq!(answer.status, 400, "{body} as {kind}");
    }
    let long = format!("{{\"from\":\"{}\"", "a".repeat(100_000));
    let request = desk.with_body("POST", &desk.route("/rename"), "Content-Type: application/json\r\n", &long);
    assert_eq!(desk.broker.send(&request).await.status, 400);
}

#[tokio::test]
async fn more_than_eight_requests_of_a_session_are_told_to_wait() {
    let desk = Desk::new().await;
    desk.put("file", "content");
    let request = desk.with_body("GET", &desk.about("/content", "file"), "", "");
    desk.broker.provider.disk.flows.send_replace(false);
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut client = desk.says(4096, &request).await;
        assert_eq!(soon(client.read_u8()).await.unwrap(), b'H');
        held.push(client);
    }
    let answer = desk.get("", "").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    let other = desk.broker.session().await;
    assert_eq!(desk.broker.get(&format!("/api/sessions/{}/files", other.id()), "").await.status, 200);
    desk.broker.provider.disk.flows.send_replace(true);
    let mut rest = Vec::new();
    soon(held.pop().unwrap().read_to_end(&mut rest)).await.unwrap();
    assert!(rest.ends_with(b"content"));
    assert_eq!(desk.broker.get(&desk.route(""), "").await.status, 200, "a place is free again");
}

#[tokio::test]
async fn a_session_that_is_not_there_or_not_ready_has_no_files() {
    let desk = Desk::new().await;
    let target = desk.about("/content", "a");
    let unknown = desk.broker.get("/api/sessions/0123456789abcdef0123456789abcdef/files", "").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.error().contains("0123456789abcdef"), "{unknown:?}");

    desk.broker.provider.creates.send_replace(false);
    let starting = desk.broker.sessions.open(Join::default(), false).unwrap();
    let answer = desk.broker.get(&format!("/api/sessions/{}/files", starting.id()), "").await;
    assert_eq!(answer.status, 409);
    drop(starting);
    desk.broker.provider.creates.send_replace(true);

    let Desk { broker, client } = desk;
    drop(client);
    broker.alive(0).await;
    let answer = broker.get(&target, "").await;
    assert!([404, 409].contains(&answer.status), "{answer:?}");
}
