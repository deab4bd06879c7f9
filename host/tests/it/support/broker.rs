//! The program `broker`, started as an operator starts it.

use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::sandboxd::{announced, sandboxes};
use super::{Client, eventually, plugin, program, recorder};

/// A user without rights.
pub const NOBODY: u32 = 65534;

/// Where a broker finds its recorder.
const RECORDER: &str = "BROKER_RECORDER";

/// A running broker; killed with the test.
pub struct Broker {
    child: Child,
    directory: tempfile::TempDir,
    pub url: String,
}

impl Broker {
    /// Starts a broker on `config` that logs all it does.
    pub async fn start(config: &str) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), config, "debug").await
    }

    /// Starts a broker that logs what it does by default.
    pub async fn start_quiet(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config).await
    }

    /// The same in a directory that may hold the state of an earlier one.
    pub async fn start_in(directory: tempfile::TempDir, config: &str) -> Self {
        Self::start_with(directory, config, "info").await
    }

    /// Starts a broker whose recorder runs in no sandbox.
    pub async fn start_without_recorder(config: &str) -> Self {
        let mut command = Command::new(program());
        command.env(RECORDER, "/dev/null");
        Self::start_of(command, tempfile::tempdir().unwrap(), config, "info").await
    }

    /// Starts a broker that was given few open files, and may have more.
    pub async fn start_with_open_files(files: u64, config: &str) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -S -n {files} && exec \"$0\" \"$@\"")).arg(program());
        Self::start_of(command, tempfile::tempdir().unwrap(), config, "info").await
    }

    /// Starts this program instead, which was installed elsewhere.
    pub async fn start_program(program: &Path, config: &str) -> Self {
        Self::start_of(Command::new(program), tempfile::tempdir().unwrap(), config, "info").await
    }

    /// Starts a broker where there is no slirp4netns, so that sandboxes share this
    /// machine's network; as a user without rights if `rootless`.
    pub async fn start_sharing(config: &str, rootless: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("bin")).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        for name in ["bwrap", "setpriv"] {
            let found = std::env::split_paths(&path).map(|place| place.join(name)).find(|place| place.is_file());
            symlink(found.unwrap_or_else(|| panic!("no {name} on PATH")), at("bin").join(name)).unwrap();
        }
        let mut command = Command::new(program());
        if rootless {
            // Where this was built that user may not look.
            std::fs::create_dir(at("plugins")).unwrap();
            std::fs::copy(plugin("e2b"), at("plugins/e2b.wasm")).unwrap();
            std::fs::copy(program(), at("broker")).unwrap();
            chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            command = Command::new(at("bin/setpriv"));
            let ids = NOBODY.to_string();
            command.args(["--reuid", &ids, "--regid", &ids, "--clear-groups"]).arg(at("broker"));
            command.env("BROKER_PLUGINS_DIR", at("plugins"));
        }
        command.env("PATH", at("bin"));
        Self::start_of(command, directory, config, "info").await
    }

    async fn start_with(directory: tempfile::TempDir, config: &str, level: &str) -> Self {
        Self::start_of(Command::new(program()), directory, config, level).await
    }

    async fn start_of(mut command: Command, directory: tempfile::TempDir, config: &str, level: &str) -> Self {
        let at = |name: &str| directory.path().join(name);
        let _ = std::fs::remove_file(at("announce.json"));
        std::fs::write(at("broker.toml"), config).unwrap();
        if !command.get_envs().any(|(name, _)| name == RECORDER) {
            command.env(RECORDER, recorder());
        }
        let log = std::fs::File::options().create(true).append(true).open(at("log")).unwrap();
        let child = command
            .arg("--config")
            .arg(at("broker.toml"))
            .args(["serve", "--state-dir"])
            .arg(at("state"))
            .arg("--announce")
            .arg(at("announce.json"))
            .env("RUST_LOG", level)
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let announcement = at("announce.json");
        let mut broker = Broker { child, directory, url: String::new() };
        tokio::select! {
            url = announced(&announcement) => broker.url = url,
            status = broker.ended() => panic!("the broker ended with {status}:\n{}", broker.log()),
        }
        broker
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Replaces the configuration as an editor does: write beside, rename.
    pub fn edit(&self, config: &str) {
        std::fs::write(self.file("broker.toml.new"), config).unwrap();
        std::fs::rename(self.file("broker.toml.new"), self.file("broker.toml")).unwrap();
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Waits until the log holds `text`.
    pub async fn logs(&self, text: &str) {
        eventually(&format!("`{text}` in the broker's log"), async || self.log().contains(text).then_some(())).await;
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = std::cell::RefCell::new(&mut self.child);
        eventually("the end of the broker", async || child.borrow_mut().try_wait().unwrap()).await
    }

    /// The end, and the directory for a next one.
    pub async fn into_directory(mut self) -> tempfile::TempDir {
        self.ended().await;
        let empty = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.directory, empty)
    }

    /// A terminal, as any WebSocket client opens it.
    pub async fn connect(&self) -> Client {
        Client::connect(&self.url).await
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::Client::new().get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    /// A client of the embedded server of this broker, its URL for that, and
    /// its key.
    pub async fn embedded(&self) -> (reqwest::Client, String, String) {
        let url = announced(&self.file("state/sandboxd/announce.json")).await;
        let key = std::fs::read_to_string(self.file("state/sandboxd/api-key")).unwrap();
        let client = reqwest::Client::builder().unix_socket(self.file("state/sandboxd/socket")).build().unwrap();
        (client, url, key.trim().to_owned())
    }

    /// The process of the embedded server.
    pub fn embedded_pid(&self) -> u32 {
        let announced = std::fs::read(self.file("state/sandboxd/announce.json")).unwrap();
        let announced: serde_json::Value = serde_json::from_slice(&announced).unwrap();
        announced["pid"].as_u64().unwrap().try_into().unwrap()
    }

    /// Sandboxes on the embedded server of this broker.
    pub async fn embedded_sandboxes(&self) -> Vec<String> {
        let (client, url, key) = self.embedded().await;
        sandboxes(&client, &url, &key).await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- broker log\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The embedded server would end by itself after its idle time.
        if let Ok(text) = std::fs::read(self.file("state/sandboxd/announce.json"))
            && let Ok(value) = serde_json::from_slice::<serde_json::Value>(&text)
            && let Some(pid) = value["pid"].as_u64()
        {
            let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
    }
}
