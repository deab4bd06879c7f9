//! Measures a terminal through the whole server beside a bare one in the same run; prints a table, checks nothing.
//!
//! `cargo bench -p sandboxd`. Read the ratios: absolute numbers belong to the machine and its load.

#![allow(clippy::unwrap_used, reason = "a failure here is the result, with its place")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use sandboxd::{Options, Server};
use serde_json::{Value, json};

/// Bytes of a flood, in lines of 80 characters.
const FLOOD: usize = 256 << 20;

/// Echoes measured, after a tenth as many to warm up.
const ECHOES: usize = 5000;

struct Sandbox {
    http: Client,
    url: String,
    id: String,
    token: String,
}

impl Sandbox {
    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}{path}", self.url))
            .header("e2b-sandbox-id", &self.id)
            .header("e2b-sandbox-port", "49983")
            .header("x-access-token", &self.token)
    }

    async fn start(&self, cmd: &str, args: &[&str], terminal: bool) -> reqwest::Response {
        let size = terminal.then(|| json!({ "size": { "cols": 80, "rows": 24 } }));
        let message = json!({ "process": { "cmd": cmd, "args": args }, "pty": size }).to_string();
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message.as_bytes());
        let request = self.post("/process.Process/Start").header("content-type", "application/connect+json");
        request.body(frame).send().await.unwrap()
    }
}

fn bare_terminal() -> (File, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    (master.into(), slave)
}

fn rate(bytes: usize, time: Duration) -> String {
    format!("{:.0} MB/s", bytes as f64 / time.as_secs_f64() / 1e6)
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_nanos() as f64 / 1e3;
    format!("p50 {:.0} µs, p99 {:.0} µs", at(0.5), at(0.99))
}

fn bare_flood(file: &std::path::Path) -> (usize, Duration) {
    let (mut master, slave) = bare_terminal();
    drain(&mut master, cat(file, slave.into()))
}

fn bare_pipe(file: &std::path::Path) -> (usize, Duration) {
    let (mut read, write) = std::io::pipe().unwrap();
    drain(&mut read, cat(file, write.into()))
}

fn cat(file: &std::path::Path, output: Stdio) -> std::process::Child {
    Command::new("cat").arg(file).stdout(output).spawn().unwrap()
}

fn drain(source: &mut impl Read, mut child: std::process::Child) -> (usize, Duration) {
    let begun = Instant::now();
    let (mut bytes, mut buffer) = (0, vec![0; 64 << 10]);
    while let Ok(read @ 1..) = source.read(&mut buffer) {
        bytes += read;
    }
    let time = begun.elapsed();
    child.wait().unwrap();
    (bytes, time)
}

fn bare_echo() -> Vec<Duration> {
    let (mut master, slave) = bare_terminal();
    // The kernel's own echo: the least that any terminal can take.
    let _keep = slave;
    (0..ECHOES)
        .map(|_| {
            let begun = Instant::now();
            master.write_all(b"x").unwrap();
            master.read_exact(&mut [0]).unwrap();
            begun.elapsed()
        })
        .collect()
}

async fn flood(sandbox: &Sandbox, terminal: bool) -> (usize, Duration) {
    let begun = Instant::now();
    let mut response = sandbox.start("cat", &["/tmp/flood"], terminal).await;
    let mut wire = 0;
    while let Some(chunk) = response.chunk().await.unwrap() {
        wire += chunk.len();
    }
    (wire, begun.elapsed())
}

async fn echo(sandbox: &Sandbox) -> Vec<Duration> {
    let mut response = sandbox.start("sleep", &["1000"], true).await;
    let first = response.chunk().await.unwrap().unwrap();
    let first: Value = serde_json::from_slice(&first[5..]).unwrap();
    let input =
        json!({ "process": { "pid": first["event"]["start"]["pid"] }, "input": { "pty": STANDARD.encode("x") } });
    let mut times = Vec::new();
    for round in 0..ECHOES + ECHOES / 10 {
        let begun = Instant::now();
        let send = sandbox.post("/process.Process/SendInput").json(&input).send();
        let (answer, shown) = tokio::join!(send, response.chunk());
        let time = begun.elapsed();
        assert_eq!(answer.unwrap().status(), 200);
        assert!(shown.unwrap().is_some());
        if round >= ECHOES / 10 {
            times.push(time);
        }
    }
    times
}

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        state_dir: Some(directory.path().to_owned()),
        init_program: Some(PathBuf::from(env!("CARGO_BIN_EXE_sandboxd"))),
        ..Options::default()
    };
    let server = Server::bind(options).await.unwrap();
    let (http, url) = (Client::new(), format!("http://{}", server.addr().unwrap()));
    let key = std::fs::read_to_string(directory.path().join("api-key")).unwrap();
    let create = || async {
        let request = http.post(format!("{url}/v2/sandboxes")).header("x-api-key", &key);
        let made: Value = request.json(&json!({ "templateID": "base" })).send().await.unwrap().json().await.unwrap();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Sandbox { http: http.clone(), url: url.clone(), id: text("sandboxID"), token: text("envdAccessToken") }
    };

    let mut creations = Vec::new();
    let mut sandboxes = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        sandboxes.push(create().await);
        creations.push(begun.elapsed());
    }
    println!("create a sandbox        {}", percentiles(creations));

    let sandbox = &sandboxes[0];
    let line = format!("{}\n", "x".repeat(79));
    let content = line.repeat(FLOOD / line.len());
    let file = directory.path().join("flood");
    std::fs::write(&file, &content).unwrap();
    let upload = sandbox.post("/files?path=/tmp/flood").header("content-type", "application/octet-stream");
    assert_eq!(upload.body(content).send().await.unwrap().status(), 200);
    for terminal in [true, true, false, false] {
        let (name, (bytes, bare)) = if terminal { ("terminal", bare_flood(&file)) } else { ("pipe", bare_pipe(&file)) };
        let (wire, through) = flood(sandbox, terminal).await;
        assert!(wire > bytes);
        let share = bare.as_secs_f64() / through.as_secs_f64() * 100.0;
        let (bare, through) = (rate(bytes, bare), rate(bytes, through));
        println!("flood of a {name:12} bare {bare}, through the server {through} ({share:.0} %)");
    }
    println!("echo of a byte, bare    {}", percentiles(bare_echo()));
    println!("echo through the server {}", percentiles(echo(sandbox).await));
    server.shutdown().await;
}
