//! A real Docker engine of the test's own, in namespaces of its own, and what a test wants to see and do behind the
//! broker's back through the engine's own API.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::eventually;

/// The image with nothing but busybox, and the one with bash and the tools of GNU. Neither comes from a registry.
pub const BUSYBOX: &str = "busybox:test";
pub const DEBIAN: &str = "debian:test";

/// The registry in the engine's network.
pub const REGISTRY: &str = "127.0.0.1:5000";

/// A running engine; ends with the test, with all in it.
pub struct Docker {
    child: Child,
    commands: Option<ChildStdin>,
    /// None while one is waited for.
    answers: Option<BufReader<ChildStdout>>,
    directory: tempfile::TempDir,
    http: reqwest::Client,
}

impl Docker {
    /// One with both images; none, with words, where it is not there. Under CI that fails.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// With more of dockerd's options.
    pub async fn start_with(options: &[&str]) -> Option<Self> {
        let Some(folder) = std::env::var_os("DOCKER_ENGINE").map(PathBuf::from) else {
            assert!(std::env::var_os("CI").is_none(), "DOCKER_ENGINE is not set: run `cargo xtask test` as root");
            println!("skipped: DOCKER_ENGINE is not set: run `cargo xtask test` as root, which lays one down");
            return None;
        };
        // A short path: that of a socket has a bound.
        let directory = tempfile::Builder::new().prefix("docker").tempdir().unwrap();
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/docker/engine.sh"))
            .args([&folder.join("root"), directory.path()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take();
        let answers = child.stdout.take().map(BufReader::new);
        let http = reqwest::Client::builder().unix_socket(directory.path().join("docker.sock")).build().unwrap();
        let mut docker = Docker { child, commands, answers, directory, http };
        docker.answered("started").await;
        for (image, file) in [(BUSYBOX, "busybox.tar"), (DEBIAN, "debian.tar")] {
            let (name, tag) = image.split_once(':').unwrap();
            let content = std::fs::read(folder.join(file)).unwrap();
            let path = format!("/images/create?fromSrc=-&repo={name}&tag={tag}");
            docker.request(Method::POST, &path).body(content).send().await.unwrap().error_for_status().unwrap();
        }
        Some(docker)
    }

    /// The Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// Certificates of the authority and of a client, and that client's key.
    pub fn tls(&self) -> [PathBuf; 3] {
        ["ca.pem", "client.pem", "client-key.pem"].map(|name| self.directory.path().join("tls").join(name))
    }

    /// The address at which it listens on port 2376 with TLS.
    pub fn address(&self) -> String {
        let addresses = std::fs::read_to_string(self.directory.path().join("net")).unwrap();
        addresses.split(' ').nth(1).unwrap().to_owned()
    }

    /// Kills the engine, and not the containers.
    pub async fn stop(&mut self) {
        self.command("stop").await;
    }

    /// Starts it again.
    pub async fn resume(&mut self) {
        self.command("start").await;
    }

    /// Bounds all that it keeps, such as `200m`.
    pub async fn bound_disk(&mut self, size: &str) {
        self.command(&format!("disk {size}")).await;
    }

    async fn command(&mut self, command: &str) {
        writeln!(self.commands.as_ref().unwrap(), "{command}").unwrap();
        let (word, _) = command.split_once(' ').unwrap_or((command, ""));
        self.answered(word).await;
    }

    async fn answered(&mut self, word: &str) {
        let (mut answers, mut line) = (self.answers.take().unwrap(), String::new());
        let reading = move || answers.read_line(&mut line).map(|_| (answers, line));
        let (answers, line) = tokio::task::spawn_blocking(reading).await.unwrap().unwrap();
        self.answers = Some(answers);
        assert_eq!(line.trim(), word, "{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log/dockerd")).unwrap_or_default()
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://localhost{path}"))
    }

    pub async fn ask(&self, method: Method, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path).await.error_for_status().unwrap().json().await.unwrap()
    }

    /// Containers that are there, whatever their state: ids and labels.
    pub async fn containers(&self) -> BTreeMap<String, Value> {
        let list = self.get("/containers/json?all=1").await;
        list.as_array()
            .unwrap()
            .iter()
            .map(|container| (container["Id"].as_str().unwrap().to_owned(), container["Labels"].clone()))
            .collect()
    }

    /// Waits until exactly `n` containers are there.
    pub async fn has(&self, n: usize) {
        eventually(&format!("{n} containers"), async || (self.containers().await.len() == n).then_some(())).await;
    }

    /// Makes a container with these labels behind the broker's back, and does not start it.
    pub async fn create(&self, labels: Value) -> String {
        let body = json!({ "Image": BUSYBOX, "Cmd": ["sleep", "600"], "Labels": labels });
        let made = self.request(Method::POST, "/containers/create").json(&body).send().await.unwrap();
        let made: Value = made.error_for_status().unwrap().json().await.unwrap();
        made["Id"].as_str().unwrap().to_owned()
    }

    /// Starts a container with these labels behind the broker's back.
    pub async fn run(&self, labels: Value) -> String {
        let id = self.create(labels).await;
        self.ask(Method::POST, &format!("/containers/{id}/start")).await.error_for_status().unwrap();
        id
    }

    /// Ends a container behind the broker's back.
    pub async fn kill(&self, id: &str) {
        self.ask(Method::DELETE, &format!("/containers/{id}?force=1")).await.error_for_status().unwrap();
    }

    /// Puts an image into the registry under this name, and takes it from the engine.
    pub async fn publish(&self, image: &str, name: &str) {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        let path = format!("/images/{image}/tag?repo={repository}&tag={tag}");
        self.ask(Method::POST, &path).await.error_for_status().unwrap();
        let push = self
            .request(Method::POST, &format!("/images/{repository}/push?tag={tag}"))
            .header("x-registry-auth", "e30=");
        let said = push.send().await.unwrap().text().await.unwrap();
        assert!(said.contains("digest: sha256:"), "{said}");
        self.ask(Method::DELETE, &format!("/images/{name}")).await.error_for_status().unwrap();
    }

    /// A section of `broker.toml` that uses this engine over its socket.
    pub fn section(&self, name: &str, image: &str, settings: &str) -> String {
        section(name, &self.socket(), image, settings)
    }
}

/// A section for the engine at this socket.
pub fn section(name: &str, socket: &Path, image: &str, settings: &str) -> String {
    let socket = socket.display();
    format!(
        "[providers.{name}]\nplugin = \"docker\"\nallow = [\"unix://{socket}\"]\n\
         [providers.{name}.config]\nimage = \"{image}\"\n{settings}\n"
    )
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- engine log\n{}", self.log());
        }
        // Everything ends with its input. It removes its control groups last.
        drop(self.commands.take());
        let _ = self.child.wait();
    }
}
