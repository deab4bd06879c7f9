//! A sandbox server of the test's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sandbox_broker_config::{Binding, BoundSecret, Carry, EgressGrant};
use sandbox_broker_secrets::Secrets;

use super::{eventually, program};

/// A running `sandboxd`; ends with the test, its sandboxes with it.
pub struct Sandboxd {
    child: Child,
    directory: tempfile::TempDir,
    pub url: String,
    pub key: String,
}

impl Sandboxd {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one whose sandboxes have a disk of so many bytes, all together.
    /// It is mounted where only this server sees it.
    pub async fn start_on_disk(bytes: u64) -> Self {
        let script = format!(r#"mount -t tmpfs -o size={bytes},mode=755 tmpfs "$0"/sandboxes && exec "$@""#);
        Self::start_by(&[], |directory| {
            std::fs::create_dir(directory.join("sandboxes")).unwrap();
            let mut command = Command::new("unshare");
            // Root may mount without it, and keeps all its users.
            if !rustix::process::geteuid().is_root() {
                command.args(["--user", "--map-root-user"]);
            }
            command.args(["--mount", "--", "sh", "-c", &script]).arg(directory).arg(program());
            command
        })
        .await
    }

    /// With more arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        Self::start_by(arguments, |_| Command::new(program())).await
    }

    async fn start_by(arguments: &[&str], command: impl FnOnce(&Path) -> Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let log = std::fs::File::create(at("log")).unwrap();
        let child = command(directory.path())
            .args([
                "sandboxd",
                "--listen",
                "127.0.0.1:0",
                "--max-sandboxes",
                "200",
                "--fuse-template",
                "fuse",
                "--state-dir",
            ])
            .arg(directory.path())
            .arg("--api-key-file")
            .arg(at("api-key"))
            .arg("--announce")
            .arg(at("announce.json"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let url = announced(&at("announce.json")).await;
        let key = std::fs::read_to_string(at("api-key")).unwrap().trim().to_owned();
        Sandboxd { child, directory, url, key }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ids of the sandboxes that live.
    pub async fn sandboxes(&self) -> Vec<String> {
        sandboxes(&reqwest::Client::new(), &self.url, &self.key).await
    }

    /// Where it keeps everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The root directory of a sandbox.
    pub fn root(&self, id: &str) -> PathBuf {
        self.directory().join("sandboxes").join(id)
    }

    /// Waits until exactly `n` sandboxes live.
    pub async fn has(&self, n: usize) {
        eventually(&format!("{n} sandboxes on the server"), async || (self.sandboxes().await.len() == n).then_some(()))
            .await;
    }

    /// Makes a sandbox with these labels behind the broker's back.
    pub async fn create(&self, labels: serde_json::Value) -> String {
        let sandbox = serde_json::json!({ "templateID": "base", "timeout": 600, "metadata": labels });
        let request = reqwest::Client::new().post(format!("{}/v2/sandboxes", self.url)).json(&sandbox);
        let answer = request.header("x-api-key", &self.key).send().await.unwrap();
        let made: serde_json::Value = answer.error_for_status().unwrap().json().await.unwrap();
        made["sandboxID"].as_str().unwrap().to_owned()
    }

    /// Ends a sandbox behind the broker's back.
    pub async fn kill(&self, id: &str) {
        let request = reqwest::Client::new().delete(format!("{}/sandboxes/{id}", self.url));
        let answer = request.header("x-api-key", &self.key).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }

    /// A section of `broker.toml` that uses this server through the e2b
    /// plugin.
    pub fn section(&self, name: &str) -> String {
        self.section_by(&self.url, name)
    }

    /// The same for a broker that reaches this server by another URL.
    pub fn section_by(&self, url: &str, name: &str) -> String {
        let key = &self.key;
        format!(
            "[providers.{name}]\nplugin = \"e2b\"\nallow = [\"{url}\"]\n{}\
             [providers.{name}.config]\napi_url = \"{url}\"\nsandbox_url = \"{url}\"\n",
            api_key(key, url)
        )
    }
}

/// The line of a section that binds a key to the control plane of the server at `url`.
pub fn api_key(key: &str, url: &str) -> String {
    format!(
        "secrets.api_key = {{ value = \"{key}\", to = [\"{url}/sandboxes\", \"{url}/v2/sandboxes\"], \
         carry = {{ header = \"x-api-key\" }} }}\n"
    )
}

/// The same for a section without a file.
pub fn bound_api_key(key: &str, url: &str) -> Secrets {
    let to = ["sandboxes", "v2/sandboxes"].map(|path| EgressGrant::parse(&format!("{url}/{path}")).unwrap());
    let binding = Binding { to: to.into(), carry: Some(Carry::Header("x-api-key".to_owned())), sas: None };
    BTreeMap::from([("api_key".to_owned(), BoundSecret { value: key.to_owned().into(), binding })]).into()
}

impl Drop for Sandboxd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("--- sandboxd log\n{log}");
        }
        // Its sandboxes die with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ids of the sandboxes that live on the server at `url`.
pub async fn sandboxes(client: &reqwest::Client, url: &str, key: &str) -> Vec<String> {
    let request = client.get(format!("{url}/v2/sandboxes")).header("x-api-key", key);
    let list: Vec<serde_json::Value> = request.send().await.unwrap().json().await.unwrap();
    list.iter().map(|s| s["sandboxID"].as_str().unwrap().to_owned()).collect()
}

/// The URL that a program has announced.
pub async fn announced(path: &Path) -> String {
    eventually("the announcement of a server", async || {
        let text = std::fs::read(path).ok()?;
        let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some(value["url"].as_str()?.to_owned())
    })
    .await
}
