//! A mount carried out in a real sandbox through the real e2b plugin: who can
//! read and write what, and that the end of its process is noticed. What is
//! "mounted" is a process; the storage plugin's own tests mount storage.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sandbox_broker_config::EgressGrant as Origin;
use sandbox_broker_core::sandbox::{Call, Command, Exit, Result};
use sandbox_broker_core::storage::{self, File, Grant, Mounter, Plan, Renewal, Step, Target};
use sandbox_broker_journal::{Owner, Sqlite};
use sandbox_broker_plugin::{ComponentProvider, Engine, Section};
use sandbox_broker_session::{
    Blueprint, Client, Event, Invitations, Join, Mount, Outcome, Reader, Sessions, SizeRule, SlowClient, Workspace,
};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::support::{DEADLINE, Sandboxd, bare_section, bound_api_key, plugin};

const FILES: &str = "/workspace/files";

/// Its mount is a process that has written its id and ends well on SIGTERM.
#[derive(Debug)]
struct Pretended;

fn sh(target: &Target, text: &str) -> storage::Command {
    storage::Command {
        argv: ["sh", "-c", text, "sh", &target.workspace].map(str::to_owned).into(),
        env: BTreeMap::new(),
        user: None,
        timeout: DEADLINE,
        explain: Vec::new(),
    }
}

#[async_trait]
impl Mounter for Pretended {
    fn name(&self) -> &str {
        "pretended"
    }

    fn title(&self) -> &str {
        "Pretended Storage"
    }

    fn settings(&self) -> &str {
        "these"
    }

    async fn prepare(&self, _: &Call, _: &Target) -> Result<Grant> {
        Ok(Grant::default())
    }

    async fn plan(&self, _: &Call, target: &Target, _: &Grant) -> Result<Plan> {
        let token = File { path: format!("{}/token", target.workspace), content: "canary".into(), mode: 0o600 };
        let lives =
            r#"trap 'exit 0' TERM; cat "$1/token" > /dev/null && echo $$ > "$1/pid"; while :; do sleep 0.02; done"#;
        Ok(Plan {
            title: "Pretended Storage".to_owned(),
            mount: vec![Step::WriteFile(token), Step::Supervise(sh(target, lives))],
            verify: vec![sh(target, r#"kill -0 "$(cat "$1/pid")""#)],
            mount_timeout: DEADLINE,
            watch: Vec::new(),
            unmount: vec![Step::Run(sh(target, r#"kill "$(cat "$1/pid")""#))],
            unmount_timeout: DEADLINE,
            clear: vec![Step::Run(sh(target, r#"rm -- "$1/pid""#))],
            renew_after: None,
        })
    }

    async fn renew(&self, _: &Call, _: &Target, _: &Grant) -> Result<Renewal> {
        Ok(Renewal { steps: Vec::new(), grant: Grant::default(), renew_after: None })
    }

    async fn release(&self, _: &Call, _: &Target, _: &Grant) -> Result<()> {
        Ok(())
    }
}

async fn sessions(server: &Sandboxd, state: &Path) -> Sessions {
    let section = Section {
        name: "box".into(),
        allow: vec![Origin::parse(&server.url).unwrap()],
        secrets: bound_api_key(&server.key, &server.url),
        ..bare_section(json!({ "api_url": server.url, "sandbox_url": server.url }))
    };
    let engine = Engine::new(None).unwrap();
    let provider = ComponentProvider::new(engine.load(&plugin("e2b")).await.unwrap(), section).unwrap();
    let blueprint = Blueprint {
        provider: Arc::new(provider),
        broker_id: "broker".to_owned(),
        command: Command { argv: vec!["sh".to_owned()], ..Command::default() },
        sandbox_env: BTreeMap::new(),
        choices: Default::default(),
        idle_timeout: Duration::from_secs(3600),
        max_age: None,
        lease: Duration::from_secs(300),
        generation: 1,
        max_sessions: 1,
        max_sessions_per_user: 1,
        mounts: vec![Mount { mounter: Arc::new(Pretended), path: FILES.to_owned(), read_only: false }],
        keep: Duration::from_secs(60),
        slow: SlowClient::Gap,
        size: SizeRule::Driver,
        recorder: None,
        journal: Arc::new(Sqlite::open(state).unwrap()),
        owner: Owner { broker: "broker".to_owned(), instance: "1".to_owned() },
        invitations: Invitations::new(&[1; 32]),
    };
    let (blueprint, current) = watch::channel(Arc::new(blueprint));
    // It keeps what it was told last.
    drop(blueprint);
    Sessions::new(current)
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// The next news of the mount that begins so.
async fn told(reader: &mut Reader, begins: &str) -> String {
    loop {
        match soon(begins, reader.next()).await.unwrap() {
            Event::Stage(stage) if stage.message.starts_with(begins) => return stage.message,
            Event::Ended(outcome) => panic!("{outcome} before {begins:?}"),
            _ => {}
        }
    }
}

/// Runs a script as a user beside the shell; what it prints.
async fn run(workspace: &Workspace, user: Option<&str>, text: &str) -> String {
    let argv = ["sh", "-c", text].map(str::to_owned).into();
    let command = Command { argv, user: user.map(str::to_owned), ..Command::default() };
    let (_, stdin) = mpsc::channel(1);
    let Workspace { provider, sandbox, call, .. } = workspace;
    let mut process = soon("a process", provider.run(call, sandbox, &command, stdin)).await.unwrap();
    let mut printed = Vec::new();
    while let Some(chunk) = soon("its output", process.stdout.recv()).await {
        printed.extend_from_slice(&chunk);
    }
    soon("its end", process.done).await.unwrap().unwrap();
    String::from_utf8(printed).unwrap().trim().to_owned()
}

async fn ends(client: Client, mut reader: Reader, server: &Sandboxd) -> Vec<String> {
    soon("input", client.input(Bytes::from_static(b"exit 3\n"))).await.unwrap();
    let mut news = Vec::new();
    let outcome = loop {
        match soon("the end", reader.next()).await.unwrap() {
            Event::Stage(stage) => news.push(stage.message),
            Event::Ended(outcome) => break outcome,
            _ => {}
        }
    };
    assert!(matches!(outcome, Outcome::Exited(Exit::Code(3))), "{outcome}");
    server.has(0).await;
    news
}

#[tokio::test]
async fn a_mount_in_a_real_sandbox_is_roots_own_and_is_noticed_when_it_dies() {
    let server = Sandboxd::start().await;
    let state = tempfile::tempdir().unwrap();
    let client = sessions(&server, state.path()).await.open(Join::default(), false).unwrap();
    let mut reader = client.reader();
    let first = soon("the first words", reader.next()).await;
    assert!(matches!(first, Some(Event::Stage(stage)) if stage.message == "Checking Pretended Storage..."));
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        // A server that is not root has no root in its sandboxes, and that is
        // told with whose turn it is.
        let said = told(&mut reader, "Failed to mount Pretended Storage").await;
        return assert!(said.contains("the sandboxes of provider `box` give none"), "{said}");
    }
    told(&mut reader, "Pretended Storage mounted at /workspace/files in").await;
    told(&mut reader, "Shell started").await;
    let workspace = crate::support::eventually("a shell", async || client.workspace()).await;
    let user = async |text: &str| run(&workspace, None, text).await;
    let root = async |text: &str| run(&workspace, Some("root"), text).await;

    assert_eq!(root("stat -c '%u %a' /var/lib/sandbox-broker/* /var/lib/sandbox-broker/*/token").await, "0 700\n0 600");
    assert_eq!(user("cat /var/lib/sandbox-broker/*/token || echo no").await, "no");
    assert_eq!(user("ls /var/lib/sandbox-broker || echo no").await, "no");
    assert_eq!(user("stat -c '%u %a' /workspace/files").await, "0 555");
    assert_eq!(user("(echo x > /workspace/files/x) 2> /dev/null || echo no").await, "no");

    root("kill -9 $(cat /var/lib/sandbox-broker/*/pid)").await;
    let said = told(&mut reader, "Pretended Storage at /workspace/files stopped working").await;
    assert!(said.contains("SIGKILL"), "{said}");
    told(&mut reader, "Pretended Storage mounted again at /workspace/files").await;
    assert_eq!(root("ls /var/lib/sandbox-broker | wc -l").await, "2", "in a workspace of its own");

    assert_eq!(ends(client, reader, &server).await, [""; 0], "it was saved");
}
