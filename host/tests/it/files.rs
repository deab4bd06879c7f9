//! The files of a session through the whole path: the program, the plugin, a
//! sandbox with its own file system, and a terminal that sees the same.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::faults::{Fault, Faults};
use crate::support::{Broker, Client, DEADLINE, Sandboxd, eventually};

const LOCAL: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\nworkdir = \"/workspace\"\n\
                     [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";

/// A session, its terminal and its files.
pub(crate) struct Desk {
    pub(crate) broker: Broker,
    pub(crate) terminal: Client,
    session: String,
    http: reqwest::Client,
}

impl Desk {
    async fn new() -> Self {
        Self::on(LOCAL).await
    }

    /// On this server, by this way to it.
    async fn by(url: &str, server: &Sandboxd) -> Self {
        let sandbox = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\nworkdir = \"/workspace\"\n";
        Self::on(&format!("{sandbox}{}", server.section_by(url, "box"))).await
    }

    pub(crate) async fn on(config: &str) -> Self {
        let broker = Broker::start(config).await;
        let mut terminal = broker.connect().await;
        let session = terminal.ready().await["session"].as_str().unwrap().to_owned();
        let http = reqwest::Client::new();
        Desk { broker, terminal, session, http }
    }

    fn path(&self, route: &str, path: &str) -> String {
        let path = utf8_percent_encode(path, NON_ALPHANUMERIC);
        format!("/api/sessions/{}/files{route}?path={path}", self.session)
    }

    fn request(&self, method: Method, route: &str, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{}", self.broker.url, self.path(route, path)))
    }

    pub(crate) async fn ask(&self, method: Method, route: &str, path: &str) -> Response {
        self.request(method, route, path).send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, "/content", path).await
    }

    pub(crate) async fn put(&self, path: &str, content: impl Into<reqwest::Body>) -> Response {
        self.request(Method::PUT, "/content", path).body(content).send().await.unwrap()
    }

    pub(crate) async fn names(&self, path: &str) -> Vec<String> {
        let list: Value = self.ask(Method::GET, "", path).await.json().await.unwrap();
        let entries = list["entries"].as_array().unwrap_or_else(|| panic!("{list}"));
        entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) -> Response {
        let url = format!("{}/api/sessions/{}/files/rename", self.broker.url, self.session);
        self.http.post(url).json(&json!({ "from": from, "to": to })).send().await.unwrap()
    }

    /// Runs a line in the terminal to its end.
    pub(crate) async fn types(&mut self, line: &str) {
        self.terminal.input(&format!("{line}; echo do\"\"ne\n")).await;
        self.terminal.expect("done\r\n").await;
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that no compression and no repetition explains.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    bytes.truncate(length);
    bytes
}

#[tokio::test]
async fn a_file_of_any_size_arrives_whole_both_ways() {
    let mut desk = Desk::new().await;
    for (name, length) in [("none", 0), ("one", 1), ("odd", 65_537), ("large", 64 << 20)] {
        let (path, content) = (format!("/workspace/{name}"), noise(length));
        let hash = sha256(&content);
        let made = desk.put(&path, content).await;
        assert_eq!(made.status(), 201, "{name}");
        assert_eq!(made.json::<Value>().await.unwrap()["size"], length);
        desk.terminal.input(&format!("sha256sum < {path}\n")).await;
        desk.terminal.expect(&hash).await;
        let back = desk.get(&path).await;
        assert_eq!(back.headers()["content-length"].to_str().unwrap(), length.to_string());
        assert_eq!(sha256(&back.bytes().await.unwrap()), hash, "{name}");
    }
    // Of no known length, which is how a program streams.
    let content = noise(1 << 20);
    let chunks: Vec<_> = content.chunks(1000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    assert_eq!(desk.put("/workspace/large", streamed).await.status(), 200, "it replaces the one before");
    assert_eq!(sha256(&desk.get("/workspace/large").await.bytes().await.unwrap()), sha256(&content));
}

#[tokio::test]
async fn a_part_of_a_file_is_that_part() {
    let mut desk = Desk::new().await;
    desk.types("printf 0123456789 > /workspace/digits").await;
    for (range, status, body) in [
        ("bytes=2-4", 206, "234"),
        ("bytes=7-", 206, "789"),
        ("bytes=-2", 206, "89"),
        ("bytes=9-99", 206, "9"),
        ("bytes=0-1,4-5", 200, "0123456789"),
    ] {
        let answer =
            desk.request(Method::GET, "/content", "/workspace/digits").header("range", range).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (status, body), "{range}");
    }
    let beyond =
        desk.request(Method::GET, "/content", "/workspace/digits").header("range", "bytes=10-").send().await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers()["content-range"], "bytes */10");
    let head = desk.ask(Method::HEAD, "/content", "/workspace/digits").await;
    let etag = head.headers()["etag"].clone();
    assert_eq!(head.headers()["content-length"], "10");
    let known = desk.request(Method::GET, "/content", "/workspace/digits").header("if-none-match", &etag).send().await;
    assert_eq!(known.unwrap().status(), StatusCode::NOT_MODIFIED);
    desk.types("echo more >> /workspace/digits").await;
    let changed = desk.request(Method::GET, "/content", "/workspace/digits").header("if-none-match", etag).send().await;
    assert_eq!(changed.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_upload_that_is_cut_leaves_the_old_file_and_nothing_else() {
    let desk = Desk::new().await;
    assert_eq!(desk.put("/workspace/file", "old").await.status(), 201);
    let address = desk.broker.url.strip_prefix("http://").unwrap().to_owned();
    for target in ["/workspace/file", "/workspace/new"] {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 8000000\r\n\r\n",
            desk.path("/content", target)
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&noise(4_000_000)).await.unwrap();
        // It has begun: its bytes lie beside.
        eventually("the upload's own file", async || {
            desk.names("/workspace").await.iter().any(|name| name.ends_with(".part")).then_some(())
        })
        .await;
        drop(socket);
        eventually("its end", async || (desk.names("/workspace").await == ["file"]).then_some(())).await;
    }
    assert_eq!(desk.get("/workspace/file").await.text().await.unwrap(), "old");
}

#[tokio::test]
async fn a_name_is_a_name_whatever_is_in_it() {
    let mut desk = Desk::new().await;
    let longest = "n".repeat(255);
    let names = [
        "two words",
        " ",
        "-rf",
        "...",
        "dots..",
        "ü語😀",
        "100%25 %2e%2e",
        "a+b&c=d#e?f",
        "it's \"quoted\"",
        "back\\slash",
        "$(id) `x`",
        "new\nline",
        "end\n",
        "tab\t\r",
        "*",
        "~",
        ".hidden",
        &longest,
    ];
    for name in names {
        let path = format!("/workspace/{name}");
        assert_eq!(desk.put(&path, name.to_owned()).await.status(), 201, "{name:?}");
        let answer = desk.get(&path).await;
        assert!(answer.headers()["content-disposition"].to_str().unwrap().starts_with("attachment; "), "{name:?}");
        assert_eq!(answer.text().await.unwrap(), name);
    }
    let mut listed = desk.names("/workspace").await;
    let mut expected = names.map(str::to_owned).to_vec();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    // The sandbox's own programs know them by the same names.
    desk.terminal.input("cd /workspace; for f in * .hidden ...; do [ \"$(cat < \"$f\"; echo x)\" = \"$f\"x ] && echo o\"\"k; done | wc -l\n").await;
    desk.terminal.expect(&format!("{}\r\n", names.len())).await;

    for (n, name) in names.iter().enumerate() {
        let (from, to) = (format!("/workspace/{name}"), format!("/workspace/{n}{}", &name[..name.len().min(200)]));
        let to = if name.is_char_boundary(name.len().min(200)) { to } else { format!("/workspace/{n}") };
        assert_eq!(desk.rename(&from, &to).await.status(), 200, "{name:?}");
        assert_eq!(desk.ask(Method::DELETE, "", &to).await.status(), 204, "{name:?}");
    }
    assert!(desk.names("/workspace").await.is_empty());
}

#[tokio::test]
async fn no_link_leads_out_and_no_permission_is_lent() {
    let mut desk = Desk::new().await;
    desk.types(
        "cd /workspace; ln -s / root; ln -s /etc/passwd passwd; ln -s ../etc up; mkdir d; echo in > d/f; ln -s d in",
    )
    .await;
    desk.types("ln -s /tmp/new dangling; ln -s /proc/self/environ env; mkfifo pipe; mkdir shut; echo x > shut/f; chmod 500 shut; echo x > none; chmod 0 none; mkdir dark; echo x > dark/f; chmod 0 dark").await;
    for (method, route, path, status) in [
        (Method::GET, "", "/workspace/root", 403),
        (Method::GET, "", "/workspace/up", 403),
        (Method::GET, "/content", "/workspace/root/etc/passwd", 403),
        (Method::GET, "/content", "/workspace/passwd", 403),
        (Method::GET, "/content", "/workspace/env", 403),
        (Method::PUT, "/content", "/workspace/passwd", 403),
        (Method::PUT, "/content", "/workspace/dangling", 403),
        (Method::PUT, "/content", "/workspace/root/tmp/x", 403),
        (Method::POST, "/directory", "/workspace/root/tmp/x", 403),
        (Method::DELETE, "", "/workspace/root/tmp", 403),
        (Method::DELETE, "", "/workspace", 403),
        (Method::GET, "/content", "/etc/passwd", 403),
        (Method::GET, "/content", "/workspace/none", 403),
        (Method::PUT, "/content", "/workspace/none", 403),
        (Method::PUT, "/content", "/workspace/shut/new", 403),
        (Method::DELETE, "", "/workspace/shut/f", 403),
        (Method::GET, "/content", "/workspace/shut/f", 200),
        (Method::GET, "", "/workspace/dark", 403),
        (Method::GET, "/content", "/workspace/pipe", 409),
        (Method::GET, "/content", "/workspace/d", 409),
        (Method::GET, "", "/workspace/in/f", 409),
        (Method::GET, "/content", "/workspace/missing", 404),
        (Method::GET, "/content", "/workspace/in/f", 200),
        (Method::PUT, "/content", "/workspace/in/f", 200),
        (Method::DELETE, "", "/workspace/root", 204),
        (Method::DELETE, "", "/workspace/passwd", 204),
    ] {
        let answer = desk.ask(method.clone(), route, path).await;
        assert_eq!(answer.status().as_u16(), status, "{method} {route} {path}: {}", answer.text().await.unwrap());
    }
    assert!(desk.get("/workspace/dark/f").await.status().is_client_error(), "a directory that its user may not enter");
    desk.terminal.input("ls -ld /etc/passwd /tmp/new /tmp/x 2>&1 | wc -l; grep -c root: /etc/passwd\n").await;
    desk.terminal.expect("3\r\n").await;
}

#[tokio::test]
async fn a_directory_of_a_thousand_is_listed_whole() {
    let mut desk = Desk::new().await;
    desk.types("mkdir /workspace/many; cd /workspace/many; seq -f 'file %04g' 1000 | tr '\\n' '\\0' | xargs -0 touch")
        .await;
    let names = desk.names("/workspace/many").await;
    assert_eq!(names.len(), 1000);
    assert_eq!((names[0].as_str(), names[999].as_str()), ("file 0001", "file 1000"));
}

/// A page of the plugin has 1,000 entries.
#[tokio::test]
async fn a_directory_of_more_than_a_page_is_listed_whole() {
    let mut desk = Desk::new().await;
    desk.types("mkdir /workspace/more; cd /workspace/more; seq -f 'file %04g' 2300 | tr '\\n' '\\0' | xargs -0 touch")
        .await;
    let names = desk.names("/workspace/more").await;
    let expected: Vec<_> = (1..=2300).map(|n| format!("file {n:04}")).collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn files_end_with_their_session() {
    let mut desk = Desk::new().await;
    assert_eq!(desk.put("/workspace/file", "x").await.status(), 201);
    let roots: Value = desk.ask(Method::GET, "", "").await.json().await.unwrap();
    assert!(roots["error"].is_string(), "an empty path is no path: {roots}");
    let bare = desk.broker.get(&format!("/api/sessions/{}/files", desk.session)).await;
    let roots: Value = bare.json().await.unwrap();
    assert_eq!(roots, json!({ "roots": [{ "path": "/workspace", "storage": false }] }));
    let unknown = desk.broker.get("/api/sessions/00000000000000000000000000000000/files").await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);

    desk.terminal.input("exit\n").await;
    desk.terminal.closed().await;
    let ended = desk.get("/workspace/file").await;
    assert!([404, 409].contains(&ended.status().as_u16()), "{ended:?}");
    eventually("no session", async || {
        (desk.get("/workspace/file").await.status() == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
}

/// Exchanges `/workspace/e` with a link to `/etc`, for ever.
const EXCHANGE: &str = "import ctypes; exchange = ctypes.CDLL(None).renameat2\n\
                        while True: exchange(-100, b'/workspace/e', -100, b'/workspace/link', 2)";

#[tokio::test]
async fn no_race_with_a_link_lends_a_permission() {
    const RACES: usize = 40;
    let mut desk = Desk::new().await;
    desk.types("cd /workspace; mkdir e; ln -s /etc link; for f in passwd shadow hosts; do echo mine > e/$f; done")
        .await;
    let look =
        "{ stat -c '%n %U %a %s %Y %i' /etc /etc/passwd /etc/shadow /etc/hosts; ls /etc; } | sha256sum | cut -c 1-16";
    desk.types(&format!("before=$({look})")).await;
    desk.put("/workspace/exchange.py", EXCHANGE).await;
    desk.types("python3 exchange.py & disown").await;
    let mut reached = std::collections::BTreeSet::new();
    for n in 0..RACES {
        let gone = format!("/workspace/away{n}");
        let answers = tokio::join!(
            desk.get("/workspace/e/shadow"),
            desk.put("/workspace/e/hosts", "raced"),
            desk.rename("/workspace/e/passwd", &gone),
            desk.ask(Method::DELETE, "", "/workspace/e/shadow"),
            desk.ask(Method::POST, "/directory", "/workspace/e/new/deep"),
            desk.ask(Method::GET, "", "/workspace/e"),
        );
        for answer in <[Response; 6]>::from(answers) {
            reached.insert(answer.status().as_u16());
            let text = answer.text().await.unwrap_or_default();
            assert!(!text.contains("root:"), "{text}");
        }
    }
    assert!(reached.contains(&403) && reached.iter().any(|status| *status < 300), "it was raced: {reached:?}");
    desk.terminal.input(&format!("[ $before = $({look}) ] && echo un\"\"changed\n")).await;
    desk.terminal.expect("unchanged").await;
    desk.terminal.input("find /workspace ! -user user | wc -l | sed 's/^/foreign:/'\n").await;
    desk.terminal.expect("foreign:0\r\n").await;
}

/// How an upload is answered whose client sends as long as it is let, and
/// listens meanwhile.
async fn refused(desk: &Desk, name: &str, size: usize) -> (u16, String) {
    let address = desk.broker.url.strip_prefix("http://").unwrap();
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let path = desk.path("/content", name);
    let head = format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
    tokio::spawn(async move {
        let piece = vec![7; 64 << 10];
        let mut left = size;
        let mut sent = to.write_all(head.as_bytes()).await;
        while sent.is_ok() && left > 0 {
            let length = piece.len().min(left);
            sent = to.write_all(&piece[..length]).await;
            left -= length;
        }
        // The connection is ended by the other side.
        std::future::pending::<()>().await;
    });
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut from, &mut answer);
    let read = tokio::time::timeout(DEADLINE, read).await.expect("it is answered and closed");
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.get(9..12).unwrap_or_else(|| panic!("{read:?}: {answer:?}")).parse().unwrap();
    (status, answer)
}

#[tokio::test]
async fn an_upload_that_the_agent_refuses_half_way_is_answered_before_it_is_over() {
    let server = Sandboxd::start().await;
    let way = Faults::start(&server.url).await;
    let desk = Desk::by(&way.url, &server).await;
    way.begin(DEADLINE, |_, path| (path == "/files").then_some(Fault::Full(1_000_000)));
    let (status, answer) = refused(&desk, "/workspace/large", 100_000_000).await;
    assert_eq!(status, 507, "{answer}");
    assert!(answer.contains("the disk of sandbox") && answer.contains("connection: close"), "{answer}");
    way.lift();
    assert_eq!(desk.put("/workspace/small", "x").await.status(), 201, "its place is free again");
    assert_eq!(desk.names("/workspace").await, ["small"]);
}

#[tokio::test]
async fn an_upload_on_a_full_disk_is_answered_every_time() {
    let server = Sandboxd::start_on_disk(2 << 20).await;
    let desk = Desk::by(&server.url, &server).await;
    for n in 0..10 {
        let (status, answer) = refused(&desk, &format!("/workspace/{n}"), 3_000_000).await;
        assert_eq!(status, 507, "{answer}");
    }
    assert_eq!(desk.names("/workspace").await, Vec::<String>::new(), "nothing is left of them");
    assert_eq!(desk.put("/workspace/small", "x").await.status(), 201);
}
