//! A sandbox provider without sandboxes: its terminals echo. What harm it
//! does, and when, is told by its configuration.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::pending;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use sandbox_broker_sdk::stream::{StreamReader, StreamResult, bytes, outcome};
use sandbox_broker_sdk::{
    Call, Code, Ending, Error, Exit, SandboxRef, cache, exec, files, http, lease, log, manifest, sandbox, secrets,
    terminal, time, wasi,
};
use serde::Deserialize;

struct Plugin;

/// `when` is `create`, `input`, `write` or `kill`; `harm` one of the arms of `harm()`.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    when: String,
    #[serde(default)]
    harm: String,
    #[serde(default)]
    url: String,
    /// A text to look for in its own memory, last character first.
    #[serde(default)]
    reversed: String,
    /// What it sends to `url`: its own words in headers, and a body.
    #[serde(default)]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// Where else it goes, with what it was told at `url`.
    #[serde(default)]
    other: String,
}

/// A request as the settings word it.
fn request(c: &Config, url: &str) -> http::Request {
    let method = match c.method.as_str() {
        "" => http::Method::Get,
        "PUT" => http::Method::Put,
        other => http::Method::Other(other.into()),
    };
    let request = http::Request::new(method, url);
    let request = c.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    if c.body.is_empty() { request } else { request.body("text/plain", c.body.clone().into()) }
}

/// All that an answer says.
async fn all_of(answer: http::Response) -> Result<String, Error> {
    let (status, headers) = (answer.status, answer.header("x-echo").unwrap_or_default().to_owned());
    let body = answer.bytes(1 << 20).await?;
    Ok(format!("{status} {headers} {}", String::from_utf8_lossy(&body)))
}

fn config(text: &str) -> Config {
    serde_json::from_str(text).expect("the host checks the schema")
}

async fn harm(c: &Config) -> Result<(), Error> {
    match c.harm.as_str() {
        "none" => Ok(()),
        "loop" => loop {
            black_box(());
        },
        "trap" => panic!("trapped on purpose"),
        "recurse" => {
            #[allow(unconditional_recursion, reason = "that is the harm")]
            fn deeper(n: u64) -> u64 {
                black_box(deeper(n + 1)) + 1
            }
            Err(Error::new(Code::Internal, format!("{}", deeper(0))))
        }
        "memory" => {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![1u8; 1 << 20]);
                black_box(&kept);
            }
        }
        "hang" => {
            // With nothing to wait for at all it would be stopped at once.
            let _ = time::timeout(Duration::from_secs(3600), pending::<()>()).await;
            Ok(())
        }
        "handles" => {
            let most = 50_000;
            let mut kept = Vec::new();
            for _ in 0..most {
                kept.push(bytes());
                black_box(&kept);
            }
            Err(Error::new(Code::Internal, format!("holds {most} streams")))
        }
        "flood-secrets" => {
            for _ in 0..10_000 {
                let _ = secrets::azure_service_sas("of_another", &token("files"));
            }
            Err(Error::new(Code::Internal, "asked often enough"))
        }
        // Gives way after every moment, so that it never uses much without giving way.
        "nap" => loop {
            let began = time::Instant::now();
            while began.elapsed() < Duration::from_millis(5) {
                black_box(());
            }
            let _ = time::timeout(Duration::from_nanos(1), pending::<()>()).await;
        },
        // The work is the host's, and each call gives way.
        "calls" => loop {
            let _ = http::Request::new(http::Method::Get, "http://not-granted.test").send().await;
            log::write(log::Level::Debug, "called", &[]);
        },
        "tarpit" => {
            // An instance may have 64.
            let (refused, all, most) = (Rc::new(Cell::new(0)), 80, 64);
            for _ in 0..all {
                let (refused, url) = (refused.clone(), c.url.clone());
                sandbox_broker_sdk::spawn(async move {
                    let sent = http::Request::new(http::Method::Get, &url).send().await;
                    let full = sent.is_err_and(|e| e.code == Code::ResourceExhausted);
                    refused.set(refused.get() + u32::from(full));
                });
            }
            // Those that find no place are told after a while; the others hang.
            let told = async {
                while refused.get() < all - most {
                    let _ = time::timeout(Duration::from_millis(100), pending::<()>()).await;
                }
            };
            let _ = time::timeout(Duration::from_secs(20), told).await;
            Err(Error::new(Code::Internal, format!("{} of {all} refused", refused.get())))
        }
        "fetch" => {
            let answer = http::Request::new(http::Method::Get, &c.url).send().await?;
            Err(Error::new(Code::Internal, format!("answered {}", answer.status)))
        }
        "send" => {
            let said = all_of(request(c, &c.url).send().await?).await?;
            Err(Error::new(Code::Internal, format!("answered {said}")))
        }
        // Goes where it is told to, with the same words.
        "redirect" => {
            let first = request(c, &c.url).send().await?;
            let next = first.header("location").unwrap_or_default().to_owned();
            let said = all_of(request(c, &next).send().await?).await?;
            Err(Error::new(Code::Internal, format!("answered {} and {said}", first.status)))
        }
        // Puts what a server says into a header for another, as a plugin does with a token.
        "inject" => {
            let told = request(c, &c.url).send().await?.bytes(1 << 20).await?;
            let token = String::from_utf8_lossy(&told).into_owned();
            let said = all_of(request(c, &c.other).header("x-access-token", token).send().await?).await?;
            Err(Error::new(Code::Internal, format!("answered {said}")))
        }
        "foreign-token" => secrets::azure_service_sas("of_another", &token("files")).map(drop),
        "token" => {
            let token = |request: secrets::SasRequest| match secrets::azure_service_sas("own", &request) {
                Ok(_) => "made".to_owned(),
                Err(e) => format!("{:?}", e.code),
            };
            let hour = 60 * 60 * 1000;
            let said: Vec<String> = [
                self::token("files"),
                self::token("other"),
                secrets::SasRequest { life_ms: hour + 1, ..self::token("files") },
                secrets::SasRequest { life_ms: u64::MAX, ..self::token("files") },
                secrets::SasRequest { permissions: "racwdxltmeop".into(), ..self::token("files") },
                secrets::SasRequest { permissions: "r\n\n2030-01-01".into(), ..self::token("files") },
                secrets::SasRequest { policy: Some("a\nb".into()), ..self::token("files") },
            ]
            .into_iter()
            .map(token)
            .collect();
            Err(Error::new(Code::Internal, said.join(" ")))
        }
        "reveal" => secrets::reveal("own").map(drop),
        // Says what it finds under a key that others of its kind use, and leaves its own there.
        "remember" => {
            let found = cache::get("token").map(|value| String::from_utf8_lossy(&value).into_owned());
            cache::put("token", c.body.as_bytes(), 60_000)?;
            Err(Error::new(Code::Internal, format!("found {found:?}")))
        }
        // Says which of its entries, all as large as they may be, are left.
        "hoard" => {
            for n in 0..100 {
                cache::put(&n.to_string(), &[n; 64 << 10], u64::MAX)?;
            }
            let left: Vec<u8> = (0..100).filter(|n| cache::get(&n.to_string()).is_some()).collect();
            let refused = [("k".repeat(257), 1), ("k".into(), (64 << 10) + 1), (String::new(), 1)]
                .map(|(key, size)| cache::put(&key, &vec![0; size], 1000).unwrap_err().code);
            Err(Error::new(Code::Internal, format!("left {left:?} and refused {refused:?}")))
        }
        "chance" => {
            let some = |most| wasi::random::random::get_random_bytes(most);
            let (one, other, many) = (some(16), some(16), some(1 << 30).len());
            Err(Error::new(Code::Internal, format!("{} bytes, {}, {many}", one.len(), one != other)))
        }
        "scan" => {
            let answer = request(c, &c.url).send().await?;
            let hits = scan(c.reversed.as_bytes());
            Err(Error::new(Code::Internal, format!("answered {} and found {hits}", answer.status)))
        }
        "forge" => {
            let text = "\r\n\x1b[2J2026-01-01 INFO forged line";
            for _ in 0..10_000 {
                log::write(log::Level::Error, text, &[("k", text)]);
            }
            Err(Error::new(Code::Internal, text))
        }
        other => Err(Error::new(Code::InvalidArgument, format!("unknown harm `{other}`"))),
    }
}

/// An honest wish for a token.
fn token(container: &str) -> secrets::SasRequest {
    secrets::SasRequest { container: container.into(), permissions: "rl".into(), life_ms: 60_000, policy: None }
}

/// How often the text, given backwards, stands in this memory.
#[cfg(target_family = "wasm")]
fn scan(reversed: &[u8]) -> usize {
    let size = core::arch::wasm32::memory_size(0) * 65536;
    // From 1: address 0 is no place for a slice.
    // SAFETY: linear memory is readable from its start to `memory_size`.
    let all = unsafe { core::slice::from_raw_parts(black_box(1) as *const u8, size - 1) };
    all.windows(reversed.len()).filter(|w| w.iter().eq(reversed.iter().rev())).count()
}

#[cfg(not(target_family = "wasm"))]
fn scan(_: &[u8]) -> usize {
    unreachable!("only for wasm")
}

/// The schema of the settings, with room behind it: a test writes another one
/// in its place. The room ends with a line end.
static SCHEMA: [u8; 4096] = with_room(
    br#"{"type":"object","additionalProperties":false,"properties":{"when":{"type":"string"},"harm":{"type":"string"},"url":{"type":"string"},"reversed":{"type":"string"},"method":{"type":"string"},"headers":{"type":"object"},"body":{"type":"string"},"other":{"type":"string"}}}"#,
);

const fn with_room(schema: &[u8]) -> [u8; 4096] {
    let mut all = [b' '; 4096];
    all[4095] = b'\n';
    let mut at = 0;
    while at < schema.len() {
        all[at] = schema[at];
        at += 1;
    }
    all
}

impl manifest::Guest for Plugin {
    fn describe() -> String {
        r#"{"id":"hostile","version":"0.1.0","title":"Hostile","kind":"sandbox","secrets":["own"],"hosts":[]}"#.into()
    }

    fn config_schema() -> String {
        String::from_utf8_lossy(black_box(&SCHEMA)).into_owned()
    }

    fn validate(text: String) -> Vec<manifest::Diagnostic> {
        match config(&text).harm.as_str() {
            "refused" => {
                vec![manifest::Diagnostic { pointer: "/harm".into(), message: "refused by the plugin".into() }]
            }
            "loop-in-validate" => loop {
                black_box(());
            },
            _ => Vec::new(),
        }
    }
}

impl sandbox::Guest for Plugin {
    async fn create(call: Call, text: String, _: sandbox::Spec) -> Result<SandboxRef, Error> {
        let c = config(&text);
        if c.when == "create" {
            harm(&c).await?;
        }
        Ok(SandboxRef { id: format!("hostile-{}", call.id), state: Vec::new() })
    }

    async fn connect(_: Call, _: String, s: SandboxRef, _: u64) -> Result<SandboxRef, Error> {
        Ok(s)
    }

    async fn kill(_: Call, text: String, _: SandboxRef) -> Result<(), Error> {
        let c = config(&text);
        if c.when == "kill" { harm(&c).await } else { Ok(()) }
    }

    async fn list(_: Call, _: String, _: Vec<(String, String)>, _: Option<String>) -> Result<sandbox::Page, Error> {
        Ok(sandbox::Page { sandboxes: Vec::new(), next: None })
    }
}

impl lease::Guest for Plugin {
    async fn extend(_: Call, _: String, s: SandboxRef, _: u64) -> Result<SandboxRef, Error> {
        Ok(s)
    }
}

impl terminal::Guest for Plugin {
    async fn open(
        _: Call,
        text: String,
        _: SandboxRef,
        _: terminal::PtySpec,
        mut input: StreamReader<u8>,
    ) -> Result<terminal::Attachment, Error> {
        let c = config(&text);
        let (mut out, output) = bytes();
        let (end, done) = outcome();
        sandbox_broker_sdk::spawn(async move {
            let mut buffer = Vec::with_capacity(4096);
            loop {
                buffer.clear();
                let (status, read) = input.read(buffer).await;
                buffer = read;
                if c.when == "input" && !buffer.is_empty() {
                    if let Err(e) = harm(&c).await {
                        let _ = end.write(Err(e)).await;
                        return;
                    }
                }
                buffer = out.write_all(buffer).await;
                if !buffer.is_empty() || !matches!(status, StreamResult::Complete(_)) {
                    break;
                }
            }
            drop(out);
            let _ = end.write(Ok(Exit::Code(0))).await;
        });
        Ok(terminal::Attachment { pty: "1".into(), output, done: Ending::Told(done) })
    }

    async fn attach(
        _: Call,
        _: String,
        _: SandboxRef,
        _: String,
        _: StreamReader<u8>,
    ) -> Result<terminal::Attachment, Error> {
        Err(unimplemented())
    }

    async fn resize(_: Call, _: String, _: SandboxRef, _: String, _: u16, _: u16) -> Result<(), Error> {
        Ok(())
    }

    async fn signal(_: Call, _: String, _: SandboxRef, _: String, _: String) -> Result<(), Error> {
        Ok(())
    }

    async fn exit_of(_: Call, _: String, _: SandboxRef, _: String, _: Result<String, Error>) -> Result<Exit, Error> {
        Err(Error::never_reported())
    }
}

fn unimplemented() -> Error {
    Error::new(Code::Unimplemented, "it only echoes")
}

impl exec::Guest for Plugin {
    async fn run(
        _: Call,
        _: String,
        _: SandboxRef,
        _: exec::Command,
        _: StreamReader<u8>,
    ) -> Result<exec::Process, Error> {
        Err(unimplemented())
    }

    async fn exit_of(_: Call, _: String, _: SandboxRef, _: String, _: Result<String, Error>) -> Result<Exit, Error> {
        Err(Error::never_reported())
    }

    async fn signal(_: Call, _: String, _: SandboxRef, _: String, _: String) -> Result<(), Error> {
        Ok(())
    }
}

type Reading = (StreamReader<u8>, sandbox_broker_sdk::stream::FutureReader<Result<(), Error>>);

impl files::Guest for Plugin {
    async fn read(
        _: Call,
        _: String,
        _: SandboxRef,
        _: files::Location,
        _: u64,
        _: Option<u64>,
    ) -> Result<Reading, Error> {
        Err(unimplemented())
    }

    async fn write(
        _: Call,
        text: String,
        _: SandboxRef,
        _: files::Location,
        _: Option<u64>,
        _: StreamReader<u8>,
        _: sandbox_broker_sdk::stream::FutureReader<Result<(), Error>>,
    ) -> Result<files::Entry, Error> {
        let c = config(&text);
        if c.when == "write" {
            harm(&c).await?;
        }
        Err(unimplemented())
    }

    async fn list(
        _: Call,
        _: String,
        _: SandboxRef,
        _: files::Location,
        _: Option<String>,
    ) -> Result<files::Entries, Error> {
        Err(unimplemented())
    }

    async fn stat(_: Call, _: String, _: SandboxRef, _: files::Location) -> Result<files::Entry, Error> {
        Err(unimplemented())
    }

    async fn remove(_: Call, _: String, _: SandboxRef, _: files::Location) -> Result<(), Error> {
        Err(unimplemented())
    }

    async fn make_dir(_: Call, _: String, _: SandboxRef, _: files::Location) -> Result<files::Entry, Error> {
        Err(unimplemented())
    }

    async fn rename(_: Call, _: String, _: SandboxRef, _: files::Location, _: String) -> Result<files::Entry, Error> {
        Err(unimplemented())
    }
}

#[cfg(target_family = "wasm")]
sandbox_broker_sdk::export_sandbox_provider!(Plugin: lease, terminal, files);
