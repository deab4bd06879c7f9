//! What happens to whoever runs a broker: signals, disks, directories,
//! upgrades, and plugins that cost too much.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::level1::{Ready, Visit, Window};
use crate::support::{Broker, DEADLINE, Sandboxd, eventually, plugin, program};

fn config(server: &Sandboxd) -> String {
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{}", server.section("box"))
}

const EMBEDDED: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\n\
                        [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";

async fn status(broker: &Broker) -> Value {
    broker.get("/api/status").await.json().await.unwrap()
}

async fn generation(broker: &Broker, expected: u64) {
    let what = format!("generation {expected}");
    eventually(&what, async || (status(broker).await["config"]["generation"] == expected).then_some(())).await;
}

/// Runs `broker` to its end.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program());
    for variable in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(variable);
    }
    command.args(arguments).envs(environment.iter().copied()).env_remove("RUST_LOG").stdin(Stdio::null());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn a_hangup_reads_the_configuration_again_and_says_what_came_of_it() {
    let server = Sandboxd::start().await;
    let good = config(&server);
    let broker = Broker::start_quiet(&good).await;
    let mut live = broker.connect().await;
    live.ready().await;
    broker.signal("HUP");
    broker.logs("nothing was reloaded").await;
    broker.edit(&good.replace("[sandbox]", "[sandbox]\ntimeout = true"));
    broker.signal("HUP");
    broker.logs("the change is refused").await;
    broker.edit(&good.replace("[sandbox]", "[sandbox]\ntimeout = \"50m\""));
    broker.signal("HUP");
    generation(&broker, 2).await;
    live.input("echo li\"\"ve\n").await;
    live.expect("live").await;
}

/// Who closes the terminal means the broker in it, as with every program that
/// is no service.
#[tokio::test]
async fn a_broker_whose_terminal_is_closed_ends_well() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let server = Sandboxd::start().await;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("broker.toml"), config(&server)).unwrap();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = fs::File::options().read(true).write(true).open(name).unwrap();
    let child = Command::new("setsid")
        .args(["--ctty", program(), "--config"])
        .arg(at("broker.toml"))
        .args(["serve", "--state-dir"])
        .arg(at("state"))
        .arg("--announce")
        .arg(at("announce.json"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::from(slave.try_clone().unwrap()))
        .stdout(Stdio::from(slave.try_clone().unwrap()))
        .stderr(Stdio::from(slave))
        .spawn()
        .unwrap();
    eventually("the announcement", async || at("announce.json").exists().then_some(())).await;
    drop(master);
    let child = std::cell::RefCell::new(child);
    let ended = eventually("its end", async || child.borrow_mut().try_wait().unwrap()).await;
    assert!(ended.success(), "{ended}");
}

/// A broker with a session, and what its configuration is.
async fn at_work() -> (Sandboxd, String, Broker, Window, Ready) {
    let server = Sandboxd::start().await;
    let config = config(&server);
    let broker = Broker::start_quiet(&config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    (server, config, broker, window, ready)
}

/// Kills the broker. The next one has the session, in which `X` is `kept`.
async fn killed_and_gone_on_with(broker: Broker, config: &str, session: &str) -> Broker {
    broker.signal("KILL");
    let broker = Broker::start_in(broker.into_directory().await, config).await;
    let mut window = Window::open(&broker.url, Visit::to(session).client("w")).await;
    window.seq = window.ready().await.input;
    window.input("echo is $X\n").await;
    window.expect("is kept\r\n").await;
    broker
}

/// Its journal is written again, whole: the next broker goes on with the
/// session.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_is_removed_is_made_again_and_costs_no_session() {
    let (server, config, broker, mut window, ready) = at_work().await;
    let since = Instant::now();
    window.input("X=kept\n").await;
    window.handed(1).await;
    let state = broker.file("state");
    let names = ["broker-id", "invitations.key"].map(|name| (name, fs::read_to_string(state.join(name)).unwrap()));
    fs::remove_dir_all(&state).unwrap();
    broker.logs("it was written again, whole").await;
    for (name, before) in names {
        let read = async || fs::read_to_string(state.join(name)).ok().filter(|now| *now == before);
        eventually(&format!("the same {name}"), read).await;
    }
    // A new session is served, and both are known to the next broker.
    let mut second = Window::open(&broker.url, Visit::default().client("v")).await;
    let other = second.ready().await;
    let broker = killed_and_gone_on_with(broker, &config, &ready.session).await;
    Window::open(&broker.url, Visit::to(&other.session).client("v")).await.ready().await;
    // Its age is its own, not the broker's.
    let least = since.elapsed().as_secs_f64();
    let shown: Value = broker.get(&format!("/api/sessions/{}", ready.session)).await.json().await.unwrap();
    assert!(shown["age"].as_f64() >= Some(least), "{shown} after {least} s");
    server.has(2).await;
}

/// Nothing can be written down while it is gone, so no session is begun; the
/// open ones live, and what became of them is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_cannot_be_made_again_refuses_new_sessions_until_it_can() {
    let (_server, config, broker, mut window, ready) = at_work().await;
    let state = broker.file("state");
    fs::remove_dir_all(&state).unwrap();
    let told = loop {
        // Before the broker makes it again; else once more.
        match fs::write(&state, "in the way") {
            Ok(()) => {
                let trouble = async || status(&broker).await["state"]["error"].as_str().map(str::to_owned);
                break eventually("trouble in the status", trouble).await;
            }
            Err(_) => drop(fs::remove_dir_all(&state)),
        }
    };
    assert!(told.contains("was removed while the broker ran") && told.contains(state.to_str().unwrap()), "{told}");
    broker.logs("new ones are refused").await;
    assert_eq!(broker.get("/health").await.status(), 200, "it serves what it has");
    let mut refused = broker.connect().await;
    let words = refused.error().await;
    assert!(words.contains("cannot write down") && words.contains("was removed"), "{words}");
    assert_eq!(refused.closed().await.code, 1013);
    window.input("X=kept\n").await;
    window.handed(1).await;
    fs::remove_file(&state).unwrap();
    broker.logs("the state directory is well again").await;
    assert_eq!(status(&broker).await["state"]["error"], Value::Null);
    broker.connect().await.ready().await;
    killed_and_gone_on_with(broker, &config, &ready.session).await;
}

/// The files of its sandboxes went with it, so they end, in words; the next
/// ones work.
#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_server_whose_files_were_removed_is_replaced() {
    let broker = Broker::start_quiet(EMBEDDED).await;
    let mut window = Window::open(&broker.url, Visit::default()).await;
    window.ready().await;
    fs::remove_dir_all(broker.file("state")).unwrap();
    let announcement = broker.file("state/sandboxd/announce.json");
    eventually("another server", async || announcement.exists().then_some(())).await;
    window.error().await;
    let mut next = Window::open(&broker.url, Visit::default()).await;
    next.ready().await;
    next.input("touch ~/x && echo al\"\"ive\n").await;
    next.expect("alive").await;
}

/// A small disk, mounted for a test.
struct Disk(PathBuf);

impl Disk {
    /// None where nothing may be mounted, which is told.
    fn mount(at: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={bytes},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output().unwrap();
        if !mounted.status.success() {
            println!("skipped: nothing can be mounted here: {}", said(&mounted));
            return None;
        }
        Some(Disk(at.to_owned()))
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut filler = fs::File::create(self.filler()).unwrap();
        for piece in [64 << 10, 4096, 1] {
            while filler.write_all(&vec![1; piece]).is_ok() {}
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_start_on_a_full_disk_says_which_and_what_helps() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("broker.toml"), EMBEDDED).unwrap();
    let start = || {
        let (config, state) = (at("broker.toml"), at("state"));
        let arguments = ["--config", config.to_str().unwrap(), "--state-dir", state.to_str().unwrap(), "serve"];
        let output = run(&arguments, &[]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        said(&output)
    };
    // No byte at all.
    let Some(disk) = Disk::mount(&at("state"), 256 << 10) else { return };
    disk.fill();
    let told = start();
    let which = format!("the file system at {} has 0 bytes free of 256 KiB", at("state").display());
    assert!(told.contains(&which) && told.contains("free some space"), "{told}");
    drop(disk);
    // Room for the broker itself, and none for its server of sandboxes, which is larger.
    let Some(_disk) = Disk::mount(&at("state"), 4 << 20) else { return };
    let told = start();
    assert!(told.contains("the embedded sandbox server did not come up"), "{told}");
    assert!(told.contains("No space left on device") && !told.contains("it said nothing"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_gets_full_ends_no_session_and_refuses_new_ones_until_there_is_room() {
    let server = Sandboxd::start().await;
    let config = config(&server);
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&directory.path().join("state"), 32 << 20) else { return };
    let broker = Broker::start_in(directory, &config).await;
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    disk.fill();
    // A journal may have some room of its own yet.
    let words = eventually("a refusal", async || {
        let mut client = broker.connect().await;
        loop {
            match client.next().await {
                Ok(crate::support::Frame::Ready(_)) => return None,
                Ok(crate::support::Frame::Error(words)) => {
                    assert_eq!(client.closed().await.code, 1013, "{words}");
                    return Some(words);
                }
                other => drop(other.unwrap()),
            }
        }
    })
    .await;
    assert!(words.contains("0 bytes free") && words.contains("free some space"), "{words}");
    let trouble = async || status(&broker).await["state"]["error"].as_str().map(str::to_owned);
    let told = eventually("trouble in the status", trouble).await;
    assert!(told.contains("0 bytes free of 32 MiB"), "{told}");
    broker.logs("open sessions go on").await;
    window.input("echo $((6*7)); X=kept\n").await;
    window.expect("42").await;
    fs::remove_file(disk.filler()).unwrap();
    broker.logs("the state directory is well again").await;
    broker.connect().await.ready().await;
    killed_and_gone_on_with(broker, &config, &ready.session).await;
}

/// Others could put code there that the broker runs, or read its keys.
#[test]
fn a_state_directory_that_is_not_the_brokers_alone_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("broker.toml"), EMBEDDED).unwrap();
    fs::create_dir(at("state")).unwrap();
    fs::set_permissions(at("state"), Permissions::from_mode(0o777)).unwrap();
    let (config, state) = (at("broker.toml"), at("state"));
    let output = run(&["--config", config.to_str().unwrap(), "--state-dir", state.to_str().unwrap(), "serve"], &[]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("mode 0777") && told.contains(state.to_str().unwrap()), "{told}");
    assert_eq!(fs::read_dir(state).unwrap().count(), 0, "nothing was put there");
}

/// The running one is still whole: it compiles plugins and starts its server
/// of sandboxes again, though its file is another by now.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_program_was_replaced_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let installed = directory.path().join("broker");
    if fs::hard_link(program(), &installed).is_err() {
        fs::copy(program(), &installed).unwrap();
    }
    let path = directory.path().join("mine.wasm");
    fs::copy(plugin("e2b"), &path).unwrap();
    let config = EMBEDDED.replace("plugin = \"e2b\"", &format!("plugin = {path:?}"));
    let broker = Broker::start_program(&installed, &config).await;
    fs::write(directory.path().join("new"), "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(directory.path().join("new"), Permissions::from_mode(0o755)).unwrap();
    fs::rename(directory.path().join("new"), &installed).unwrap();
    // Other bytes, same meaning: an empty custom section.
    let mut bytes = fs::read(plugin("e2b")).unwrap();
    bytes.extend_from_slice(&[0, 2, 1, b'x']);
    fs::write(directory.path().join("new.wasm"), bytes).unwrap();
    fs::rename(directory.path().join("new.wasm"), &path).unwrap();
    generation(&broker, 2).await;
    // Gone without a word.
    let announcement = broker.file("state/sandboxd/announce.json");
    let pid = |announcement: &Path| {
        let text = fs::read(announcement).ok()?;
        serde_json::from_slice::<Value>(&text).ok()?["pid"].as_u64()
    };
    let first = pid(&announcement).unwrap();
    assert!(Command::new("kill").args(["-9", &first.to_string()]).status().unwrap().success());
    eventually("another server", async || pid(&announcement).filter(|pid| *pid != first)).await;
    broker.connect().await.ready().await;
}

/// An upgrade leaves the server of the earlier build to the sandboxes in it.
#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_server_of_another_build_is_told_until_it_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let earlier = directory.path().join("broker");
    fs::copy(program(), &earlier).unwrap();
    let broker = Broker::start_program(&earlier, EMBEDDED).await;
    assert_eq!(status(&broker).await["embedded"]["other_build"], Value::Null);
    let mut window = Window::open(&broker.url, Visit::default().client("w")).await;
    let ready = window.ready().await;
    let first = broker.embedded_pid();
    broker.signal("TERM");
    let broker = Broker::start_in(broker.into_directory().await, EMBEDDED).await;
    broker.logs("sandboxes are made by the embedded server of another build").await;
    let told = async || status(&broker).await["embedded"]["other_build"].as_str().map(str::to_owned);
    assert!(eventually("the other build in the status", told).await.contains('+'));
    Window::open(&broker.url, Visit::to(&ready.session).client("w")).await.ready().await;
    assert_eq!(broker.embedded_pid(), first);
    assert!(Command::new("kill").args(["-9", &first.to_string()]).status().unwrap().success());
    let own = async || status(&broker).await["embedded"]["other_build"].is_null().then_some(());
    eventually("a server of the broker's own build", own).await;
    assert_ne!(broker.embedded_pid(), first);
}

/// What systemd makes of it is systemd's to say. Ours is that a restart leaves
/// the embedded server alone, and that the program takes the command line.
#[test]
fn the_unit_that_comes_with_the_broker_keeps_sessions_and_starts_this_program() {
    let unit = include_str!("../../../contrib/systemd/sandbox-broker.service");
    for line in ["KillMode=process", "OOMPolicy=continue", "ExecReload=/bin/kill -HUP $MAINPID"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("broker.toml"), EMBEDDED).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/broker ")).unwrap();
    let check = start
        .replace("/etc/sandbox-broker/broker.toml", &at("broker.toml"))
        .replace("/var/lib/sandbox-broker", &at("state"))
        .replace(" serve", " check");
    let output = run(&check.split(' ').collect::<Vec<_>>(), &[]);
    assert!(output.status.success() && Path::new(&at("state")).is_dir(), "{}", said(&output));
    // Where there is systemd it reads the unit, and complains only of what an older one does not know.
    fs::write(at("sandbox-broker.service"), unit.replace("/usr/local/bin/broker", program())).unwrap();
    match Command::new("systemd-analyze").args(["verify", &at("sandbox-broker.service")]).output() {
        Ok(output) => {
            let told = said(&output);
            let about = |line: &&str| line.contains("sandbox-broker.service") && !line.contains("DelegateSubgroup");
            assert_eq!(told.lines().find(about), None, "{told}");
        }
        Err(_) => println!("skipped: there is no systemd-analyze here"),
    }
}

#[tokio::test]
async fn a_request_whose_head_is_too_large_is_told_in_the_log() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server)).await;
    let ask = reqwest::Client::new().get(format!("{}/health", broker.url)).header("cookie", "a".repeat(40 << 10));
    assert_eq!(ask.send().await.unwrap().status(), 431);
    broker.logs("refused a request with 431: the request's head has more than 32 KiB or 128 fields").await;
}

#[test]
fn a_token_is_not_among_the_lines_for_the_file() {
    let output = run(&["token", "ada"], &[]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let token = said.lines().last().unwrap();
    assert_eq!(token.len(), 64, "{said}");
    let hash: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(lines, format!("[[auth.tokens]]\nname = \"ada\"\nsha256 = \"{hash}\"\n"));
}

#[test]
fn the_help_of_a_command_has_what_it_uses() {
    for (command, wanted) in [
        (&["attach"][..], &["--take", "Exit status"][..]),
        (&["sessions"], &["renames", "Exit status"]),
        (&["sessions", "rename"], &["--url"]),
        (&["token"], &["broker token ada >> broker.toml"]),
        (&["schema"], &["--plugins", "Exit status"]),
    ] {
        let output = run(&[command, &["--help"]].concat(), &[]);
        let told = said(&output);
        assert!(output.status.success() && wanted.iter().all(|wanted| told.contains(wanted)), "{told}");
        assert!(!told.contains("--recorder") && !told.contains("--config"), "{told}");
    }
    let told = said(&run(&["sessions", "rename"], &[]));
    assert!(told.contains("Usage: broker sessions rename <SESSION> <NAME>") && !told.contains("--plugins"), "{told}");
    // What a command does not use is still taken where it always was.
    assert!(run(&["--state-dir", "state", "token", "--config", "x.toml"], &[]).status.success());
}

#[test]
fn a_provider_on_trial_without_its_key_is_told_by_the_variable() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("broker.toml"), E2B.replace("provider = \"e2b\"", "provider = \"local\"") + LOCAL).unwrap();
    let arguments = ["try", "e2b", "--config", &at("broker.toml"), "--state-dir", &at("state")];
    let output = run(&arguments, &[]);
    assert!(!output.status.success() && said(&output).contains("environment variable: KEY"), "{}", said(&output));
}

#[test]
fn a_reader_that_has_enough_ends_every_command_in_silence() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("broker.toml"), EMBEDDED).unwrap();
    for command in ["schema", "check", "token", "doctor", "--help"] {
        let pipe = format!("set -o pipefail; {} --state-dir state {command} | true", program());
        let mut bash = Command::new("bash");
        // The reader is gone before anything is written.
        bash.args(["-c", &pipe]).current_dir(directory.path());
        let output = bash.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked") && !said.contains("Broken pipe"), "{command}: {said}");
    }
}

/// As a proxy does that speaks to the broker as it does to browsers.
#[tokio::test]
async fn who_speaks_tls_or_another_http_to_the_broker_is_told_in_the_log() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_quiet(&config(&server)).await;
    for (sent, said) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"[..], "a peer speaks TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "a peer speaks HTTP/2"),
    ] {
        let mut stream = TcpStream::connect(broker.url.trim_start_matches("http://")).await.unwrap();
        stream.write_all(sent).await.unwrap();
        broker.logs(said).await;
    }
}

/// How a check ends and what it says, of this configuration.
fn check(config: &str, environment: &[(&str, &str)]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("broker.toml"), config).unwrap();
    let output = run(&["check", &at("broker.toml"), "--state-dir", &at("state")], environment);
    (output.status.success(), said(&output))
}

const E2B: &str = "[sandbox]\nprovider = \"e2b\"\n[providers.e2b]\nplugin = \"e2b\"\n\
                   allow = [\"https://api.e2b.app\"]\nsecrets.api_key = { value = \"${KEY:-}\", \
                   to = [\"https://api.e2b.app\"], carry = { header = \"x-api-key\" } }\n";

const LOCAL: &str = "[providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";

#[test]
fn a_proxy_that_requests_to_a_provider_do_not_take_is_told() {
    let key = ("KEY", "e2b_1");
    let (good, told) = check(E2B, &[key, ("HTTPS_PROXY", "http://127.0.0.1:3128")]);
    assert!(good && told.contains("HTTPS_PROXY is set") && told.contains("https://api.e2b.app itself"), "{told}");
    for environment in [&[key][..], &[key, ("HTTPS_PROXY", "http://127.0.0.1:3128"), ("NO_PROXY", "e2b.app")]] {
        let (good, told) = check(E2B, environment);
        assert!(good && !told.contains("PROXY"), "{told}");
    }
    let (good, told) = check(EMBEDDED, &[("https_proxy", "http://127.0.0.1:3128")]);
    assert!(good && !told.contains("proxy"), "its server is on this machine: {told}");
}

#[test]
fn a_provider_of_the_wrong_kind_is_told_as_that_and_not_by_its_secrets() {
    let storage = "[sandbox]\nprovider = \"azure\"\n[providers.azure]\nplugin = \"azure-blobfuse\"\n\
                   allow = [\"https://account.blob.core.windows.net\"]\n\
                   secrets.account_key = { value = \"${AZURE_STORAGE_KEY:-}\", \
                   to = [\"https://account.blob.core.windows.net\"], carry = { shared_key = \"account\" } }\n\
                   [providers.azure.config]\n\
                   account = \"account\"\ncontainer = \"container\"\n";
    let (good, told) = check(&format!("{storage}[providers.local]\nplugin = \"e2b\"\n"), &[]);
    assert!(!good && told.contains("whose plugin is of kind storage"), "{told}");
    assert!(
        told.contains("expected a provider of kind sandbox: local") && !told.contains("AZURE_STORAGE_KEY"),
        "{told}"
    );
    let (good, told) = check(E2B, &[]);
    assert!(!good && told.contains("Missing required environment variable: KEY"), "{told}");
}

/// A component with one core module of so many functions, each of so many
/// steps, which take a compiler some time and memory.
fn large(functions: u32, steps: usize) -> Vec<u8> {
    fn number(mut n: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let low = (n & 0x7f) as u8;
            n >>= 7;
            bytes.push(if n == 0 { low } else { low | 0x80 });
            if n == 0 {
                return bytes;
            }
        }
    }
    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [&[id][..], &number(content.len() as u32), content].concat()
    }
    // One local of type i64; local 0 = local 0 * local 0 + 1, again and again.
    let step = [0x20, 0, 0x20, 0, 0x7e, 0x42, 1, 0x7c, 0x21, 0];
    let body = [&[1, 1, 0x7e][..], &step.repeat(steps), &[0x0b]].concat();
    let body = [number(body.len() as u32), body].concat();
    let count = functions as usize;
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[number(functions), vec![0; count]].concat()),
        section(10, &[number(functions), body.repeat(count)].concat()),
    ]
    .concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module)].concat()
}

/// One plugin's work, in a process of its own with these bounds.
fn work(what: &str, cpu: u64, memory: u64, input: &[u8]) -> Output {
    let (cpu, memory) = (cpu.to_string(), memory.to_string());
    let mut child = Command::new(program())
        .args(["plugin-work", what, "--cpu", &cpu, "--memory", &memory])
        // As the broker starts it: on a machine of many cores each heap takes of the bound.
        .env("MALLOC_ARENA_MAX", "2")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // One that is stopped reads no more.
    let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    output
}

#[test]
fn compiling_a_plugin_has_a_bound_of_time() {
    use std::os::unix::process::ExitStatusExt as _;
    let whole = work("compile", 60, 4 << 30, &large(10, 200));
    assert!(whole.status.success() && !whole.stdout.is_empty(), "{}", whole.status);
    let began = Instant::now();
    let stopped = work("compile", 1, 4 << 30, &large(20_000, 200));
    assert!(stopped.status.signal().is_some(), "{}", stopped.status);
    assert!(began.elapsed() < DEADLINE);
}

#[test]
fn compiling_a_plugin_has_a_bound_of_memory() {
    let most = 256 << 20;
    let whole = work("compile", 60, most, &large(10, 200));
    assert!(whole.status.success() && !whole.stdout.is_empty(), "{}", said(&whole));
    let stopped = work("compile", 300, most, &large(1, 750_000));
    assert!(!stopped.status.success() && stopped.stdout.is_empty(), "{}", stopped.status);
    let told = said(&stopped);
    assert!(told.contains("memory allocation of"), "{told}");
}

/// A schema of 40 definitions, each of which is the next one twice.
fn bomb() -> String {
    let mut definitions = String::new();
    for i in 0..40 {
        let next = format!(r##"{{"$ref":"#/$defs/{}"}}"##, i + 1);
        definitions.push_str(&format!(r#""{i}":{{"allOf":[{next},{next}]}},"#));
    }
    format!(r##"{{"$defs":{{{definitions}"40":{{}}}},"$ref":"#/$defs/0"}}"##)
}

/// The plugin `hostile` with this schema in the place of its own.
fn with_schema(schema: &str) -> Vec<u8> {
    let mut bytes = fs::read(plugin("guests/hostile")).unwrap();
    let own = br#"{"type":"object","additionalProperties":false"#;
    let at = bytes.windows(own.len()).position(|window| window == own).unwrap();
    let room = bytes[at..].iter().position(|byte| *byte == b'\n').unwrap();
    assert!(schema.len() <= room, "{} of {room} bytes", schema.len());
    bytes[at..at + room].fill(b' ');
    bytes[at..at + schema.len()].copy_from_slice(schema.as_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_whose_schema_never_ends_is_refused_and_hot_reload_lives_on() {
    let server = Sandboxd::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bomb.wasm");
    let good = config(&server);
    let broker = Broker::start_quiet(&good).await;
    let section = |timeout: &str| {
        let section = format!("[providers.h]\nplugin = {path:?}\n[providers.h.config]\nwhen = \"now\"\n");
        format!("{}\n{section}", good.replace("[sandbox]", &format!("[sandbox]\ntimeout = \"{timeout}\"")))
    };
    fs::write(&path, with_schema(&bomb())).unwrap();
    broker.edit(&section("51m"));
    let refused = async || {
        let status = status(&broker).await;
        status["config"]["error"].as_str().filter(|error| error.contains("config-schema")).map(str::to_owned)
    };
    let error = eventually("the refusal in the status", refused).await;
    assert!(error.contains("was stopped") && error.contains("broker.toml:"), "{error}");
    broker.edit(&good.replace("[sandbox]", "[sandbox]\ntimeout = \"52m\""));
    generation(&broker, 2).await;
    assert_eq!(status(&broker).await["config"]["error"], Value::Null);
    broker.connect().await.ready().await;
}

#[tokio::test]
async fn a_broker_takes_all_the_open_files_that_it_may_have() {
    let server = Sandboxd::start().await;
    let broker = Broker::start_with_open_files(256, &config(&server)).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", broker.pid())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let files: Vec<&str> = files.split_whitespace().collect();
    assert!(files[0] == files[1] && files[0] != "256", "{files:?}");
}

#[test]
fn a_check_takes_a_file_and_shows_nothing_that_steers_a_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("odd.wasm");
    let mut bytes = fs::read(plugin("guests/hostile")).unwrap();
    let own = br#""title":"Hostile","kind":"sandbox","secrets":["own"],"hosts":[]"#;
    let at = bytes.windows(own.len()).position(|window| window == own).unwrap();
    let new = br#""title":"\u001b]52;c;aGk\u0007\u202eX","kind":"sandbox""#;
    bytes[at..at + own.len()].fill(b' ');
    bytes[at..at + new.len()].copy_from_slice(new);
    fs::write(&path, bytes).unwrap();
    let file = directory.path().join("mine.toml");
    fs::write(&file, format!("[sandbox]\nprovider = \"h\"\n[providers.h]\nplugin = {path:?}\n")).unwrap();
    let state = directory.path().join("state");
    let output = run(&["check", file.to_str().unwrap(), "--state-dir", state.to_str().unwrap()], &[]);
    let told = said(&output);
    assert!(output.status.success() && told.contains("]52;c;aGk"), "{told:?}");
    assert!(!told.contains(['\x1b', '\x07', '\u{202e}']), "{told:?}");
}

#[test]
fn a_configuration_that_is_not_there_is_named_with_how_to_give_another() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none.toml");
    let output = run(&["check", missing.to_str().unwrap()], &[]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains(missing.to_str().unwrap()) && told.contains("--config"), "{told}");
}

/// Its environment holds secrets.
#[test]
fn a_brokers_memory_is_not_for_other_programs_of_its_user() {
    use std::os::unix::fs::MetadataExt as _;
    // A command that waits for an answer for ever.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let installed = directory.path().join("broker");
    fs::copy(program(), &installed).unwrap();
    let root = rustix::process::geteuid().is_root();
    let mut command = if root { Command::new("setpriv") } else { Command::new(&installed) };
    if root {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&installed);
    }
    let mut child =
        command.args(["sessions", "list", "--url", &url]).env("BROKER_TOKEN", "its secret").spawn().unwrap();
    let _asked = silent.accept().unwrap();
    let environ = format!("/proc/{}/environ", child.id());
    // Of what others may look at, the system gives these files to its user.
    let (owner, read) = (fs::metadata(&environ).unwrap().uid(), fs::read(&environ));
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(owner, 0);
    assert!(root || read.is_err());
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}
