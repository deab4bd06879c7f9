//! `broker try` and `broker doctor`, as an operator runs them before people come.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{Broker, Sandboxd, eventually, program};

const STEPS: [&str; 9] = ["create", "labels", "shell", "echo", "resize", "exec", "files", "kill", "clean"];

/// A file with this server as provider `box`, and a state directory beside it.
fn desk(server: &Sandboxd, sandbox: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let config = format!("[sandbox]\nprovider = \"box\"\n{sandbox}\n{}", server.section("box"));
    fs::write(directory.path().join("broker.toml"), config).unwrap();
    directory
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("--config").arg(directory.join("broker.toml")).arg("--state-dir").arg(directory.join("state"));
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn report(output: &Output) -> Value {
    let told = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&told)
        .unwrap_or_else(|error| panic!("{error}: {told}{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test]
async fn a_provider_that_works_is_proved_step_by_step_and_nothing_is_left() {
    let config = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\n\
                  [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";
    // Beside a broker that serves, of the same state directory.
    let broker = Broker::start(config).await;
    let directory = broker.file("broker.toml").parent().unwrap().to_owned();
    let output = output(command(&directory, &["try", "--json"])).await;
    let told = report(&output);
    assert_eq!(
        (output.status.code(), &told["ok"], &told["provider"]),
        (Some(0), &true.into(), &"local".into()),
        "{told}"
    );
    let steps: Vec<&str> =
        told["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps, STEPS, "{told}");
    assert!(
        told["steps"].as_array().unwrap().iter().all(|step| step["ok"] == true && step["ms"].is_number()),
        "{told}"
    );
    assert!(broker.embedded_sandboxes().await.is_empty());
}

#[tokio::test]
async fn what_does_not_work_is_told_with_its_remedy_and_nothing_is_left() {
    let server = Sandboxd::start().await;
    // No shell, but a sandbox: the other steps are made.
    let directory = desk(&server, "shell = [\"/bin/false\"]");
    let told = report(&output(command(directory.path(), &["try", "--json", "box"])).await);
    let step = |name: &str| told["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).cloned();
    let echo = step("echo").unwrap_or_else(|| panic!("{told}"));
    assert!(echo["error"].as_str().unwrap().contains("the shell ended"), "{told}");
    assert!(echo["remedy"].as_str().unwrap().contains("sandbox.shell"), "{told}");
    for works in ["create", "labels", "exec", "files", "kill", "clean"] {
        assert_eq!(step(works).unwrap()["ok"], true, "{works}: {told}");
    }
    server.has(0).await;

    let file = directory.path().join("broker.toml");
    let wrong = fs::read_to_string(&file).unwrap().replace(&server.key, "canary-of-a-key");
    fs::write(&file, wrong).unwrap();
    let refused = output(command(directory.path(), &["try"])).await;
    let told = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(
        told.contains("create") && told.contains("failed: ") && told.contains("check the provider's section"),
        "{told}"
    );
    assert!(!told.contains("canary") && !told.contains("echo"), "{told}");

    let unknown = output(command(directory.path(), &["try", "bix"])).await;
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(unknown.status.code() == Some(1) && told.contains("expected one of box"), "{told}");
}

#[tokio::test]
async fn an_interrupt_leaves_nothing_behind() {
    let server = Sandboxd::start().await;
    // A shell that never answers.
    let directory = desk(&server, "shell = [\"/bin/sleep\", \"1000\"]");
    let mut child = command(directory.path(), &["try"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("shell") {
        line.clear();
        assert_ne!(told.read_line(&mut line).unwrap(), 0, "it ended");
    }
    server.has(1).await;
    assert!(Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap().success());
    let child = std::cell::RefCell::new(child);
    let ended = eventually("its end", async || child.borrow_mut().try_wait().unwrap()).await;
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    assert_eq!(ended.code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted") && rest.contains("clean"), "{rest}");
    assert!(server.sandboxes().await.is_empty());
}

#[tokio::test]
async fn a_doctor_says_what_is_wrong_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[sandbox]\nprovider = \"box\"\n[providers.box]\nplugin = \"e2b\"\n\
         allow = [\"http://127.0.0.1:1\"]\nsecrets.api_key = {{ value = \"canary-of-a-key\", \
         to = [\"http://127.0.0.1:1\"], carry = {{ header = \"x-api-key\" }} }}\n"
    );
    fs::write(directory.path().join("broker.toml"), config).unwrap();
    let state = directory.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    fs::write(state.join("invitations.key"), "0".repeat(64)).unwrap();
    fs::set_permissions(state.join("invitations.key"), Permissions::from_mode(0o644)).unwrap();
    let output = output(command(directory.path(), &["doctor", "--json"])).await;
    let told = report(&output);
    assert_eq!((output.status.code(), &told["ok"]), (Some(1), &false.into()), "{told}");
    for (about, grade, found, remedy) in [
        ("listen", "wrong", "another program has 127.0.0.1", "change server.listen"),
        ("provider", "wrong", "is not reached: ", "see the firewall"),
        ("secret", "unwise", "invitations.key holds a secret and has mode 0644", "chmod 600"),
        ("state", "ok", "has mode 0700", ""),
        ("open files", "", "", ""),
        ("disk", "ok", "free of", ""),
    ] {
        let all = told["findings"].as_array().unwrap();
        let has = |finding: &&Value, name: &str, text: &str| finding[name].as_str().unwrap().contains(text);
        let one = all.iter().find(|one| {
            one["about"] == about && has(one, "grade", grade) && has(one, "found", found) && has(one, "remedy", remedy)
        });
        assert!(one.is_some(), "{about}: {told:#}");
    }
    assert!(!told.to_string().contains("canary"), "{told}");
    drop(taken);
}

#[tokio::test]
async fn a_doctor_sees_that_sandboxes_can_be_made_here() {
    let config = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"local\"\n\
                  [providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\n";
    let broker = Broker::start(config).await;
    let listens = broker.url.trim_start_matches("http://");
    fs::write(broker.file("broker.toml"), config.replace("127.0.0.1:0", listens)).unwrap();
    let directory = broker.file("broker.toml").parent().unwrap().to_owned();
    let output = output(command(&directory, &["doctor"])).await;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    for line in ["bwrap makes a sandbox", &format!("a broker runs at {listens}"), "ok     slirp4netns"] {
        assert!(told.contains(line), "no {line:?} in {told}");
    }
}
