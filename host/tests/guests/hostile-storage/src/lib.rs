//! A storage provider without storage. What harm it does, and when, is told by
//! its configuration; without any it asks for `url` once and plans a mount
//! that does nothing.

use std::future::pending;
use std::hint::black_box;

use sandbox_broker_sdk::mounter::{
    self, Answer, Command, Explanation, File, Grant, MountPlan, MountTarget, Planning, Preparing, Releasing, Renewal,
    Renewing, Request, Step,
};
use sandbox_broker_sdk::{Call, Code, Error, cache, manifest, secrets, wasi};
use serde::Deserialize;

struct Plugin;

/// `when` is the call in which `harm` is done.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    when: String,
    #[serde(default)]
    harm: String,
    #[serde(default)]
    url: String,
    /// A setting that must not be empty.
    #[serde(default)]
    account: Option<String>,
}

fn config(text: &str) -> Config {
    serde_json::from_str(text).expect("the host checks the schema")
}

fn request(c: &Config) -> Request {
    Request { method: "GET".into(), url: c.url.clone(), headers: Vec::new(), body: Vec::new() }
}

/// What every call may do.
async fn harm(c: &Config, when: &str) -> Result<(), Error> {
    if c.when != when {
        return Ok(());
    }
    match c.harm.as_str() {
        "loop" => loop {
            black_box(());
        },
        "trap" => panic!("trapped on purpose"),
        "hang" => pending().await,
        "memory" => {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![1u8; 1 << 20]);
                black_box(&kept);
            }
        }
        "foreign-token" => {
            let (container, permissions) = ("files".into(), "rl".into());
            let token = secrets::SasRequest { container, permissions, life_ms: 60_000, policy: None };
            secrets::azure_service_sas("of_another", &token).map(drop)
        }
        // The next call of the conversation is another instance.
        "remember" => match cache::get("k") {
            Some(kept) => Err(Error::new(Code::Internal, format!("{} random bytes came back", kept.len()))),
            None => cache::put("k", &wasi::random::random::get_random_bytes(8), 60_000),
        },
        "reveal" => secrets::reveal("own").map(drop),
        "forge" => Err(Error::new(Code::Internal, "\r\n\x1b[2Jforged line")),
        _ => Ok(()),
    }
}

/// The next step of a conversation.
enum Turn {
    Send(Request),
    Done(Vec<u8>),
}

/// The next step of a conversation. What came back is told as an error, for a
/// test to read.
fn converse(c: &Config, when: &str, target: &MountTarget, answers: &[Answer]) -> Result<Turn, Error> {
    let harm = if c.when == when { c.harm.as_str() } else { "" };
    let mut request = request(c);
    match (harm, answers) {
        ("endless", _) => return Ok(Turn::Send(request)),
        ("grant", _) => return Ok(Turn::Done(vec![0; 4097])),
        ("target", _) => return Err(Error::new(Code::Internal, format!("{:?}", target.attrs))),
        ("tell", [.., Answer::Response(r)]) => {
            let headers: Vec<String> = r.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let (status, bytes, headers) = (r.status, r.body.len(), headers.join(" "));
            return Err(Error::new(Code::Internal, format!("{status} with {bytes} bytes, {headers}")));
        }
        (_, [.., Answer::Failure(failure)]) => return Err(failure.clone()),
        (_, [.., Answer::Response(_)]) => return Ok(Turn::Done(b"grant".to_vec())),
        (_, []) if c.url.is_empty() => return Ok(Turn::Done(Vec::new())),
        ("method", _) => request.method = "TRACE".into(),
        ("body", _) => (request.method, request.body) = ("PUT".into(), vec![0; (64 << 10) + 1]),
        ("own-header", _) => {
            request.method = "PUT".into();
            request.headers.push(("authorization".into(), "of the plugin".into()));
            request.headers.push(("x-other".into(), "{{secret:own}}".into()));
            request.headers.push(("host".into(), "elsewhere.example".into()));
            request.headers.push(("content-length".into(), "7".into()));
        }
        _ => {}
    }
    Ok(Turn::Send(request))
}

fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: vec![("HOME".into(), "/nowhere".into())],
        user: None,
        timeout_ms: 5000,
        explain: vec![Explanation { pattern: "oops".into(), code: Code::NotFound, message: "it is\n gone".into() }],
    }
}

fn plan(c: &Config, target: &MountTarget) -> Result<MountPlan, Error> {
    let file = |path: &str, content: Vec<u8>| Step::WriteFile(File { path: path.into(), content, mode: 0o600 });
    let mut plan = MountPlan {
        title: "Hostile\x1b[2J Storage".into(),
        mount: vec![
            file(&format!("{}/config", target.workspace), b"{}".to_vec()),
            Step::Supervise(command(&["mount-it", &target.path])),
        ],
        verify: vec![command(&["mountpoint", &target.path])],
        mount_timeout_ms: 15_000,
        watch: vec![command(&["stat", &target.path])],
        unmount: vec![Step::Run(command(&["umount", &target.path]))],
        unmount_timeout_ms: 15_000,
        clear: Vec::new(),
        renew_after_ms: Some(60_000),
    };
    let harm = if c.when == "plan" { c.harm.as_str() } else { "" };
    match harm {
        "steps" => plan.mount = vec![Step::Run(command(&["x"])); 33],
        "file" => plan.mount = vec![file("/a", vec![b'x'; (64 << 10) + 1])],
        "giant" => plan.mount = vec![file("/a", vec![b'x'; 16 << 20])],
        "relative" => plan.mount = vec![file("etc/passwd", Vec::new())],
        "escape" => plan.mount = vec![file("/a/../etc/passwd", Vec::new())],
        "mode" => {
            plan.mount = vec![Step::WriteFile(File { path: "/a".into(), content: Vec::new(), mode: 0o4755 })];
        }
        "argv" => plan.unmount = vec![Step::Run(command(&[]))],
        "arguments" => plan.unmount = vec![Step::Run(command(&["x"; 65]))],
        "env" => {
            let mut odd = command(&["x"]);
            odd.env = vec![("A=B".into(), "c".into())];
            plan.clear = vec![Step::Run(odd)];
        }
        "verify" => plan.verify = vec![command(&[])],
        "watch" => plan.watch = vec![command(&["x"]); 33],
        "times" => {
            (plan.mount_timeout_ms, plan.unmount_timeout_ms, plan.renew_after_ms) = (0, u64::MAX, Some(0));
            let mut slow = command(&["x"]);
            slow.timeout_ms = u64::MAX;
            plan.mount = vec![Step::Run(slow)];
        }
        "secrets" => {
            let own = secrets::reveal("own")?;
            let text = format!("{{\n \"sas\": \"sv=1&sig=canary%2Bsig%3D&se=2\",\n \"key\": \"{own}\"\n}}");
            plan.mount = vec![file("/a", text.into_bytes())];
        }
        _ => {}
    }
    Ok(plan)
}

impl manifest::Guest for Plugin {
    fn describe() -> String {
        r#"{"id":"hostile-storage","version":"0.1.0","title":"Hostile Storage","kind":"storage","secrets":["own"],"hosts":[]}"#.into()
    }

    fn config_schema() -> String {
        let text = r#"{"type":"string"}"#;
        let account = r#"{"type":"string","pattern":"^[a-z]+$"}"#;
        format!(
            r#"{{"type":"object","additionalProperties":false,"properties":{{"when":{text},"harm":{text},"url":{text},"account":{account}}}}}"#
        )
    }

    fn validate(text: String) -> Vec<manifest::Diagnostic> {
        let c = config(&text);
        if c.account.is_some_and(|account| account.is_empty()) {
            return vec![manifest::Diagnostic { pointer: "/account".into(), message: "it is empty".into() }];
        }
        Vec::new()
    }
}

/// What it keeps, with a secret that must not outlive the broker.
fn grant(kept: Vec<u8>) -> Grant {
    Grant { kept, sealed: b"sealed-canary".to_vec() }
}

impl mounter::Guest for Plugin {
    async fn prepare(
        _: Call,
        text: String,
        target: MountTarget,
        _: u64,
        answers: Vec<Answer>,
    ) -> Result<Preparing, Error> {
        let c = config(&text);
        harm(&c, "prepare").await?;
        if c.when == "prepare" && c.harm == "sealed" {
            return Ok(Preparing::Done(Grant { kept: Vec::new(), sealed: vec![0; (16 << 10) + 1] }));
        }
        Ok(match converse(&c, "prepare", &target, &answers)? {
            Turn::Send(request) => Preparing::Send(request),
            Turn::Done(kept) => Preparing::Done(grant(kept)),
        })
    }

    async fn plan(
        _: Call,
        text: String,
        target: MountTarget,
        _: u64,
        grant: Grant,
        answers: Vec<Answer>,
    ) -> Result<Planning, Error> {
        let c = config(&text);
        harm(&c, "plan").await?;
        match (c.harm.as_str(), &answers[..]) {
            ("send", []) if c.when == "plan" => return Ok(Planning::Send(request(&c))),
            ("grant-back", _) if c.when == "plan" => {
                let [kept, sealed] = [grant.kept, grant.sealed].map(|part| String::from_utf8_lossy(&part).into_owned());
                return Err(Error::new(Code::Internal, format!("planned with {kept:?} and {sealed:?}")));
            }
            _ => {}
        }
        plan(&c, &target).map(Planning::Done)
    }

    async fn renew(
        _: Call,
        text: String,
        target: MountTarget,
        _: u64,
        before: Grant,
        answers: Vec<Answer>,
    ) -> Result<Renewing, Error> {
        let c = config(&text);
        harm(&c, "renew").await?;
        if answers.is_empty() && !c.url.is_empty() {
            return Ok(Renewing::Send(request(&c)));
        }
        let kept = [&before.kept[..], b"+"].concat();
        Ok(Renewing::Done(Renewal { steps: plan(&c, &target)?.mount, grant: grant(kept), renew_after_ms: None }))
    }

    async fn release(
        _: Call,
        text: String,
        target: MountTarget,
        _: u64,
        grant: Grant,
        answers: Vec<Answer>,
    ) -> Result<Releasing, Error> {
        let c = config(&text);
        harm(&c, "release").await?;
        if c.when == "release" && c.harm == "grant-back" {
            let text = String::from_utf8_lossy(&grant.kept).into_owned();
            return Err(Error::new(Code::Internal, format!("released {text:?}")));
        }
        Ok(match converse(&c, "release", &target, &answers)? {
            Turn::Send(request) => Releasing::Send(request),
            Turn::Done(_) => Releasing::Done,
        })
    }
}

#[cfg(target_family = "wasm")]
sandbox_broker_sdk::export_storage_provider!(Plugin);
