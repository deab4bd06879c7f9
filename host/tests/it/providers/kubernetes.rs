//! The suite on a real cluster, and what is Kubernetes' own. With the rights of the shipped manifest and no others, in
//! namespaces that admit only restricted Pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use sandbox_broker_config as config;
use sandbox_broker_core::sandbox::{Call, Choices, Code, Command, Error, Exit, Process, Provider, SandboxRef, Spec};
use sandbox_broker_plugin::{ComponentProvider, Engine, Plugin, Section};
use serde_json::json;
use tokio::sync::{OnceCell, mpsc};

use super::on_every_provider;
use super::suite::{self, Bed};
use crate::support::cluster::{Cluster, Namespace, pod};
use crate::support::{Broker, DEADLINE, bare_section, eventually, plugin, program};

mod agent_sandbox;
mod faults;
mod node;
mod rotation;
mod tls;

impl Bed for Namespace {
    fn section(&self) -> String {
        Namespace::section(self, "box", "")
    }

    async fn sandboxes(&self, _: &Broker) -> BTreeMap<String, BTreeMap<String, String>> {
        labelled(&self.pods().await)
    }

    async fn foreign(&self) -> Option<String> {
        self.cluster.must(Method::POST, &self.path(""), &pod("theirs", &json!({ "app": "theirs" }))).await;
        Some("theirs".to_owned())
    }
}

/// The names of objects and their labels.
fn labelled(objects: &[serde_json::Value]) -> BTreeMap<String, BTreeMap<String, String>> {
    let of = |object: &serde_json::Value| {
        let metadata = &object["metadata"];
        let labels = serde_json::from_value(metadata["labels"].clone()).unwrap_or_default();
        (metadata["name"].as_str().unwrap().to_owned(), labels)
    };
    objects.iter().map(of).collect()
}

async fn namespace() -> Option<Namespace> {
    Namespace::new().await
}

on_every_provider!(namespace);

/// The provider of this section of `broker.toml`, which is called `box`.
async fn provider_of(section: &str) -> ComponentProvider {
    static PLUGIN: OnceCell<(Engine, Arc<Plugin>)> = OnceCell::const_new();
    let load = async || {
        let engine = Engine::new(None).unwrap();
        let plugin = engine.load(&plugin("kubernetes")).await.unwrap();
        (engine, plugin)
    };
    let (_, loaded) = PLUGIN.get_or_init(load).await;
    let text = format!("[sandbox]\nprovider = \"box\"\n{section}");
    let path = std::env::temp_dir().join("broker.toml");
    let config = config::parse(&path, &text, &|_| None).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
    let settings = config.check_provider_config("box", &loaded.schema).unwrap_or_else(|found| panic!("{found}"));
    let found = loaded.validate(&settings.to_string()).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
    let section = &config.providers["box"];
    let section = Section {
        name: "box".into(),
        allow: section.allow.clone(),
        allow_private: section.allow_private,
        tls: section.tls.clone(),
        secrets: section.secrets.clone().into(),
        limits: section.limits.clone(),
        ..bare_section(settings)
    };
    ComponentProvider::new(loaded.clone(), section).unwrap()
}

/// A namespace and a provider of it.
async fn bed(settings: &str) -> Option<(Namespace, ComponentProvider)> {
    let namespace = Namespace::new().await?;
    let provider = provider_of(&namespace.section("box", settings)).await;
    Some((namespace, provider))
}

fn call() -> Call {
    Call::default()
}

fn spec(labels: &[(&str, &str)]) -> Spec {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Spec { labels, ttl: Duration::from_secs(60), ..Spec::default() }
}

async fn create(provider: &ComponentProvider) -> SandboxRef {
    provider.create(&call(), &spec(&[("k", "v")])).await.unwrap()
}

fn command(argv: &[&str]) -> Command {
    Command { argv: argv.iter().map(|word| (*word).to_owned()).collect(), ..Command::default() }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A process, with its input.
async fn run(
    provider: &ComponentProvider,
    sandbox: &SandboxRef,
    command: &Command,
) -> Result<(Process, mpsc::Sender<Bytes>), Error> {
    let (input, stdin) = mpsc::channel(4);
    Ok((within("a process", provider.run(&call(), sandbox, command, stdin)).await?, input))
}

async fn text(mut stream: mpsc::Receiver<Bytes>) -> String {
    let mut all = Vec::new();
    while let Some(chunk) = within("output", stream.recv()).await {
        all.extend_from_slice(&chunk);
    }
    String::from_utf8(all).unwrap()
}

/// All that a process printed, and how it ended.
async fn rest(process: Process) -> (String, String, Result<Exit, Error>) {
    let Process { stdout, stderr, done, lifetime, .. } = process;
    let (out, err) = tokio::join!(text(stdout), text(stderr));
    let done = within("the end of a process", done).await.unwrap();
    drop(lifetime);
    (out, err, done)
}

/// What a shell prints and how it ends that gets no input.
async fn shell(provider: &ComponentProvider, sandbox: &SandboxRef, script: &str) -> (String, String, Exit) {
    let (process, input) = run(provider, sandbox, &command(&["sh", "-c", script])).await.unwrap();
    drop(input);
    let (out, err, done) = rest(process).await;
    (out, err, done.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_input_its_end_output_errors_and_an_exit_status() {
    let Some((namespace, provider)) = bed("").await else { return };
    let sandbox = create(&provider).await;
    let (process, input) =
        run(&provider, &sandbox, &command(&["sh", "-c", "md5sum; echo bad >&2; exit 7"])).await.unwrap();
    let megabytes: Vec<u8> = (0..3 << 20).map(|n| (n % 251) as u8).collect();
    for piece in megabytes.chunks(100_000) {
        input.send(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    drop(input);
    let (out, err, done) = rest(process).await;
    std::fs::write(namespace.directory.path().join("sent"), &megabytes).unwrap();
    let sum = std::process::Command::new("md5sum").arg(namespace.directory.path().join("sent")).output().unwrap();
    assert_eq!(out.split(' ').next(), String::from_utf8(sum.stdout).unwrap().split(' ').next());
    assert_eq!((err.as_str(), done.unwrap()), ("bad\n", Exit::Code(7)));

    let mut with = command(&["sh", "-c", "echo \"$PWD $A\"; pwd; id -u"]);
    with.cwd = Some("/tmp".into());
    with.env = BTreeMap::from([("A".into(), "a $(id) 'b'".into())]);
    let (process, _input) = run(&provider, &sandbox, &with).await.unwrap();
    assert_eq!(rest(process).await.0, "/tmp a $(id) 'b'\n/tmp\n1000\n");
    let (process, _input) = run(&provider, &sandbox, &command(&["no-such-program"])).await.unwrap();
    assert_eq!(rest(process).await.2.unwrap(), Exit::Code(127));
    provider.kill(&call(), &sandbox).await.unwrap();
    namespace.has(0).await;
    provider.kill(&call(), &sandbox).await.expect("it is gone already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_its_process_and_no_other() {
    let Some((_namespace, provider)) = bed("").await else { return };
    let sandbox = create(&provider).await;
    let waits = command(&["sh", "-c", "trap 'echo told; exit 5' TERM; echo up; while :; do sleep 0.1; done"]);
    let (mut one, _input) = run(&provider, &sandbox, &waits).await.unwrap();
    let (mut other, _input) = run(&provider, &sandbox, &waits).await.unwrap();
    for process in [&mut one, &mut other] {
        assert_eq!(within("a process that is up", process.stdout.recv()).await.unwrap(), "up\n");
    }
    one.control.signal("SIGTERM").await.unwrap();
    let (out, _, done) = rest(one).await;
    assert_eq!((out.as_str(), done.unwrap()), ("told\n", Exit::Code(5)));
    let control = other.control.clone();
    control.signal("SIGKILL").await.unwrap();
    let (out, _, done) = rest(other).await;
    assert_eq!((out.as_str(), done.unwrap()), ("", Exit::Code(137)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_are_found_by_their_labels_and_other_pods_are_left_alone() {
    let Some((namespace, provider)) = bed("labels = { team = \"x\" }").await else { return };
    // Of somebody else's, who may even carry the same label.
    namespace.cluster.must(Method::POST, &namespace.path(""), &pod("theirs", &json!({ "k": "v" }))).await;
    let made = create(&provider).await;
    let list = async |key: &str, value: &str| {
        let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let page = provider.list(&call(), &labels, None).await.unwrap();
        assert!(page.next.is_none());
        page.sandboxes
    };
    let found = list("k", "v").await;
    let [only] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&only.id, only.labels["team"].as_str()), (&made.id, "x"));
    assert!(only.created.is_some() && only.ends.unwrap() > only.created.unwrap());
    assert!(list("k", "w").await.is_empty());
    // A reference without a state, as a listing gives it.
    let known = SandboxRef { id: only.id.clone(), state: Bytes::new() };
    let connected = provider.connect(&call(), &known, Duration::from_secs(60)).await.unwrap();
    assert_eq!(shell(&provider, &connected, "echo here").await.0, "here\n");
    provider.kill(&call(), &connected).await.unwrap();
    eventually("only the other Pod", async || (namespace.pods().await.len() == 1).then_some(())).await;
    assert_eq!(namespace.only().await, "theirs");
    let gone = provider.connect(&call(), &known, Duration::from_secs(60)).await.unwrap_err();
    assert_eq!(gone.code, Code::NotFound, "{gone}");
}

/// `broker try` on a cluster that serves, and on one that is away, whose sandboxes nothing would end.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_proves_every_step_and_claims_no_lease() {
    let Some(namespace) = Namespace::new().await else { return };
    let directory = namespace.directory.path().to_owned();
    let proved = async |config: String| {
        std::fs::write(directory.join("broker.toml"), config).unwrap();
        let mut command = std::process::Command::new(program());
        command.arg("--config").arg(directory.join("broker.toml")).arg("--state-dir").arg(directory.join("state"));
        command.args(["try", "box"]).env_remove("RUST_LOG");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let config = suite::config(&namespace, "shell = [\"/bin/sh\"]\n");
    let (code, told) = proved(config.clone()).await;
    assert!(code == Some(0) && !told.contains("failed"), "{told}");
    namespace.has(0).await;
    let (code, told) = proved(config.replace(&namespace.cluster.address, "https://127.0.0.1:1")).await;
    assert!(code == Some(1) && told.contains("lives until somebody ends it"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_reached_by_the_pods_address_where_the_operator_says_so() {
    let Some((namespace, apart)) = bed("").await else { return };
    let sandbox = create(&apart).await;
    let refused = apart.route(&call(), &sandbox, 80).await.err().unwrap();
    assert!(refused.code == Code::Unimplemented && refused.message.contains("`pod_network`"), "{refused}");
    let near = provider_of(&namespace.section("box", "pod_network = true")).await;
    let route = near.route(&call(), &sandbox, 80).await.unwrap();
    let address = namespace.pods().await[0]["status"]["podIP"].as_str().unwrap().to_owned();
    assert_eq!((route.url.as_str(), route.headers.len()), (format!("http://{address}:80").as_str(), 0));
}

/// What the Pod Security Standard `restricted` asks for, seen from inside.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_has_no_rights_and_no_token_of_the_cluster() {
    let Some((_namespace, provider)) = bed("security = { read_only_root = true }").await else { return };
    let mut spec = spec(&[]);
    spec.env = BTreeMap::from([("KEY".into(), "$(HOME) $$x".into())]);
    spec.choices.memory_mib = Some(64);
    let sandbox = provider.create(&call(), &spec).await.unwrap();
    let script = "id -u; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\\t' ' '; \
                  ls /var/run/secrets 2>/dev/null; touch /x 2>/dev/null || echo closed; touch ~/x /tmp/x && pwd; \
                  echo \"$HOME|$KEY\"; env | grep -c KUBERNETES_";
    let (out, ..) = shell(&provider, &sandbox, script).await;
    let expected =
        "1000\nCapEff: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\nclosed\n/workspace\n/workspace|$(HOME) $$x\n";
    assert!(out.starts_with(expected), "{out}");
    // The variables of the API server's own service are the kubelet's to give.
    assert!(out[expected.len()..].trim().parse::<u32>().is_ok(), "{out}");
    let as_root = Command { user: Some("root".into()), ..command(&["id"]) };
    let refused = run(&provider, &sandbox, &as_root).await.err().unwrap();
    assert!(refused.message.contains("security.run_as_user"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_has_what_was_chosen_and_a_region_is_refused_before_there_is_one() {
    let Some((namespace, provider)) = bed("").await else { return };
    let with = |choices: Choices| Spec { choices, ..spec(&[]) };
    let refused = with(Choices { region: Some("here".into()), ..Choices::default() });
    let refused = provider.create(&call(), &refused).await.unwrap_err();
    assert!(refused.code == Code::InvalidArgument && refused.message.contains("`region`"), "{refused}");
    namespace.has(0).await;
    // The cluster's node does not count its disk.
    let sizes = Choices { cpu_millis: Some(250), memory_mib: Some(64), ..Choices::default() };
    provider.create(&call(), &with(sizes)).await.unwrap();
    let pod = &namespace.pods().await[0]["spec"];
    let sizes = json!({ "cpu": "250m", "memory": "64Mi" });
    assert_eq!(pod["containers"][0]["resources"], json!({ "limits": sizes, "requests": sizes }));
}

/// A Pod that reaches its end takes its processes with it, and each is told why.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_an_eviction_and_a_deletion_are_told_apart() {
    let Some((namespace, provider)) = bed("active_deadline = 60").await else { return };
    for (end, says) in [
        ("deadline", &["`active_deadline`"][..]),
        // Its grace lasts longer than its processes do.
        ("eviction", &["being deleted", "no Pod"]),
        ("deletion", &["no Pod"]),
    ] {
        let sandbox = create(&provider).await;
        let (mut process, _input) =
            run(&provider, &sandbox, &command(&["sh", "-c", "echo up; sleep 1000"])).await.unwrap();
        assert_eq!(within("a process that is up", process.stdout.recv()).await.unwrap(), "up\n");
        let path = namespace.path(&sandbox.id);
        match end {
            "deadline" => {
                // It may be lowered on a running Pod, and not raised.
                let set = |seconds: u64| json!({ "spec": { "activeDeadlineSeconds": seconds } }).to_string();
                namespace.cluster.must(Method::PATCH, &path, &set(1)).await;
                assert_eq!(namespace.cluster.ask(Method::PATCH, &path, &set(90)).await.0, 422);
            }
            "eviction" => {
                let evict = json!({ "apiVersion": "policy/v1", "kind": "Eviction",
                    "metadata": { "name": sandbox.id, "namespace": namespace.name } });
                namespace.cluster.must(Method::POST, &format!("{path}/eviction"), &evict.to_string()).await;
            }
            _ => {
                namespace.cluster.must(Method::DELETE, &path, r#"{"gracePeriodSeconds":0}"#).await;
            }
        }
        let error = rest(process).await.2.unwrap_err();
        let told = says.iter().any(|says| error.message.contains(says));
        assert!(error.code == Code::NotFound && told, "{end}: {error}");
        let gone = provider.connect(&call(), &sandbox, Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(gone.code, Code::NotFound, "{end}: {gone}");
        // One that has ended remains as an object, and is still found, so that somebody removes it.
        if end == "deadline" {
            assert_eq!(provider.list(&call(), &BTreeMap::new(), None).await.unwrap().sandboxes.len(), 1);
        }
        provider.kill(&call(), &sandbox).await.unwrap();
        namespace.has(0).await;
    }
}
