//! The suite on a real Docker engine, and what is Docker's own: images, limits, rights, the lease, an engine that ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use sandbox_broker_config::EgressGrant;
use sandbox_broker_core::sandbox::{Call, Choices, Code, Command, Exit, Process, Provider, Size, Spec, await_exit};
use sandbox_broker_plugin::{ComponentProvider, Engine, Section};
use serde_json::json;
use tokio::sync::mpsc;

use super::on_every_provider;
use super::suite::Bed;
use crate::support::docker::{BUSYBOX, DEBIAN, Docker, REGISTRY, section};
use crate::support::level1::{Visit, Window};
use crate::support::stream::{Follower, LINE, streams};
use crate::support::{Broker, Frame, bare_section, eventually, plugin};

/// An engine whose sandboxes have this image.
struct Box {
    docker: Docker,
    image: &'static str,
}

impl Bed for Box {
    fn section(&self) -> String {
        self.docker.section("box", self.image, "")
    }

    async fn sandboxes(&self, _: &Broker) -> BTreeMap<String, BTreeMap<String, String>> {
        let containers = self.docker.containers().await;
        containers.into_iter().map(|(id, labels)| (id, serde_json::from_value(labels).unwrap_or_default())).collect()
    }

    async fn foreign(&self) -> Option<String> {
        Some(self.docker.run(json!({ "app": "theirs", "broker": "another" })).await)
    }
}

async fn debian() -> Option<Box> {
    Some(Box { docker: Docker::start().await?, image: DEBIAN })
}

on_every_provider!(debian);

/// Without the tools of GNU.
mod busybox {
    use super::{BUSYBOX, Box, Docker, on_every_provider};

    async fn busybox() -> Option<Box> {
        Some(Box { docker: Docker::start().await?, image: BUSYBOX })
    }

    on_every_provider! { busybox:
        a_shell_computes_and_its_exit_ends_the_sandbox,
        the_size_is_seen_by_the_program,
        a_signal_that_ends_the_shell_is_told,
        a_large_file_arrives_and_comes_back_whole,
    }
}

const SHELL: &str = "shell = [\"/bin/sh\"]\n";

fn with(section: &str, sandbox: &str) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{SHELL}{sandbox}\n{section}")
}

/// The error that a client is told in the place of a shell.
async fn refused(section: &str) -> String {
    let broker = Broker::start(&with(section, "")).await;
    broker.connect().await.error().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_fetched_is_named_with_the_remedy() {
    let Some(docker) = Docker::start().await else { return };
    let missing = refused(&docker.section("box", &format!("{REGISTRY}/nope:1"), "")).await;
    assert!(missing.contains("there is no image 127.0.0.1:5000/nope:1"), "{missing}");
    let nobody = refused(&docker.section("box", "127.0.0.1:1/nope:1", "")).await;
    assert!(nobody.contains("connection refused") && nobody.contains("registry"), "{nobody}");
    let never = refused(&docker.section("box", "nope:1", "pull = \"never\"")).await;
    assert!(never.contains("docker pull"), "{never}");
    docker.has(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_the_engine_lacks_is_fetched_and_the_person_hears_of_it() {
    let Some(docker) = Docker::start().await else { return };
    let name = format!("{REGISTRY}/debian:1");
    docker.publish(DEBIAN, &name).await;
    let broker = Broker::start(&with(&docker.section("box", &name, ""), "")).await;
    let mut client = broker.connect().await;
    client.ready().await;
    let told =
        client.said.iter().any(|said| matches!(said, Frame::Status(words) if words.contains("fetching the image")));
    assert!(told, "{:?}", client.said);
}

/// A process that takes too much is killed, and the shell goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_more_memory_than_its_sandbox_has_is_killed() {
    let Some(docker) = Docker::start().await else { return };
    let broker = Broker::start(&with(&docker.section("box", DEBIAN, "memory_mib = 48\npids = 64"), "")).await;
    let mut client = broker.connect().await;
    client.ready().await;
    // `tail` keeps a line until it ends.
    client.input("head -c 200000000 /dev/zero | tail > /dev/null; echo sta\"\"tus $?\n").await;
    client.expect("status 137").await;
    client.input("echo $((6*7))\n").await;
    client.expect("42").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_has_no_rights_on_the_engines_machine() {
    let Some(docker) = Docker::start().await else { return };
    let broker = Broker::start(&with(&docker.section("box", DEBIAN, ""), "")).await;
    let mut client = broker.connect().await;
    client.ready().await;
    client
        .input("grep -E 'CapEff|NoNewPrivs' /proc/self/status; ls /var/run/docker.sock; hostname; echo e\"\"nd\n")
        .await;
    client.expect("CapEff:\t0000000000000000").await;
    client.expect("NoNewPrivs:\t1").await;
    client.expect("No such file").await;
    client.expect("end").await;
    let (id, _) = docker.containers().await.pop_first().unwrap();
    let inspected = docker.get(&format!("/containers/{id}/json")).await;
    let host = &inspected["HostConfig"];
    assert_eq!((&host["Privileged"], &host["Binds"]), (&json!(false), &json!(null)), "{host}");
    assert_eq!(inspected["Mounts"], json!([]), "nothing of the machine is mounted");
}

/// The engine has no lease: the first process in the container keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_ends_by_its_lease_when_no_broker_comes_back() {
    let Some(docker) = Docker::start().await else { return };
    let broker = Broker::start(&with(&docker.section("box", BUSYBOX, ""), "lease = \"6s\"")).await;
    let mut client = broker.connect().await;
    let began = Instant::now();
    client.ready().await;
    // The broker renews it for longer than it was given.
    client.input("sleep 9; echo la\"\"te\n").await;
    client.expect("late").await;
    assert!(began.elapsed() > Duration::from_secs(6));
    broker.signal("KILL");
    let killed = Instant::now();
    docker.has(0).await;
    assert!(killed.elapsed() < Duration::from_secs(9), "{:?}", killed.elapsed());
}

/// With what Docker does by default, containers end with their engine: their people are told, and the next session works.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_was_started_again_serves_the_next_session() {
    let Some(mut docker) = Docker::start().await else { return };
    let broker = Broker::start(&with(&docker.section("box", DEBIAN, ""), "")).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    window.ready().await;
    docker.stop().await;
    docker.resume().await;
    let (code, words) = window.error().await;
    assert!(code == "provider" && words.contains("is gone"), "{code}: {words}");
    let mut next = broker.connect().await;
    next.ready().await;
    next.input("exit\n").await;
    next.closed().await;
    docker.has(0).await;
}

/// With `live-restore` the shell goes on, and no byte is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_an_engine_that_leaves_its_containers_alone() {
    const LINES: u64 = 400_000;
    let Some(mut docker) = Docker::start_with(&["--live-restore"]).await else { return };
    let section = docker.section("box", DEBIAN, "auto_remove = false");
    let config =
        format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{}\n{section}", streams(LINES));
    let broker = Broker::start(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("driver")).await;
    let ready = window.ready().await;
    let mut follower = Follower::new("driver", &ready);
    follower.starts(&mut window).await;
    assert!(follower.follow(&mut window, LINES * LINE / 3).await);
    docker.stop().await;
    docker.resume().await;
    assert!(follower.follow(&mut window, LINES * LINE).await);
    window.input("end\n").await;
    assert_eq!(window.told("exit").await["code"], 7);
    docker.has(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_cannot_be_reached_is_named_with_the_remedy() {
    let none = refused(&section("box", Path::new("/nonexistent/docker.sock"), BUSYBOX, "")).await;
    assert!(none.contains("start the Docker engine, or correct the path in `allow`"), "{none}");
    let Some(mut docker) = Docker::start().await else { return };
    docker.stop().await;
    let down = refused(&docker.section("box", BUSYBOX, "")).await;
    assert!(down.contains("nobody serves it: start the Docker engine"), "{down}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_engine_is_named() {
    let Some(mut docker) = Docker::start().await else { return };
    let name = format!("{REGISTRY}/debian:1");
    docker.publish(DEBIAN, &name).await;
    docker.ask(reqwest::Method::DELETE, &format!("/images/{DEBIAN}?force=1")).await.error_for_status().unwrap();
    docker.bound_disk("24m").await;
    let full = refused(&docker.section("box", &name, "")).await;
    assert!(full.contains("the engine's disk is full"), "{full}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_is_reached_over_tls_with_a_client_certificate() {
    let Some(docker) = Docker::start().await else { return };
    let endpoint = format!("https://{}:2376", docker.address());
    let [ca, cert, key] = docker.tls();
    let section = |tls: &str| {
        format!(
            "[providers.box]\nplugin = \"docker\"\nallow = [\"{endpoint}\"]\n{tls}\n\
             [providers.box.config]\nendpoint = \"{endpoint}\"\nimage = \"{DEBIAN}\"\n"
        )
    };
    let broker =
        Broker::start(&with(&section(&format!("tls = {{ ca = {ca:?}, cert = {cert:?}, key = {key:?} }}")), "")).await;
    let mut client = broker.connect().await;
    client.ready().await;
    client.input("echo $((6*7))\n").await;
    client.expect("42").await;
    let refusal = refused(&section(&format!("tls = {{ ca = {ca:?} }}"))).await;
    assert!(refusal.contains("`tls`"), "{refusal}");
}

/// Where the recorder cannot run, the engine's own terminal serves.
#[tokio::test(flavor = "multi_thread")]
async fn the_engines_own_terminal_passes_every_key() {
    let Some(docker) = Docker::start().await else { return };
    let broker = Broker::start_without_recorder(&with(&docker.section("box", DEBIAN, ""), "")).await;
    let mut client = broker.connect().await;
    client.resize(99, 33).await;
    client.ready().await;
    client.input("stty size\n").await;
    client.expect("33 99\r\n").await;
    // By default the engine takes the connection away at these two.
    client.input("stty raw -echo; echo re''ady; head -c 4 | od -An -tx1; stty sane\n").await;
    client.expect("ready").await;
    client.input("\u{10}").await;
    client.input("\u{11}ab").await;
    client.expect("10 11 61 62").await;
    client.input("exit 5\n").await;
    assert_eq!(client.closed().await.code, 1000);
    let Some(Frame::Status(last)) = client.said.back() else { panic!("{:?}", client.said) };
    assert!(last.contains('5'), "{last}");
}

/// The provider without a broker, for what sessions do not use.
async fn provider(docker: &Docker, image: &str) -> ComponentProvider {
    let mut section = Section {
        name: "box".into(),
        allow: vec![EgressGrant::parse(&format!("unix://{}", docker.socket().display())).unwrap()],
        ..bare_section(json!({ "image": image }))
    };
    section.limits.total_memory = 512 << 20;
    ComponentProvider::new(Engine::new(None).unwrap().load(&plugin("docker")).await.unwrap(), section).unwrap()
}

async fn all(mut stream: mpsc::Receiver<Bytes>) -> String {
    let mut all = Vec::new();
    while let Some(chunk) = stream.recv().await {
        all.extend_from_slice(&chunk);
    }
    String::from_utf8(all).unwrap()
}

fn command(argv: &[&str]) -> Command {
    Command { argv: argv.iter().map(|&part| part.to_owned()).collect(), ..Command::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_have_input_outputs_statuses_and_signals() {
    let Some(docker) = Docker::start().await else { return };
    for image in [BUSYBOX, DEBIAN] {
        let provider = provider(&docker, image).await;
        let call = Call::default();
        let spec =
            Spec { env: BTreeMap::from([("A".into(), "b".into())]), ttl: Duration::from_secs(60), ..Spec::default() };
        let sandbox = provider.create(&call, &spec).await.unwrap();
        let run = async |argv: &[&str]| {
            let (input, stdin) = mpsc::channel(8);
            provider.run(&call, &sandbox, &command(argv), stdin).await.map(|process| (input, process))
        };

        let (input, process) = run(&["sh", "-c", "cat; echo $A >&2; exit 7"]).await.unwrap();
        input.send("what was sent".into()).await.unwrap();
        drop(input);
        let Process { stdout, stderr, mut done, lifetime, .. } = process;
        assert_eq!(tokio::join!(all(stdout), all(stderr)), ("what was sent".into(), "b\n".into()));
        assert_eq!(await_exit(&mut done).await.unwrap(), Exit::Code(7));
        drop(lifetime);

        let error = run(&["nosuchprogram"]).await.unwrap_err();
        assert_eq!(error.code, Code::NotFound, "{error}");

        // Two at once: a signal reaches the one that is meant.
        let (_one, mut meant) = run(&["sleep", "600"]).await.unwrap();
        let (_two, mut other) = run(&["sh", "-c", "sleep 600"]).await.unwrap();
        meant.control.signal("SIGTERM").await.unwrap();
        assert_eq!(await_exit(&mut meant.done).await.unwrap(), Exit::Code(143));
        assert!(other.done.try_recv().is_err(), "it runs");
        other.control.signal("SIGKILL").await.unwrap();
        assert_eq!(await_exit(&mut other.done).await.unwrap(), Exit::Code(137));
        provider.kill(&call, &sandbox).await.unwrap();
        provider.kill(&call, &sandbox).await.unwrap();
        let gone = provider.connect(&call, &sandbox, Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(gone.code, Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_sleeps_wakes_and_serves_its_ports() {
    let Some(docker) = Docker::start().await else { return };
    let provider = provider(&docker, BUSYBOX).await;
    let call = Call::default();
    let spec = Spec { ttl: Duration::from_secs(60), ..Spec::default() };
    let sandbox = provider.create(&call, &spec).await.unwrap();
    let serve =
        command(&["sh", "-c", "mkdir /tmp/w && echo served > /tmp/w/index.html && exec httpd -f -p 8080 -h /tmp/w"]);
    let _server = provider.run(&call, &sandbox, &serve, mpsc::channel(1).1).await.unwrap();
    let route = provider.route(&call, &sandbox, 8080).await.unwrap();
    let get = async || reqwest::get(&route.url).await.ok()?.text().await.ok();
    assert_eq!(eventually("the port", get).await, "served\n");

    provider.pause(&call, &sandbox).await.unwrap();
    provider.pause(&call, &sandbox).await.unwrap();
    let asleep = provider.run(&call, &sandbox, &command(&["true"]), mpsc::channel(1).1).await.unwrap_err();
    assert_eq!(asleep.code, Code::FailedPrecondition, "{asleep}");
    let sandbox = provider.connect(&call, &sandbox, Duration::from_secs(60)).await.unwrap();
    assert_eq!(eventually("the port again", get).await, "served\n");
    provider.kill(&call, &sandbox).await.unwrap();
}

/// A lease that is asked for longer than it was made is longer from then on, and a choice beyond the limits is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_grows_and_choices_are_bounded() {
    let Some(docker) = Docker::start().await else { return };
    let provider = provider(&docker, BUSYBOX).await;
    let call = Call::default();
    let spec = Spec { ttl: Duration::from_secs(3), ..Spec::default() };
    let (short, long) = (provider.create(&call, &spec).await.unwrap(), provider.create(&call, &spec).await.unwrap());
    let long = provider.extend(&call, &long, Duration::from_secs(600)).await.unwrap();
    eventually("the end of the short one", async || (!docker.containers().await.contains_key(&short.id)).then_some(()))
        .await;
    assert!(docker.containers().await.contains_key(&long.id));
    let gone = provider.extend(&call, &short, Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(gone.code, Code::NotFound);
    for choices in [
        Choices { memory_mib: Some(1 << 20), ..Choices::default() },
        Choices { region: Some("here".into()), ..Choices::default() },
    ] {
        let error = provider.create(&call, &Spec { choices, ..spec.clone() }).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
    }
    let choices = Choices { image: Some(DEBIAN.into()), ..Choices::default() };
    let chosen = provider.create(&call, &Spec { choices, ..spec.clone() }).await.unwrap();
    let inspected = docker.get(&format!("/containers/{}/json", chosen.id)).await;
    assert_eq!(inspected["Config"]["Image"], DEBIAN);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_sessions_get_what_the_operator_chose_and_a_reload_changes_it() {
    let Some(docker) = Docker::start().await else { return };
    let section = docker.section("box", BUSYBOX, "cpu_millis = 1000");
    let chosen = |lines: &str| with(&section, &format!("[sandbox.choices]\n{lines}"));
    let broker = Broker::start(&chosen(&format!("image = {DEBIAN:?}\ncpu_millis = 500\nmemory = \"256MiB\""))).await;
    let mut first = broker.connect().await;
    first.ready().await;
    let containers = docker.containers().await;
    let [id] = containers.keys().collect::<Vec<_>>()[..] else { panic!("one sandbox") };
    let made = docker.get(&format!("/containers/{id}/json")).await;
    assert_eq!(made["Config"]["Image"], DEBIAN);
    assert_eq!(
        (&made["HostConfig"]["NanoCpus"], &made["HostConfig"]["Memory"]),
        (&json!(500_000_000), &json!(256 << 20))
    );

    for (generation, (choice, named)) in [
        ("disk = \"1GiB\"", "a size of the disk"),
        ("region = \"eu\"", "a region"),
        ("memory = \"4GiB\"", "4096 MiB of memory"),
    ]
    .into_iter()
    .enumerate()
    {
        broker.edit(&chosen(choice));
        broker.logs(&format!("\"generation\":{}", generation + 2)).await;
        let refused = broker.connect().await.error().await;
        assert!(refused.contains(named), "{refused}");
    }
    docker.has(1).await;
    first.input("echo $((6*7))\n").await;
    first.expect("42").await;
}

/// More sandboxes than stand on one page, of which the last one of a page ends between two.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_many_pages_has_every_sandbox() {
    let Some(docker) = Docker::start().await else { return };
    let mut made: BTreeSet<String> = BTreeSet::new();
    let ids = futures_util::stream::iter(0..505).map(|_| docker.create(json!({ "mine": "1" }))).buffer_unordered(8);
    made.extend(ids.collect::<Vec<_>>().await);
    docker.create(json!({ "mine": "2" })).await;
    let provider = provider(&docker, BUSYBOX).await;
    let (call, labels) = (Call::default(), BTreeMap::from([("mine".to_owned(), "1".to_owned())]));
    let first = provider.list(&call, &labels, None).await.unwrap();
    let last = first.sandboxes.last().unwrap().id.clone();
    docker.kill(&last).await;
    let mut found: BTreeSet<String> = first.sandboxes.into_iter().map(|listed| listed.id).collect();
    assert!(found.len() < made.len(), "there is more than one page");
    let mut cursor = first.next;
    while cursor.is_some() {
        let page = provider.list(&call, &labels, cursor).await.unwrap();
        found.extend(page.sandboxes.into_iter().map(|listed| listed.id));
        cursor = page.next;
    }
    assert_eq!(found, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_of_the_engine_is_resized_and_ends_by_a_signal() {
    let Some(docker) = Docker::start().await else { return };
    let provider = provider(&docker, DEBIAN).await;
    let call = Call::default();
    let spec = Spec { ttl: Duration::from_secs(60), ..Spec::default() };
    let sandbox = provider.create(&call, &spec).await.unwrap();
    let (_input, typed) = mpsc::channel(8);
    let watch = command(&["bash", "-c", "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done"]);
    let mut terminal = provider.open(&call, &sandbox, &watch, Size { cols: 91, rows: 31 }, typed).await.unwrap();
    let mut seen = String::new();
    let mut expect = async |words: &str| {
        while !seen.contains(words) {
            seen.push_str(std::str::from_utf8(&terminal.output.recv().await.unwrap()).unwrap());
        }
    };
    expect("31 91").await;
    terminal.control.resize(Size { cols: 120, rows: 40 }).await.unwrap();
    expect("40 120").await;
    terminal.control.signal("SIGKILL").await.unwrap();
    assert_eq!(await_exit(&mut terminal.done).await.unwrap(), Exit::Code(137));
    provider.kill(&call, &sandbox).await.unwrap();
}
