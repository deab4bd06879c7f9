//! A real Azure Blob service of the test's own: Azurite, with its data in a
//! temporary directory, and what a test wants to see and do behind the broker's
//! back through the service's own API.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, Response};
use sha2::Sha256;
use url::Url;

use super::eventually;
use super::service::{Blob, between, unescaped};

/// The account that every Azurite has, with its well-known key.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The version of the service's API that the requests here are written in.
const VERSION: &str = "2022-11-02";

/// A running service; ends with the test.
pub struct Azurite {
    script: PathBuf,
    directory: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Azurite {
    /// One on a free port; none, with words, where it is not installed. Under
    /// CI that fails.
    pub async fn start() -> Option<Self> {
        let Some(script) = std::env::var_os("AZURITE").map(PathBuf::from) else {
            assert!(std::env::var_os("CI").is_none(), "AZURITE is not set: run `cargo xtask test`");
            println!("skipped: AZURITE is not set: run `cargo xtask test`, which installs it");
            return None;
        };
        let mut azurite = Azurite { script, directory: tempfile::tempdir().unwrap(), port: 0, child: None };
        azurite.resume().await;
        Some(azurite)
    }

    /// Ends it, as when the service cannot be reached; its data stays.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Not killed: it writes its tables at the end.
        let ended = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(ended.success());
        let child = std::cell::RefCell::new(&mut child);
        eventually("the end of Azurite", async || child.borrow_mut().try_wait().unwrap()).await;
    }

    /// Starts it again after [`stop`](Self::stop), on the same port and data.
    pub async fn resume(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = self.directory.path().join("log");
        let output = File::create(&log).unwrap();
        let child = Command::new("node")
            .arg(&self.script)
            // Clients may speak a later version than this release knows.
            .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", &self.port.to_string()])
            .arg("--location")
            .arg(self.directory.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.port = eventually("Azurite listening", async || {
            let text = std::fs::read_to_string(&log).unwrap();
            let (line, _) = text.split_once("listens on ")?.1.split_once('\n')?;
            line.rsplit_once(':')?.1.trim().parse().ok()
        })
        .await;
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The endpoint of the account, as `broker.toml` names it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    pub async fn make_container(&self, name: &str) {
        self.call(Method::PUT, &[name], &[("restype", "container")], None).await;
    }

    pub async fn delete_container(&self, name: &str) {
        self.call(Method::DELETE, &[name], &[("restype", "container")], None).await;
    }

    /// All blobs of a container, by name.
    pub async fn list(&self, container: &str) -> Vec<Blob> {
        let mut blobs = Vec::new();
        let mut marker = String::new();
        loop {
            let query =
                [("restype", "container"), ("comp", "list"), ("include", "metadata"), ("marker", marker.as_str())];
            let query = if marker.is_empty() { &query[..3] } else { &query };
            let xml = self.call(Method::GET, &[container], query, None).await.text().await.unwrap();
            blobs.extend(between(&xml, "Blob").map(|blob| Blob {
                name: unescaped(between(blob, "Name").next().unwrap()),
                size: between(blob, "Content-Length").next().unwrap().parse().unwrap(),
                directory: between(blob, "hdi_isfolder").next() == Some("true"),
            }));
            match between(&xml, "NextMarker").next() {
                Some(next) if !next.is_empty() => marker = unescaped(next),
                _ => break,
            }
        }
        blobs
    }

    /// What a blob holds; none if there is no such blob.
    pub async fn read(&self, container: &str, blob: &str) -> Option<Vec<u8>> {
        let answer = self.send(Method::GET, &[container, blob], &[], None).await;
        match answer.status().as_u16() {
            200 => Some(answer.bytes().await.unwrap().to_vec()),
            404 => None,
            status => panic!("{status}: {}", answer.text().await.unwrap()),
        }
    }

    pub async fn upload(&self, container: &str, blob: &str, content: impl Into<Vec<u8>>) {
        self.call(Method::PUT, &[container, blob], &[], Some(content.into())).await;
    }

    pub async fn delete(&self, container: &str, blob: &str) {
        self.call(Method::DELETE, &[container, blob], &[], None).await;
    }

    async fn call(&self, method: Method, path: &[&str], query: &[(&str, &str)], content: Option<Vec<u8>>) -> Response {
        let answer = self.send(method, path, query, content).await;
        let status = answer.status();
        if !status.is_success() {
            panic!("{path:?}: {status}: {}", answer.text().await.unwrap());
        }
        answer
    }

    /// Sends a request signed with the account's key. The first of `path` is a
    /// container, the second a blob.
    async fn send(&self, method: Method, path: &[&str], query: &[(&str, &str)], content: Option<Vec<u8>>) -> Response {
        let mut url = Url::parse(&self.endpoint()).unwrap();
        url.path_segments_mut().unwrap().extend(path.iter().flat_map(|part| part.split('/')));
        let mut headers = vec![
            ("x-ms-date", jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()),
            ("x-ms-version", VERSION.to_owned()),
        ];
        if content.is_some() {
            headers.insert(0, ("x-ms-blob-type", "BlockBlob".to_owned()));
        }

        // The string that Shared Key signs: the method, eleven standard headers
        // of which only a length is ever there, the service's own by name, and
        // what the request is about.
        let length = content.as_ref().map(Vec::len).filter(|length| *length > 0);
        let length = length.map(|length| length.to_string()).unwrap_or_default();
        let mut text = format!("{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n");
        text.extend(headers.iter().map(|(name, value)| format!("{name}:{value}\n")));
        text.push_str(&format!("/{ACCOUNT}{}", url.path()));
        let mut sorted = query.to_vec();
        sorted.sort_unstable();
        text.extend(sorted.iter().map(|(name, value)| format!("\n{name}:{value}")));
        let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(KEY).unwrap()).unwrap();
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());

        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = reqwest::Client::new()
            .request(method, url)
            .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(content) = content {
            // An empty blob has a length too, which an empty body does not say.
            request = request.header("content-length", content.len()).body(content);
        }
        request.send().await.unwrap()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
